package v1beta1_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
)

const annotation = v1beta1.AnnotationV1beta2Fields

// fromYAML decodes strictly, so that a test cannot misspell a field.
func fromYAML[T any](t testing.TB, text string) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return out
}

func toV1beta2(t testing.TB, in *v1beta1.BGPPeer) *v1beta2.BGPPeer {
	t.Helper()
	out := &v1beta2.BGPPeer{}
	if err := v1beta1.BGPPeerToV1beta2(in, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func fromV1beta2(t testing.TB, in *v1beta2.BGPPeer) *v1beta1.BGPPeer {
	t.Helper()
	out := &v1beta1.BGPPeer{}
	if err := v1beta1.BGPPeerFromV1beta2(in, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// Every peer of this table is read as v1beta1 and back, and the other way round, without loss.
var pairs = map[string]struct{ v1beta1, v1beta2 string }{
	"what both versions can say": {
		v1beta1: `{metadata: {name: p, labels: {a: b}, annotations: {c: d}}, spec: {myASN: 64500, peerASN: 64501, peerAddress: 192.0.2.1, sourceAddress: 192.0.2.2,
  peerPort: 1179, holdTime: 1m30s, keepaliveTime: 30s, routerID: 192.0.2.3, password: x, bfdProfile: fast, ebgpMultiHop: true,
  nodeSelectors: [{matchLabels: {rack: one}, matchExpressions: [{key: zone, operator: In, values: [a, b]}, {key: gone, operator: DoesNotExist}]}]}}`,
		v1beta2: `{metadata: {name: p, labels: {a: b}, annotations: {c: d}}, spec: {myASN: 64500, peerASN: 64501, peerAddress: 192.0.2.1, sourceAddress: 192.0.2.2,
  peerPort: 1179, holdTime: 1m30s, keepaliveTime: 30s, routerID: 192.0.2.3, password: x, bfdProfile: fast, ebgpMultiHop: true,
  nodeSelectors: [{matchLabels: {rack: one}, matchExpressions: [{key: zone, operator: In, values: [a, b]}, {key: gone, operator: DoesNotExist}]}]}}`,
	},
	"timers and port that are unset stay so": {
		v1beta1: `{metadata: {name: p}, spec: {myASN: 1, peerASN: 2, peerAddress: "2001:db8::1"}}`,
		v1beta2: `{metadata: {name: p}, spec: {myASN: 1, peerASN: 2, peerAddress: "2001:db8::1"}}`,
	},
	"an empty item in nodeSelectors matches every node in both": {
		v1beta1: `{metadata: {name: p}, spec: {myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, nodeSelectors: [{}]}}`,
		v1beta2: `{metadata: {name: p}, spec: {myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, nodeSelectors: [{}]}}`,
	},
	"a session that never times out": {
		v1beta1: `{metadata: {name: p, annotations: {metallb.io/v1beta2-fields: '{"holdTime":"0s","keepaliveTime":"0s"}'}}, spec: {myASN: 1, peerASN: 2, peerAddress: 192.0.2.1}}`,
		v1beta2: `{metadata: {name: p}, spec: {myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, holdTime: 0s, keepaliveTime: 0s}}`,
	},
	"keepalives that are off on a session that times out": {
		v1beta1: `{metadata: {name: p, annotations: {metallb.io/v1beta2-fields: '{"keepaliveTime":"0s"}'}}, spec: {myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, holdTime: 90s}}`,
		v1beta2: `{metadata: {name: p}, spec: {myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, holdTime: 90s, keepaliveTime: 0s}}`,
	},
	"everything that v1beta1 lacks": {
		v1beta1: `{metadata: {name: p, annotations: {c: d, metallb.io/v1beta2-fields: '{"localASN":3,"dynamicASN":"external","interface":"eth1","connectTime":"10s","passwordSecret":{"name":"s"},"enableGracefulRestart":true,"ttlSecurityHops":7,"vrf":"red","disableMP":true,"dualStackAddressFamily":true,"passiveMode":true}'}},
  spec: {myASN: 1, peerASN: 0, peerAddress: ""}}`,
		v1beta2: `{metadata: {name: p, annotations: {c: d}}, spec: {myASN: 1, localASN: 3, dynamicASN: external, interface: eth1, connectTime: 10s, passwordSecret: {name: s},
  enableGracefulRestart: true, ttlSecurityHops: 7, vrf: red, disableMP: true, dualStackAddressFamily: true, passiveMode: true}}`,
	},
}

func TestBGPPeerConvertsWithoutLoss(t *testing.T) {
	for name, tt := range pairs {
		t.Run(name, func(t *testing.T) {
			old, hub := fromYAML[v1beta1.BGPPeer](t, tt.v1beta1), fromYAML[v1beta2.BGPPeer](t, tt.v1beta2)
			if diff := cmp.Diff(hub, toV1beta2(t, old)); diff != "" {
				t.Errorf("to v1beta2 (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(old, fromV1beta2(t, hub)); diff != "" {
				t.Errorf("from v1beta2 (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAZeroTimerOfV1beta1IsUnset(t *testing.T) {
	got := toV1beta2(t, fromYAML[v1beta1.BGPPeer](t, `{metadata: {name: p}, spec: {myASN: 1, peerASN: 2, peerAddress: 192.0.2.1, holdTime: 0s, keepaliveTime: 0s}}`))
	if got.Spec.HoldTime != nil || got.Spec.KeepaliveTime != nil {
		t.Errorf("got timers %v, %v; want none", got.Spec.HoldTime, got.Spec.KeepaliveTime)
	}
}

func TestWhatIsWrittenInV1beta1Wins(t *testing.T) {
	hub := fromYAML[v1beta2.BGPPeer](t, `{metadata: {name: p}, spec: {myASN: 1, dynamicASN: external, interface: eth1, passwordSecret: {name: s}, holdTime: 0s, keepaliveTime: 0s, vrf: red}}`)
	edits := map[string]struct {
		edit func(*v1beta1.BGPPeerSpec)
		want string
	}{
		"nothing":       {func(*v1beta1.BGPPeerSpec) {}, `{myASN: 1, dynamicASN: external, interface: eth1, passwordSecret: {name: s}, holdTime: 0s, keepaliveTime: 0s, vrf: red}`},
		"another field": {func(s *v1beta1.BGPPeerSpec) { s.BFDProfile = "b" }, `{myASN: 1, dynamicASN: external, interface: eth1, passwordSecret: {name: s}, holdTime: 0s, keepaliveTime: 0s, vrf: red, bfdProfile: b}`},
		"peerASN":       {func(s *v1beta1.BGPPeerSpec) { s.ASN = 2 }, `{myASN: 1, peerASN: 2, interface: eth1, passwordSecret: {name: s}, holdTime: 0s, keepaliveTime: 0s, vrf: red}`},
		"peerAddress":   {func(s *v1beta1.BGPPeerSpec) { s.Address = "192.0.2.1" }, `{myASN: 1, dynamicASN: external, peerAddress: 192.0.2.1, passwordSecret: {name: s}, holdTime: 0s, keepaliveTime: 0s, vrf: red}`},
		"password":      {func(s *v1beta1.BGPPeerSpec) { s.Password = "x" }, `{myASN: 1, dynamicASN: external, interface: eth1, password: x, holdTime: 0s, keepaliveTime: 0s, vrf: red}`},
		"holdTime, which brings keepalives back": {func(s *v1beta1.BGPPeerSpec) { s.HoldTime = metav1.Duration{Duration: 90 * time.Second} },
			`{myASN: 1, dynamicASN: external, interface: eth1, passwordSecret: {name: s}, holdTime: 90s, vrf: red}`},
	}
	for name, tt := range edits {
		t.Run(name, func(t *testing.T) {
			old := fromV1beta2(t, hub)
			tt.edit(&old.Spec)
			got := toV1beta2(t, old)
			if diff := cmp.Diff(fromYAML[v1beta2.BGPPeerSpec](t, tt.want), &got.Spec); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got.Annotations != nil {
				t.Errorf("annotations are left: %v", got.Annotations)
			}
		})
	}
}

func TestAnAnnotationThatCannotBeReadRefusesTheWrite(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON":                        `{holdTime`,
		"empty":                           ``,
		"two values":                      `{} {}`,
		"a brace too many":                `{}}`,
		"a field that v1beta2 has not":    `{"hold":"0s"}`,
		"a timer that v1beta1 could hold": `{"holdTime":"30s"}`,
		"a number out of range":           `{"localASN":4294967296}`,
	} {
		t.Run(name, func(t *testing.T) {
			in := fromYAML[v1beta1.BGPPeer](t, `{metadata: {name: p}, spec: {myASN: 1, peerASN: 2, peerAddress: 192.0.2.1}}`)
			in.Annotations = map[string]string{annotation: text}
			err := v1beta1.BGPPeerToV1beta2(in, &v1beta2.BGPPeer{})
			if err == nil || !strings.Contains(err.Error(), "metadata.annotations["+annotation+"]") || !strings.Contains(err.Error(), "leave it as it was read") {
				t.Errorf("got %v; want an error that names the annotation and says what to do", err)
			}
		})
	}
}

func TestALeftoverAnnotationOnV1beta2IsNotTheFields(t *testing.T) {
	hub := fromYAML[v1beta2.BGPPeer](t, `{metadata: {name: p, annotations: {metallb.io/v1beta2-fields: '{"vrf":"red"}'}}, spec: {myASN: 1, peerASN: 2, peerAddress: 192.0.2.1}}`)
	if got := fromV1beta2(t, hub); got.Annotations != nil {
		t.Errorf("got annotations %v; want none: the fields are what counts", got.Annotations)
	}
	if hub.Annotations == nil {
		t.Error("the input was changed")
	}
}

// FuzzBGPPeerRoundTripFromV1beta1: v1beta1 to v1beta2 and back is the same v1beta1 object, up to the annotation's form
// and what an edit made void, and says the same in v1beta2.
func FuzzBGPPeerRoundTripFromV1beta1(f *testing.F) {
	for _, tt := range pairs {
		f.Add(mustJSON(f, fromYAML[v1beta1.BGPPeer](f, tt.v1beta1)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in, hub := &v1beta1.BGPPeer{}, &v1beta2.BGPPeer{}
		if !decodable(data, in) || v1beta1.BGPPeerToV1beta2(in, hub) != nil {
			t.Skip()
		}
		if _, left := hub.Annotations[annotation]; left {
			t.Fatal("the annotation is left on v1beta2")
		}
		back := fromV1beta2(t, hub)
		if diff := cmp.Diff(in.Spec, back.Spec, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("spec (-in +back):\n%s", diff)
		}
		if diff := cmp.Diff(hub, toV1beta2(t, back), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("the second time it is another peer (-first +second):\n%s", diff)
		}
		delete(in.Annotations, annotation)
		delete(back.Annotations, annotation)
		if diff := cmp.Diff(in.ObjectMeta, back.ObjectMeta, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("metadata (-in +back):\n%s", diff)
		}
	})
}

// FuzzBGPPeerRoundTripFromV1beta2: v1beta2 to v1beta1 and back is the same object, if it does not set two fields that
// exclude each other, which validation refuses.
func FuzzBGPPeerRoundTripFromV1beta2(f *testing.F) {
	for _, tt := range pairs {
		f.Add(mustJSON(f, fromYAML[v1beta2.BGPPeer](f, tt.v1beta2)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in := &v1beta2.BGPPeer{}
		if !decodable(data, in) {
			t.Skip()
		}
		s := &in.Spec
		if s.ASN != 0 {
			s.DynamicASN = ""
		}
		if s.Address != "" {
			s.Interface = ""
		}
		if s.Password != "" {
			s.PasswordSecret.Name, s.PasswordSecret.Namespace = "", ""
		}
		delete(in.Annotations, annotation)
		old := fromV1beta2(t, in)
		if text := old.Annotations[annotation]; s.Password != "" && strings.Contains(text, "password") {
			t.Fatalf("the annotation speaks of a password: %s", text)
		}
		if diff := cmp.Diff(in, toV1beta2(t, old), cmpopts.EquateEmpty(), cmpopts.IgnoreTypes(metav1.TypeMeta{})); diff != "" {
			t.Fatalf("(-in +back):\n%s", diff)
		}
	})
}

// decodable says whether data is an object that the API server can hand to a conversion.
func decodable(data []byte, into any) bool {
	return utf8.Valid(data) && json.Unmarshal(data, into) == nil
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
