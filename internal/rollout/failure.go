package rollout

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"metallb.io/operator/internal/render"
)

// longest is how many bytes of a condition's message are written. The API allows 32768; nobody reads them.
const longest = 2000

// ErrForeign says that an object's name is taken by one that the operator did not make.
var ErrForeign = errors.New("an object of this name exists, and the operator did not make it")

// ErrNoRole says that the ClusterRole which belongs to an object is missing, without which it would mean nothing.
var ErrNoRole = errors.New("the ClusterRole that it belongs to is missing")

// ApplyError is an object that could not be brought into its desired state.
type ApplyError struct {
	// Object as it was to be.
	Object render.Object
	Err    error
}

// Error names the object and the cause.
func (e ApplyError) Error() string { return fmt.Sprintf("%s: %v", e.object(), e.Err) }

// Unwrap returns the cause.
func (e ApplyError) Unwrap() error { return e.Err }

func (e ApplyError) object() string {
	kind := e.Object.GetObjectKind().GroupVersionKind().Kind
	if ns := e.Object.GetNamespace(); ns != "" {
		return fmt.Sprintf("%s %s/%s", kind, ns, e.Object.GetName())
	}
	return fmt.Sprintf("%s %s", kind, e.Object.GetName())
}

// message says what failed and what to do about it.
func (e ApplyError) message() string {
	return fmt.Sprintf("%s was not applied: %s. %s", e.object(), shorten(e.Err.Error()), e.remedy())
}

func (e ApplyError) remedy() string {
	switch {
	case apierrors.IsInvalid(e.Err) || apierrors.IsBadRequest(e.Err):
		switch e.Object.GetObjectKind().GroupVersionKind().Kind {
		case "Deployment":
			return "Correct the field of this resource that it comes from: controllerConfig, controllerNodeSelector or controllerTolerations of spec."
		case "DaemonSet":
			return "Correct the field of this resource that it comes from: speakerConfig, nodeSelector or speakerTolerations of spec."
		}
	case apierrors.IsForbidden(e.Err):
		return "If a quota or a policy refuses it, change that; if the operator lacks a right, install its roles anew."
	case errors.Is(e.Err, ErrNoRole):
		return "Install the operator's manifests anew."
	case errors.Is(e.Err, ErrForeign):
		return "Delete or rename that object, or create the MetalLB resource in another namespace."
	}
	return "It is tried again."
}

// shorten cuts a text that is too long for a condition's message, at a rune's border.
func shorten(s string) string {
	if len(s) <= longest {
		return s
	}
	cut := longest
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut] + " ..."
}
