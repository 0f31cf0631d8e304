package product

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/test/lab"
)

// AddBench makes an image of the command bench/bfd, loads it into the nodes, and returns its reference. The command keeps
// processors busy, too.
func (p *Product) AddBench(ctx context.Context) (reference string, err error) {
	dir, err := os.MkdirTemp("", "metallb-bench-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	program, err := build(ctx, filepath.Join(dir, "bfd"), filepath.Join(p.root, "bench/bfd"), "")
	if err != nil {
		return "", err
	}
	return p.AddImage(ctx, lab.Image{Name: "lab.metallb.io/bfd", Path: "/bfd", Program: program})
}

// Saturate runs ordinary pods that never rest on the nodes, so many on each, of the image that AddBench makes. It returns when
// all of them run, with what ends them.
func (p *Product) Saturate(ctx context.Context, namespace, image string, each int, nodes ...string) (end func(context.Context) error, err error) {
	var pods []*corev1.Pod
	end = func(ctx context.Context) error {
		var errs []error
		for _, pod := range pods {
			errs = append(errs, client.IgnoreNotFound(p.Delete(ctx, pod, client.GracePeriodSeconds(0))))
		}
		return errors.Join(errs...)
	}
	for _, node := range nodes {
		for i := range each {
			pod := burner(namespace, fmt.Sprintf("burner-%s-%d", node, i), node, image)
			if err := p.Create(ctx, pod); err != nil {
				return end, err
			}
			pods = append(pods, pod)
		}
	}
	for _, pod := range pods {
		if _, err := p.Kubectl(ctx, "wait", "-n", namespace, "--for=condition=Ready", "pod/"+pod.Name, "--timeout=60s"); err != nil {
			return end, err
		}
	}
	return end, nil
}

func burner(namespace, name, node, image string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PodSpec{
			NodeName: node,
			Containers: []corev1.Container{{
				Name: "burn", Image: image, Args: []string{"burn", "-threads", "2"},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")}},
			}},
		},
	}
}

// Processors is the time, in the kernel's ticks, that this machine's processors have been there, and have worked.
type Processors struct{ all, busy uint64 }

// ReadProcessors reads it.
func ReadProcessors() (p Processors, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return p, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, f := range strings.Fields(line)[1:9] {
		var n uint64
		if _, err := fmt.Sscan(f, &n); err != nil {
			return p, err
		}
		p.all += n
		if i != 3 && i != 4 { // idle, and idle for a disk
			p.busy += n
		}
	}
	return p, nil
}

// Busy is the share of the time since then, in percent, that they worked.
func (p Processors) Busy(since Processors) float64 {
	return 100 * float64(p.busy-since.busy) / float64(p.all-since.all)
}
