package setup

import (
	"maps"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/controllers/webhook"
	"metallb.io/operator/internal/render"
	"metallb.io/operator/internal/testenv"
)

// versions are the resourceVersions of all our CRDs.
func versions(t *testing.T, c client.Client) map[string]string {
	t.Helper()
	list := &apiextensionsv1.CustomResourceDefinitionList{}
	must(t, c.List(t.Context(), list))
	out := map[string]string{}
	for _, crd := range list.Items {
		out[crd.Name] = crd.ResourceVersion
	}
	return out
}

func conversion(t *testing.T, c client.Client) *apiextensionsv1.CustomResourceConversion {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	must(t, c.Get(t.Context(), client.ObjectKey{Name: webhook.ConvertedCRD}, crd))
	return crd.Spec.Conversion
}

// convertBy has the Service in the namespace convert, as its operator does.
func convertBy(t *testing.T, c client.Client, namespace string) {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	must(t, c.Get(t.Context(), client.ObjectKey{Name: webhook.ConvertedCRD}, crd))
	crd.Spec.Conversion = (&webhook.Server{Namespace: namespace, Service: webhook.ServiceName}).Conversion(nil)
	must(t, c.Update(t.Context(), crd, client.FieldOwner("somebody")))
}

// The CRDs are made where there are none, put right where somebody has changed them, and else not written; a conversion stays.
func TestInstallCRDs(t *testing.T) {
	c := newClient(t)
	gone := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "communities.metallb.io"}}
	must(t, c.Delete(t.Context(), gone))
	changed := &apiextensionsv1.CustomResourceDefinition{}
	must(t, c.Get(t.Context(), client.ObjectKey{Name: "ipaddresspools.metallb.io"}, changed))
	changed.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["other"] = apiextensionsv1.JSONSchemaProps{Type: "string"}
	must(t, c.Update(t.Context(), changed, client.FieldOwner("other")))
	convertBy(t, c, "lb")

	must(t, InstallCRDs(within(t, 30*time.Second), c, quiet))
	must(t, c.Create(t.Context(), &v1beta1.Community{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "made"}}))
	must(t, c.Get(t.Context(), client.ObjectKeyFromObject(changed), changed))
	if _, there := changed.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["other"]; there {
		t.Error("what another installer had in the schema is still there")
	}
	if got := conversion(t, c); got.Strategy != apiextensionsv1.WebhookConverter || got.Webhook.ClientConfig.Service.Namespace != "lb" {
		t.Errorf("the conversion is %+v", got)
	}
	files, err := definitions()
	must(t, err)
	before := versions(t, c)
	if len(before) != len(files) {
		t.Errorf("%d CRDs in %d files", len(before), len(files))
	}
	must(t, InstallCRDs(within(t, 30*time.Second), c, quiet))
	if after := versions(t, c); !maps.Equal(before, after) {
		t.Errorf("applied again it writes: %v, before %v", after, before)
	}
}

func TestACRDThatIsNotEstablished(t *testing.T) {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	for want, conditions := range map[string][]apiextensionsv1.CustomResourceDefinitionCondition{
		"its status: no conditions yet":                          nil,
		"its status: NamesAccepted is False: mlb is in use":      {{Type: apiextensionsv1.NamesAccepted, Status: apiextensionsv1.ConditionFalse, Message: "mlb is in use"}},
		"its status: Established is False: not all names are so": {{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionFalse, Message: "not all names are so"}},
	} {
		crd.Status.Conditions = conditions
		if ok, err := established(crd); ok || err == nil || err.Error() != want {
			t.Errorf("got %v, %v; want %q", ok, err, want)
		}
	}
}

func operator(namespace string) *appsv1.Deployment {
	labels := map[string]string(operatorPods)
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: OperatorDeployment}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "manager", Image: "metallb"}},
		}},
	}}
}

// The resource waits for the operator; what is not asked for any more goes, what others wrote stays; what the API server
// will never take is not tried for long.
func TestInstallResource(t *testing.T) {
	c := newClient(t)
	ns := testenv.Namespace(t, c, nil)
	d := operator(ns)
	must(t, c.Create(t.Context(), d))
	err := InstallResource(within(t, time.Second), c, quiet, ns, `{}`)
	if err == nil || !strings.Contains(err.Error(), "waited in vain for the operator: 0 of 1 replicas of Deployment "+OperatorDeployment+" are available") {
		t.Errorf("without an operator: %v", err)
	}
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}
	must(t, c.Status().Update(t.Context(), d))

	must(t, InstallResource(within(t, 10*time.Second), c, quiet, ns, `{"logLevel":"debug","nodeSelector":{"a":"b"}}`))
	cr := &v1beta1.MetalLB{}
	must(t, c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: ResourceName}, cr))
	cr.Spec.LoadBalancerClass = "example.com/lb"
	must(t, c.Update(t.Context(), cr, client.FieldOwner("user")))
	must(t, InstallResource(within(t, 10*time.Second), c, quiet, ns, `{"logLevel":"warn"}`))
	must(t, c.Get(t.Context(), client.ObjectKeyFromObject(cr), cr))
	if cr.Spec.LogLevel != "warn" || len(cr.Spec.NodeSelector) != 0 || cr.Spec.LoadBalancerClass != "example.com/lb" {
		t.Errorf("the resource is %+v", cr.Spec)
	}
	for spec, want := range map[string]string{
		`{"logLevel":"loud"}`:  "spec.logLevel: Unsupported value",
		`{"logLevle":"info"}`:  "logLevle: field not declared in schema",
		`{"nodeSelector":[1]}`: "nodeSelector",
		`{`:                    "the specification is not JSON",
	} {
		start := time.Now()
		err := InstallResource(within(t, 20*time.Second), c, quiet, ns, spec)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", spec, err, want)
		}
		if time.Since(start) > 5*time.Second {
			t.Errorf("%s: tried for %s", spec, time.Since(start))
		}
	}
}

func pod(namespace, name string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "x", Image: "x"}}},
	}
}

// All that an operator leaves goes, in order; another operator's conversion stays.
func TestRemove(t *testing.T) {
	c := newClient(t)
	ns := testenv.Namespace(t, c, nil)
	made := append(leavings(ns, true), operator(ns), &v1beta1.MetalLB{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: ResourceName}})
	for _, o := range made {
		switch o := o.(type) {
		case *rbacv1.ClusterRoleBinding:
			o.RoleRef = rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}
		case *coordinationv1.Lease:
			o.Spec.HolderIdentity = ptr.To("x")
		}
		if o.GetObjectKind().GroupVersionKind() != render.SCCKind { // which this API server does not have
			must(t, c.Create(t.Context(), o))
		}
	}
	stays := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "pool"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"192.0.2.0/24"}}}
	must(t, c.Create(t.Context(), stays))
	speaker := pod(ns, "speaker-x", render.PodLabels(render.Speaker))
	must(t, c.Create(t.Context(), speaker))
	convertBy(t, c, "another")

	err := Remove(within(t, time.Second), c, quiet, ns, true)
	if err == nil || !strings.Contains(err.Error(), "1 left") {
		t.Errorf("with a speaker that does not end: %v", err)
	}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: OperatorDeployment}, &appsv1.Deployment{}); err != nil {
		t.Errorf("the operator goes before the speakers: %v", err)
	}
	must(t, c.Delete(t.Context(), speaker))
	must(t, Remove(within(t, 10*time.Second), c, quiet, ns, true))
	for _, o := range made {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o); !apierrors.IsNotFound(err) && o.GetObjectKind().GroupVersionKind() != render.SCCKind {
			t.Errorf("%T %s: %v", o, o.GetName(), err)
		}
	}
	must(t, c.Get(t.Context(), client.ObjectKeyFromObject(stays), stays))
	if got := conversion(t, c); got.Strategy != apiextensionsv1.WebhookConverter {
		t.Errorf("another operator's conversion has become %+v", got)
	}
	convertBy(t, c, ns)
	must(t, Remove(within(t, 10*time.Second), c, quiet, ns, true)) // again, with nothing but this
	if got := conversion(t, c); got.Strategy != apiextensionsv1.NoneConverter || got.Webhook != nil {
		t.Errorf("the conversion is %+v", got)
	}
}

// Without the resource, what is of it stays.
func TestRemoveTheOperatorAlone(t *testing.T) {
	c := newClient(t)
	ns := testenv.Namespace(t, c, nil)
	cr := &v1beta1.MetalLB{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: ResourceName}}
	must(t, c.Create(t.Context(), cr))
	must(t, c.Create(t.Context(), pod(ns, "speaker-x", render.PodLabels(render.Speaker))))
	must(t, c.Create(t.Context(), operator(ns)))
	must(t, Remove(within(t, 10*time.Second), c, quiet, ns, false))
	must(t, c.Get(t.Context(), client.ObjectKeyFromObject(cr), cr))
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: OperatorDeployment}, &appsv1.Deployment{}); !apierrors.IsNotFound(err) {
		t.Errorf("the operator: %v", err)
	}
}

// A pod that a node which has failed keeps is not waited for.
func TestAPodThatCannotEnd(t *testing.T) {
	now := time.Now()
	for ended, want := range map[time.Duration]bool{-time.Minute: true, 0: true, overdue - time.Second: true, overdue: false, time.Hour: false} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: ptr.To(metav1.NewTime(now.Add(-ended)))}}
		if got := mayEnd(p, now); got != want {
			t.Errorf("%s after its grace period: waited for is %t", ended, got)
		}
	}
	if !mayEnd(&corev1.Pod{}, now) {
		t.Error("a pod that nobody deletes is not waited for")
	}
}

// The check says what is wrong, and is content with an operator that reviews and a resource that is Available.
func TestCheck(t *testing.T) {
	c := newClient(t)
	ns := testenv.Namespace(t, c, nil)
	err := Check(within(t, time.Second), c, quiet, ns, true)
	if err == nil || !strings.Contains(err.Error(), "was taken: nobody looked at it") {
		t.Errorf("without an operator: %v", err)
	}
	policy := refuse(t, c, ns)
	must(t, Check(within(t, 20*time.Second), c, quiet, ns, false))
	if err := Check(within(t, time.Second), c, quiet, ns, true); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("without a resource: %v", err)
	}
	cr := &v1beta1.MetalLB{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: ResourceName}}
	must(t, c.Create(t.Context(), cr))
	for status, want := range map[metav1.ConditionStatus]string{metav1.ConditionFalse: "Available is False: no speaker", metav1.ConditionTrue: ""} {
		cr.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionAvailable, Status: status, Reason: "X", Message: "no speaker",
			ObservedGeneration: cr.Generation, LastTransitionTime: metav1.Now()}}
		must(t, c.Status().Update(t.Context(), cr))
		err := Check(within(t, time.Second), c, quiet, ns, true)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("Available %s: %v", status, err)
		}
	}
	must(t, c.Delete(t.Context(), policy))
}

// refuse stands for the operator's review: an API server's own policy, which says the same.
func refuse(t *testing.T, c client.Client, namespace string) client.Object {
	t.Helper()
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "review"}, Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{"metallb.io"}, APIVersions: []string{"*"}, Resources: []string{"ipaddresspools"}},
		}}}},
		Validations: []admissionregistrationv1.Validation{{Expression: "false", Message: "spec.addresses[1]: overlaps", Reason: ptr.To(metav1.StatusReasonInvalid)}},
	}}
	must(t, c.Create(t.Context(), policy))
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "review"}, Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: "review", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		MatchResources: &admissionregistrationv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}}},
	}}
	must(t, c.Create(t.Context(), binding))
	return policy
}
