package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/operator-framework/api/pkg/operators/v1alpha1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// theCSV reads the ClusterServiceVersion of the bundle that is committed.
func theCSV(t *testing.T) *v1alpha1.ClusterServiceVersion {
	t.Helper()
	csv := &v1alpha1.ClusterServiceVersion{}
	if err := read(filepath.Join(root, "bundle/manifests", packageName+".clusterserviceversion.yaml"), csv); err != nil {
		t.Fatal(err)
	}
	return csv
}

// documents reads a file of several objects.
func documents(t *testing.T, path string) []*unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	var all []*unstructured.Unstructured
	for _, part := range strings.Split(string(data), "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(part), &o.Object); err != nil {
			t.Fatal(err)
		}
		if o.GetKind() != "" {
			all = append(all, o)
		}
	}
	return all
}

func TestWebhooksAreThoseThatTheOperatorWouldWrite(t *testing.T) {
	var config admissionregistrationv1.ValidatingWebhookConfiguration
	for _, o := range documents(t, "config/webhook/unmanaged.yaml") {
		if o.GetKind() == "ValidatingWebhookConfiguration" {
			data, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(data, &config); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(config.Webhooks) == 0 {
		t.Fatal("no webhooks to compare with")
	}
	want := map[string]admissionregistrationv1.ValidatingWebhook{}
	for _, w := range config.Webhooks {
		want[w.Name] = w
	}
	converted := false
	for _, d := range theCSV(t).Spec.WebhookDefinitions {
		if d.DeploymentName != deployment || d.ContainerPort != 443 || d.TargetPort == nil || d.TargetPort.IntValue() != 9443 {
			t.Errorf("%s leads elsewhere: %+v", d.GenerateName, d)
		}
		if d.Type == v1alpha1.ConversionWebhook {
			converted = *d.WebhookPath == "/convert" && slices.Equal(d.ConversionCRDs, []string{"bgppeers.metallb.io"})
			continue
		}
		w, ok := want[d.GenerateName]
		if !ok || d.Type != v1alpha1.ValidatingAdmissionWebhook || *d.WebhookPath != *w.ClientConfig.Service.Path ||
			*d.FailurePolicy != *w.FailurePolicy || !reflect.DeepEqual(d.Rules, w.Rules) || *d.TimeoutSeconds != *w.TimeoutSeconds {
			t.Errorf("%s: %+v, not %+v", d.GenerateName, d, w)
		}
		delete(want, d.GenerateName)
	}
	for name := range want {
		t.Errorf("%s is missing", name)
	}
	if !converted {
		t.Error("nobody converts BGPPeers")
	}
}

func TestTheDeploymentIsProbedAndTakesItsCertificateFromOLM(t *testing.T) {
	csv := theCSV(t)
	specs := csv.Spec.InstallStrategy.StrategySpec.DeploymentSpecs
	if len(specs) != 1 || specs[0].Name != deployment {
		t.Fatalf("deployments: %+v", specs)
	}
	pod := specs[0].Spec.Template.Spec
	c := pod.Containers[0]
	if c.ReadinessProbe == nil || c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.LivenessProbe == nil || c.LivenessProbe.HTTPGet.Path != "/healthz" {
		t.Errorf("probes: %v, %v", c.ReadinessProbe, c.LivenessProbe)
	}
	if !slices.Contains(c.Args, "--disable-cert-rotation") {
		t.Errorf("the operator would make certificates itself: %q", c.Args)
	}
	if len(csv.Spec.RelatedImages) != 1 || csv.Spec.RelatedImages[0].Image != c.Image || csv.Annotations["containerImage"] != c.Image {
		t.Errorf("the image is %s, but related are %v and containerImage is %s", c.Image, csv.Spec.RelatedImages, csv.Annotations["containerImage"])
	}
	if pod.ServiceAccountName != packageName {
		t.Errorf("runs as %s", pod.ServiceAccountName)
	}
}

func TestRightsAreThoseOfOneAccountAndReachNoSecret(t *testing.T) {
	spec := theCSV(t).Spec.InstallStrategy.StrategySpec
	if len(spec.ClusterPermissions) != 1 || len(spec.Permissions) != 1 {
		t.Fatalf("%d sets of rights in the cluster, %d in the namespace", len(spec.ClusterPermissions), len(spec.Permissions))
	}
	for _, p := range slices.Concat(spec.ClusterPermissions, spec.Permissions) {
		if p.ServiceAccountName != packageName {
			t.Errorf("rights for %s", p.ServiceAccountName)
		}
		for _, rule := range p.Rules {
			all := slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs)
			for _, word := range []string{"*", "secrets", "escalate", "impersonate", "validatingwebhookconfigurations"} {
				if slices.Contains(all, word) {
					t.Errorf("%s in %+v: certificates and webhooks are OLM's here", word, rule)
				}
			}
		}
	}
	// What the operator binds must be there.
	bound := map[string]bool{}
	for _, rule := range spec.ClusterPermissions[0].Rules {
		if slices.Contains(rule.Verbs, "bind") {
			for _, name := range rule.ResourceNames {
				bound[name] = true
			}
		}
	}
	shipped := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(root, "bundle/manifests/*_clusterrole.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		role := &rbacv1.ClusterRole{}
		if err := read(file, role); err != nil {
			t.Fatal(err)
		}
		shipped[role.Name] = len(role.Rules) > 0
	}
	if len(bound) == 0 {
		t.Error("nothing is bound")
	}
	for name := range bound {
		if !shipped[name] {
			t.Errorf("%s is bound, but not in the bundle: %v", name, slices.Sorted(maps.Keys(shipped)))
		}
	}
}

// OLM makes the Service and the Secret of the certificate; what the bundle brought would stay empty or lead nowhere.
func TestNothingOfTheSelfMadeCertificatesIsShipped(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join(root, "bundle/manifests"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		o := &unstructured.Unstructured{}
		if err := read(filepath.Join(root, "bundle/manifests", e.Name()), &o.Object); err != nil {
			t.Fatal(err)
		}
		switch o.GetKind() {
		case "Secret", "ValidatingWebhookConfiguration", "Namespace":
			t.Errorf("%s is in the bundle", e.Name())
		case "Service":
			if o.GetName() == webhookService {
				t.Errorf("%s is in the bundle", e.Name())
			}
		case "CustomResourceDefinition":
			name, found, err := unstructured.NestedString(o.Object, "spec", "conversion", "webhook", "clientConfig", "service", "name")
			if err != nil || found != (o.GetName() == "bgppeers.metallb.io") || found && name != deployment+"-service" {
				t.Errorf("%s is converted by %q (%v)", o.GetName(), name, err)
			}
		}
	}
}

func TestEveryVersionOfEveryResourceIsDescribedWithASample(t *testing.T) {
	csv := theCSV(t)
	crds, err := readCRDs(filepath.Join(root, "config/crd/bases"))
	if err != nil {
		t.Fatal(err)
	}
	var examples []*unstructured.Unstructured
	if err := json.Unmarshal([]byte(csv.Annotations["alm-examples"]), &examples); err != nil {
		t.Fatal(err)
	}
	sampled := map[string]int{}
	for _, e := range examples {
		sampled[e.GetKind()+" "+e.GroupVersionKind().Version]++
	}
	owned := map[string]v1alpha1.CRDDescription{}
	for _, o := range csv.Spec.CustomResourceDefinitions.Owned {
		owned[o.Kind+" "+o.Version] = o
	}
	n := 0
	for _, crd := range crds {
		for _, v := range crd.Spec.Versions {
			n++
			key := crd.Spec.Names.Kind + " " + v.Name
			o := owned[key]
			if o.Name != crd.Name || o.Description == "" || o.DisplayName == "" || len(o.Resources) == 0 || sampled[key] != 1 {
				t.Errorf("%s: %q, %q, %v, %d samples", key, o.DisplayName, o.Description, o.Resources, sampled[key])
			}
			for path, descriptors := range map[string]int{"spec": len(o.SpecDescriptors), "status": len(o.StatusDescriptors)} {
				if fields := len(v.Schema.OpenAPIV3Schema.Properties[path].Properties); fields != descriptors {
					t.Errorf("%s: %d of %d fields of its %s are described", key, descriptors, fields, path)
				}
			}
		}
	}
	if n == 0 || n != len(owned) || n != len(examples) {
		t.Errorf("%d versions, %d owned, %d samples", n, len(owned), len(examples))
	}
}

func TestOnlyTheWholeClusterIsServed(t *testing.T) {
	for _, m := range theCSV(t).Spec.InstallModes {
		if m.Supported != (m.Type == v1alpha1.InstallModeTypeAllNamespaces) {
			t.Errorf("%s: %v; OLM allows AllNamespaces only where versions are converted", m.Type, m.Supported)
		}
	}
}

// Consoles read objects from annotations: what is not JSON, or names what is not there, is ignored without a word.
func TestAnnotationsHoldWhatConsolesRead(t *testing.T) {
	csv := theCSV(t)
	for name, kind := range map[string]string{
		"operatorframework.io/initialization-resource":      "MetalLB",
		"operatorframework.io/suggested-namespace-template": "Namespace",
	} {
		o := &unstructured.Unstructured{}
		if err := json.Unmarshal([]byte(csv.Annotations[name]), o); err != nil || o.GetKind() != kind {
			t.Errorf("%s: %s, %v", name, o.GetKind(), err)
		}
	}
	var internal []string
	if err := json.Unmarshal([]byte(csv.Annotations["operators.operatorframework.io/internal-objects"]), &internal); err != nil {
		t.Fatal(err)
	}
	for _, name := range internal {
		if !slices.ContainsFunc(csv.Spec.CustomResourceDefinitions.Owned, func(o v1alpha1.CRDDescription) bool { return o.Name == name }) {
			t.Errorf("%s is internal, but not owned", name)
		}
	}
	if builder := csv.Annotations["operators.operatorframework.io/builder"]; !strings.HasPrefix(builder, "operator-sdk-v1.") {
		t.Errorf("made by %s", builder)
	}
}

func TestCaptions(t *testing.T) {
	for name, want := range map[string]string{
		"myASN": "My ASN", "ebgpMultiHop": "eBGP Multi Hop", "avoidBuggyIPs": "Avoid Buggy IPs", "frrk8sConfig": "FRR-K8s Config",
		"minimumTtl": "Minimum TTL", "assignedIPv4": "Assigned IPv4", "auto-assign": "Auto-assign", "vrf": "VRF",
	} {
		if got := title(name); got != want {
			t.Errorf("%s becomes %q, not %q", name, got, want)
		}
	}
}
