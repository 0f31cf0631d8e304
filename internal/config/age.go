package config

import (
	"cmp"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// age says which of two resources gives way to the other: the younger.
type age struct {
	source  Source
	created time.Time
	// youngest is the resource that a Review is about.
	youngest bool
}

func (c *compiler) age(source Source, created metav1.Time) age {
	return age{source: source, created: created.Time, youngest: source == c.youngest}
}

// compareAges puts the older first. An object that has no creation time yet is younger than those that have one.
func compareAges(a, b age) int {
	return cmp.Or(compareBools(a.youngest, b.youngest), compareBools(a.created.IsZero(), b.created.IsZero()),
		a.created.Compare(b.created), cmp.Compare(a.source.Name, b.source.Name),
		-cmp.Compare(a.source.Kind, b.source.Kind)) // IPAddressPool before AddressPool
}

// compareBools puts false first.
func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

// before names a resource to the one that gives way to it.
func (c *compiler) before(winner, loser Source) string {
	if loser == c.youngest {
		return fmt.Sprintf("%s %s, which is there already", winner.Kind, winner.Name)
	}
	return fmt.Sprintf("%s %s, which is older", winner.Kind, winner.Name)
}
