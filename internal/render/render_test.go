package render

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"metallb.io/operator/api/v1beta1"
)

var update = flag.Bool("update", false, "write the golden files anew")

var environments = map[string]Environment{
	"minimal": {Image: "metallb.io/metallb:v0.1.0"},
	"full": {
		Image:            "registry.example.com/metallb@sha256:0000000000000000000000000000000000000000000000000000000000000000",
		ImagePullPolicy:  corev1.PullAlways,
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}},
		Account:          types.NamespacedName{Namespace: "my-metallb-operator", Name: "metallb-operator"},
		Roles:            map[string]types.UID{ControllerRole: "1", SpeakerRole: "2"},
		NetworkPolicies:  true,
		APIServerPorts:   []int32{443, 6443},
	},
	"openshift": {Image: "metallb.io/metallb:v0.1.0", OpenShift: true, NetworkPolicies: true},
}

func readMetalLB(t *testing.T, name string) *v1beta1.MetalLB {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name, "metallb.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	m := &v1beta1.MetalLB{}
	if err := yaml.UnmarshalStrict(data, m); err != nil {
		t.Fatal(err)
	}
	return m
}

func asYAML(t *testing.T, objects []Object) string {
	t.Helper()
	var out bytes.Buffer
	for _, o := range objects {
		data, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString("---\n")
		out.Write(data)
	}
	return out.String()
}

func TestObjectsAreAsTheGoldenFilesSay(t *testing.T) {
	for name, env := range environments {
		t.Run(name, func(t *testing.T) {
			got := asYAML(t, Objects(readMetalLB(t, name), env))
			golden := filepath.Join("testdata", name, "objects.yaml")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("differs from %s (-update writes it anew):\n%s", golden, diff)
			}
		})
	}
}

// A field that somebody adds to the API and forgets here makes this test fail.
func TestEveryFieldOfTheSpecReachesTheObjectsUnlessItIsAcceptedWithoutEffect(t *testing.T) {
	withoutEffect := map[string]bool{"Image": true, "BGPBackend": true, "FRRK8sConfig": true}
	full := readMetalLB(t, "full")
	none := full.DeepCopy()
	none.Spec = v1beta1.MetalLBSpec{}
	env := environments["full"]
	check := func(name string, only *v1beta1.MetalLB) {
		changed := asYAML(t, Objects(only, env)) != asYAML(t, Objects(none, env))
		if changed == withoutEffect[name] {
			t.Errorf("spec.%s: objects changed: %t, want %t", name, changed, !withoutEffect[name])
		}
	}
	spec := reflect.ValueOf(full.Spec)
	for i := range spec.NumField() {
		name := spec.Type().Field(i).Name
		if spec.Field(i).IsZero() {
			t.Errorf("testdata/full/metallb.yaml lacks spec.%s", name)
		}
		only := none.DeepCopy()
		reflect.ValueOf(&only.Spec).Elem().Field(i).Set(spec.Field(i))
		check(name, only)
	}
	for _, part := range []string{"ControllerConfig", "SpeakerConfig", "Memberlist", "BGP", "KubeProxy", "Metrics"} {
		of := spec.FieldByName(part).Elem()
		for _, field := range reflect.VisibleFields(of.Type()) {
			if field.Anonymous {
				continue
			}
			name := part + "." + field.Name
			if of.FieldByIndex(field.Index).IsZero() {
				t.Errorf("testdata/full/metallb.yaml lacks spec.%s", name)
			}
			only := none.DeepCopy()
			config := reflect.New(of.Type())
			config.Elem().FieldByIndex(field.Index).Set(of.FieldByIndex(field.Index))
			reflect.ValueOf(&only.Spec).Elem().FieldByName(part).Set(config)
			check(name, only)
		}
	}
}

func TestUpdateStrategy(t *testing.T) {
	rolling := func(surge, unavailable string) *v1beta1.SpeakerUpdateStrategy {
		parse := func(s string) *intstr.IntOrString {
			if s == "" {
				return nil
			}
			return ptr.To(intstr.Parse(s))
		}
		return &v1beta1.SpeakerUpdateStrategy{RollingUpdate: &v1beta1.SpeakerRollingUpdate{MaxSurge: parse(surge), MaxUnavailable: parse(unavailable)}}
	}
	for name, c := range map[string]struct {
		want *v1beta1.SpeakerUpdateStrategy
		is   string // maxSurge, maxUnavailable
	}{
		"nothing is asked for":      {nil, "1, 0"},
		"the type alone":            {&v1beta1.SpeakerUpdateStrategy{Type: v1beta1.RollingUpdate}, "1, 0"},
		"more at a time":            {rolling("5", ""), "5, 0"},
		"the old pod first":         {rolling("", "1"), "0, 1"},
		"the old pod first, shares": {rolling("0%", "10%"), "0%, 10%"},
		"none without a speaker":    {rolling("", "0%"), "1, 0%"},
		"both, in accord":           {rolling("10%", "0"), "10%, 0"},
	} {
		got := updateStrategy(c.want)
		if is := got.RollingUpdate.MaxSurge.String() + ", " + got.RollingUpdate.MaxUnavailable.String(); is != c.is {
			t.Errorf("%s: %s, want %s", name, is, c.is)
		}
	}
	if got := updateStrategy(&v1beta1.SpeakerUpdateStrategy{Type: v1beta1.OnDelete}); got.RollingUpdate != nil || got.Type != appsv1.OnDeleteDaemonSetStrategyType {
		t.Errorf("OnDelete: %v", got)
	}
}

// Replicas that are told where to go are not told by us too.
func TestReplicasKeepApart(t *testing.T) {
	m := readMetalLB(t, "minimal")
	r := renderer{m: m}
	affinity := func() *corev1.Affinity { return r.controller().Spec.Template.Spec.Affinity }
	if affinity() != nil {
		t.Error("a single replica has an affinity")
	}
	m.Spec.ControllerConfig = &v1beta1.ControllerConfig{Replicas: ptr.To[int32](2)}
	if a := affinity(); a == nil || a.PodAntiAffinity == nil {
		t.Errorf("two replicas have %v", a)
	}
	m.Spec.ControllerConfig.Affinity = &corev1.Affinity{}
	if a := affinity(); a == nil || a.PodAntiAffinity != nil {
		t.Errorf("two replicas with an affinity of the user's have %v", a)
	}
}

func TestTheNetworkPolicyFollowsThePortOfTheMetrics(t *testing.T) {
	m := readMetalLB(t, "minimal")
	r := renderer{m: m}
	for port, want := range map[int32]string{0: "17472", 9120: "9120 17472", 9999: "9999 17472"} {
		m.Spec.Metrics = &v1beta1.MetricsConfig{Port: ptr.To(port)}
		var ports []string
		for _, p := range r.controllerNetworkPolicy().Spec.Ingress[0].Ports {
			ports = append(ports, p.Port.String())
		}
		if got := strings.Join(ports, " "); got != want {
			t.Errorf("metrics at %d: let in at %s, want %s", port, got, want)
		}
	}
}

func TestObjectsShareNothingWithTheirInput(t *testing.T) {
	m, env := readMetalLB(t, "full"), environments["full"]
	before := m.DeepCopy()
	for _, o := range Objects(m, env) {
		o.GetLabels()["touched"] = "yes"
		var template *corev1.PodTemplateSpec
		switch w := o.(type) {
		case *appsv1.Deployment:
			template = &w.Spec.Template
		case *appsv1.DaemonSet:
			template = &w.Spec.Template
		default:
			continue
		}
		template.Labels["touched"] = "yes"
		template.Annotations["touched"] = "yes"
		template.Spec.NodeSelector["touched"] = "yes"
		template.Spec.Tolerations[len(template.Spec.Tolerations)-1].Key = "touched"
		template.Spec.ImagePullSecrets[0].Name = "touched"
		template.Spec.Containers[0].Resources.Requests["touched"] = template.Spec.Containers[0].Resources.Requests.Cpu().DeepCopy()
		if a := template.Spec.Affinity; a.NodeAffinity != nil {
			a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchExpressions[0].Values[0] = "touched"
		} else {
			a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].Weight = 1
		}
	}
	if diff := cmp.Diff(before, m); diff != "" {
		t.Errorf("the resource was changed through an object:\n%s", diff)
	}
	if env.ImagePullSecrets[0].Name != "registry" {
		t.Error("the environment was changed through an object")
	}
}

func TestEveryObjectSaysWhoMadeItForWhom(t *testing.T) {
	m := readMetalLB(t, "minimal")
	env := environments["full"]
	env.OpenShift = true
	env.Roles = map[string]types.UID{ControllerRole: "1", SpeakerRole: "2", SpeakerSCCRole: "3"}
	for _, o := range Objects(m, env) {
		kind := o.GetObjectKind().GroupVersionKind().Kind
		if l := o.GetLabels(); l[LabelManagedBy] != Manager || l[LabelCRNamespace] != m.Namespace {
			t.Errorf("%s %s: labels %v", kind, o.GetName(), l)
		}
		owners := o.GetOwnerReferences()
		if kind == "ClusterRoleBinding" || kind == SCCKind.Kind {
			if o.GetNamespace() != "" || len(owners) != 1 || owners[0].Kind != "ClusterRole" || owners[0].UID == "" {
				t.Errorf("%s %s: can only be owned by what is in no namespace either, and has namespace %q, owners %v", kind, o.GetName(), o.GetNamespace(), owners)
			}
			continue
		}
		if o.GetNamespace() != m.Namespace || len(owners) != 1 || owners[0].UID != m.UID {
			t.Errorf("%s %s: namespace %q, owners %v", kind, o.GetName(), o.GetNamespace(), owners)
		}
	}
}
