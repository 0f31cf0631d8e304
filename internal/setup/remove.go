package setup

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/controllers/webhook"
	"metallb.io/operator/internal/render"
)

// overdue is for how long after the end of its grace period a pod is waited for. Its node has failed then, and nobody
// knows when it comes back.
const overdue = 15 * time.Second

// Remove takes the operator in the namespace away: first the MetalLB resource there, if resource is true, and its
// workloads, then the operator, then what the operator wrote outside of its manifests. The CustomResourceDefinitions
// and all other resources stay, and can be read in every version. It is done in this order because a running operator
// would write again what is taken away; and it does not need the operator to run.
func Remove(ctx context.Context, c client.Client, log *slog.Logger, namespace string, resource bool) error {
	if resource {
		if err := remove(ctx, c, metallb(namespace)); err != nil {
			return err
		}
		log.Info("deleted the MetalLB resource", "namespace", namespace)
		for _, component := range []string{render.Controller, render.Speaker} {
			if err := awaitEnd(ctx, c, namespace, render.PodLabels(component)); err != nil {
				return err
			}
		}
		log.Info("controller and speakers are gone", "namespace", namespace)
	}
	if err := remove(ctx, c, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: OperatorDeployment}}); err != nil {
		return err
	}
	if err := awaitEnd(ctx, c, namespace, operatorPods); err != nil {
		return err
	}
	log.Info("the operator is gone", "namespace", namespace)
	for _, o := range leavings(namespace, resource) {
		if err := remove(ctx, c, o); err != nil {
			return err
		}
	}
	return until(ctx, "CustomResourceDefinition "+webhook.ConvertedCRD+" to be freed of the operator", func() (bool, error) {
		return unhook(ctx, c, log, namespace)
	})
}

// leavings are what an operator has written at run time, whether it would have removed it or not.
func leavings(namespace string, resource bool) []client.Object {
	local := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: namespace, Name: name} }
	all := []client.Object{
		&admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: webhook.Configuration}},
		&corev1.Secret{ObjectMeta: local(webhook.SecretName)},
		&coordinationv1.Lease{ObjectMeta: local(OperatorLease)},
	}
	if !resource {
		return all
	}
	scc := &unstructured.Unstructured{}
	scc.SetGroupVersionKind(render.SCCKind)
	scc.SetName(render.SpeakerSCC)
	all = append(all, scc)
	for _, component := range []string{render.Controller, render.Speaker} {
		all = append(all, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: ClusterRoleBinding(namespace, component)}})
	}
	return all
}

// ClusterRoleBinding is the name of a component's binding in the whole cluster, as internal/render has it.
func ClusterRoleBinding(namespace, component string) string {
	return "metallb-" + namespace + "-" + component
}

// remove deletes an object if it is there, and if its kind is.
func remove(ctx context.Context, c client.Client, o client.Object) error {
	return until(ctx, fmt.Sprintf("%T %s to be deleted", o, o.GetName()), func() (bool, error) {
		err := client.IgnoreNotFound(c.Delete(ctx, o, client.PropagationPolicy(metav1.DeletePropagationBackground)))
		return err == nil || meta.IsNoMatchError(err), err
	})
}

// awaitEnd waits until the pods are gone, but for those that a node that has failed keeps.
func awaitEnd(ctx context.Context, c client.Client, namespace string, selector client.MatchingLabels) error {
	return until(ctx, fmt.Sprintf("the pods with labels %v to end", selector), func() (bool, error) {
		pods := &corev1.PodList{}
		if err := c.List(ctx, pods, client.InNamespace(namespace), selector); err != nil {
			return false, err
		}
		waiting := 0
		for _, p := range pods.Items {
			if mayEnd(&p, time.Now()) {
				waiting++
			}
		}
		return waiting == 0, fmt.Errorf("%d left", waiting)
	})
}

// mayEnd tells whether a pod is to be waited for. Its DeletionTimestamp is the end of its grace period.
func mayEnd(p *corev1.Pod, now time.Time) bool {
	return p.DeletionTimestamp == nil || now.Sub(p.DeletionTimestamp.Time) < overdue
}

// unhook has the API server convert by itself again, unless it is somebody else whom it asks.
func unhook(ctx context.Context, c client.Client, log *slog.Logger, namespace string) (bool, error) {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	err := c.Get(ctx, client.ObjectKey{Name: webhook.ConvertedCRD}, crd)
	if err != nil {
		return client.IgnoreNotFound(err) == nil, err
	}
	conversion := crd.Spec.Conversion
	if conversion == nil || conversion.Webhook == nil || conversion.Webhook.ClientConfig == nil {
		return true, nil
	}
	if s := conversion.Webhook.ClientConfig.Service; s == nil || s.Namespace != namespace || s.Name != webhook.ServiceName {
		return true, nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": crd.ResourceVersion},
		"spec":     map[string]any{"conversion": map[string]any{"strategy": apiextensionsv1.NoneConverter, "webhook": nil}},
	})
	if err != nil {
		return false, err
	}
	if err := c.Patch(ctx, crd, client.RawPatch(types.MergePatchType, patch), crdOwner); err != nil {
		return false, err
	}
	log.Info("the API server converts by itself again", "crd", crd.Name)
	return true, nil
}
