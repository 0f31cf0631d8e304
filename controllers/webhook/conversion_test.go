package webhook

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/testenv"
)

func configInput() config.Input { return config.Input{} }

// A peer is written and read in both versions; what only the newer one can say survives an edit in the older.
func TestPeersThroughBothVersions(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.reviewed()
	ns := testenv.Namespace(t, w, nil)
	minute := metav1.Duration{Duration: time.Minute}

	old := &v1beta1.BGPPeer{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "old", Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"kept": "yes"}},
		Spec: v1beta1.BGPPeerSpec{MyASN: 64512, ASN: 64513, Address: "192.0.2.1", HoldTime: minute,
			NodeSelectors: []v1beta1.NodeSelector{{MatchLabels: map[string]string{"rack": "one"}}}},
	}
	must(t, w.Create(t.Context(), old))
	now := &v1beta2.BGPPeer{}
	must(t, w.Get(t.Context(), client.ObjectKeyFromObject(old), now))
	if now.Spec.HoldTime == nil || *now.Spec.HoldTime != minute || now.Spec.KeepaliveTime != nil || now.Spec.NodeSelectors[0].MatchLabels["rack"] != "one" ||
		now.Labels["a"] != "b" || now.Annotations["kept"] != "yes" || now.UID != old.UID {
		t.Errorf("v1beta1 reads in v1beta2 as %+v", now)
	}

	now.Spec.VRFName, now.Spec.ConnectTime = "red", &minute
	must(t, w.Update(t.Context(), now))
	must(t, w.Get(t.Context(), client.ObjectKeyFromObject(old), old))
	old.Spec.Port = 1179
	must(t, w.Update(t.Context(), old))
	must(t, w.Get(t.Context(), client.ObjectKeyFromObject(old), now))
	if now.Spec.Port != 1179 || now.Spec.VRFName != "red" || now.Spec.ConnectTime == nil || *now.Spec.ConnectTime != minute {
		t.Errorf("after an edit in v1beta1: %+v", now.Spec)
	}
	if _, there := now.Annotations[v1beta1.AnnotationV1beta2Fields]; there {
		t.Error("the annotation shows in v1beta2")
	}
	list := &v1beta1.BGPPeerList{}
	must(t, w.List(t.Context(), list, client.InNamespace(ns)))
	if len(list.Items) != 1 || list.Items[0].Spec.Port != 1179 {
		t.Errorf("listed as v1beta1: %+v", list.Items)
	}

	old = list.Items[0].DeepCopy()
	old.Annotations[v1beta1.AnnotationV1beta2Fields] = "{garbage"
	if err := w.Update(t.Context(), old); err == nil || !strings.Contains(err.Error(), "BGPPeer "+ns+"/old: metadata.annotations[metallb.io/v1beta2-fields]") {
		t.Errorf("garbage in the annotation: %v", err)
	}
}

// converted posts a text to the conversion.
func converted(t *testing.T, body string) (int, *apiextensionsv1.ConversionResponse, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	Convert(rec, httptest.NewRequest(http.MethodPost, ConversionPath, strings.NewReader(body)))
	var review apiextensionsv1.ConversionReview
	if rec.Code == http.StatusOK {
		if err := json.NewDecoder(bytes.NewReader(rec.Body.Bytes())).Decode(&review); err != nil {
			t.Fatal(err)
		}
	}
	return rec.Code, review.Response, rec.Body.String()
}

func TestConversionOfGarbage(t *testing.T) {
	for name, c := range map[string]struct{ version, object, want string }{
		"no object":          {"metallb.io/v1beta2", `"x"`, "objects[0]: cannot be read"},
		"another kind":       {"metallb.io/v1beta2", `{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"a","name":"b"}}`, `objects[0]: BGPPeer a/b: is a "Pod"`},
		"an unknown version": {"metallb.io/v9", `{"apiVersion":"metallb.io/v1beta1","kind":"BGPPeer","metadata":{"name":"b"}}`, `there is no conversion from "metallb.io/v1beta1" to "metallb.io/v9"`},
		"a field of the wrong type": {"metallb.io/v1beta2", `{"apiVersion":"metallb.io/v1beta1","kind":"BGPPeer","metadata":{"namespace":"a","name":"b"},"spec":{"myASN":"x"}}`,
			"objects[0]: BGPPeer a/b: json: cannot unmarshal string"},
	} {
		t.Run(name, func(t *testing.T) {
			review := apiextensionsv1.ConversionReview{
				TypeMeta: metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "ConversionReview"},
				Request:  &apiextensionsv1.ConversionRequest{UID: "u", DesiredAPIVersion: c.version, Objects: []runtime.RawExtension{{Raw: []byte(c.object)}}},
			}
			body, err := json.Marshal(review)
			if err != nil {
				t.Fatal(err)
			}
			code, got, text := converted(t, string(body))
			if code != http.StatusOK || got.UID != "u" || got.Result.Status != metav1.StatusFailure || len(got.ConvertedObjects) > 0 || !strings.Contains(got.Result.Message, c.want) {
				t.Errorf("%d %s, want %q", code, text, c.want)
			}
		})
	}
	for _, body := range []string{"", "garbage", "{}", `{"request":null}`} {
		if code, _, text := converted(t, body); code != http.StatusBadRequest || text == "" {
			t.Errorf("%q is answered with %d %q", body, code, text)
		}
	}
}
