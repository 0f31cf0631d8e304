package metallb

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/render"
	"metallb.io/operator/internal/rollout"
)

// objectKey names an object among all kinds that the operator makes.
type objectKey struct {
	kind string
	types.NamespacedName
}

// snapshot is what one pass knows of the cluster.
type snapshot struct {
	choice
	// podSecurity is the level that the served resource's namespace enforces.
	podSecurity string
	// roles are the UIDs of the ClusterRoles beside the operator, by name.
	roles map[string]types.UID
	// objects that carry both labels of the operator.
	objects map[objectKey]client.Object
	// speakersWait: they were not applied in this pass.
	speakersWait bool
}

// workloads returns the served resource's workloads, nil where absent.
func (s *snapshot) workloads() (*appsv1.Deployment, *appsv1.DaemonSet) {
	in := func(kind, name string) objectKey {
		return objectKey{kind, types.NamespacedName{Namespace: s.served.Namespace, Name: name}}
	}
	controller, _ := s.objects[in("Deployment", render.Controller)].(*appsv1.Deployment)
	speaker, _ := s.objects[in("DaemonSet", render.Speaker)].(*appsv1.DaemonSet)
	return controller, speaker
}

// choice says which resource is served.
type choice struct {
	served *v1beta1.MetalLB
	// younger than the served one, or misnamed: these are not served.
	younger, misnamed []*v1beta1.MetalLB
}

// choose picks the oldest resource of the right name. One that is being deleted, or whose namespace is, does not count.
func choose(all []v1beta1.MetalLB, leaving func(*v1beta1.MetalLB) bool) choice {
	var c choice
	var candidates []*v1beta1.MetalLB
	for i := range all {
		switch m := &all[i]; {
		case leaving(m):
		case m.Name != rollout.Name:
			c.misnamed = append(c.misnamed, m)
		default:
			candidates = append(candidates, m)
		}
	}
	slices.SortFunc(candidates, rollout.CompareAge)
	if len(candidates) > 0 {
		c.served, c.younger = candidates[0], candidates[1:]
	}
	return c
}

// gather reads everything that a pass decides on, from the cache.
func (r *Reconciler) gather(ctx context.Context) (*snapshot, error) {
	var list v1beta1.MetalLBList
	if err := r.Client.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("listing MetalLB resources: %w", err)
	}
	namespaces := map[string]*metav1.PartialObjectMetadata{}
	for _, m := range list.Items {
		ns := &metav1.PartialObjectMetadata{}
		ns.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
		if err := r.Client.Get(ctx, client.ObjectKey{Name: m.Namespace}, ns); client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("reading namespace %s: %w", m.Namespace, err)
		}
		namespaces[m.Namespace] = ns
	}
	s := &snapshot{objects: map[objectKey]client.Object{}}
	s.choice = choose(list.Items, func(m *v1beta1.MetalLB) bool {
		return m.DeletionTimestamp != nil || namespaces[m.Namespace].DeletionTimestamp != nil
	})
	if s.served != nil {
		s.podSecurity = namespaces[s.served.Namespace].Labels[rollout.PodSecurityLabel]
		var err error
		if s.roles, err = r.roles(ctx); err != nil {
			return nil, err
		}
	}
	kinds := []client.ObjectList{
		&corev1.ServiceAccountList{}, &rbacv1.RoleBindingList{}, &rbacv1.ClusterRoleBindingList{},
		&appsv1.DeploymentList{}, &appsv1.DaemonSetList{}, &networkingv1.NetworkPolicyList{}, &policyv1.PodDisruptionBudgetList{},
	}
	if r.Environment.OpenShift {
		kinds = append(kinds, newSCCList())
	}
	for _, kind := range kinds {
		if err := r.Client.List(ctx, kind, client.MatchingLabels{render.LabelManagedBy: render.Manager}, client.HasLabels{render.LabelCRNamespace}); err != nil {
			return nil, fmt.Errorf("listing the operator's objects: %w", err)
		}
		if err := meta.EachListItem(kind, func(o runtime.Object) error { return s.add(o.(client.Object), r.Client.Scheme()) }); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// roles finds the ClusterRoles to which objects outside of any namespace belong, as they are now: one that was made again
// has another UID, and what names the old one is removed by the garbage collector.
func (r *Reconciler) roles(ctx context.Context) (map[string]types.UID, error) {
	names := []string{render.ControllerRole, render.SpeakerRole}
	if r.Environment.OpenShift {
		names = append(names, render.SpeakerSCCRole)
	}
	found := map[string]types.UID{}
	for _, name := range names {
		role := &metav1.PartialObjectMetadata{}
		role.SetGroupVersionKind(rbacv1.SchemeGroupVersion.WithKind("ClusterRole"))
		switch err := r.Live.Get(ctx, client.ObjectKey{Name: name}, role); {
		case err == nil:
			found[name] = role.UID
		case !apierrors.IsNotFound(err):
			return nil, fmt.Errorf("reading ClusterRole %s: %w", name, err)
		}
	}
	return found, nil
}

// add takes an object into the snapshot.
func (s *snapshot) add(o client.Object, scheme *runtime.Scheme) error {
	gvk, err := apiutil.GVKForObject(o, scheme)
	if err != nil {
		return err
	}
	s.objects[objectKey{gvk.Kind, client.ObjectKeyFromObject(o)}] = o
	return nil
}

// prune removes the objects of the operator's making that nothing asks for: those of a resource that is gone, and those
// that an earlier version made. What belongs to others lacks the labels and is not in the snapshot.
func (r *Reconciler) prune(ctx context.Context, s *snapshot, desired []render.Object) error {
	wanted := map[objectKey]bool{}
	for _, d := range desired {
		wanted[keyOf(d)] = true
	}
	for key := range r.applied {
		if !wanted[key] {
			delete(r.applied, key)
		}
	}
	var errs []error
	for key, o := range s.objects {
		if wanted[key] || o.GetDeletionTimestamp() != nil {
			continue
		}
		if err := r.remove(ctx, o); err != nil {
			errs = append(errs, fmt.Errorf("removing %s %s: %w", key.kind, key.NamespacedName, err))
			continue
		}
		log.FromContext(ctx).Info("removed what no MetalLB resource asks for", "kind", key.kind, "object", key.NamespacedName)
	}
	return errors.Join(errs...)
}

// remove deletes exactly this object, not one that was made under its name since.
func (r *Reconciler) remove(ctx context.Context, o client.Object) error {
	uid := o.GetUID()
	err := r.Client.Delete(ctx, o, client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if apierrors.IsConflict(err) {
		return nil
	}
	return client.IgnoreNotFound(err)
}

// apply brings all objects into their desired state; one that fails does not keep the others from it. It returns the
// failures that are to be reported, and the error with which the pass is to be tried again.
func (r *Reconciler) apply(ctx context.Context, s *snapshot, desired []render.Object) ([]rollout.ApplyError, error) {
	var failed []rollout.ApplyError
	var errs []error
	for _, d := range desired { // the controller comes before the speakers
		if speakers, ok := d.(*appsv1.DaemonSet); ok {
			if s.speakersWait = r.speakersWait(s, speakers); s.speakersWait {
				continue
			}
		}
		after, err := client.Object(nil), rollout.ErrNoRole
		if s.belongs(d) {
			after, err = r.applyOne(ctx, d, s.objects[keyOf(d)])
		}
		switch {
		case err == nil:
			errs = append(errs, s.add(after, r.Client.Scheme()))
		case apierrors.IsConflict(err): // somebody was faster; the next pass sees what they did
			errs = append(errs, err)
		default:
			failure := rollout.ApplyError{Object: d, Err: err}
			failed, errs = append(failed, failure), append(errs, failure)
		}
	}
	return failed, errors.Join(errs...)
}

// belongs says whether the ClusterRole of a binding is there. While the operator's manifests are deleted its bindings go with
// their roles, and one that was made again without its role would stay for good.
func (s *snapshot) belongs(d render.Object) bool {
	b, ok := d.(*rbacv1.ClusterRoleBinding)
	return !ok || s.roles[b.RoleRef.Name] != ""
}

// speakersWait for the controller in an upgrade. Speakers that had their version already and were edited since do not.
func (r *Reconciler) speakersWait(s *snapshot, desired *appsv1.DaemonSet) bool {
	controller, running := s.workloads()
	upgrade := r.upgraded != r.Environment.Image
	if upgrade && rollout.SpeakersWait(desired, running, controller) {
		return true
	}
	r.upgraded = r.Environment.Image
	return false
}

func keyOf(d render.Object) objectKey {
	return objectKey{d.GetObjectKind().GroupVersionKind().Kind, client.ObjectKeyFromObject(d)}
}
