package kubeproxy

import "time"

const (
	// patience is how long kube-proxy may be silent before it delivers nothing: its own restart takes less.
	patience = 10 * time.Second
	// refusal is how long it may say that it is not healthy: it does so where the node is about to be deleted (KEP-3836), and
	// where it has not been able to write its rules for a minute or more.
	refusal = 3 * time.Second
	// steady is how long it must be healthy to be believed again, so that one that crashes again and again moves nothing.
	steady = 3 * time.Second
)

// answer is what came of a question.
type answer int

const (
	healthy   answer = iota
	unhealthy        // status 503, or any other but 200
	silent           // refused, or no answer in time
)

// judge makes of the answers whether kube-proxy delivers. It is pure: time comes in as a value.
type judge struct {
	delivers bool
	answered bool // it has been healthy before
	// Since when each is so without a break; zero: it is not.
	well, ill, refusing time.Time
}

// hear takes an answer.
func (j *judge) hear(a answer, now time.Time) {
	since(&j.well, a == healthy, now)
	since(&j.ill, a != healthy, now)
	since(&j.refusing, a == unhealthy, now)
	switch {
	case a == healthy:
		j.delivers = j.delivers || !j.answered || now.Sub(j.well) >= steady
		j.answered = true
	case j.answered && (now.Sub(j.ill) >= patience || a == unhealthy && now.Sub(j.refusing) >= refusal):
		j.delivers = false
	}
}

// since keeps when something began that is so now, or that it is not.
func since(began *time.Time, is bool, now time.Time) {
	switch {
	case !is:
		*began = time.Time{}
	case began.IsZero():
		*began = now
	}
}
