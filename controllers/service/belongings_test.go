package service

import (
	"context"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"metallb.io/operator/api/v1beta1"
)

// elected has replicas take turns by the Lease, as installations do.
func (w *world) elected(o *ctrl.Options) {
	leases, err := coordinationclient.NewForConfig(w.as())
	w.must(err)
	owners := func(context.Context) ([]metav1.OwnerReference, error) { return nil, nil }
	if w.belongings != nil {
		live, err := client.New(w.as(), client.Options{Scheme: w.scheme})
		w.must(err)
		owners = (&Belongings{Live: live, Namespace: w.namespace, Deployment: w.belongings.Deployment}).Owners
	}
	o.LeaderElection = true
	o.LeaderElectionResourceLockInterface = OwnedLock(leases, w.namespace, "metallb-controller", string(uuid.NewUUID()), owners)
	o.LeaderElectionReleaseOnCancel = true
	o.LeaseDuration, o.RenewDeadline, o.RetryPeriod = ptr.To(4*time.Second), ptr.To(3*time.Second), ptr.To(time.Second)
}

// installation makes a MetalLB resource and the controller's Deployment, which it owns.
func (w *world) installation() *v1beta1.MetalLB {
	labels := map[string]string{"app": "metallb"}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "controller"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "controller", Image: "metallb"}}}},
		},
	}
	m := &v1beta1.MetalLB{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "metallb"}}
	w.make(m)
	w.must(controllerutil.SetControllerReference(m, d, w.scheme))
	w.make(d)
	return m
}

func TestBelongingsEndWithTheInstallation(t *testing.T) {
	w := newWorld(t)
	owner := w.installation()
	w.belongings = &Belongings{Secret: "memberlist", Deployment: "controller"}
	w.stop = w.run(w.elected)

	owned := func(kind string, obj client.Object) {
		t.Helper()
		name := client.ObjectKey{Namespace: w.namespace, Name: obj.GetName()}
		w.eventually(func() string {
			if err := w.Get(context.Background(), name, obj); err != nil {
				return err.Error()
			}
			if refs := obj.GetOwnerReferences(); len(refs) != 1 || refs[0].UID != owner.UID || refs[0].Kind != "MetalLB" || refs[0].BlockOwnerDeletion != nil {
				return fmt.Sprintf("%s is owned by %v", kind, refs)
			}
			return ""
		})
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "memberlist"}}
	owned("Secret", secret)
	if key, err := base64.StdEncoding.DecodeString(string(secret.Data["secretkey"])); err != nil || len(key) != 32 {
		t.Errorf("the key is %d bytes long, %v", len(key), err)
	}
	if by := secret.Labels["app.kubernetes.io/managed-by"]; by != "metallb-controller" {
		t.Errorf("the Secret is labelled as managed by %q", by)
	}
	owned("Lease", &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "metallb-controller"}})

	// A Lease that somebody deletes, as the garbage collector does, comes back with its owner.
	w.must(w.Delete(context.Background(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "metallb-controller"}}))
	owned("Lease", &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "metallb-controller"}})

	// The election goes on with it.
	lease := &coordinationv1.Lease{}
	w.must(w.Get(context.Background(), client.ObjectKey{Namespace: w.namespace, Name: "metallb-controller"}, lease))
	renewed := lease.Spec.RenewTime
	w.eventually(func() string {
		w.must(w.Get(context.Background(), client.ObjectKeyFromObject(lease), lease))
		if !lease.Spec.RenewTime.After(renewed.Time) || len(lease.OwnerReferences) != 1 {
			return "the Lease is not renewed, or nobody's"
		}
		return ""
	})

	// A restart finds both and changes neither.
	w.halt()
	w.stop = w.run(w.elected)
	w.service("a")
	w.expect("a", "NoPools") // it leads
	again := &corev1.Secret{}
	w.must(w.Get(context.Background(), client.ObjectKeyFromObject(secret), again))
	if again.ResourceVersion != secret.ResourceVersion {
		t.Error("the Secret was written again")
	}
}

func TestSecretOfTheUserStays(t *testing.T) {
	w := newWorld(t)
	mine := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "memberlist"}, StringData: map[string]string{"secretkey": "mine"}}
	w.make(mine)
	c, err := client.New(w.as(), client.Options{Scheme: w.scheme})
	w.must(err)
	b := &Belongings{Client: c, Live: c, Namespace: w.namespace, Secret: "memberlist"}
	w.must(b.ensure(context.Background()))
	got := &corev1.Secret{}
	w.must(w.Get(context.Background(), client.ObjectKeyFromObject(mine), got))
	if got.ResourceVersion != mine.ResourceVersion || string(got.Data["secretkey"]) != "mine" {
		t.Errorf("the Secret is now %v", got)
	}
	// While its Deployment is gone the Secret is not made: nobody would remove it.
	w.must(w.Delete(context.Background(), mine))
	b.Deployment = "controller"
	if err := b.ensure(context.Background()); !apierrors.IsNotFound(err) {
		t.Errorf("the missing Deployment gives %v", err)
	}
	if err := w.Get(context.Background(), client.ObjectKeyFromObject(mine), got); !apierrors.IsNotFound(err) {
		t.Errorf("reading the Secret gives %v", err)
	}
	// No Secret of another namespace is within reach.
	if err := c.Get(context.Background(), client.ObjectKey{Namespace: w.apps, Name: "other"}, got); !apierrors.IsForbidden(err) {
		t.Errorf("reading a Secret of another namespace gives %v", err)
	}
}

// TestTwoReplicas stops the leader again and again while Services come and go.
func TestTwoReplicas(t *testing.T) {
	w := newWorld(t)
	w.pool("p", "192.0.2.0/26")
	stops := []func(){w.run(w.elected), w.run(w.elected)}
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	held := map[string]string{}
	for i := range 4 {
		for j := range 6 {
			name := fmt.Sprintf("s%d-%d", i, j)
			w.service(name)
			if j == 3 {
				began := time.Now()
				stops[0]() // the leader, or the one that waits
				stops = []func(){stops[1], w.run(w.elected)}
				w.eventually(func() string {
					if state(w.get(name)) == "no condition" {
						return "nobody leads"
					}
					return ""
				})
				t.Logf("served again %v after a replica was told to stop", time.Since(began).Round(time.Millisecond))
			}
		}
		if i > 0 {
			gone := w.get(fmt.Sprintf("s%d-0", i-1))
			delete(held, gone.Name)
			w.must(w.Delete(context.Background(), gone))
		}
		for name := range w.versions() {
			w.eventually(func() string {
				got := state(w.get(name))
				if before, ok := held[name]; ok && got != before {
					t.Fatalf("%s had %s and has %s", name, before, got)
				}
				if held[name] = got; got == "no condition" {
					delete(held, name)
					return name + " is not served"
				}
				return ""
			})
		}
		w.addressesOnce()
	}
}
