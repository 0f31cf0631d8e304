package responder

import (
	"fmt"
	"net/netip"
	"time"

	"metallb.io/operator/internal/l2"
)

// listenFor is how long the answers to a question are of interest.
const listenFor = 2 * time.Second

// hear notes a station that says it has an address which is answered here or was asked for, and reports whether somebody
// should look. All other frames cost no more than a look-up.
func (r *Responder) hear(frame []byte) (tell bool) {
	sender, ok := r.link.Sender(frame)
	if !ok || !r.listensTo(sender) {
		return false
	}
	mac, ok := r.link.Station(frame)
	if !ok || mac == r.place.MAC {
		return false
	}
	r.hearing.Lock()
	defer r.hearing.Unlock()
	return r.heard.Add(l2.Sighting{Address: sender, Interface: r.place.Name, MAC: mac, At: time.Now()})
}

func (r *Responder) listensTo(a netip.Addr) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, ours := r.answered[a]; ours {
		return true
	}
	_, asked := r.asked[a]
	return asked
}

// take returns what was heard since it was called last.
func (r *Responder) take() []l2.Sighting {
	r.hearing.Lock()
	defer r.hearing.Unlock()
	return r.heard.Take()
}

// ask sends the question who has an address.
func (r *Responder) ask(a netip.Addr, now time.Time) error {
	frame, err := r.link.Question(a)
	if err != nil {
		return err
	}
	r.mu.Lock()
	for old, at := range r.asked {
		if now.Sub(at) > listenFor {
			delete(r.asked, old)
		}
	}
	r.asked[a] = now
	r.mu.Unlock()
	return r.send(frame)
}

// reclaimOne begins the claims of one address anew, if it is answered here and not yielded.
func (r *Responder) reclaimOne(a netip.Addr, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ours := r.answered[a]
	if _, yielding := r.yielding[a]; ours && !yielding {
		r.begin(a, now)
		signal(r.wake)
	}
}

// Sighted signals that Sightings has something.
func (r *Responders) Sighted() <-chan struct{} { return r.sighted }

// Sightings returns the other stations that were heard, since it was called last, to have an address that is answered here
// or was asked for.
func (r *Responders) Sightings() (out []l2.Sighting) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.running {
		out = append(out, x.take()...)
	}
	return out
}

// Ask asks on an interface who has an address. Whoever answers within the next second is among the Sightings.
func (r *Responders) Ask(interfaceName string, a netip.Addr) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	x, ok := r.running[interfaceName]
	if !ok {
		return fmt.Errorf("interface %s: there is no socket", interfaceName)
	}
	if err := x.ask(a, time.Now()); err != nil {
		return fmt.Errorf("interface %s: %w", interfaceName, err)
	}
	return nil
}

// Defend claims one address anew wherever it is answered, as if it were new.
func (r *Responders) Defend(a netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for _, x := range r.running {
		x.reclaimOne(a, now)
	}
}

// Reopen closes the socket of an interface and makes Failed signal, so that Listen and Sync open another one and claim
// everything anew. It reports whether there was one.
func (r *Responders) Reopen(interfaceName string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	x, ok := r.running[interfaceName]
	if !ok {
		return false
	}
	x.close()
	delete(r.running, interfaceName)
	r.Fail()
	return true
}
