package metallb

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/internal/render"
)

// OperatorContainer is the name of the operator's container in its pod.
const OperatorContainer = "manager"

// Discover adds to the environment what the cluster is like: whether it is OpenShift, and the ports of its API server as
// pods may see them: servicePort is that of the Service kubernetes, the others are those behind it.
func Discover(ctx context.Context, reader client.Reader, mapper meta.RESTMapper, servicePort int32, env render.Environment) (render.Environment, error) {
	_, err := mapper.RESTMapping(render.SCCKind.GroupKind(), render.SCCKind.Version)
	if err != nil && !meta.IsNoMatchError(err) {
		return env, fmt.Errorf("finding out whether the API %s is there: %w", render.SCCKind.Group, err)
	}
	env.OpenShift = err == nil
	slice := &discoveryv1.EndpointSlice{}
	err = reader.Get(ctx, apiServer, slice)
	if apierrors.IsNotFound(err) {
		return env, nil // then nobody is kept from reaching it
	}
	if err != nil {
		return env, fmt.Errorf("finding out the ports of the API server: %w", err)
	}
	ports := []int32{servicePort}
	for _, p := range slice.Ports {
		if p.Port != nil {
			ports = append(ports, *p.Port)
		}
	}
	slices.Sort(ports)
	env.APIServerPorts = slices.Compact(ports)
	return env, nil
}

// apiServer is where API servers write how they are reached.
var apiServer = types.NamespacedName{Namespace: metav1.NamespaceDefault, Name: "kubernetes"}

func newSCC() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(render.SCCKind)
	return u
}

func newSCCList() *unstructured.UnstructuredList {
	u := &unstructured.UnstructuredList{}
	u.SetGroupVersionKind(render.SCCKind.GroupVersion().WithKind(render.SCCKind.Kind + "List"))
	return u
}

// OwnEnvironment reads the operator's own pod: its workloads run the image that it runs, pulled as it was pulled.
func OwnEnvironment(ctx context.Context, reader client.Reader, pod types.NamespacedName) (render.Environment, error) {
	p := &corev1.Pod{}
	if err := reader.Get(ctx, pod, p); err != nil {
		return render.Environment{}, fmt.Errorf("reading the operator's own pod, whose image the workloads run: %w", err)
	}
	for _, c := range p.Spec.Containers {
		if c.Name == OperatorContainer {
			return render.Environment{
				Image: c.Image, ImagePullPolicy: c.ImagePullPolicy, ImagePullSecrets: p.Spec.ImagePullSecrets,
				Account: types.NamespacedName{Namespace: pod.Namespace, Name: p.Spec.ServiceAccountName},
			}, nil
		}
	}
	return render.Environment{}, fmt.Errorf("pod %s has no container %q, whose image the workloads run", pod, OperatorContainer)
}
