package render

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// SCCKind is OpenShift's SecurityContextConstraints: what pods of those who may use one are admitted with.
var SCCKind = schema.GroupVersionKind{Group: "security.openshift.io", Version: "v1", Kind: "SecurityContextConstraints"}

// SpeakerSCC is the name of the SecurityContextConstraints for the speaker's pods.
const SpeakerSCC = "metallb-speaker"

// requiredSCC is the annotation with which a pod is judged by one SecurityContextConstraints alone, whatever else its
// ServiceAccount or creator may use.
const requiredSCC = "openshift.io/required-scc"

// sccOf says which one: the controller does with what everybody has.
var sccOf = map[string]string{Controller: "restricted-v2", Speaker: SpeakerSCC}

// securityContextConstraints allow just what the speaker's pods ask for. OpenShift's own "privileged" would do too, and
// allow everything else besides.
func (r renderer) securityContextConstraints() *unstructured.Unstructured {
	runAsAny := func() map[string]any { return map[string]any{"type": "RunAsAny"} }
	var allowed []any
	for _, c := range r.speakerCapabilities() {
		allowed = append(allowed, string(c))
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"allowHostDirVolumePlugin": false,
		"allowHostIPC":             false,
		"allowHostNetwork":         true,
		"allowHostPID":             false,
		"allowHostPorts":           false,
		"allowPrivilegeEscalation": false,
		"allowPrivilegedContainer": false,
		"allowedCapabilities":      allowed,
		"defaultAddCapabilities":   nil,
		"requiredDropCapabilities": []any{"ALL"},
		"readOnlyRootFilesystem":   true,
		"fsGroup":                  runAsAny(),
		"runAsUser":                runAsAny(),
		"seLinuxContext":           map[string]any{"type": "MustRunAs"},
		"supplementalGroups":       runAsAny(),
		"seccompProfiles":          []any{"runtime/default"},
		"volumes":                  []any{"configMap", "downwardAPI", "emptyDir", "projected", "secret"},
		"priority":                 nil,
	}}
	meta := r.clusterMeta(SpeakerSCC, Speaker)
	u.SetGroupVersionKind(SCCKind)
	u.SetName(meta.Name)
	u.SetLabels(meta.Labels)
	u.SetOwnerReferences(r.ownedBy(SpeakerSCCRole))
	return u
}

func (r renderer) sccRoleBinding() *rbacv1.RoleBinding {
	b := r.roleBinding(Speaker, SpeakerSCCRole)
	b.Name = SpeakerSCCRole
	return b
}
