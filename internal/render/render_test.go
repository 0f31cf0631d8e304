package render

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
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
	},
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
	for _, workload := range []string{"ControllerConfig", "SpeakerConfig"} {
		shape := spec.FieldByName(workload).Elem()
		for i := range shape.NumField() {
			name := workload + "." + shape.Type().Field(i).Name
			if shape.Field(i).IsZero() {
				t.Errorf("testdata/full/metallb.yaml lacks spec.%s", name)
			}
			only := none.DeepCopy()
			config := &v1beta1.WorkloadConfig{}
			reflect.ValueOf(config).Elem().Field(i).Set(shape.Field(i))
			reflect.ValueOf(&only.Spec).Elem().FieldByName(workload).Set(reflect.ValueOf(config))
			check(name, only)
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
	for _, o := range Objects(m, environments["minimal"]) {
		kind := o.GetObjectKind().GroupVersionKind().Kind
		if l := o.GetLabels(); l[LabelManagedBy] != Manager || l[LabelCRNamespace] != m.Namespace {
			t.Errorf("%s %s: labels %v", kind, o.GetName(), l)
		}
		owners := o.GetOwnerReferences()
		if kind == "ClusterRoleBinding" {
			if o.GetNamespace() != "" || len(owners) != 0 {
				t.Errorf("%s %s: cannot be in a namespace nor owned by what is", kind, o.GetName())
			}
			continue
		}
		if o.GetNamespace() != m.Namespace || len(owners) != 1 || owners[0].UID != m.UID {
			t.Errorf("%s %s: namespace %q, owners %v", kind, o.GetName(), o.GetNamespace(), owners)
		}
	}
}
