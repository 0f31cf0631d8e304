package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/bench"
	"metallb.io/operator/bench/operand"
	"metallb.io/operator/internal/l2"
)

const (
	system    = "metallb-system" // namespace of the configuration
	apps      = "apps"           // namespace of the Services
	nodeName  = "node-1"
	endpoints = 10 // of each Service
	services  = 1000
	patience  = 15 * time.Minute
)

// memory measures a speaker: first without any Service, then with as many as are to be.
func memory(ctx context.Context, o options, samples bench.Samples) (err error) {
	if _, err := os.Stat(o.binary); err != nil {
		return fmt.Errorf("%w: make build first, or name it with -binary", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := operand.New(ctx, system)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	id, err := c.Identify(ctx, "speaker")
	if err != nil {
		return err
	}
	if err := install(ctx, c); err != nil {
		return err
	}
	unplug, err := plug()
	if err != nil {
		return err
	}
	defer unplug()
	dir := cmp.Or(o.keep, c.Dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	p, err := operand.StartProcess(operand.Options{
		Binary: o.binary, Kubeconfig: id.Kubeconfig, Log: filepath.Join(dir, "speaker.log"),
		Args: []string{"speaker", "--namespace", system, "--node-name", nodeName, "--pod-name", "speaker-1", "--ml-bindaddr", nodeIPv4, "--ml-secret-key-path", c.Dir},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	return compare(ctx, c, p, samples)
}

// plug connects this machine to another one by an interface for the speaker.
func plug() (unplug func(), err error) {
	pid, release, err := machine()
	if err != nil {
		return nil, err
	}
	unplug = func() {
		_ = ip("link", "del", nodeInterface) // it would go with the other machine, but only in a while
		release()
	}
	if err := errors.Join(
		batch(fmt.Sprintf("link add %[1]s type veth peer name eth0 netns %[2]d\naddr add %[3]s/8 dev %[1]s\nlink set %[1]s up\n", nodeInterface, pid, nodeIPv4), "ip"),
		batch("link set eth0 up\n", "nsenter", "-t", strconv.Itoa(pid), "-n", "ip"),
	); err != nil {
		unplug()
		return nil, err
	}
	return unplug, nil
}

// compare takes the samples.
func compare(ctx context.Context, c *operand.Cluster, p *operand.Process, samples bench.Samples) error {
	if err := until(ctx, "the speaker is ready", func() (bool, error) { return ready(ctx, p) }); err != nil {
		return fmt.Errorf("%w; its log ends with:\n%s", err, p.Tail())
	}
	idle, err := rest(ctx, p)
	if err != nil {
		return err
	}
	for i := range services {
		if err := createService(ctx, c, i); err != nil {
			return err
		}
	}
	if err := until(ctx, "all are announced", func() (bool, error) {
		var list v1beta1.ServiceL2StatusList
		err := c.Objects.List(ctx, &list, client.InNamespace(system))
		return len(list.Items) == services, err
	}); err != nil {
		return fmt.Errorf("%w; the speaker's log ends with:\n%s", err, p.Tail())
	}
	if err := pause(ctx, l2.Claim[len(l2.Claim)-1]); err != nil {
		return err
	}
	full, err := rest(ctx, p)
	if err != nil {
		return err
	}
	fmt.Printf("speaker: RSS %.1f MiB idle (peak %.1f), %.1f MiB with %d addresses (peak %.1f)\n", idle.RSS, idle.Peak, full.RSS, services, full.Peak)
	samples.Add(bench.SpeakerIdleRSS, 0, idle.RSS)
	samples.Add(bench.SpeakerRSS, 0, full.RSS)
	return nil
}

// rest waits until the speaker has nothing to do and says what it has used.
func rest(ctx context.Context, p *operand.Process) (operand.Usage, error) {
	if err := p.Quiet(ctx); err != nil {
		return operand.Usage{}, err
	}
	return p.Usage()
}

// ready asks the speaker whether it is; one that does not listen yet is not.
func ready(ctx context.Context, p *operand.Process) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Health+"/readyz", nil)
	if err != nil {
		return false, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false, nil
	}
	return response.StatusCode == http.StatusOK, response.Body.Close()
}

func until(ctx context.Context, what string, holds func() (bool, error)) error {
	for {
		if ok, err := holds(); ok || err != nil {
			return err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("not in time: %s: %w", what, err)
		}
	}
}

// install makes what a speaker finds: its node and pod, and a configuration.
func install(ctx context.Context, c *operand.Cluster) error {
	here := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: system, Name: name} }
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "speaker-1", Labels: map[string]string{"app": "metallb", "component": "speaker"}},
		Spec:       corev1.PodSpec{NodeName: nodeName, HostNetwork: true, Containers: []corev1.Container{{Name: "speaker", Image: "none"}}},
	}
	if err := c.Create(ctx,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: apps}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}},
		pod,
		&v1beta1.IPAddressPool{ObjectMeta: here("pool"), Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"10.64.0.0/16"}}},
		&v1beta1.L2Advertisement{ObjectMeta: here("all")},
	); err != nil {
		return err
	}
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, HostIP: nodeIPv4, HostIPs: []corev1.HostIP{{IP: nodeIPv4}}}
	return c.Objects.Status().Update(ctx, pod)
}

// createService makes a Service that has its address, and its endpoints.
func createService(ctx context.Context, c *operand.Cluster, i int) error {
	name := fmt.Sprintf("s%04d", i)
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: apps, Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: apps, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for k := range endpoints {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.128.%d.%d", i/250, 1+(i+k)%250)}, NodeName: ptr.To(fmt.Sprintf("node-%d", 1+k)),
		})
	}
	if err := c.Create(ctx, slice, svc); err != nil {
		return err
	}
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: fmt.Sprintf("10.64.%d.%d", 1+i/250, 1+i%250)}}
	return c.Objects.Status().Update(ctx, svc)
}
