package webhook

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"metallb.io/operator/api/v1beta1"
)

// Names of what belongs to the webhooks.
const (
	// Configuration is the ValidatingWebhookConfiguration.
	Configuration = "metallb-webhook-configuration"
	// ServiceName is the Service of the operator's pods, and ServicePort its port.
	ServiceName       = "metallb-webhook-service"
	ServicePort int32 = 443
	// SecretName is the Secret with the certificates.
	SecretName = "metallb-webhook-cert"
	// ConvertedCRD is the CRD whose versions the webhook converts.
	ConvertedCRD = "bgppeers.metallb.io"
	// ConversionPath is where that is done, and DeletionPath where deletions of all kinds are reviewed.
	ConversionPath = "/convert"
	DeletionPath   = "/validate-metallb-io-deletion"
)

// timeoutSeconds is how long an API server waits for an answer.
const timeoutSeconds = 10

// Server is where API servers find the webhook server: a Service of the namespace, or an URL in its place, to which paths
// are appended.
type Server struct {
	Namespace, Service string
	URL                string
}

// Host is the name in the server's certificate that API servers ask for.
func (s Server) Host() string {
	return s.Service + "." + s.Namespace + ".svc"
}

func (s Server) client(path string, bundle []byte) admissionregistrationv1.WebhookClientConfig {
	if s.URL != "" {
		return admissionregistrationv1.WebhookClientConfig{URL: ptr.To(s.URL + path), CABundle: bundle}
	}
	return admissionregistrationv1.WebhookClientConfig{CABundle: bundle, Service: &admissionregistrationv1.ServiceReference{
		Namespace: s.Namespace, Name: s.Service, Path: ptr.To(path), Port: ptr.To(ServicePort),
	}}
}

// Webhooks is what the ValidatingWebhookConfiguration holds, with every field that the API server would fill in, so that it
// can be compared with what is there.
//
// What is created or changed is refused while nobody can review it. A deletion is not: it would hold up the deletion of the
// namespace that the operator itself is in, for good.
func (s Server) Webhooks(bundle []byte) []admissionregistrationv1.ValidatingWebhook {
	var all []admissionregistrationv1.ValidatingWebhook
	var deleted []admissionregistrationv1.RuleWithOperations
	for _, k := range kinds {
		hook := s.webhook(k.webhook, k.path(), bundle)
		hook.FailurePolicy = ptr.To(admissionregistrationv1.Fail)
		hook.Rules = []admissionregistrationv1.RuleWithOperations{rule(k, admissionregistrationv1.Create, admissionregistrationv1.Update)}
		all = append(all, hook)
		deleted = append(deleted, rule(k, admissionregistrationv1.Delete))
	}
	hook := s.webhook("deletionwebhook", DeletionPath, bundle)
	hook.FailurePolicy = ptr.To(admissionregistrationv1.Ignore)
	hook.Rules = deleted
	return append(all, hook)
}

func (s Server) webhook(name, path string, bundle []byte) admissionregistrationv1.ValidatingWebhook {
	return admissionregistrationv1.ValidatingWebhook{
		Name:                    name + "." + v1beta1.GroupVersion.Group,
		ClientConfig:            s.client(path, bundle),
		MatchPolicy:             ptr.To(admissionregistrationv1.Equivalent),
		NamespaceSelector:       &metav1.LabelSelector{},
		ObjectSelector:          &metav1.LabelSelector{},
		SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
		TimeoutSeconds:          ptr.To[int32](timeoutSeconds),
		AdmissionReviewVersions: []string{"v1"},
	}
}

func rule(k kind, operations ...admissionregistrationv1.OperationType) admissionregistrationv1.RuleWithOperations {
	return admissionregistrationv1.RuleWithOperations{
		Operations: operations,
		Rule: admissionregistrationv1.Rule{
			APIGroups:   []string{v1beta1.GroupVersion.Group},
			APIVersions: []string{k.version},
			Resources:   []string{k.resource},
			Scope:       ptr.To(admissionregistrationv1.AllScopes),
		},
	}
}

// Conversion is what the CRD holds.
func (s Server) Conversion(bundle []byte) *apiextensionsv1.CustomResourceConversion {
	c := s.client(ConversionPath, bundle)
	config := &apiextensionsv1.WebhookClientConfig{URL: c.URL, CABundle: c.CABundle}
	if c.Service != nil {
		config.Service = &apiextensionsv1.ServiceReference{Namespace: c.Service.Namespace, Name: c.Service.Name, Path: c.Service.Path, Port: c.Service.Port}
	}
	return &apiextensionsv1.CustomResourceConversion{
		Strategy: apiextensionsv1.WebhookConverter,
		Webhook:  &apiextensionsv1.WebhookConversion{ClientConfig: config, ConversionReviewVersions: []string{"v1"}},
	}
}
