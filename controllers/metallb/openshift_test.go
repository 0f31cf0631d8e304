package metallb

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	"metallb.io/operator/internal/render"
	"metallb.io/operator/internal/rollout"
)

// standIn is the API security.openshift.io as far as its schema matters: fields that must be there though they are null.
const standIn = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: securitycontextconstraints.security.openshift.io}
spec:
  group: security.openshift.io
  scope: Cluster
  names: {kind: SecurityContextConstraints, listKind: SecurityContextConstraintsList, plural: securitycontextconstraints, singular: securitycontextconstraints}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        required: [allowHostDirVolumePlugin, allowHostIPC, allowHostNetwork, allowHostPID, allowHostPorts, allowPrivilegedContainer,
          allowedCapabilities, defaultAddCapabilities, priority, readOnlyRootFilesystem, requiredDropCapabilities, volumes]
        properties:
          allowHostDirVolumePlugin: {type: boolean}
          allowHostIPC: {type: boolean}
          allowHostNetwork: {type: boolean}
          allowHostPID: {type: boolean}
          allowHostPorts: {type: boolean}
          allowPrivilegeEscalation: {type: boolean, nullable: true}
          allowPrivilegedContainer: {type: boolean}
          allowedCapabilities: {type: array, nullable: true, items: {type: string}}
          defaultAddCapabilities: {type: array, nullable: true, items: {type: string}}
          requiredDropCapabilities: {type: array, nullable: true, items: {type: string}}
          priority: {type: integer, format: int32, nullable: true}
          readOnlyRootFilesystem: {type: boolean}
          volumes: {type: array, nullable: true, items: {type: string}}
          seccompProfiles: {type: array, nullable: true, items: {type: string}}
          users: {type: array, nullable: true, items: {type: string}}
          fsGroup: {type: object, nullable: true, x-kubernetes-preserve-unknown-fields: true}
          runAsUser: {type: object, nullable: true, x-kubernetes-preserve-unknown-fields: true}
          seLinuxContext: {type: object, nullable: true, x-kubernetes-preserve-unknown-fields: true}
          supplementalGroups: {type: object, nullable: true, x-kubernetes-preserve-unknown-fields: true}
`

// openShift makes the API be there until the test ends.
func (c *cluster) openShift(t *testing.T) {
	t.Helper()
	crd := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(standIn), &crd.Object); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.environment = environment // with the API everything of it is gone
		if err := c.Delete(context.Background(), crd); err != nil {
			t.Error(err)
		}
		eventually(t, func() error {
			if c.discovered(t).OpenShift {
				return fmt.Errorf("the API is still there")
			}
			return nil
		})
	})
	eventually(t, func() error {
		if !c.discovered(t).OpenShift {
			return fmt.Errorf("the API is not there")
		}
		return nil
	})
}

// discovered is what the operator finds when it starts, with its own rights.
func (c *cluster) discovered(t *testing.T) render.Environment {
	t.Helper()
	config := c.operatorConfig()
	http, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	mapper, err := apiutil.NewDynamicRESTMapper(config, http)
	if err != nil {
		t.Fatal(err)
	}
	as, err := client.New(config, client.Options{Scheme: scheme(), Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	env, err := Discover(context.Background(), as, mapper, 443, render.Environment{Image: environment.Image, Account: environment.Account, NetworkPolicies: true})
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func TestWhatTheOperatorFindsOut(t *testing.T) {
	c := newCluster(t)
	env := c.discovered(t) // the API server of the tests says nothing of itself
	if env.OpenShift || env.APIServerPorts != nil {
		t.Errorf("found what is not there: %+v", env)
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: apiServer.Namespace, Name: apiServer.Name},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: ptr.To[int32](16443)}},
	}
	if err := c.Create(t.Context(), slice); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Delete(context.Background(), slice); err != nil {
			t.Error(err)
		}
	})
	if got := c.discovered(t).APIServerPorts; !slices.Equal(got, []int32{443, 16443}) {
		t.Errorf("ports of the API server: %v", got)
	}
	c.openShift(t)
}

func TestOnOpenShiftTheSpeakerHasItsOwnConstraints(t *testing.T) {
	c := newCluster(t)
	c.openShift(t)
	c.environment = c.discovered(t)
	o := c.start(t)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	c.installed(t, m)
	c.play(t, m.Namespace, 1, 1, 1)
	c.condition(t, m, "Available", "True", rollout.ReasonAsExpected)
	const use = "use securitycontextconstraints.security.openshift.io/"
	if !c.may(t, m.Namespace, render.Speaker, use+"metallb-speaker", m.Namespace) {
		t.Error("the speaker may not use its constraints")
	}
	for _, refused := range []struct{ account, scc, in string }{
		{render.Speaker, "privileged", m.Namespace}, {render.Speaker, "metallb-speaker", "default"}, {render.Controller, "metallb-speaker", m.Namespace},
	} {
		if c.may(t, m.Namespace, refused.account, use+refused.scc, refused.in) {
			t.Errorf("%s may use %s in %s", refused.account, refused.scc, refused.in)
		}
	}
	d := &appsv1.Deployment{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: m.Namespace, Name: render.Controller}, d); err != nil {
		t.Fatal(err)
	}
	if s := d.Spec.Template.Spec.SecurityContext; s.RunAsUser != nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot {
		t.Errorf("the controller's user is not the namespace's to choose: %+v", s)
	}

	// Put right when somebody loosens it, left alone otherwise.
	scc := newSCC()
	key := client.ObjectKey{Name: render.SpeakerSCC}
	if err := c.Get(t.Context(), key, scc); err != nil {
		t.Fatal(err)
	}
	scc.Object["allowPrivilegedContainer"] = true
	if err := c.Update(t.Context(), scc); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if err := c.Get(t.Context(), key, scc); err != nil {
			return err
		}
		if scc.Object["allowPrivilegedContainer"] != false {
			return fmt.Errorf("the constraints allow privileged containers")
		}
		return nil
	})
	writes := len(o.writes.since(0))
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(m), m); err != nil {
		t.Fatal(err)
	}
	m.Annotations = map[string]string{"touched": "yes"}
	if err := c.Update(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if more := o.writes.since(writes); slices.ContainsFunc(more, func(w string) bool { return strings.Contains(w, "securitycontextconstraints") }) {
			t.Fatalf("written without need: %v", more)
		}
		time.Sleep(20 * time.Millisecond)
	}

	if err := c.Delete(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	c.gone(t, m.Namespace)
	if err := c.Get(t.Context(), key, scc); !apierrors.IsNotFound(err) {
		t.Errorf("the constraints stay when the resource has gone: %v", err)
	}
}

func TestElsewhereNothingOfOpenShiftIsMade(t *testing.T) {
	c := newCluster(t)
	c.environment = c.discovered(t)
	c.start(t)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	c.installed(t, m)
	var bindings rbacv1.RoleBindingList
	if err := c.List(t.Context(), &bindings, client.InNamespace(m.Namespace)); err != nil {
		t.Fatal(err)
	}
	for _, b := range bindings.Items {
		if b.Name == render.SpeakerSCCRole {
			t.Error("the role for its constraints is bound")
		}
	}
}
