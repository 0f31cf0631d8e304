package udp

import "sync"

// Shares let several users have sessions of one Server, each without knowing of the others: two Servers on a node would
// get in each other's way. Where two want the same session, the one that came first has it.
type Shares struct {
	server *Server
	done   chan struct{}
	over   sync.WaitGroup

	mu     sync.Mutex
	shares []*Share
}

// Share is one user's part of a Server.
type Share struct {
	shares  *Shares
	changed chan struct{}

	// Guarded by Shares.mu.
	wanted  []Session
	pending []Change
}

// Divide returns the Shares of a Server, of which nobody else uses Sync and Changes. Close ends them, and not the Server.
func Divide(s *Server) *Shares {
	out := &Shares{server: s, done: make(chan struct{})}
	out.over.Go(func() {
		for {
			select {
			case <-s.Changed():
				out.deal()
			case <-out.done:
				return
			}
		}
	})
	return out
}

// Close ends the Shares: nobody hears of changes any more.
func (s *Shares) Close() {
	close(s.done)
	s.over.Wait()
}

// Share adds a user.
func (s *Shares) Share() *Share {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &Share{shares: s, changed: make(chan struct{}, 1)}
	s.shares = append(s.shares, out)
	return out
}

// deal gives each user the changes of its sessions.
func (s *Shares) deal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.server.Changes() {
		for _, share := range s.shares {
			if share.has(c.Key) {
				share.pending = append(share.pending, c)
				select {
				case share.changed <- struct{}{}:
				default:
				}
			}
		}
	}
}

func (s *Share) has(k Key) bool {
	for _, w := range s.wanted {
		if w.Key == k {
			return true
		}
	}
	return false
}

// Sync is Server.Sync for the sessions of one user.
func (s *Share) Sync(desired []Session) (observed []Status, err error) {
	s.shares.mu.Lock()
	defer s.shares.mu.Unlock()
	s.wanted = desired
	var all []Session
	seen := map[Key]bool{}
	for _, share := range s.shares.shares {
		for _, w := range share.wanted {
			if !seen[w.Key] {
				seen[w.Key] = true
				all = append(all, w)
			}
		}
	}
	statuses, err := s.shares.server.Sync(all)
	return s.own(statuses), err
}

func (s *Share) own(all []Status) (out []Status) {
	for _, st := range all {
		if s.has(st.Key) {
			out = append(out, st)
		}
	}
	return out
}

// Status is Server.Status for the sessions of one user.
func (s *Share) Status() []Status {
	all := s.shares.server.Status()
	s.shares.mu.Lock()
	defer s.shares.mu.Unlock()
	return s.own(all)
}

// Changed signals that Changes has something.
func (s *Share) Changed() <-chan struct{} { return s.changed }

// Changes returns what has changed since it was called last, in order.
func (s *Share) Changes() []Change {
	s.shares.mu.Lock()
	defer s.shares.mu.Unlock()
	out := s.pending
	s.pending = nil
	return out
}
