package charts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/yaml"

	"metallb.io/operator/api/v1beta1"
)

// operatorDeployment is the operator in a rendering.
const operatorDeployment = "Deployment metallb-operator-controller-manager"

// spec is the specification that the hook applies.
func (r rendered) spec(t *testing.T) *v1beta1.MetalLBSpec {
	t.Helper()
	arg, _ := r.at(t, "Job metallb-resource", "spec", "template", "spec", "containers", 0, "args", 1).(string)
	text, ok := strings.CutPrefix(arg, "--spec=")
	if !ok {
		t.Fatalf("no specification in %q", arg)
	}
	d := json.NewDecoder(strings.NewReader(strings.ReplaceAll(text, "$$", "$"))) // as the kubelet does
	d.DisallowUnknownFields()
	spec := &v1beta1.MetalLBSpec{}
	if err := d.Decode(spec); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return spec
}

// Values, and the fields of the MetalLB resource that they become.
func TestTheResource(t *testing.T) {
	for values, want := range map[string]string{
		"": `{"logLevel":"info","controllerConfig":{"replicas":1}}`,
		"{loadBalancerClass: example.com/lb, logLevel: warn}":                                                                         `{"logLevel":"warn","loadBalancerClass":"example.com/lb","controllerConfig":{"replicas":1}}`,
		"{speaker: {logLevel: debug}, controller: {logLevel: info, replicas: 2}}":                                                     `{"logLevel":"debug","controllerConfig":{"replicas":2}}`,
		"{speaker: {logLevel: none}, controller: {logLevel: error, replicas: null}}":                                                  `{"logLevel":"error"}`,
		"{controller: {nodeSelector: {a: b}, tolerations: [{key: x, operator: Exists}], priorityClassName: p, runtimeClassName: r}}":  `{"logLevel":"info","controllerNodeSelector":{"a":"b"},"controllerTolerations":[{"key":"x","operator":"Exists"}],"controllerConfig":{"replicas":1,"priorityClassName":"p","runtimeClassName":"r"}}`,
		"{controller: {affinity: {nodeAffinity: {}}, podAnnotations: {price: $(POD_NAMESPACE)$$}, resources: {limits: {cpu: 1}}}}":    `{"logLevel":"info","controllerConfig":{"replicas":1,"affinity":{"nodeAffinity":{}},"annotations":{"price":"$(POD_NAMESPACE)$$"},"resources":{"limits":{"cpu":"1"}}}}`,
		"{speaker: {nodeSelector: {a: b}, tolerations: [{effect: NoExecute, operator: Exists}], updateStrategy: {type: OnDelete}}}":   `{"logLevel":"info","controllerConfig":{"replicas":1},"nodeSelector":{"a":"b"},"speakerTolerations":[{"effect":"NoExecute","operator":"Exists"}],"speakerConfig":{"updateStrategy":{"type":"OnDelete"}}}`,
		"{speaker: {podAnnotations: {c: d}, resources: {requests: {memory: 1Gi}}, affinity: {podAffinity: {}}}}":                      `{"logLevel":"info","controllerConfig":{"replicas":1},"speakerConfig":{"annotations":{"c":"d"},"resources":{"requests":{"memory":"1Gi"}},"affinity":{"podAffinity":{}}}}`,
		"{prometheus: {metricsPort: 0}, tls: {minVersion: VersionTLS12, cipherSuites: 'TLS_A,TLS_B'}}":                                `{"logLevel":"info","controllerConfig":{"replicas":1},"metrics":{"port":0,"tlsMinVersion":"VersionTLS12","tlsCipherSuites":["TLS_A","TLS_B"]}}`,
		"{metallb: {spec: {excludeInterfaces: [eth9], logLevel: all, controllerConfig: {replicas: 3}}}, controller: {resources: {}}}": `{"logLevel":"all","excludeInterfaces":["eth9"],"controllerConfig":{"replicas":3}}`,
	} {
		t.Run(values, func(t *testing.T) {
			wanted := &v1beta1.MetalLBSpec{}
			if err := json.Unmarshal([]byte(want), wanted); err != nil {
				t.Fatal(err)
			}
			if got := render(t, "default", values).spec(t); asJSON(t, got) != asJSON(t, wanted) {
				t.Errorf("got  %s\nwant %s", asJSON(t, got), asJSON(t, wanted))
			}
		})
	}
}

// Values, and what they do to the operator and to the pods of the hooks.
func TestTheOperator(t *testing.T) {
	pod := []any{"spec", "template", "spec"}
	in := func(path ...any) []any { return append(append([]any{}, pod...), path...) }
	for _, c := range []struct {
		values, object string
		path           []any
		want           string
	}{
		{"{image: {repository: registry.example.com/m, tag: v9, pullPolicy: Always}}", operatorDeployment, in("containers", 0, "image"), `"registry.example.com/m:v9"`},
		{"{image: {repository: registry.example.com/m, tag: v9, pullPolicy: Always}}", operatorDeployment, in("containers", 0, "imagePullPolicy"), `"Always"`},
		{"{image: {repository: registry.example.com/m, tag: v9, pullPolicy: Always}}", "Job metallb-crds", in("containers", 0, "imagePullPolicy"), `"Always"`},
		{"{image: {tag: 'sha256:0123'}}", "Job metallb-crds", in("containers", 0, "image"), `"metallb.io/metallb@sha256:0123"`},
		{"{imagePullSecrets: [{name: key}]}", operatorDeployment, in("imagePullSecrets"), `[{"name":"key"}]`},
		{"{imagePullSecrets: [{name: key}]}", "Job metallb-uninstall", in("imagePullSecrets"), `[{"name":"key"}]`},
		{"{operator: {replicas: 2}}", operatorDeployment, []any{"spec", "replicas"}, `2`},
		{"{operator: {logLevel: debug}}", operatorDeployment, in("containers", 0, "args", 0), `"operator"`},
		{"{operator: {logLevel: debug}}", operatorDeployment, in("containers", 0, "args", 3), `"--log-level=debug"`},
		{"{networkpolicies: {enabled: false}}", operatorDeployment, in("containers", 0, "args", 3), `"--network-policies=false"`},
		{"{operator: {resources: {limits: {memory: 1Gi}}}}", operatorDeployment, in("containers", 0, "resources"), `{"limits":{"memory":"1Gi"}}`},
		{"{operator: {tolerations: [{operator: Exists}]}}", operatorDeployment, in("tolerations"), `[{"operator":"Exists"}]`},
		{"{operator: {tolerations: [{operator: Exists}]}}", "Job metallb-resource", in("tolerations"), `[{"operator":"Exists"}]`},
		{"{operator: {nodeSelector: {a: b}}}", operatorDeployment, in("nodeSelector"), `{"a":"b","kubernetes.io/os":"linux"}`},
		{"{operator: {nodeSelector: {a: b}}}", "Job metallb-crds", in("nodeSelector"), `{"a":"b","kubernetes.io/os":"linux"}`},
		{"{operator: {affinity: {nodeAffinity: {}}}}", operatorDeployment, in("affinity"), `{"nodeAffinity":{}}`},
		{"{operator: {podAnnotations: {a: b}}}", operatorDeployment, []any{"spec", "template", "metadata", "annotations", "a"}, `"b"`},
		{"{metallb: {enabled: false}}", "Job metallb-uninstall", in("containers", 0, "args", 1), `"--resource=false"`},
		{"{metallb: {enabled: false}}", "Pod metallb-check", []any{"spec", "containers", 0, "args", 1}, `"--resource=false"`},
	} {
		if got := asJSON(t, render(t, "default", c.values).at(t, c.object, c.path...)); got != c.want {
			t.Errorf("%s: %v of %s is %s, want %s", c.values, c.path, c.object, got, c.want)
		}
	}
	without := render(t, "default", "{metallb: {enabled: false}, crds: {enabled: false}, networkpolicies: {enabled: false}}")
	for key, o := range without {
		if key == "Job metallb-resource" || key == "Job metallb-crds" || o.GetKind() == "NetworkPolicy" {
			t.Errorf("%s is there though it is not wanted", key)
		}
	}
}

// keys is files/keys.yaml.
type keys struct {
	Taken    []struct{ Key, As string }
	Accepted []struct{ Key, Why string }
	Refused  []struct {
		Key, Instead string
		But          []any
	}
}

func readKeys(t *testing.T) keys {
	t.Helper()
	text, err := os.ReadFile("metallb/files/keys.yaml")
	if err != nil {
		t.Fatal(err)
	}
	k := keys{}
	if err := yaml.UnmarshalStrict(text, &k); err != nil {
		t.Fatal(err)
	}
	return k
}

// All that is refused is refused at once, and each with what to write instead; and nothing that is empty is.
func TestRefusals(t *testing.T) {
	all, empty := map[string]any{}, map[string]any{}
	for _, k := range readKeys(t).Refused {
		if strings.HasPrefix(k.Key, "speaker.securityContext") || k.Instead == "" {
			continue // a mapping, below
		}
		put(all, k.Key, "something else")
		put(empty, k.Key, nil)
		for _, but := range k.But {
			put(empty, k.Key, but)
		}
	}
	put(all, "speaker.securityContext", map[string]any{"privileged": true})
	put(empty, "speaker.securityContext", map[string]any{})
	_, err := template(t, "default", asJSON(t, all))
	if err == nil {
		t.Fatal("nothing is refused")
	}
	for _, k := range readKeys(t).Refused {
		if want := fmt.Sprintf("* %s: %s\n", k.Key, k.Instead); !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
	if _, err := template(t, "default", asJSON(t, empty)); err != nil {
		t.Errorf("what has no effect is refused: %v", err)
	}
}

// put sets a value at a path with dots.
func put(m map[string]any, path string, value any) {
	parts := strings.Split(path, ".")
	for _, p := range parts[:len(parts)-1] {
		below, ok := m[p].(map[string]any)
		if !ok {
			below = map[string]any{}
			m[p] = below
		}
		m = below
	}
	m[parts[len(parts)-1]] = value
}

// What is no key of anybody's is refused by the schema, which names it.
func TestSchema(t *testing.T) {
	for values, want := range map[string]string{
		"{speakr: {}}":                                "additional properties 'speakr' not allowed",
		"{speaker: {nodeSelectr: {}}}":                "additional properties 'nodeSelectr' not allowed",
		"{speaker: {nodeSelector: {a: 1}}}":           "got number, want string",
		"{controller: {replicas: 0}}":                 "minimum: got 0, want 1",
		"{logLevel: verbose}":                         "value must be one of 'all', 'debug', 'info', 'warn', 'error', 'none'",
		"{image: {pullPolicy: Sometimes}}":            "'/image/pullPolicy'",
		"{image: {repository: ''}}":                   "'/image/repository'",
		"{imagePullSecrets: [key]}":                   "got string, want object",
		"{speaker: {tolerations: [{key: a, op: b}]}}": "additional properties 'op' not allowed",
		"{tls: {minVersion: '1.3'}}":                  "'/tls/minVersion'",
	} {
		if _, err := template(t, "default", values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", values, err, want)
		}
	}
	if _, err := template(t, "default", "{global: {any: thing}}"); err != nil {
		t.Errorf("as a part of another chart: %v", err)
	}
}

// A copy of the defaults of MetalLB's chart is taken as it is, and changes nothing.
func TestMetalLBsDefaults(t *testing.T) {
	text, err := os.ReadFile("testdata/metallb-defaults.txt")
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if key == "#" {
			continue
		}
		var v any
		if err := json.Unmarshal([]byte(value), &v); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		put(values, key, v)
	}
	got, want := render(t, "default", asJSON(t, values)), render(t, "default", "{networkpolicies: {enabled: false}}")
	if spec := asJSON(t, got.spec(t)); spec != `{"logLevel":"info","controllerConfig":{"replicas":1},"speakerConfig":{"updateStrategy":{"type":"RollingUpdate"}},"metrics":{"port":9120}}` {
		t.Errorf("they become %s", spec)
	}
	if !reflect.DeepEqual(got[operatorDeployment], want[operatorDeployment]) {
		t.Errorf("the operator is %s", asJSON(t, got[operatorDeployment]))
	}
}

// The table in the documentation is that of the file.
func TestDocumentation(t *testing.T) {
	const file, from, to = "../docs/helm.md", "<!-- table: go test ./charts -update -->\n", "<!-- end of the table -->"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := bytes.Cut(text, []byte(from))
	_, after, found := bytes.Cut(rest, []byte(to))
	if !ok || !found {
		t.Fatalf("%s has no place for the table", file)
	}
	var b strings.Builder
	b.WriteString("\n| key | |\n|---|---|\n")
	k := readKeys(t)
	for _, e := range k.Taken {
		fmt.Fprintf(&b, "| `%s` | %s |\n", e.Key, e.As)
	}
	for _, e := range k.Accepted {
		fmt.Fprintf(&b, "| `%s` | accepted, has no effect: %s |\n", e.Key, e.Why)
	}
	for _, e := range k.Refused {
		b.WriteString("| `" + e.Key + "` | refused")
		for i, but := range e.But {
			fmt.Fprintf(&b, "%s `%v`", map[bool]string{true: ", but for", false: ","}[i == 0], but)
		}
		b.WriteString(": " + e.Instead + " |\n")
	}
	b.WriteString("\n")
	golden(t, file, string(before)+from+b.String()+to+string(after))
}
