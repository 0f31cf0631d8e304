package udp

import "container/heap"

// timers are the sessions that have something to do at some time, the next one first.
type timers []*session

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].due.Before(t[j].due) }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].position, t[j].position = i, j
}

// Push is for the heap alone.
func (t *timers) Push(x any) {
	s := x.(*session)
	s.position = len(*t)
	*t = append(*t, s)
}

// Pop is for the heap alone.
func (t *timers) Pop() any {
	last := len(*t) - 1
	s := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	s.position = -1
	return s
}

// rearm follows the session's deadline.
func (e *engine) rearm(s *session) {
	due := s.machine.Deadline()
	if s.leaving && (due.IsZero() || s.leaveAt.Before(due)) {
		due = s.leaveAt
	}
	s.due = due
	switch {
	case due.IsZero() && s.position >= 0:
		heap.Remove(&e.timers, s.position)
	case due.IsZero():
	case s.position >= 0:
		heap.Fix(&e.timers, s.position)
	default:
		heap.Push(&e.timers, s)
	}
}
