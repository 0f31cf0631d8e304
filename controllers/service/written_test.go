package service

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrlevent "sigs.k8s.io/controller-runtime/pkg/event"

	"metallb.io/operator/internal/ipam"
)

// TestOwnWritesAreNoNews: the event of a write of ours has nobody look at the Service, whether it comes before the answer or after
// it, but only where nobody has looked since: who did may have read the version before it.
func TestOwnWritesAreNoNews(t *testing.T) {
	key, other := ipam.Key{Namespace: "shop", Name: "web"}, ipam.Key{Namespace: "shop", Name: "db"}
	begin := func(w *written) (bool, bool) { w.begin(key); return false, false }
	forget := func(w *written) (bool, bool) { w.forget(key); return false, false }
	// What is expected of the others is that the Service is looked at, or not.
	end := func(version string, want bool) func(w *written) (bool, bool) {
		return func(w *written) (bool, bool) { return w.end(key, version), want }
	}
	event := func(version string, want bool) func(w *written) (bool, bool) {
		return func(w *written) (bool, bool) {
			return w.news(ctrlevent.UpdateEvent{ObjectNew: &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, ResourceVersion: version},
			}}), want
		}
	}
	const looked, not = true, false
	for name, steps := range map[string][]func(*written) (got, want bool){
		"a write of another":                  {event("2", looked)},
		"ours":                                {begin, end("2", not), event("2", not)},
		"ours, told twice":                    {begin, end("2", not), event("2", not), event("2", looked)},
		"another's before ours was told":      {begin, end("2", not), event("3", looked), event("2", looked)},
		"another's after ours":                {begin, end("2", not), event("2", not), event("3", looked)},
		"ours, of another Service":            {func(w *written) (bool, bool) { w.begin(other); return w.end(other, "2"), not }, event("2", looked)},
		"ours, looked at since":               {begin, end("2", not), forget, event("2", looked)},
		"the second of ours":                  {begin, end("2", not), begin, end("3", not), event("2", looked), event("3", looked)},
		"ours, before the answer":             {begin, event("2", not), end("2", not), event("3", looked)},
		"another's before, too":               {begin, event("1", not), event("2", not), end("2", not), event("3", looked)},
		"another's after it, too":             {begin, event("2", not), event("3", not), end("2", looked), event("4", looked)},
		"another's, and ours later":           {begin, event("1", not), end("2", looked), event("2", looked)},
		"a refused one":                       {begin, end("", not), event("2", looked)},
		"another's, for which it was refused": {begin, event("2", not), end("", looked), event("3", looked)},
	} {
		t.Run(name, func(t *testing.T) {
			var w written
			for i, step := range steps {
				if got, want := step(&w); got != want {
					t.Errorf("step %d: the Service is looked at: %v, not %v", i+1, got, want)
				}
			}
		})
	}
}
