package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/lbservice"
)

// CacheOptions say what the Node of that name reads: cluster-wide Services, EndpointSlices and Nodes, in the namespace the
// configuration, the speakers' pods and its own reports, each stripped to what is used. Nothing is asked of API discovery,
// so that a speaker that starts while the API server is away only waits.
func CacheOptions(scheme *runtime.Scheme, namespace, node string, pods labels.Selector) cache.Options {
	here := map[string]cache.Config{namespace: {}}
	own := cache.ByObject{Namespaces: here, Label: labels.SelectorFromSet(labels.Set{v1beta1.LabelNode: node})}
	plain := true
	options := cache.Options{
		Scheme:                       scheme,
		Mapper:                       mapper(),
		DefaultUnsafeDisableDeepCopy: &plain,
		DefaultTransform:             cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Service{}:            {Transform: strip},
			&discoveryv1.EndpointSlice{}: {Transform: strip},
			&corev1.Node{}:               {Transform: strip},
			&corev1.Pod{}:                {Transform: strip, Namespaces: here, Label: pods},
			&v1beta1.ConfigurationState{}: {
				Namespaces: here, Field: fields.OneTermEqualSelector(metav1.ObjectNameField, configuration.SpeakerState(node)),
			},
			&v1beta1.ServiceL2Status{}:  own,
			&v1beta1.ServiceBGPStatus{}: own,
			&v1beta1.BGPSessionState{}:  own,
		},
	}
	for _, o := range configuration.Objects() {
		options.ByObject[o] = cache.ByObject{Namespaces: here}
	}
	return options
}

// ClientOptions are for the client that a Node reads Secrets and writes with, and that its State writes with.
func ClientOptions(scheme *runtime.Scheme) client.Options {
	return client.Options{Scheme: scheme, Mapper: mapper()}
}

// mapper knows the resources that are read and written.
func mapper() meta.RESTMapper {
	return configuration.Mapper(corev1.SchemeGroupVersion.WithKind("Service"), corev1.SchemeGroupVersion.WithKind("Pod"),
		corev1.SchemeGroupVersion.WithKind("Secret"), discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
		v1beta1.GroupVersion.WithKind("ServiceL2Status"), v1beta1.GroupVersion.WithKind("ServiceBGPStatus"),
		v1beta1.GroupVersion.WithKind("BGPSessionState"))
}

// strip keeps of an object what is read from it. It must not change the object that it is given for another reader; the
// cache has none.
func strip(o any) (any, error) {
	switch x := o.(type) {
	case *corev1.Service:
		return &corev1.Service{
			ObjectMeta: metadata(x.ObjectMeta, x.Annotations),
			Spec: corev1.ServiceSpec{
				Type: x.Spec.Type, LoadBalancerClass: x.Spec.LoadBalancerClass, ExternalTrafficPolicy: x.Spec.ExternalTrafficPolicy,
			},
			Status: corev1.ServiceStatus{LoadBalancer: x.Status.LoadBalancer},
		}, nil
	case *discoveryv1.EndpointSlice:
		out := &discoveryv1.EndpointSlice{ObjectMeta: metadata(x.ObjectMeta, nil), AddressType: x.AddressType}
		out.Labels = map[string]string{discoveryv1.LabelServiceName: x.Labels[discoveryv1.LabelServiceName]}
		out.Endpoints = lbservice.Essence(x.Endpoints)
		return out, nil
	case *corev1.Node:
		out := &corev1.Node{ObjectMeta: metadata(x.ObjectMeta, nil), Spec: corev1.NodeSpec{Unschedulable: x.Spec.Unschedulable}}
		out.Status.Addresses = x.Status.Addresses
		for _, c := range x.Status.Conditions {
			if c.Type == corev1.NodeNetworkUnavailable {
				out.Status.Conditions = append(out.Status.Conditions, corev1.NodeCondition{Type: c.Type, Status: c.Status})
			}
		}
		return out, nil
	case *corev1.Pod:
		out := &corev1.Pod{
			ObjectMeta: metadata(x.ObjectMeta, nil), Spec: corev1.PodSpec{NodeName: x.Spec.NodeName},
			Status: corev1.PodStatus{Phase: x.Status.Phase, HostIPs: x.Status.HostIPs},
		}
		for _, c := range x.Spec.Containers {
			out.Spec.Containers = append(out.Spec.Containers, corev1.Container{Name: c.Name, ReadinessProbe: c.ReadinessProbe})
		}
		return out, nil
	default:
		return o, nil
	}
}

func metadata(m metav1.ObjectMeta, annotations map[string]string) metav1.ObjectMeta {
	const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"
	if _, ok := annotations[lastApplied]; ok {
		annotations = maps.Clone(annotations)
		delete(annotations, lastApplied)
	}
	return metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, Generation: m.Generation,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp, Labels: m.Labels, Annotations: annotations,
	}
}

// watch feeds the inputs, and returns when they hold all that there is.
func (n *Node) watch(ctx context.Context) error {
	in := n.inputs
	var synced []toolscache.InformerSynced
	var errs []error
	add := func(s toolscache.InformerSynced, err error) {
		synced, errs = append(synced, s), append(errs, err)
	}
	add(follow(ctx, n.Cache, &corev1.Node{}, in.setNode, in.deleteNode))
	add(follow(ctx, n.Cache, &corev1.Pod{}, in.setPod, in.deletePod))
	add(follow(ctx, n.Cache, &discoveryv1.EndpointSlice{}, in.setSlice, in.deleteSlice))
	add(follow(ctx, n.Cache, &corev1.Service{}, in.setService, in.deleteService))
	for _, o := range configuration.Objects() {
		add(followConfig(ctx, n.Cache, o, in))
	}
	// Not waited for: nothing that is announced depends on them.
	_, err := follow(ctx, n.Cache, &v1beta1.ConfigurationState{}, n.teller.setState, n.teller.deleteState)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if !toolscache.WaitForCacheSync(ctx.Done(), synced...) {
		return context.Cause(ctx)
	}
	return nil
}

// followConfig notes when a resource of the configuration changes. Its status is none of it: each address that a Service
// gets changes the status of a pool.
func followConfig(ctx context.Context, c cache.Cache, kind client.Object, in *inputs) (toolscache.InformerSynced, error) {
	type version struct {
		uid        types.UID
		generation int64
		labels     string
	}
	seen := map[string]version{} // by name; an informer's calls come one after the other
	set := func(o client.Object) {
		v := version{o.GetUID(), o.GetGeneration(), labels.Set(o.GetLabels()).String()}
		if seen[o.GetName()] != v {
			seen[o.GetName()] = v
			in.changeConfig()
		}
	}
	gone := func(o client.Object) {
		delete(seen, o.GetName())
		in.changeConfig()
	}
	return follow(ctx, c, kind, set, gone)
}

// follow calls set for every object of a kind as it is and as it changes, and gone when it is deleted. What it returns
// says whether all that existed have been set.
func follow[T client.Object](ctx context.Context, c cache.Cache, kind T, set, gone func(T)) (toolscache.InformerSynced, error) {
	informer, err := c.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("cannot watch %T: %w", kind, err)
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { set(o.(T)) },
		UpdateFunc: func(before, o any) {
			if before.(T).GetResourceVersion() != o.(T).GetResourceVersion() {
				set(o.(T))
			}
		},
		DeleteFunc: func(o any) {
			if unknown, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = unknown.Obj
			}
			gone(o.(T))
		},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot watch %T: %w", kind, err)
	}
	return registration.HasSynced, nil
}

// splitName is the inverse of types.NamespacedName.String.
func splitName(name string) types.NamespacedName {
	namespace, name, _ := strings.Cut(name, "/")
	return types.NamespacedName{Namespace: namespace, Name: name}
}
