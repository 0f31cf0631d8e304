package metallb

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/render"
	"metallb.io/operator/internal/rollout"
)

// may asks the API server whether a ServiceAccount may do something: "verb [group/]resource[/name]" in a namespace, or in
// all of them where that is empty.
func (c *cluster) may(t *testing.T, namespace, account, action, in string) bool {
	t.Helper()
	verb, resource, _ := strings.Cut(action, " ")
	resource, name, _ := strings.Cut(resource, "/")
	resource, group, _ := strings.Cut(resource, ".")
	resource, subresource, _ := strings.Cut(resource, ":")
	user := serviceAccount(namespace, account)
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.UserName, Groups: user.Groups,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: verb, Group: group, Resource: resource, Subresource: subresource, Name: name, Namespace: in},
	}}
	if err := c.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

func TestEachHasTheRightsThatItNeedsAndNoMore(t *testing.T) {
	c := newCluster(t)
	c.start(t)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	c.installed(t, m)
	here, elsewhere := m.Namespace, "default"

	type who struct{ namespace, account string }
	var (
		operator   = who{operatorNamespace, "metallb-operator"}
		controller = who{here, render.Controller}
		speaker    = who{here, render.Speaker}
	)
	for _, c2 := range []struct {
		who
		in      string
		allowed []string
		refused []string
	}{
		{operator, elsewhere,
			[]string{"patch deployments.apps/controller", "create daemonsets.apps/speaker", "watch namespaces", "patch metallbs:status.metallb.io/metallb"},
			[]string{"patch deployments.apps/web", "delete daemonsets.apps/kube-proxy", "get secrets", "list secrets", "create secrets", "get pods", "create pods", "get configmaps",
				"update metallbs.metallb.io", "get leases.coordination.k8s.io", "create serviceaccounts/default", "create serviceaccounts:token/controller", "impersonate users"}},
		{operator, "",
			[]string{"bind clusterroles.rbac.authorization.k8s.io/metallb-controller", "bind clusterroles.rbac.authorization.k8s.io/metallb-speaker-local",
				"patch validatingwebhookconfigurations.admissionregistration.k8s.io/metallb-webhook-configuration", "patch customresourcedefinitions.apiextensions.k8s.io/bgppeers.metallb.io",
				"list ipaddresspools.metallb.io", "list bgppeers.metallb.io", "list configurationstates.metallb.io", "list nodes", "list services"},
			[]string{"bind clusterroles.rbac.authorization.k8s.io/cluster-admin", "escalate clusterroles.rbac.authorization.k8s.io", "create clusterroles.rbac.authorization.k8s.io",
				"patch clusterroles.rbac.authorization.k8s.io/metallb-controller", "patch namespaces", "delete namespaces",
				"patch validatingwebhookconfigurations.admissionregistration.k8s.io/another", "delete validatingwebhookconfigurations.admissionregistration.k8s.io/metallb-webhook-configuration",
				"patch customresourcedefinitions.apiextensions.k8s.io/ipaddresspools.metallb.io", "delete customresourcedefinitions.apiextensions.k8s.io/bgppeers.metallb.io",
				"update ipaddresspools.metallb.io/a", "patch nodes", "patch services:status/web", "list secrets"}},
		{operator, operatorNamespace,
			[]string{"get pods/any", "create leases.coordination.k8s.io", "update leases.coordination.k8s.io/metallb-operator", "create events",
				"create secrets", "get secrets/metallb-webhook-cert", "update secrets/metallb-webhook-cert", "watch secrets/metallb-webhook-cert"},
			[]string{"list pods", "create pods", "get secrets", "get secrets/another", "update secrets/another", "list secrets", "watch secrets", "delete secrets/metallb-webhook-cert",
				"update leases.coordination.k8s.io/another"}},
		{controller, elsewhere,
			[]string{"list services", "watch namespaces", "patch services:status/web", "create events", "create events.events.k8s.io", "list endpointslices.discovery.k8s.io"},
			[]string{"watch endpointslices.discovery.k8s.io", "list servicel2statuses.metallb.io", "update services/web", "get secrets", "create secrets", "list ipaddresspools.metallb.io", "get pods", "delete services", "get leases.coordination.k8s.io"}},
		{controller, here,
			[]string{"watch ipaddresspools.metallb.io", "watch l2advertisements.metallb.io", "watch addresspools.metallb.io", "patch ipaddresspools:status.metallb.io/a",
				"watch bgppeers.metallb.io", "update ipaddresspools.metallb.io/a", "delete bgppeers.metallb.io/a", "get configmaps/config", "watch configmaps/config",
				"create configurationstates.metallb.io", "update configurationstates:status.metallb.io/controller", "get pods/own",
				"watch servicel2statuses.metallb.io", "delete servicel2statuses.metallb.io/a",
				"create secrets", "get secrets/any", "update secrets/any", "delete secrets/any", "create leases.coordination.k8s.io", "update leases.coordination.k8s.io/metallb-controller",
				"get deployments.apps/controller"},
			[]string{"list secrets", "watch secrets", "get configmaps/another", "list configmaps", "update configmaps/config", "list pods", "update deployments.apps/controller", "list deployments.apps",
				"update leases.coordination.k8s.io/another", "patch ipaddresspools.metallb.io/a", "create metallbs.metallb.io",
				"create servicel2statuses.metallb.io", "update servicel2statuses:status.metallb.io/a"}},
		{speaker, elsewhere,
			[]string{"watch services", "watch endpointslices.discovery.k8s.io", "watch nodes", "create events"},
			[]string{"patch services:status/web", "update services", "list pods", "get secrets", "list ipaddresspools.metallb.io", "patch nodes"}},
		{speaker, here,
			[]string{"watch ipaddresspools.metallb.io", "watch l2advertisements.metallb.io", "watch addresspools.metallb.io", "watch pods", "watch bgppeers.metallb.io",
				"get secrets/any", "create configurationstates.metallb.io", "update configurationstates:status.metallb.io/speaker-a",
				"create servicel2statuses.metallb.io", "update servicel2statuses:status.metallb.io/a", "delete servicel2statuses.metallb.io/a"},
			[]string{"list secrets", "watch secrets", "update secrets/any", "create secrets", "update ipaddresspools.metallb.io/a", "create bgppeers.metallb.io", "patch services:status/web", "create pods", "delete pods"}},
	} {
		for _, action := range c2.allowed {
			if !c.may(t, c2.namespace, c2.account, action, c2.in) {
				t.Errorf("%s may not %s in %q", c2.account, action, c2.in)
			}
		}
		for _, action := range c2.refused {
			if c.may(t, c2.namespace, c2.account, action, c2.in) {
				t.Errorf("%s may %s in %q", c2.account, action, c2.in)
			}
		}
	}
}

// Who has the operator's token can hand out the roles that are installed beside it and nothing else.
func TestTheOperatorCannotBindAnythingElse(t *testing.T) {
	c := newCluster(t)
	as, err := client.New(c.operatorConfig(), client.Options{Scheme: scheme()})
	if err != nil {
		t.Fatal(err)
	}
	err = as.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "escape-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: "metallb-operator", Namespace: operatorNamespace}},
	})
	if !apierrors.IsForbidden(err) {
		t.Errorf("binding cluster-admin: %v", err)
	}
}

func TestInstalledManifestsFitTheCode(t *testing.T) {
	manifests, err := overlay()
	if err != nil {
		t.Fatal(err)
	}
	roles := map[string]*rbacv1.ClusterRole{}
	var deployments []*appsv1.Deployment
	for _, o := range manifests {
		if ns := o.GetNamespace(); ns != "" && ns != operatorNamespace {
			t.Errorf("%s %s is left in namespace %s by the overlay", o.GetKind(), o.GetName(), ns)
		}
		if o.GetLabels()[render.LabelManagedBy] == render.Manager {
			t.Errorf("%s %s carries the label of what the operator makes", o.GetKind(), o.GetName())
		}
		switch o.GetKind() {
		case "Namespace":
			if o.GetName() != operatorNamespace {
				t.Errorf("the overlay makes namespace %s", o.GetName())
			}
		case "ClusterRole":
			role := &rbacv1.ClusterRole{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, role); err != nil {
				t.Fatal(err)
			}
			roles[role.Name] = role
		case "Deployment":
			d := &appsv1.Deployment{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, d); err != nil {
				t.Fatal(err)
			}
			deployments = append(deployments, d)
		case "ClusterRoleBinding", "RoleBinding":
			subjects, _ := o.Object["subjects"].([]any)
			for _, s := range subjects {
				if ns := s.(map[string]any)["namespace"]; ns != operatorNamespace {
					t.Errorf("%s %s binds an account of namespace %v", o.GetKind(), o.GetName(), ns)
				}
			}
		}
	}
	operands := []string{render.ControllerRole, render.ControllerLocalRole, render.SpeakerRole, render.SpeakerLocalRole, render.OperatorLocalRole, render.SpeakerSCCRole}
	for _, name := range operands {
		if roles[name] == nil {
			t.Errorf("no ClusterRole %s", name)
		}
	}
	for name, role := range roles {
		for _, rule := range role.Rules {
			if slices.Contains(slices.Concat(rule.Verbs, rule.Resources, rule.APIGroups), "*") {
				t.Errorf("ClusterRole %s has a wildcard: %v", name, rule)
			}
			if slices.Contains(rule.Verbs, "bind") && !cmp.Equal(rule.ResourceNames, slices.Sorted(slices.Values(operands))) {
				t.Errorf("the operator may bind %v", rule.ResourceNames)
			}
			if slices.Contains(rule.Verbs, "escalate") || slices.Contains(rule.Verbs, "impersonate") {
				t.Errorf("ClusterRole %s: %v", name, rule.Verbs)
			}
		}
	}
	if len(deployments) != 1 {
		t.Fatalf("%d Deployments", len(deployments))
	}
	i := slices.IndexFunc(deployments[0].Spec.Template.Spec.Containers, func(c corev1.Container) bool { return c.Name == OperatorContainer })
	if i < 0 {
		t.Fatalf("the operator's pod has no container %s", OperatorContainer)
	}
	if got := deployments[0].Spec.Template.Spec.Containers[i].Image; got != environment.Image {
		t.Errorf("image %s, the overlay says %s", got, environment.Image)
	}
}

func TestTheOperatorFindsItsOwnImage(t *testing.T) {
	c := newCluster(t)
	d := &appsv1.Deployment{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: "metallb-operator-controller-manager"}, d); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, GenerateName: "operator-"}, Spec: *d.Spec.Template.Spec.DeepCopy()}
	pod.Spec.Containers = append([]corev1.Container{{Name: "sidecar", Image: "injected"}}, pod.Spec.Containers...)
	pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}}
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	as, err := client.New(c.operatorConfig(), client.Options{Scheme: scheme()})
	if err != nil {
		t.Fatal(err)
	}
	got, err := OwnEnvironment(t.Context(), as, client.ObjectKeyFromObject(pod))
	if err != nil {
		t.Fatal(err)
	}
	want := render.Environment{Image: environment.Image, ImagePullPolicy: corev1.PullIfNotPresent, ImagePullSecrets: pod.Spec.ImagePullSecrets,
		Account: environment.Account}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := OwnEnvironment(t.Context(), as, types.NamespacedName{Namespace: operatorNamespace, Name: "absent"}); !apierrors.IsNotFound(err) {
		t.Errorf("a pod that is not there: %v", err)
	}
}

// What Pod Security and the priority classes make of the pods, judged by the real admission plugins.
func TestPodsAreAdmittedWhereTheyShouldBe(t *testing.T) {
	c := newCluster(t)
	d := &appsv1.Deployment{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: "metallb-operator-controller-manager"}, d); err != nil {
		t.Fatal(err)
	}
	m := &v1beta1.MetalLB{ObjectMeta: metav1.ObjectMeta{Name: rollout.Name, Namespace: "any"}}
	for _, p := range []struct {
		name     string
		spec     corev1.PodSpec
		levels   []string
		priority int32
	}{
		{"operator", d.Spec.Template.Spec, []string{"restricted", "baseline", "privileged"}, 2000000000},
		{render.Controller, podTemplate(c.workload(m, render.Controller)).Spec, []string{"restricted", "baseline", "privileged"}, 2000000000},
		{render.Speaker, podTemplate(c.workload(m, render.Speaker)).Spec, []string{"privileged"}, 2000001000},
	} {
		for _, level := range []string{"restricted", "baseline", "privileged"} {
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "level-", Labels: map[string]string{rollout.PodSecurityLabel: level}}}
			if err := c.Create(t.Context(), ns); err != nil {
				t.Fatal(err)
			}
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: p.name}, Spec: *p.spec.DeepCopy()}
			err := c.Create(t.Context(), pod)
			if wanted := slices.Contains(p.levels, level); wanted != (err == nil) || err != nil && !apierrors.IsForbidden(err) {
				t.Errorf("%s in a namespace that enforces %s: admitted %t, want %t: %v", p.name, level, err == nil, wanted, err)
			}
			if err == nil && (pod.Spec.Priority == nil || *pod.Spec.Priority != p.priority) {
				t.Errorf("%s has priority %v outside kube-system, want %d", p.name, pod.Spec.Priority, p.priority)
			}
		}
	}
}

func TestChoose(t *testing.T) {
	at := func(second int) metav1.Time { return metav1.Unix(int64(second), 0) }
	m := func(namespace, name string, second int) v1beta1.MetalLB {
		return v1beta1.MetalLB{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: at(second)}}
	}
	leaving := m("leaving", rollout.Name, 0)
	leaving.Finalizers = []string{"x"}
	for name, c := range map[string]struct {
		all  []v1beta1.MetalLB
		want string // served; younger; misnamed
	}{
		"nothing":      {nil, "; []; []"},
		"the only one": {[]v1beta1.MetalLB{m("a", "metallb", 5)}, "a; []; []"},
		"the oldest":   {[]v1beta1.MetalLB{m("a", "metallb", 5), m("b", "metallb", 3), m("c", "metallb", 4)}, "b; [c a]; []"},
		"of the same second the first by namespace":  {[]v1beta1.MetalLB{m("b", "metallb", 3), m("a", "metallb", 3)}, "a; [b]; []"},
		"one of another name is never served":        {[]v1beta1.MetalLB{m("a", "other", 1), m("a", "metallb", 5)}, "a; []; [a]"},
		"only one of another name":                   {[]v1beta1.MetalLB{m("a", "other", 1)}, "; []; [a]"},
		"one that is being deleted does not count":   {[]v1beta1.MetalLB{leaving, m("b", "metallb", 9)}, "b; []; []"},
		"one of another name that is deleted is out": {[]v1beta1.MetalLB{m("leaving", "other", 1)}, "; []; []"},
	} {
		t.Run(name, func(t *testing.T) {
			got := choose(c.all, func(m *v1beta1.MetalLB) bool { return m.Namespace == "leaving" })
			names := func(list []*v1beta1.MetalLB) (out []string) {
				for _, m := range list {
					out = append(out, m.Namespace)
				}
				return out
			}
			served := ""
			if got.served != nil {
				served = got.served.Namespace
			}
			if is := fmt.Sprintf("%s; %v; %v", served, names(got.younger), names(got.misnamed)); is != c.want {
				t.Errorf("got %s, want %s", is, c.want)
			}
		})
	}
}
