package testenv

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestMain(m *testing.M) { os.Exit(Run(m)) }

func TestServerHasTheCRDsAndServicesOfBothFamilies(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(Config(t), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for _, name := range []string{"metallbs.metallb.io", "ipaddresspools.metallb.io", "l2advertisements.metallb.io", "addresspools.metallb.io"} {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := c.Get(ctx, client.ObjectKey{Name: name}, crd); err != nil {
			t.Errorf("CRD %s: %v", name, err)
		}
	}
	ns := Namespace(t, c, nil)
	for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
		svc := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, GenerateName: "svc-"},
			Spec: corev1.ServiceSpec{
				Type:       corev1.ServiceTypeLoadBalancer,
				IPFamilies: []corev1.IPFamily{family},
				Ports:      []corev1.ServicePort{{Port: 80}},
			},
		}
		if err := c.Create(ctx, svc); err != nil {
			t.Errorf("Service of family %s: %v", family, err)
		}
	}
}

// A test that panics cannot clean up; the guard does. The panic is that of a second process: this test again.
func TestNothingIsLeftOfTestsThatPanic(t *testing.T) {
	const variable = "TESTENV_PANIC"
	if os.Getenv(variable) != "" {
		Config(t)
		children, err := ownChildren()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("children: %s\n", strings.Join(children, " "))
		go panic("as asked for")
		select {}
	}
	Config(t) // skips, or fails, where there are no servers
	cmd := exec.Command(os.Args[0], "-test.run=^TestNothingIsLeftOfTestsThatPanic$")
	cmd.Env = append(os.Environ(), variable+"=1")
	out, err := cmd.CombinedOutput()
	_, list, found := strings.Cut(string(out), "children: ")
	if err == nil || !found {
		t.Fatalf("it did not panic: %v\n%s", err, out)
	}
	list, _, _ = strings.Cut(list, "\n")
	children := strings.Fields(list)
	if len(children) < 3 {
		t.Fatalf("children %v, want etcd, kube-apiserver and the guard", children)
	}
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		var alive []string
		for _, pid := range children {
			if name, err := os.ReadFile("/proc/" + pid + "/comm"); err == nil {
				alive = append(alive, strings.TrimSpace(string(name)))
			}
		}
		if !slices.Contains(alive, "etcd") && !slices.Contains(alive, "kube-apiserver") {
			return
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("left: %v", alive)
		}
	}
}
