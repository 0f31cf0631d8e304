package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"metallb.io/operator/api/v1beta1"
)

// metalLBName is the one name that a MetalLB may have.
const metalLBName = "metallb"

// ReviewMetalLB judges a MetalLB that is created or updated: existing are those of the cluster, with or without the
// subject as it was. What cannot be changed any more, its name and that there is another, is judged when it is created.
func ReviewMetalLB(existing []v1beta1.MetalLB, subject *v1beta1.MetalLB) Verdict {
	var v Verdict
	was := slices.IndexFunc(existing, func(m v1beta1.MetalLB) bool {
		return m.Namespace == subject.Namespace && m.Name == subject.Name
	})
	switch {
	case was >= 0 && reflect.DeepEqual(existing[was].Spec, subject.Spec):
		return v
	case was >= 0:
	case subject.Name != metalLBName:
		v.Errors = append(v.Errors, field.Invalid(field.NewPath("metadata", "name"), subject.Name, fmt.Sprintf("a MetalLB must be named %q: create it under that name", metalLBName)))
	default:
		for _, m := range existing {
			if m.Name == metalLBName && m.DeletionTimestamp == nil {
				v.Errors = append(v.Errors, field.Forbidden(field.NewPath("metadata", "namespace"), fmt.Sprintf("there is one MetalLB per cluster, and it is in namespace %s: change that one, or delete it first", m.Namespace)))
				break
			}
		}
	}

	spec, s := field.NewPath("spec"), &subject.Spec
	v.Errors = append(v.Errors, byText(metavalidation.ValidateLabels(s.NodeSelector, spec.Child("nodeSelector")))...)
	v.Errors = append(v.Errors, byText(metavalidation.ValidateLabels(s.ControllerNodeSelector, spec.Child("controllerNodeSelector")))...)
	v.Errors = append(v.Errors, tolerations(spec.Child("speakerTolerations"), s.SpeakerTolerations)...)
	v.Errors = append(v.Errors, tolerations(spec.Child("controllerTolerations"), s.ControllerTolerations)...)
	if s.ControllerConfig != nil {
		v.Errors = append(v.Errors, workload(spec.Child("controllerConfig"), &s.ControllerConfig.WorkloadConfig)...)
	}
	if s.SpeakerConfig != nil {
		v.Errors = append(v.Errors, workload(spec.Child("speakerConfig"), &s.SpeakerConfig.WorkloadConfig)...)
	}
	v.Errors = append(v.Errors, settings(spec, s)...)
	if s.LoadBalancerClass != "" {
		for _, text := range content.IsLabelKey(s.LoadBalancerClass) {
			v.Errors = append(v.Errors, field.Invalid(spec.Child("loadBalancerClass"), s.LoadBalancerClass, text))
		}
	}
	if s.LoadBalancerClassIsDefault && s.LoadBalancerClass == "" {
		v.Errors = append(v.Errors, field.Invalid(spec.Child("loadBalancerClassIsDefault"), true, "is for a load balancer of a class, and without one it serves Services without a class anyway: set loadBalancerClass, or remove this"))
	}
	if s.FRRK8sConfig != nil {
		for i, text := range s.FRRK8sConfig.AlwaysBlock {
			if _, err := netip.ParsePrefix(text); err != nil {
				v.Errors = append(v.Errors, field.Invalid(spec.Child("frrk8sConfig", "alwaysBlock").Index(i), text, "is not a prefix: write for instance 192.0.2.0/24 or 2001:db8::/32"))
			}
		}
	}
	v.Warnings = withoutEffect(s)
	return v
}

// withoutEffect names what is accepted for existing manifests and changes nothing.
func withoutEffect(s *v1beta1.MetalLBSpec) []string {
	var out []string
	if s.Image != "" {
		out = append(out, "spec.image: has no effect: the operator deploys the image that it runs itself")
	}
	if s.BGPBackend != "" {
		out = append(out, fmt.Sprintf("spec.bgpBackend: %s is served by the one implementation of BGP that there is, inside the speaker", s.BGPBackend))
	}
	if s.FRRK8sConfig != nil && s.FRRK8sConfig.Namespace != "" {
		out = append(out, "spec.frrk8sConfig.namespace: is not used: BGP runs inside the speaker")
	}
	if s.FRRK8sConfig != nil && s.FRRK8sConfig.SecretPassthrough {
		out = append(out, "spec.frrk8sConfig.secretPassthrough: is not used: BGP runs inside the speaker, which reads the Secrets itself")
	}
	return out
}

// tolerations checks what the API server would refuse in the pods.
func tolerations(at *field.Path, in []corev1.Toleration) field.ErrorList {
	var errs field.ErrorList
	for i, t := range in {
		at := at.Index(i)
		if t.Key != "" {
			errs = append(errs, metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
		} else if t.Operator != corev1.TolerationOpExists {
			errs = append(errs, field.Invalid(at.Child("operator"), t.Operator, "without a key it must be Exists, which tolerates every taint: write that, or a key"))
		}
		switch t.Operator {
		case corev1.TolerationOpExists:
			if t.Value != "" {
				errs = append(errs, field.Invalid(at.Child("value"), t.Value, "must be empty with operator Exists: remove it, or write operator: Equal"))
			}
		case corev1.TolerationOpEqual, "":
			for _, text := range content.IsLabelValue(t.Value) {
				errs = append(errs, field.Invalid(at.Child("value"), t.Value, text))
			}
		case corev1.TolerationOpLt, corev1.TolerationOpGt:
			for _, text := range content.IsDecimalInteger(t.Value) {
				errs = append(errs, field.Invalid(at.Child("value"), t.Value, text))
			}
		default:
			errs = append(errs, field.NotSupported(at.Child("operator"), t.Operator, []corev1.TolerationOperator{corev1.TolerationOpEqual, corev1.TolerationOpExists}))
		}
		effects := []corev1.TaintEffect{corev1.TaintEffectNoExecute, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule}
		if t.Effect != "" && !slices.Contains(effects, t.Effect) {
			errs = append(errs, field.NotSupported(at.Child("effect"), t.Effect, effects))
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			errs = append(errs, field.Invalid(at.Child("tolerationSeconds"), *t.TolerationSeconds, "is for the effect NoExecute only: remove it, or write effect: NoExecute"))
		}
	}
	return errs
}

func workload(at *field.Path, in *v1beta1.WorkloadConfig) field.ErrorList {
	var errs field.ErrorList
	for _, n := range []struct{ field, name string }{{"priorityClassName", in.PriorityClassName}, {"runtimeClassName", in.RuntimeClassName}} {
		if n.name != "" {
			for _, text := range content.IsDNS1123Subdomain(n.name) {
				errs = append(errs, field.Invalid(at.Child(n.field), n.name, text))
			}
		}
	}
	errs = append(errs, byText(apivalidation.ValidateAnnotations(in.Annotations, at.Child("annotations")))...)
	errs = append(errs, weights(at.Child("affinity"), in.Affinity)...)
	if in.Resources == nil {
		return errs
	}
	at = at.Child("resources")
	for _, list := range []struct {
		name string
		of   corev1.ResourceList
	}{{"limits", in.Resources.Limits}, {"requests", in.Resources.Requests}} {
		for _, name := range resourceNames(list.of) {
			if q := list.of[name]; q.Sign() < 0 {
				errs = append(errs, field.Invalid(at.Child(list.name).Key(string(name)), q.String(), "is negative: write 0 or more"))
			}
		}
	}
	for _, name := range resourceNames(in.Resources.Requests) {
		request := in.Resources.Requests[name]
		if limit, ok := in.Resources.Limits[name]; ok && request.Cmp(limit) > 0 {
			errs = append(errs, field.Invalid(at.Child("requests").Key(string(name)), request.String(), fmt.Sprintf("is more than the limit of %s: write at most that, or raise the limit", limit.String())))
		}
	}
	return errs
}

func resourceNames(in corev1.ResourceList) []corev1.ResourceName {
	out := make([]corev1.ResourceName, 0, len(in))
	for name := range in {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// weights checks the weights of preferred terms.
func weights(at *field.Path, in *corev1.Affinity) field.ErrorList {
	if in == nil {
		return nil
	}
	var errs field.ErrorList
	check := func(kind string, i int, weight int32) {
		if weight < 1 || weight > 100 {
			errs = append(errs, field.Invalid(at.Child(kind, "preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("weight"), weight, "write a number from 1 to 100"))
		}
	}
	if in.NodeAffinity != nil {
		for i, t := range in.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			check("nodeAffinity", i, t.Weight)
		}
	}
	if in.PodAffinity != nil {
		for i, t := range in.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			check("podAffinity", i, t.Weight)
		}
	}
	if in.PodAntiAffinity != nil {
		for i, t := range in.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			check("podAntiAffinity", i, t.Weight)
		}
	}
	return errs
}

// byText sorts errors that come out of a map.
func byText(errs field.ErrorList) field.ErrorList {
	slices.SortFunc(errs, func(a, b *field.Error) int {
		return cmp.Compare(strings.ToLower(a.Error()), strings.ToLower(b.Error()))
	})
	return errs
}
