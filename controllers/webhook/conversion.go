package webhook

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
)

// longestConversion bounds a request: an API server sends whole lists, each object of which etcd holds (1.5 MiB at most).
const longestConversion = 256 << 20

// Convert answers ConversionReviews about BGPPeers. What cannot be converted fails that review, with the object's name and
// the reason; only what is no review at all is answered by an HTTP error.
func Convert(w http.ResponseWriter, req *http.Request) {
	var review apiextensionsv1.ConversionReview
	err := json.NewDecoder(io.LimitReader(req.Body, longestConversion)).Decode(&review)
	switch {
	case err != nil:
		http.Error(w, "this is no ConversionReview: "+err.Error(), http.StatusBadRequest)
		return
	case review.Request == nil:
		http.Error(w, "the ConversionReview has no request", http.StatusBadRequest)
		return
	}
	answer := apiextensionsv1.ConversionReview{TypeMeta: review.TypeMeta, Response: convertAll(review.Request)}
	if answer.Response.Result.Status != metav1.StatusSuccess {
		log.FromContext(req.Context()).Info("a conversion failed", "version", review.Request.DesiredAPIVersion, "reason", answer.Response.Result.Message)
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		log.FromContext(req.Context()).Error(err, "a conversion could not be sent")
	}
}

// convertAll answers one request. API servers take all objects or none.
func convertAll(req *apiextensionsv1.ConversionRequest) *apiextensionsv1.ConversionResponse {
	out := &apiextensionsv1.ConversionResponse{UID: req.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
	for i, raw := range req.Objects {
		object, err := convert(raw.Raw, req.DesiredAPIVersion)
		if err != nil {
			out.ConvertedObjects = nil
			out.Result = metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonInvalid, Message: fmt.Sprintf("objects[%d]: %v", i, err)}
			return out
		}
		out.ConvertedObjects = append(out.ConvertedObjects, runtime.RawExtension{Raw: object})
	}
	return out
}

// convert returns the object in the version that is asked for.
func convert(raw []byte, version string) ([]byte, error) {
	var meta metav1.PartialObjectMetadata
	if err := json.Unmarshal(raw, &meta); err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	var object any
	var err error
	switch from := meta.APIVersion; {
	case meta.Kind != "BGPPeer":
		err = fmt.Errorf("is a %q: only BGPPeers are converted", meta.Kind)
	case from == version:
		return raw, nil
	case from == v1beta1.GroupVersion.String() && version == v1beta2.GroupVersion.String():
		object, err = toV1beta2(raw)
	case from == v1beta2.GroupVersion.String() && version == v1beta1.GroupVersion.String():
		object, err = fromV1beta2(raw)
	default:
		err = fmt.Errorf("there is no conversion from %q to %q", from, version)
	}
	if err != nil {
		return nil, fmt.Errorf("BGPPeer %s/%s: %w", meta.Namespace, meta.Name, err)
	}
	return json.Marshal(object)
}

func toV1beta2(raw []byte) (any, error) {
	in, out := &v1beta1.BGPPeer{}, &v1beta2.BGPPeer{}
	err := json.Unmarshal(raw, in)
	if err == nil {
		err = v1beta1.BGPPeerToV1beta2(in, out)
	}
	out.TypeMeta = metav1.TypeMeta{APIVersion: v1beta2.GroupVersion.String(), Kind: "BGPPeer"}
	return out, err
}

func fromV1beta2(raw []byte) (any, error) {
	in, out := &v1beta2.BGPPeer{}, &v1beta1.BGPPeer{}
	err := json.Unmarshal(raw, in)
	if err == nil {
		err = v1beta1.BGPPeerFromV1beta2(in, out)
	}
	out.TypeMeta = metav1.TypeMeta{APIVersion: v1beta1.GroupVersion.String(), Kind: "BGPPeer"}
	return out, err
}
