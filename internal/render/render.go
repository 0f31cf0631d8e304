// Package render turns a MetalLB resource into the objects that install it: the identities and bindings of controller
// and speaker, the controller's Deployment, NetworkPolicy and PodDisruptionBudget, the speaker's DaemonSet, and what OpenShift wants to see
// besides. It owns what they look like, and how one tells
// them from others' objects. It is pure: no client, no clock, no templates; the same input gives the same objects.
package render

import (
	"cmp"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"metallb.io/operator/api/v1beta1"
)

// Manager is the operator's name: the field manager of what it applies and the value of LabelManagedBy.
const Manager = "metallb-operator"

// Labels of every rendered object. An object that carries both with these keys, the first with the value Manager, was
// made by the operator and may be removed by it.
const (
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// LabelCRNamespace holds the namespace of the MetalLB resource that the object was made for.
	LabelCRNamespace = "metallb.io/cr-namespace"
)

// Names of the workloads and of their ServiceAccounts.
const (
	Controller = "controller"
	Speaker    = "speaker"
)

// The ClusterRoles that are installed beside the operator, and which it binds: the first two in the whole cluster, the
// others in the namespace of the MetalLB resource.
const (
	ControllerRole      = "metallb-controller"
	SpeakerRole         = "metallb-speaker"
	ControllerLocalRole = "metallb-controller-local"
	SpeakerLocalRole    = "metallb-speaker-local"
	// OperatorLocalRole lets the operator see which pods are not ready.
	OperatorLocalRole = "metallb-operator-local"
	// SpeakerSCCRole lets the speaker's pods use SpeakerSCC; for OpenShift.
	SpeakerSCCRole = "metallb-speaker-scc"
)

const (
	// metricsPort unless the resource names another.
	metricsPort = 9120
	healthPort  = 17472
	gossipPort  = 7946

	gossipSecret = "memberlist"
	// gossipSecretDir is where the speaker finds the Secret's keys as files.
	gossipSecretDir = "/etc/ml_secret_key"
)

// Object is an API object with its metadata.
type Object interface {
	metav1.Object
	runtime.Object
}

// Environment is what the objects take from the operator's own pod.
type Environment struct {
	// Image of operator, controller and speaker; required.
	Image string
	// ImagePullPolicy of the workloads; empty leaves the choice to Kubernetes.
	ImagePullPolicy corev1.PullPolicy
	// ImagePullSecrets are names of Secrets in the MetalLB resource's namespace. One that is not there does no harm.
	ImagePullSecrets []corev1.LocalObjectReference
	// Account is the operator's own ServiceAccount, which may see the pods in the resource's namespace; without a name
	// there is none.
	Account types.NamespacedName
	// Roles are the UIDs of the ClusterRoles that are installed beside the operator, by their names. What is made outside of
	// any namespace belongs to one of them, so that it goes with them if the operator was removed before it could do that.
	Roles map[string]types.UID
	// OpenShift: the API security.openshift.io is there, and decides which pods are admitted.
	OpenShift bool
	// NetworkPolicies are wanted.
	NetworkPolicies bool
	// APIServerPorts are the TCP ports at which the API server may be reached from pods; none: they are not known, and
	// what the controller connects to is not restricted.
	APIServerPorts []int32
}

// Objects returns all objects of an installation in the order in which they are to be applied: first who the workloads
// are and what they may do, then the workloads. Those in the resource's namespace are owned by it; those of the cluster
// cannot be, and are found by their labels.
func Objects(m *v1beta1.MetalLB, env Environment) []Object {
	r := renderer{m: m, env: env}
	objects := []Object{
		r.serviceAccount(Controller),
		r.serviceAccount(Speaker),
		r.roleBinding(Controller, ControllerLocalRole),
		r.roleBinding(Speaker, SpeakerLocalRole),
		r.clusterRoleBinding(Controller, ControllerRole),
		r.clusterRoleBinding(Speaker, SpeakerRole),
	}
	if env.Account.Name != "" {
		objects = append(objects, r.operatorRoleBinding())
	}
	if env.OpenShift {
		objects = append(objects, r.securityContextConstraints(), r.sccRoleBinding())
	}
	if env.NetworkPolicies {
		objects = append(objects, r.controllerNetworkPolicy())
	}
	if r.replicas() > 1 {
		objects = append(objects, r.disruptionBudget())
	}
	return append(objects, r.controller(), r.speaker())
}

// PodLabels are the labels by which the pods of a workload are selected.
func PodLabels(component string) map[string]string {
	return map[string]string{"app": "metallb", "component": component}
}

type renderer struct {
	m   *v1beta1.MetalLB
	env Environment
}

// meta is the metadata of an object of a component in the resource's namespace.
func (r renderer) meta(name, component string) metav1.ObjectMeta {
	meta := r.clusterMeta(name, component)
	meta.Namespace = r.m.Namespace
	// No blockOwnerDeletion: it would need a right on the resource's finalizers, and there is nothing to wait for.
	meta.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: v1beta1.GroupVersion.String(),
		Kind:       "MetalLB",
		Name:       r.m.Name,
		UID:        r.m.UID,
		Controller: ptr.To(true),
	}}
	return meta
}

// clusterMeta is the metadata of an object of a component outside of any namespace.
func (r renderer) clusterMeta(name, component string) metav1.ObjectMeta {
	labels := PodLabels(component)
	labels[LabelManagedBy] = Manager
	labels[LabelCRNamespace] = r.m.Namespace
	return metav1.ObjectMeta{Name: name, Labels: labels}
}

func (r renderer) serviceAccount(component string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta: r.meta(component, component),
	}
}

func (r renderer) roleBinding(component, role string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBinding"},
		ObjectMeta: r.meta("metallb-"+component, component),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   r.subjects(component),
	}
}

func (r renderer) clusterRoleBinding(component, role string) *rbacv1.ClusterRoleBinding {
	b := &rbacv1.ClusterRoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRoleBinding"},
		ObjectMeta: r.clusterMeta("metallb-"+r.m.Namespace+"-"+component, component),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   r.subjects(component),
	}
	b.OwnerReferences = r.ownedBy(role)
	return b
}

// ownedBy is a ClusterRole that is installed beside the operator; nobody, where that is not there.
func (r renderer) ownedBy(role string) []metav1.OwnerReference {
	uid, ok := r.env.Roles[role]
	if !ok {
		return nil
	}
	return []metav1.OwnerReference{{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole", Name: role, UID: uid}}
}

// operatorRoleBinding lets the operator say which nodes are without a ready speaker, and why.
func (r renderer) operatorRoleBinding() *rbacv1.RoleBinding {
	b := r.roleBinding("operator", OperatorLocalRole)
	b.Name = OperatorLocalRole // beside the operator's own binding, where it is in this namespace
	b.Subjects = []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: r.env.Account.Name, Namespace: r.env.Account.Namespace}}
	return b
}

func (r renderer) subjects(component string) []rbacv1.Subject {
	return []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: component, Namespace: r.m.Namespace}}
}

// args are the arguments that both workloads take.
func (r renderer) args(command string) []string {
	args := []string{
		command,
		"--log-level=" + string(cmp.Or(r.m.Spec.LogLevel, v1beta1.LogLevelInfo)),
		flagInt("port", int(r.metricsPort())),
		flagInt("health-probe-port", healthPort),
	}
	if class := r.m.Spec.LoadBalancerClass; class != "" {
		args = append(args, "--lb-class="+class)
	}
	if r.m.Spec.LoadBalancerClassIsDefault {
		args = append(args, "--lb-class-default")
	}
	if metrics := r.m.Spec.Metrics; metrics != nil {
		if metrics.TLSMinVersion != "" {
			args = append(args, "--tls-min-version="+string(metrics.TLSMinVersion))
		}
		if len(metrics.TLSCipherSuites) > 0 {
			args = append(args, "--tls-cipher-suites="+join(metrics.TLSCipherSuites))
		}
	}
	return args
}

// metricsPort is 0 where there are to be no metrics.
func (r renderer) metricsPort() int32 {
	if r.m.Spec.Metrics == nil {
		return metricsPort
	}
	return ptr.Deref(r.m.Spec.Metrics.Port, metricsPort)
}

// join lists values for a flag. None of those of our API has a comma in it.
func join[T ~string](values []T) string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = string(v)
	}
	return strings.Join(list, ",")
}

// template puts the pod of a workload together: the parts that both have alike and those that the resource shapes.
func (r renderer) template(component string, pod corev1.PodSpec, container corev1.Container, shape v1beta1.WorkloadConfig) corev1.PodTemplateSpec {
	container.Name = component
	container.Image = r.env.Image
	container.ImagePullPolicy = r.env.ImagePullPolicy
	if shape.Resources != nil {
		container.Resources = *shape.Resources.DeepCopy()
	}
	pod.Containers = []corev1.Container{container}
	pod.ServiceAccountName = component
	pod.ImagePullSecrets = append([]corev1.LocalObjectReference(nil), r.env.ImagePullSecrets...)
	// Without this a Service that happens to be named like one of our settings would set it in every pod.
	pod.EnableServiceLinks = ptr.To(false)
	pod.PriorityClassName = cmp.Or(shape.PriorityClassName, pod.PriorityClassName)
	if shape.Affinity != nil {
		pod.Affinity = shape.Affinity.DeepCopy()
	}
	if shape.RuntimeClassName != "" {
		pod.RuntimeClassName = ptr.To(shape.RuntimeClassName)
	}
	annotations := maps.Clone(shape.Annotations)
	if r.env.OpenShift {
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[requiredSCC] = sccOf[component]
	}
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: PodLabels(component), Annotations: annotations},
		Spec:       pod,
	}
}

// onLinux adds the operating system, which the image is built for, to a node selector.
func onLinux(selector map[string]string) map[string]string {
	with := map[string]string{corev1.LabelOSStable: "linux"}
	maps.Copy(with, selector)
	return with
}
