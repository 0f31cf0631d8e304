package metallb

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/internal/render"
)

// OperatorContainer is the name of the operator's container in its pod.
const OperatorContainer = "manager"

// OwnEnvironment reads the operator's own pod: its workloads run the image that it runs, pulled as it was pulled.
func OwnEnvironment(ctx context.Context, reader client.Reader, pod types.NamespacedName) (render.Environment, error) {
	p := &corev1.Pod{}
	if err := reader.Get(ctx, pod, p); err != nil {
		return render.Environment{}, fmt.Errorf("reading the operator's own pod, whose image the workloads run: %w", err)
	}
	for _, c := range p.Spec.Containers {
		if c.Name == OperatorContainer {
			return render.Environment{Image: c.Image, ImagePullPolicy: c.ImagePullPolicy, ImagePullSecrets: p.Spec.ImagePullSecrets}, nil
		}
	}
	return render.Environment{}, fmt.Errorf("pod %s has no container %q, whose image the workloads run", pod, OperatorContainer)
}
