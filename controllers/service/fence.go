package service

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// The times of the leader election. Who waits for an address waits for the next leader, so they are short: a replica that
// releases the Lease is followed within two looks of the others, one that is killed within LeaseDuration more. A look
// is up to 2.2 times LookInterval after the one before.
const (
	LeaseDuration = 4 * time.Second
	RenewDeadline = 3 * time.Second
	LookInterval  = 200 * time.Millisecond
	// renewInterval is how often the leader writes the Lease, since it need not as often as the others look.
	renewInterval = time.Second
)

// Lease is the lock of the leader election, and the fence around the leader: who has not renewed it for LeaseDuration, be it
// that the process or the whole machine was stopped, writes nothing any more, although it has not noticed yet that there is
// another leader.
type Lease struct {
	resourcelock.Interface

	mu sync.Mutex
	// renewed is when the last write as the holder began; zero: this replica is not the holder.
	renewed time.Time
	lost    bool // when it was given up it had not been renewed for too long
}

// Create is of resourcelock.Interface.
func (l *Lease) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.write(record, func() error { return l.Interface.Create(ctx, record) })
}

// Update is of resourcelock.Interface. A renewal soon after the last one is left out.
func (l *Lease) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	if record.HolderIdentity == l.Identity() && l.renewedWithin(renewInterval) {
		return nil
	}
	return l.write(record, func() error { return l.Interface.Update(ctx, record) })
}

func (l *Lease) write(record resourcelock.LeaderElectionRecord, write func() error) error {
	began := time.Now()
	ours := record.HolderIdentity == l.Identity()
	if !ours {
		l.set(time.Time{}) // given up, whether the others are told or not
	}
	if err := write(); err != nil {
		return err
	}
	if ours {
		l.set(began)
	}
	return nil
}

func (l *Lease) set(renewed time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = l.overdue() && renewed.IsZero()
	l.renewed = renewed
}

// Held says whether nobody else can be the leader now.
func (l *Lease) Held() bool { return l.renewedWithin(LeaseDuration) }

func (l *Lease) renewedWithin(d time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.renewed.IsZero() && time.Since(l.renewed) < d
}

// Lost says whether this replica was the leader and could not renew the Lease in time, as when the API server is away; not
// whether it gave it up for another reason.
func (l *Lease) Lost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost || l.overdue()
}

func (l *Lease) overdue() bool {
	return !l.renewed.IsZero() && time.Since(l.renewed) >= RenewDeadline
}

// Fence wraps a transport to the API server (rest.Config.Wrap): while the Lease is not Held it refuses whatever would change
// something. Questions that are asked by POST, who somebody is and what he may do, change nothing.
func (l *Lease) Fence(next http.RoundTripper) http.RoundTripper {
	return fence{l, next}
}

type fence struct {
	lease *Lease
	next  http.RoundTripper
}

// RoundTrip is of http.RoundTripper.
func (f fence) RoundTrip(r *http.Request) (*http.Response, error) {
	if changes(r) && !f.lease.Held() {
		return nil, fmt.Errorf("%s %s: not sent, since this replica does not hold %s", r.Method, r.URL.Path, f.lease.Describe())
	}
	return f.next.RoundTrip(r)
}

func changes(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	}
	return !strings.HasPrefix(r.URL.Path, "/apis/authentication.k8s.io/") && !strings.HasPrefix(r.URL.Path, "/apis/authorization.k8s.io/")
}
