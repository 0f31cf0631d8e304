package metallb

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"metallb.io/operator/internal/render"
)

// lookEvery is the least time between two looks at the pods, with lookPerPod added for each of them. They are read only
// while something is wrong with them, and not watched: that would need the right to see all pods of the cluster.
const (
	lookEvery  = 2 * time.Second
	lookPerPod = 20 * time.Millisecond
)

// looked is what the pods were at a time, in a namespace.
type looked struct {
	at        time.Time
	namespace string
	pods      []corev1.Pod
}

// look returns the pods of controller and speakers in the namespace, as they are or were a short time ago, and in how long to look
// again. That there is no seeing them costs the reasons, not the counts.
func (r *Reconciler) look(ctx context.Context, namespace string, now time.Time) ([]corev1.Pod, time.Duration) {
	every := func() time.Duration { return lookEvery + time.Duration(len(r.pods.pods))*lookPerPod }
	if next := r.pods.at.Add(every()).Sub(now); r.pods.namespace == namespace && next > 0 && next <= every() {
		return r.pods.pods, next
	}
	var list corev1.PodList
	err := r.Live.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{"app": render.PodLabels(render.Speaker)["app"]},
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: "0"}}) // from the API server's memory
	if err != nil {
		log.FromContext(ctx).Info("cannot see the pods, so nodes without a ready speaker are not named", "error", err.Error())
	}
	r.pods = looked{at: now, namespace: namespace, pods: list.Items}
	return list.Items, every()
}
