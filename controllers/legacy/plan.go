package legacy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/legacy"
)

// verb is what is done to a resource.
type verb string

const (
	create verb = "create"
	update verb = "update"
	remove verb = "delete"
)

// change of one resource.
type change struct {
	verb verb
	id   id
	obj  client.Object
}

// stages is the order in which things are made, each after what it refers to. Pools that lose an address come after
// those that do not: while two pools have an address the older keeps it, so none is without a pool in between.
var stages = []string{"Secret", "BFDProfile", "Community", "BGPPeer", "IPAddressPool", "AddressPool", "L2Advertisement", "BGPAdvertisement"}

// removals is the order in which things are deleted, each before what it refers to. But a Secret goes before its peer,
// by whose name alone it can be found again.
var removals = []string{"BGPAdvertisement", "L2Advertisement", "AddressPool", "IPAddressPool", "Secret", "BGPPeer", "Community", "BFDProfile"}

// plan says what to change so that what is there becomes what is wanted, and which of it is in the way of that.
func plan(have inventory, res *legacy.Resources, cm *corev1.ConfigMap) ([]change, legacy.Problems) {
	var makes []change
	var problems legacy.Problems
	wanted := map[id]bool{}
	blocked := map[string]bool{} // Secrets that are somebody else's
	for _, o := range res.Objects() {
		key := id{o.GetObjectKind().GroupVersionKind().Kind, o.GetName()}
		wanted[key] = true
		want := marked(o, cm, res.Origin(key.kind, key.name))
		is := have[key]
		peer, _ := o.(*v1beta2.BGPPeer)
		switch {
		case is != nil && !labelled(is):
			problems = append(problems, inTheWay(key, res))
			if key.kind == "Secret" {
				blocked[key.name] = true
			}
		case peer != nil && blocked[peer.Spec.PasswordSecret.Name]: // it would use a password that is not its own
		case is == nil:
			makes = append(makes, change{create, key, want})
		default:
			if now := updated(is, want); now != nil {
				makes = append(makes, change{update, key, now})
			}
		}
	}
	slices.SortStableFunc(makes, func(a, b change) int {
		return cmp.Or(cmp.Compare(stage(a, have), stage(b, have)), cmp.Compare(a.id.name, b.id.name))
	})
	var removes []change
	for key, o := range have {
		if labelled(o) && owned(o) && !wanted[key] {
			removes = append(removes, change{remove, key, o})
		}
	}
	slices.SortFunc(removes, func(a, b change) int {
		return cmp.Or(cmp.Compare(slices.Index(removals, a.id.kind), slices.Index(removals, b.id.kind)), cmp.Compare(a.id.name, b.id.name))
	})
	return append(makes, removes...), problems
}

// stage orders changes.
func stage(c change, have inventory) int {
	n := 2 * slices.Index(stages, c.id.kind)
	if c.id.kind == "IPAddressPool" || c.id.kind == "AddressPool" {
		n = 2 * slices.Index(stages, "IPAddressPool")
		if c.verb == update && loses(have[c.id], c.obj) {
			n++
		}
	}
	return n
}

// loses says whether a pool has an entry no more that it had.
func loses(was, is client.Object) bool {
	for _, a := range addresses(was) {
		if !slices.Contains(addresses(is), a) {
			return true
		}
	}
	return false
}

func addresses(o client.Object) []string {
	switch o := o.(type) {
	case *v1beta1.IPAddressPool:
		return o.Spec.Addresses
	case *v1beta1.AddressPool:
		return o.Spec.Addresses
	}
	return nil
}

// inTheWay says that a user has a resource of the name.
func inTheWay(key id, res *legacy.Resources) legacy.Problem {
	return legacy.Problem{
		Place: res.Place(key.kind, key.name, ""), Severity: config.Error,
		Message: fmt.Sprintf("%s %s is there and was not made of this ConfigMap, so it is left as it is: remove this entry if that is to stay, or remove that (kubectl delete %s %s) to have it made of this entry",
			key.kind, key.name, resources[key.kind], key.name),
	}
}

// resources are the names for kubectl.
var resources = map[string]string{
	"Secret": "secrets", "BFDProfile": "bfdprofiles.metallb.io", "Community": "communities.metallb.io", "BGPPeer": "bgppeers.metallb.io",
	"IPAddressPool": "ipaddresspools.metallb.io", "AddressPool": "addresspools.metallb.io",
	"L2Advertisement": "l2advertisements.metallb.io", "BGPAdvertisement": "bgpadvertisements.metallb.io",
}

// summary counts what was made, for the event: 2 IPAddressPools, 1 BGPPeer.
func summary(changes []change) string {
	count := map[string]int{}
	for _, c := range changes {
		if c.verb == create {
			count[c.id.kind]++
		}
	}
	var out []string
	for _, kind := range []string{"IPAddressPool", "AddressPool", "L2Advertisement", "BGPAdvertisement", "BGPPeer", "BFDProfile", "Community", "Secret"} {
		switch n := count[kind]; {
		case n == 1:
			out = append(out, "1 "+kind)
		case n > 1 && kind == "Community":
			out = append(out, fmt.Sprintf("%d Communities", n))
		case n > 1:
			out = append(out, fmt.Sprintf("%d %ss", n, kind))
		}
	}
	return strings.Join(out, ", ")
}
