package apiserver

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/metrics"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// onlyMetadata is the form in which a patch is answered (Kubernetes API, metadata-only responses): whoever watches a Service hears
// of the rest anyway.
const onlyMetadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

// NewWriter makes a client (it is a client.NewClientFunc) for who writes the status of very many Services: it sends as OverHTTP1
// says, and such a patch takes a short way.
func NewWriter(config *rest.Config, options client.Options) (client.Client, error) {
	config = OverHTTP1(config)
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	options.HTTPClient = httpClient
	c, err := client.New(config, options)
	if err != nil {
		return nil, err
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	scheme := kruntime.NewScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		return nil, err
	}
	return &writer{
		Client: c, http: httpClient, namespaces: strings.TrimSuffix(base.String(), "/") + "/api/v1/namespaces/",
		answers: serializer.NewCodecFactory(scheme).UniversalDeserializer(),
	}, nil
}

// writer leaves out the library's layers around a request where they are not needed: they take more of the processor's time than
// the request itself.
type writer struct {
	client.Client
	http       *http.Client
	namespaces string // the URL that all are below
	answers    kruntime.Decoder
}

// Status is of client.StatusClient.
func (w *writer) Status() client.SubResourceWriter { return statusWriter{w.Client.Status(), w} }

type statusWriter struct {
	client.SubResourceWriter
	writer *writer
}

// Patch is of client.SubResourceWriter. A Service's patch that succeeds takes the short way. With any other answer the library
// asks again, which knows what to make of it: a merge patch may come twice.
func (s statusWriter) Patch(ctx context.Context, o client.Object, patch client.Patch, options ...client.SubResourcePatchOption) error {
	target, short := o.(*metav1.PartialObjectMetadata)
	if short && target.GroupVersionKind() == corev1.SchemeGroupVersion.WithKind("Service") && patch.Type() == types.MergePatchType && len(options) == 1 {
		if owner, only := options[0].(client.FieldOwner); only {
			if done, err := s.writer.patch(ctx, target, patch, string(owner)); done || err != nil {
				return err
			}
		}
	}
	return s.SubResourceWriter.Patch(ctx, o, patch, options...)
}

// patch sends one, and says whether it succeeded; an error is that it is not known what came of it.
func (w *writer) patch(ctx context.Context, target *metav1.PartialObjectMetadata, patch client.Patch, owner string) (done bool, err error) {
	data, err := patch.Data(target)
	if err != nil {
		return false, err
	}
	to := w.namespaces + target.Namespace + "/services/" + target.Name + "/status?fieldManager=" + url.QueryEscape(owner) + "&timeout=" + requestTimeout.String()
	request, err := http.NewRequestWithContext(ctx, http.MethodPatch, to, bytes.NewReader(data))
	if err != nil {
		return false, err
	}
	request.Header = http.Header{"Content-Type": {string(types.MergePatchType)}, "Accept": {onlyMetadata}}
	response, err := w.http.Do(request)
	code := "<error>" // the library's word
	if err == nil {
		code = strconv.Itoa(response.StatusCode)
	}
	metrics.RequestResult.Increment(ctx, code, http.MethodPatch, request.URL.Host)
	if err != nil {
		return false, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return false, err
	}
	var answer metav1.PartialObjectMetadata
	if _, _, err := w.answers.Decode(body, nil, &answer); err != nil {
		return false, err
	}
	target.ObjectMeta = answer.ObjectMeta
	return true, nil
}
