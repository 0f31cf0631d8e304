package apiserver

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// sent is what a server sees of a request.
type sent struct {
	url, contentType, userAgent, accept, body string
}

// patched has a client, made in some way, patch the status of a Service, and returns what a server that gives these answers saw,
// the version that the client heard of, and its error.
func patched(t *testing.T, newClient client.NewClientFunc, answers ...kruntime.Object) (seen []sent, version string, err error) {
	t.Helper()
	loopback(t)
	scheme := kruntime.NewScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"}) // Status
	binary := protobuf.NewSerializer(scheme, scheme)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPatch || r.ProtoMajor != 1 {
			t.Errorf("%s %s %s: %v", r.Method, r.URL, r.Proto, err)
		}
		seen = append(seen, sent{r.URL.String(), r.Header.Get("Content-Type"), r.UserAgent(), r.Header.Get("Accept"), string(body)})
		if len(seen) > len(answers) {
			t.Errorf("asked %d times", len(seen))
			return
		}
		answer := answers[len(seen)-1]
		w.Header().Set("Content-Type", kruntime.ContentTypeProtobuf)
		if status, refused := answer.(*metav1.Status); refused {
			w.WriteHeader(int(status.Code))
		}
		if err := binary.Encode(answer, w); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	config := configFor(server)
	config.Host, config.UserAgent = server.URL+"/through/a/proxy/", "tester/1"
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Service"), meta.RESTScopeNamespace)
	c, err := newClient(config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	target := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "web"}}
	target.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Service"))
	body := []byte(`{"metadata":{"resourceVersion":"1"},"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}}`)
	err = c.Status().Patch(t.Context(), target, client.RawPatch(types.MergePatchType, body), client.FieldOwner("a b&c"))
	return seen, target.ResourceVersion, err
}

// written is the answer that a patch succeeded.
var written = &metav1.PartialObjectMetadata{
	TypeMeta:   metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"},
	ObjectMeta: metav1.ObjectMeta{Namespace: "apps", Name: "web", ResourceVersion: "2"},
}

// usualWriter makes a client without the short way.
func usualWriter(config *rest.Config, options client.Options) (client.Client, error) {
	return client.New(OverHTTP1(config), options)
}

func TestTheShortWayIsTheLibrarysRequest(t *testing.T) {
	usual, version, err := patched(t, usualWriter, written)
	if err != nil || version != "2" || len(usual) != 1 {
		t.Fatalf("the library: version %q, error %v, requests %+v", version, err, usual)
	}
	short, version, err := patched(t, NewWriter, written)
	if err != nil || version != "2" || len(short) != 1 {
		t.Fatalf("version %q, error %v, requests %+v", version, err, short)
	}
	if short[0].accept != onlyMetadata {
		t.Errorf("not the short way: %+v", short[0])
	}
	usual[0].accept = onlyMetadata // the library can read other forms as well
	if short[0] != usual[0] {
		t.Errorf("asked %+v, the library %+v", short[0], usual[0])
	}
}

func TestTheLibraryTreatsWhatDoesNotSucceed(t *testing.T) {
	refused := func(err *apierrors.StatusError) kruntime.Object {
		err.ErrStatus.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
		return &err.ErrStatus
	}
	services := schema.GroupResource{Resource: "services"}
	conflict, missing := refused(apierrors.NewConflict(services, "web", nil)), refused(apierrors.NewNotFound(services, "web"))
	for name, tt := range map[string]struct {
		first, second kruntime.Object
		is            func(error) bool
		version       string
	}{
		"a conflict": {conflict, conflict, apierrors.IsConflict, ""},
		"not found":  {missing, missing, apierrors.IsNotFound, ""},
		"too many":   {refused(apierrors.NewTooManyRequests("later", 1)), written, func(err error) bool { return err == nil }, "2"},
	} {
		t.Run(name, func(t *testing.T) {
			seen, version, err := patched(t, NewWriter, tt.first, tt.second)
			if !tt.is(err) || version != tt.version {
				t.Errorf("version %q, error %v", version, err)
			}
			if len(seen) != 2 || seen[0].url != seen[1].url || seen[0].body != seen[1].body || seen[1].accept == onlyMetadata {
				t.Errorf("asked %+v", seen)
			}
		})
	}
}
