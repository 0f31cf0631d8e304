package node

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/speaker/sessions"
)

// The reasons of the events about a BGPPeer.
const (
	eventSessionUp   = "bgpSessionUp"
	eventSessionDown = "bgpSessionDown"
)

const (
	// sessionPatience is how long a session may take to come up for the first time before users are told why it does not.
	sessionPatience = 10 * time.Second
	// leastEventPause and longestEventPause bound the time between two events about a session: it doubles with each that comes
	// before there was quiet for as long again.
	leastEventPause, longestEventPause = 10 * time.Second, 10 * time.Minute
)

// story is what has been told of a session, and what has not.
type story struct {
	began time.Time
	up    bool
	since time.Time // of the last time that it was up
	lost  int       // how often since the last event

	toldUp bool
	told   time.Time // when the last event was; zero: there was none
	pause  time.Duration
}

// next takes how the session is now. It reports whether users are to be told of it now, or else when it should be called again
// though nothing changes; zero: then it need not.
func (s *story) next(x *bgp.Session, now time.Time) (tell bool, again time.Time) {
	up := x.State == bgp.Established
	if s.began.IsZero() {
		s.began = now
	}
	if s.up && (!up || !x.Since.Equal(s.since)) {
		s.lost++
	}
	if s.up = up; up {
		s.since = x.Since
	}
	var due time.Time
	switch first := s.told.IsZero(); {
	case !up && x.Error == "": // it has only just begun
		return false, time.Time{}
	case up == s.toldUp && s.lost == 0 && (up || !first): // as users know
		return false, time.Time{}
	case first && !up && s.lost == 0:
		due = s.began.Add(sessionPatience)
	case !first:
		due = s.told.Add(s.pause)
	}
	if now.Before(due) {
		return false, due
	}
	if s.told.IsZero() || now.Sub(s.told) >= 2*s.pause {
		s.pause = leastEventPause
	} else {
		s.pause = min(2*s.pause, longestEventPause)
	}
	return true, time.Time{}
}

// tells is the event that is due, after which it is told.
func (s *story) tells(node string, o *sessions.Observed, now time.Time) (kind, reason, message string) {
	kind, reason = corev1.EventTypeNormal, eventSessionUp
	message = fmt.Sprintf("node %s: the session with %s is Established", node, o.Place())
	often := ""
	if s.lost > 1 {
		often = fmt.Sprintf(" %d times within %v", s.lost, now.Sub(s.told).Round(time.Second))
	}
	switch {
	case s.up && s.lost > 0:
		message += " again, after it was lost" + often
		if o.Session.Error != "" {
			message += ": " + o.Session.Error
		}
	case s.up:
	default:
		kind, reason = corev1.EventTypeWarning, eventSessionDown
		verb := "does not come up"
		if s.lost > 0 {
			verb = "was lost" + often
		}
		message = fmt.Sprintf("node %s: the session with %s %s: %s", node, o.Place(), verb, o.Session.Error)
	}
	s.toldUp, s.told, s.lost = s.up, now, 0
	return kind, reason, message
}

// tellSessions tells of sessions that came up and went down, on their BGPPeers.
func (r *reporter) tellSessions(ctx context.Context, observed []sessions.Observed, now time.Time) {
	stories := make(map[string]*story, len(observed))
	var wake time.Time
	for i := range observed {
		o := &observed[i]
		s := r.stories[o.Name]
		if s == nil {
			s = &story{}
		}
		stories[o.Name] = s
		tell, again := s.next(&o.Session, now)
		if !again.IsZero() && (wake.IsZero() || again.Before(wake)) {
			wake = again
		}
		if !tell {
			continue
		}
		kind, reason, message := s.tells(r.Name, o, now)
		if ref := r.peerReference(ctx, o.Name); ref != nil {
			r.Recorder.Event(ref, kind, reason, message)
		}
	}
	r.stories = stories
	if r.wake.Stop(); !wake.IsZero() {
		r.wake.Reset(wake.Sub(now))
	}
}

// peerReference is what an event about a BGPPeer refers to; nil if it is gone.
func (n *Node) peerReference(ctx context.Context, name string) *corev1.ObjectReference {
	var p v1beta2.BGPPeer
	if err := n.Cache.Get(ctx, client.ObjectKey{Namespace: n.Namespace, Name: name}, &p); err != nil {
		return nil
	}
	return &corev1.ObjectReference{Kind: "BGPPeer", APIVersion: v1beta2.GroupVersion.String(), Namespace: p.Namespace, Name: p.Name, UID: p.UID}
}
