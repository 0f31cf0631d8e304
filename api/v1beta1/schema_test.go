package v1beta1_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/config/configtest"
	"metallb.io/operator/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Run(m)) }

func newClient(t *testing.T) client.Client {
	t.Helper()
	config := testenv.Config(t)
	config.WarningHandler = rest.NoWarnings{}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme, v1beta2.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestTheSchema sends every input of the table to the API server. What its schema and CEL rules must refuse they refuse
// exactly as the table says, all at once, and what was there is there as before. What others judge they let through.
func TestTheSchema(t *testing.T) {
	c := newClient(t)
	cases, err := configtest.Cases("../..")
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, tt := range cases {
		bySchema := tt.Refuser() == configtest.BySchema
		if bySchema {
			refused++
		}
		t.Run(tt.ID(), func(t *testing.T) {
			given, input, err := tt.Objects()
			if err != nil {
				t.Fatal(err)
			}
			if !bySchema && (tt.Delete || input.GetKind() == "BGPPeer" && input.GetAPIVersion() == "metallb.io/v1beta1") {
				t.Skip("without the webhooks there is nothing to see: a deletion is theirs to judge, and so is the conversion")
			}
			namespaces := map[string]string{}
			for _, o := range append(given, input) {
				if namespaces[o.GetNamespace()] == "" {
					namespaces[o.GetNamespace()] = testenv.Namespace(t, c, nil)
				}
				o.SetNamespace(namespaces[o.GetNamespace()])
			}
			ctx := context.Background()
			for _, o := range given {
				if err := c.Create(ctx, o); err != nil {
					t.Fatalf("given %s %s: %v", o.GetKind(), o.GetName(), err)
				}
			}
			err = submit(c, input, tt.Update)
			if !bySchema {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if diff := cmp.Diff(tt.Refusal, causes(t, err)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, o := range given {
				now := o.DeepCopy()
				if err := c.Get(ctx, client.ObjectKeyFromObject(o), now); err != nil || now.GetResourceVersion() != o.GetResourceVersion() {
					t.Errorf("%s %s is not as before: %v", o.GetKind(), o.GetName(), err)
				}
			}
		})
	}
	if refused < 100 {
		t.Errorf("the table has %d inputs that the schema refuses; were some lost?", refused)
	}
}

// submit creates the object, or replaces the one of its name.
func submit(c client.Client, o *unstructured.Unstructured, update bool) error {
	ctx := context.Background()
	if !update {
		return c.Create(ctx, o)
	}
	live := o.DeepCopy()
	if err := c.Get(ctx, client.ObjectKeyFromObject(o), live); err != nil {
		return err
	}
	o.SetResourceVersion(live.GetResourceVersion())
	return c.Update(ctx, o)
}

// causes are what the API server found wrong, "field: message", sorted: it goes through the fields in any order.
func causes(t *testing.T, err error) []string {
	t.Helper()
	var status *apierrors.StatusError
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) {
		t.Fatalf("got %v; want the API server to find it invalid", err)
	}
	var out []string
	for _, cause := range status.Status().Details.Causes {
		out = append(out, cause.Field+": "+cause.Message)
	}
	slices.Sort(out)
	return out
}

// TestBounds fills each list up to its bound, which the API server must be able to judge within its budget, and over it.
func TestBounds(t *testing.T) {
	c := newClient(t)
	many := func(n int, of func(i int) any) []any {
		out := make([]any, n)
		for i := range out {
			out[i] = of(i)
		}
		return out
	}
	for name, tt := range map[string]struct {
		kind, field string
		bound       int
		of          func(i int) any
		more        map[string]any
	}{
		"addresses": {kind: "IPAddressPool", field: "addresses", bound: 4096, of: func(i int) any {
			return fmt.Sprintf("2001:db8:ffff:ffff:ffff:ffff:%x:1000-2001:db8:ffff:ffff:ffff:ffff:%x:ffff", i, i) + strings.Repeat(" ", 50)
		}},
		"addresses of an AddressPool": {kind: "AddressPool", field: "addresses", bound: 4096, more: map[string]any{"protocol": "layer2"},
			of: func(i int) any { return fmt.Sprintf("10.%d.%d.0/24", i/256, i%256) }},
		"communities": {kind: "Community", field: "communities", bound: 1024, of: func(i int) any {
			return map[string]any{"name": strings.Repeat("a", 124) + fmt.Sprintf("%04d", i), "value": "large:4294967295:4294967295:4294967295"}
		}},
		"speakerTolerations":    {kind: "MetalLB", field: "speakerTolerations", bound: 1024, of: func(int) any { return map[string]any{"effect": "NoExecute", "tolerationSeconds": int64(1)} }},
		"controllerTolerations": {kind: "MetalLB", field: "controllerTolerations", bound: 1024, of: func(int) any { return map[string]any{"operator": "Exists"} }},
	} {
		t.Run(name, func(t *testing.T) {
			try := func(n int) error {
				spec := map[string]any{tt.field: many(n, tt.of)}
				maps.Copy(spec, tt.more)
				return c.Create(context.Background(), &unstructured.Unstructured{Object: map[string]any{
					"apiVersion": "metallb.io/v1beta1", "kind": tt.kind, "spec": spec,
					"metadata": map[string]any{"name": "metallb", "namespace": testenv.Namespace(t, c, nil)},
				}})
			}
			if err := try(tt.bound); err != nil {
				t.Errorf("%d entries: %v", tt.bound, err)
			}
			want := fmt.Sprintf("spec.%s: Too many: %d: must have at most %d items", tt.field, tt.bound+1, tt.bound)
			if got := causes(t, try(tt.bound+1)); !slices.Contains(got, want) {
				t.Errorf("one more entry: got %q; want %q", got, want)
			}
		})
	}
}
