package legacy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/legacy"
)

// refusal is a change that the API server, or admission, did not take.
type refusal struct {
	change
	status metav1.Status
}

// apply makes the changes in order. What is refused is tried again after the rest: a pool may take what another gives up,
// a peer what another leaves. It returns what was made and what is refused for good. An error of another kind ends it; the
// next round goes on from there.
func (r *Reconciler) apply(ctx context.Context, changes []change) (made []change, refused []refusal, err error) {
	for {
		var left []change
		refused = nil
		for _, c := range changes {
			err := r.make(ctx, c)
			if status, ok := refusedBy(err); ok {
				refused, left = append(refused, refusal{c, status}), append(left, c)
				continue
			}
			if err != nil {
				return made, refused, fmt.Errorf("%s %s %s: %w", c.verb, c.id.kind, c.id.name, err)
			}
			made = append(made, c)
			ctrl.LoggerFrom(ctx).Info("following the ConfigMap", "change", string(c.verb), "kind", c.id.kind, "name", c.id.name)
		}
		if len(left) == 0 || len(left) == len(changes) {
			return made, refused, nil
		}
		changes = left
	}
}

// make makes one change. Create fails where somebody has made such a resource meanwhile, and update where it was
// changed: what a user does is never overwritten. Server-side apply could not tell.
func (r *Reconciler) make(ctx context.Context, c change) error {
	switch c.verb {
	case create:
		return r.Client.Create(ctx, c.obj.DeepCopyObject().(client.Object), client.FieldOwner(FieldOwner))
	case update:
		return r.Client.Update(ctx, c.obj.DeepCopyObject().(client.Object), client.FieldOwner(FieldOwner))
	default:
		uid, version := c.obj.GetUID(), c.obj.GetResourceVersion()
		return client.IgnoreNotFound(r.Client.Delete(ctx, c.obj, client.Preconditions{UID: &uid, ResourceVersion: &version}))
	}
}

// refusedBy tells a refusal, which says something about the configuration, from trouble on the way to the API server.
func refusedBy(err error) (metav1.Status, bool) {
	var s apierrors.APIStatus
	if !errors.As(err, &s) {
		return metav1.Status{}, false
	}
	status := s.Status()
	codes := []int32{http.StatusBadRequest, http.StatusForbidden, http.StatusUnprocessableEntity}
	return status, slices.Contains(codes, status.Code)
}

// explain puts a refusal in words, each at its place in the text where that can be told.
func (f *refusal) explain(res *legacy.Resources) legacy.Problems {
	if f.id.kind == "Secret" { // nothing that was said about it is passed on: it may hold the password
		return legacy.Problems{f.problem(res, "", "the API server says "+string(f.status.Reason))}
	}
	if f.verb == remove || f.status.Details == nil || len(f.status.Details.Causes) == 0 {
		return legacy.Problems{f.problem(res, "", f.status.Message)}
	}
	var out legacy.Problems
	for _, cause := range f.status.Details.Causes {
		text := cause.Message
		if cause.Field != "" {
			text = cause.Field + ": " + text
		}
		out = append(out, f.problem(res, cause.Field, text))
	}
	return out
}

func (f *refusal) problem(res *legacy.Resources, field, text string) legacy.Problem {
	what := map[verb]string{create: "made", update: "changed", remove: "deleted"}[f.verb]
	return legacy.Problem{
		Place: res.Place(f.id.kind, f.id.name, field), Severity: config.Error,
		Message: fmt.Sprintf("%s %s cannot be %s: %s", f.id.kind, f.id.name, what, text),
	}
}
