package config

import (
	"fmt"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Verdict on a change of one resource.
type Verdict struct {
	// Errors refuse the change.
	Errors field.ErrorList
	// Warnings are told to whoever makes it.
	Warnings []string
}

// Review judges the change of one resource: before is the configuration without the change, after the one with it, and
// subject the resource that is created, updated or, being in before only, deleted.
//
// In a conflict the subject gives way, whatever its age. What is wrong with it refuses the change, and so does what the
// change makes wrong with others; what others were before does not count. What only waits for another resource is a
// warning, except that a BFDProfile or an alias of a community cannot be taken away from those that use it. A change of
// neither specification nor labels is always fine: who removes a finalizer need not put the rest right.
func Review(before, after Input, subject Source) Verdict {
	was, existed := find(&before, subject)
	is, exists := find(&after, subject)
	if existed && exists && reflect.DeepEqual(was, is) {
		return Verdict{}
	}
	_, old := compile(before, subject)
	_, now := compile(after, subject)
	known := map[complaint]bool{}
	for _, p := range old {
		for _, e := range p.Errors {
			known[complaintOf(p, e)] = true
		}
	}

	var v Verdict
	at := field.NewPath("spec")
	if !exists {
		at = field.NewPath("metadata", "name")
	}
	for _, p := range now {
		for _, e := range p.Errors {
			own := p.Source == subject
			switch {
			case own && p.Severity == Error:
				v.Errors = append(v.Errors, e)
			case own:
				v.Warnings = append(v.Warnings, e.Error())
			case known[complaintOf(p, e)]:
			case p.Severity == Error:
				v.Errors = append(v.Errors, field.Forbidden(at, fmt.Sprintf("would break %s %s: %s", p.Source.Kind, p.Source.Name, e.Error())))
			case e.Type == field.ErrorTypeNotFound && (subject.Kind == kindBFDProfile || subject.Kind == kindCommunity):
				v.Errors = append(v.Errors, inUse(subject, at, p.Source, e))
			default:
				v.Warnings = append(v.Warnings, fmt.Sprintf("%s %s: %s", p.Source.Kind, p.Source.Name, e.Error()))
			}
		}
	}
	return v
}

// inUse refuses to take a BFDProfile or an alias away from a resource that uses it.
func inUse(subject Source, at *field.Path, by Source, e *field.Error) *field.Error {
	what := "is"
	if subject.Kind == kindCommunity {
		what = fmt.Sprintf("the alias %q is", e.BadValue)
		if at.String() == "spec" {
			at = at.Child("communities")
		}
	}
	return field.Forbidden(at, fmt.Sprintf("%s in use by %s %s (%s): change that first", what, by.Kind, by.Name, e.Field))
}

// complaint identifies an error of a resource, whatever its text says about others.
type complaint struct {
	source        Source
	severity      Severity
	kind          field.ErrorType
	field, origin string
	value         string
}

func complaintOf(p Problem, e *field.Error) complaint {
	return complaint{p.Source, p.Severity, e.Type, e.Field, e.Origin, fmt.Sprint(e.BadValue)}
}

// written is what Compile reads of a resource.
type written struct {
	labels map[string]string
	spec   any
}

// find returns a resource of the Input.
func find(in *Input, s Source) (written, bool) {
	switch s.Kind {
	case kindIPAddressPool:
		return lookup(in.IPAddressPools, s.Name)
	case kindAddressPool:
		return lookup(in.AddressPools, s.Name)
	case kindL2Advertisement:
		return lookup(in.L2Advertisements, s.Name)
	case kindBGPAdvertisement:
		return lookup(in.BGPAdvertisements, s.Name)
	case kindBGPPeer:
		return lookup(in.BGPPeers, s.Name)
	case kindBFDProfile:
		return lookup(in.BFDProfiles, s.Name)
	case kindCommunity:
		return lookup(in.Communities, s.Name)
	default:
		return written{}, false
	}
}

func lookup[T any, P interface {
	*T
	metav1.Object
}](list []T, name string) (written, bool) {
	for i := range list {
		if o := P(&list[i]); o.GetName() == name {
			return written{o.GetLabels(), reflect.ValueOf(&list[i]).Elem().FieldByName("Spec").Interface()}, true
		}
	}
	return written{}, false
}
