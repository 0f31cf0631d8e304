package webhook

import (
	"context"
	"fmt"
	"net/http"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/config"
)

// longestReview is shorter than the API server waits, so that a review that takes too long still says why.
const longestReview = (timeoutSeconds - 2) * time.Second

// Reviewer reviews changes of all kinds. It implements admission.Handler.
type Reviewer struct {
	// Reader reads from the API server: a review that does not see what was stored a moment ago lets conflicts through.
	Reader client.Reader
	// Decoder of the objects under review.
	Decoder admission.Decoder
}

// change is what is asked for.
type change struct {
	kind
	operation admissionv1.Operation
	// before and after are the object's states; nil where there is none.
	before, after client.Object
}

// subject is the object in the state that is the latest.
func (c change) subject() client.Object {
	if c.after != nil {
		return c.after
	}
	return c.before
}

// Handle reviews one change.
func (r *Reviewer) Handle(ctx context.Context, req admission.Request) admission.Response {
	ctx, cancel := context.WithTimeout(ctx, longestReview)
	defer cancel()
	c, err := r.decode(req)
	if err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if c.harmless() {
		return admission.Allowed("")
	}
	v, err := r.review(ctx, c)
	if err != nil {
		log.FromContext(ctx).Error(err, "a change cannot be reviewed", "kind", c.name, "namespace", req.Namespace, "name", c.subject().GetName())
		return unavailable(err)
	}
	if len(v.Errors) > 0 && c.operation == admissionv1.Delete && r.leaving(ctx, req.Namespace) {
		v.Errors = nil // everything in the namespace goes, in whatever order
	}
	if len(v.Errors) == 0 {
		return admission.Allowed("").WithWarnings(v.Warnings...)
	}
	refusal := apierrors.NewInvalid(schema.GroupKind{Group: v1beta1.GroupVersion.Group, Kind: c.name}, c.subject().GetName(), v.Errors)
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{Allowed: false, Result: &refusal.ErrStatus, Warnings: v.Warnings}}
}

// decode reads the request.
func (r *Reviewer) decode(req admission.Request) (change, error) {
	k, ok := kindOf(req.Kind.Kind)
	if !ok || req.Kind.Group != v1beta1.GroupVersion.Group || req.Kind.Version != k.version {
		return change{}, fmt.Errorf("%s of %s/%s is not reviewed here", req.Kind.Kind, req.Kind.Group, req.Kind.Version)
	}
	c := change{kind: k, operation: req.Operation}
	read := func(raw runtime.RawExtension) (client.Object, error) {
		o := k.empty()
		if err := r.Decoder.DecodeRaw(raw, o); err != nil {
			return nil, fmt.Errorf("decoding %s %s: %w", k.name, req.Name, err)
		}
		return o, nil
	}
	var err error
	switch req.Operation {
	case admissionv1.Create:
		c.after, err = read(req.Object)
	case admissionv1.Delete:
		c.before, err = read(req.OldObject)
	case admissionv1.Update:
		if c.before, err = read(req.OldObject); err == nil {
			c.after, err = read(req.Object)
		}
	default:
		err = fmt.Errorf("the operation %s is not reviewed here", req.Operation)
	}
	return c, err
}

// harmless tells whether the change cannot make anything wrong that was not so before: nothing that counts has changed, or
// the object is being deleted.
func (c change) harmless() bool {
	if c.subject().GetDeletionTimestamp() != nil {
		return true
	}
	return c.operation == admissionv1.Update &&
		equality.Semantic.DeepEqual(c.spec(c.before), c.spec(c.after)) &&
		equality.Semantic.DeepEqual(c.before.GetLabels(), c.after.GetLabels())
}

// review judges the change by all that it may affect.
func (r *Reviewer) review(ctx context.Context, c change) (config.Verdict, error) {
	var installations v1beta1.MetalLBList
	if err := r.Reader.List(ctx, &installations); err != nil {
		return config.Verdict{}, fmt.Errorf("listing metallbs.metallb.io: %w", err)
	}
	var v config.Verdict
	if m, ok := c.after.(*v1beta1.MetalLB); ok {
		v = config.ReviewMetalLB(installations.Items, m)
	} else if c.set != nil {
		var err error
		if v, err = r.reviewConfiguration(ctx, c, served(installations.Items)); err != nil {
			return v, err
		}
	}
	if c.operation == admissionv1.Delete && len(v.Errors) == 0 {
		inUse, err := r.inUse(ctx, c, served(installations.Items))
		if err != nil {
			return v, err
		}
		v.Warnings = append(v.Warnings, inUse...)
	}
	return v, nil
}

// reviewConfiguration judges the change by the rest of the configuration in the object's namespace.
func (r *Reviewer) reviewConfiguration(ctx context.Context, c change, served *v1beta1.MetalLB) (config.Verdict, error) {
	o := c.subject()
	stored, err := configuration.Load(ctx, r.Reader, o.GetNamespace())
	if err != nil {
		return config.Verdict{}, err
	}
	nodes, err := configuration.Nodes(ctx, r.Reader, o.GetNamespace())
	if err != nil {
		return config.Verdict{}, err
	}
	if len(nodes) > 0 { // else they are still to come, and what matches none says nothing
		stored.Nodes = nodes
	}
	before, after := c.unset(stored, o), c.unset(stored, o)
	if c.before != nil {
		before = c.set(stored, c.before)
	}
	if c.after != nil {
		after = c.set(stored, c.after)
	}
	v := config.Review(before, after, config.Source{Kind: c.name, Name: o.GetName()})
	if c.after != nil {
		v.Warnings = append(v.Warnings, misplaced(o.GetNamespace(), served)...)
		v.Warnings = append(v.Warnings, withoutEffect(c.after)...)
	}
	return v, nil
}

// leaving tells whether the namespace is being deleted.
func (r *Reviewer) leaving(ctx context.Context, namespace string) bool {
	ns := &metav1.PartialObjectMetadata{}
	ns.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"})
	err := r.Reader.Get(ctx, client.ObjectKey{Name: namespace}, ns)
	return apierrors.IsNotFound(err) || err == nil && ns.DeletionTimestamp != nil
}

// unavailable refuses for now: clients of the API server ask again after a second.
func unavailable(err error) admission.Response {
	status := apierrors.NewServiceUnavailable(fmt.Sprintf("the change cannot be checked at the moment, try again: %v", err)).ErrStatus
	status.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{Allowed: false, Result: &status}}
}
