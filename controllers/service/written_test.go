package service

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrlevent "sigs.k8s.io/controller-runtime/pkg/event"

	"metallb.io/operator/internal/ipam"
)

// TestOwnWritesAreNoNews: the event of a write of ours has nobody look at the Service, but only where nobody has looked since: who
// did may have read the version before it.
func TestOwnWritesAreNoNews(t *testing.T) {
	key := ipam.Key{Namespace: "shop", Name: "web"}
	at := func(version string) ctrlevent.UpdateEvent {
		return ctrlevent.UpdateEvent{ObjectNew: &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, ResourceVersion: version}}}
	}
	for name, c := range map[string]struct {
		before func(r *Reconciler)
		events []string
		want   []bool
	}{
		"a write of another":             {func(*Reconciler) {}, []string{"2"}, []bool{true}},
		"ours":                           {func(r *Reconciler) { r.expect(key, "2") }, []string{"2"}, []bool{false}},
		"ours, told twice":               {func(r *Reconciler) { r.expect(key, "2") }, []string{"2", "2"}, []bool{false, true}},
		"another's before ours was told": {func(r *Reconciler) { r.expect(key, "2") }, []string{"3", "2"}, []bool{true, true}},
		"another's after ours":           {func(r *Reconciler) { r.expect(key, "2") }, []string{"2", "3"}, []bool{false, true}},
		"ours, of another Service":       {func(r *Reconciler) { r.expect(ipam.Key{Namespace: "shop", Name: "db"}, "2") }, []string{"2"}, []bool{true}},
		"ours, looked at since":          {func(r *Reconciler) { r.expect(key, "2"); r.expect(key, "") }, []string{"2"}, []bool{true}},
		"the second of ours":             {func(r *Reconciler) { r.expect(key, "2"); r.expect(key, "3") }, []string{"2", "3"}, []bool{true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Reconciler{written: map[ipam.Key]string{}}
			c.before(r)
			for i, version := range c.events {
				if got := r.news(at(version)); got != c.want[i] {
					t.Errorf("version %s is news: %v", version, got)
				}
			}
		})
	}
}
