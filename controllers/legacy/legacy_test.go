package legacy

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
)

const (
	onePool  = "address-pools:\n- name: a\n  protocol: layer2\n  addresses: [192.0.2.0/28]\n"
	twoPools = onePool + "- name: b\n  protocol: layer2\n  addresses: [198.51.100.0/28]\n"
	onePeer  = "peers:\n- {my-asn: 64512, peer-asn: 64513, peer-address: 192.0.2.1, password: s3cr3t-one}\n"
)

func TestTheResourcesFollowTheConfigMap(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.write(twoPools)
	w.becomes("IPAddressPool/a=192.0.2.0/28 IPAddressPool/b=198.51.100.0/28 L2Advertisement/a L2Advertisement/b")
	w.says("Normal Converted Made of this ConfigMap: 2 IPAddressPools, 2 L2Advertisements (label metallb.io/legacy-config=config). They follow its changes. " +
		"To write them yourself from now on: kubectl get configmap config -n " + w.namespace + " -o yaml | kubectl metallb convert -f - x1")
	eventually(w, "the state", "True|", w.state)
	pool := &v1beta1.IPAddressPool{}
	w.must(w.Get(context.Background(), client.ObjectKey{Namespace: w.namespace, Name: "b"}, pool))
	if got := pool.Annotations[Annotation]; got != "address-pools[name=b]" {
		t.Errorf("the annotation is %q", got)
	}
	if o := pool.OwnerReferences[0]; o.Kind != "ConfigMap" || o.Name != "config" || o.BlockOwnerDeletion != nil || o.Controller != nil {
		t.Errorf("the owner is %+v", o)
	}

	w.write(strings.ReplaceAll(twoPools, "198.51.100.0/28", "198.51.100.0/27") + "- name: c\n  protocol: bgp\n  addresses: [203.0.113.0/28]\n")
	w.becomes("BGPAdvertisement/c-32-128 IPAddressPool/a=192.0.2.0/28 IPAddressPool/b=198.51.100.0/27 IPAddressPool/c=203.0.113.0/28 L2Advertisement/a L2Advertisement/b")

	// An error anywhere changes nothing, and is told with its place.
	w.write("address-pools:\n- name: a\n  protocol: layer2\n  addresses: [192.0.2.300/28]\n  auto_assign: true\n")
	message := `line 4: address-pools[0].addresses[0]: "192.0.2.300/28" has no valid address before the slash ("192.0.2.300" is not an IP address): write for instance 192.0.2.0/24 or 2001:db8::/64` + "\n" +
		"line 5: address-pools[0].auto_assign: is not a key that is known here: did you mean auto-assign?"
	w.says("Warning InvalidConfiguration " + message + " x1")
	eventually(w, "the state", "False|ConfigMap config: "+strings.ReplaceAll(message, "\n", "\nConfigMap config: "), w.state)
	w.becomes("BGPAdvertisement/c-32-128 IPAddressPool/a=192.0.2.0/28 IPAddressPool/b=198.51.100.0/27 IPAddressPool/c=203.0.113.0/28 L2Advertisement/a L2Advertisement/b")
	w.stays()
	w.write("wrong: again\n") // not such a configuration any more: with resources made of it that is an error too
	w.says("Warning InvalidConfiguration line 1: wrong: is not a key that is known here: remove it x1")
	w.stays()

	w.write(onePool)
	w.becomes("IPAddressPool/a=192.0.2.0/28 L2Advertisement/a")
	eventually(w, "the state", "True|", w.state)
	w.write("")
	w.becomes("")
	eventually(w, "the state", "", w.state)
	w.write(twoPools)
	w.becomes("IPAddressPool/a=192.0.2.0/28 IPAddressPool/b=198.51.100.0/28 L2Advertisement/a L2Advertisement/b")
	w.write("{}")
	w.becomes("")
	w.write(onePool)
	w.becomes("IPAddressPool/a=192.0.2.0/28 L2Advertisement/a")
	edit(w, &corev1.ConfigMap{}, "config", func(cm *corev1.ConfigMap) { cm.Data = map[string]string{"other": "x"} })
	w.becomes("")
}

func TestSeedsThroughTheAPIServer(t *testing.T) {
	for _, name := range []string{"smtp-bgp", "private-dc", "cyso", "everything", "ancient"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write(w.seed(name))
			w.start()
			eventually(w, "the state", true, func() bool { return strings.HasPrefix(w.state(), "True||") || w.state() == "True|" })
			eventually(w, "something made", true, func() bool { return len(w.all()) > 0 })
			// A restart finds all as it should be, whatever the API server has filled in.
			w.stays()
			before := w.versions()
			w.halt()
			w.start()
			w.stays()
			if after := w.versions(); after != before {
				t.Errorf("the restart has written: was %s, is %s", before, after)
			}
			w.write("")
			w.becomes("")
		})
	}
}

func TestAnotherConfigMapIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.write("server:\n  port: 80\n")
	w.start()
	w.stays()
	if got := strings.Join(w.events(), "\n") + w.state() + w.have(); got != "" {
		t.Errorf("there is %s", got)
	}
	w.write("- a list\n")
	w.write(": no yaml")
	w.stays()
	if got := strings.Join(w.events(), "\n") + w.state() + w.have(); got != "" {
		t.Errorf("there is %s", got)
	}
	w.write("address-pools: [\n") // but this is meant as one
	w.says("Warning InvalidConfiguration line 1: the text is not valid YAML: did not find expected node content x1")
}

func TestAUsersResourceIsNeverTouched(t *testing.T) {
	w := newWorld(t)
	theirs := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "a"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"203.0.113.0/24"}}}
	w.must(w.Create(context.Background(), theirs))
	w.start()
	w.write(twoPools)
	w.becomes("IPAddressPool/a!=203.0.113.0/24 IPAddressPool/b=198.51.100.0/28 L2Advertisement/a L2Advertisement/b")
	w.says("Warning InvalidConfiguration line 2: address-pools[0]: IPAddressPool a is there and was not made of this ConfigMap, so it is left as it is: " +
		"remove this entry if that is to stay, or remove that (kubectl delete ipaddresspools.metallb.io a) to have it made of this entry x1")
	w.write(onePool)
	w.becomes("IPAddressPool/a!=203.0.113.0/24 L2Advertisement/a")
	w.write("")
	w.becomes("IPAddressPool/a!=203.0.113.0/24")
	w.must(w.Get(context.Background(), client.ObjectKeyFromObject(theirs), theirs))
	if theirs.Generation != 1 || len(theirs.Labels)+len(theirs.Annotations)+len(theirs.OwnerReferences) > 0 {
		t.Errorf("it has been touched: %+v", theirs.ObjectMeta)
	}
	w.write(onePool)
	w.becomes("IPAddressPool/a!=203.0.113.0/24 L2Advertisement/a")
	w.must(w.Delete(context.Background(), theirs)) // out of the way
	w.becomes("IPAddressPool/a=192.0.2.0/28 L2Advertisement/a")
	eventually(w, "the state", "True|", w.state)
}

func TestWhatWasMadeIsPutRight(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.write(onePool)
	w.becomes("IPAddressPool/a=192.0.2.0/28 L2Advertisement/a")
	edit(w, &v1beta1.IPAddressPool{}, "a", func(p *v1beta1.IPAddressPool) {
		p.Spec.Addresses = []string{"203.0.113.0/24"}
		p.Spec.ServiceAllocation = &v1beta1.ServiceAllocation{Priority: 5}
		p.Annotations["example.com/mine"] = "kept"
	})
	w.becomes("IPAddressPool/a=192.0.2.0/28 L2Advertisement/a")
	pool := &v1beta1.IPAddressPool{}
	w.must(w.Get(context.Background(), client.ObjectKey{Namespace: w.namespace, Name: "a"}, pool))
	if pool.Spec.ServiceAllocation != nil || pool.Annotations["example.com/mine"] != "kept" {
		t.Errorf("it is %+v", pool)
	}
	w.must(w.Delete(context.Background(), pool))
	w.becomes("IPAddressPool/a=192.0.2.0/28 L2Advertisement/a")
}

func TestAUserTakesOverByRemovingTheLabel(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.write(onePool + onePeer)
	w.becomes("BGPPeer/peer-192-0-2-1 IPAddressPool/a=192.0.2.0/28 L2Advertisement/a Secret/peer-192-0-2-1-password")
	edit(w, &v1beta1.IPAddressPool{}, "a", func(p *v1beta1.IPAddressPool) { delete(p.Labels, Label) })
	edit(w, &v1beta2.BGPPeer{}, "peer-192-0-2-1", func(p *v1beta2.BGPPeer) { delete(p.Labels, Label) })
	w.becomes("BGPPeer/peer-192-0-2-1! IPAddressPool/a!=192.0.2.0/28 L2Advertisement/a Secret/peer-192-0-2-1-password!")
	eventually(w, "owners of what was taken over", 0, func() (n int) {
		for _, o := range w.all() {
			if !labelled(o) {
				n += len(o.GetOwnerReferences())
			}
		}
		return n
	})
	edit(w, &v1beta1.IPAddressPool{}, "a", func(p *v1beta1.IPAddressPool) { p.Spec.Addresses = []string{"203.0.113.0/24"} })
	w.stays()
	w.write("")
	w.becomes("BGPPeer/peer-192-0-2-1! IPAddressPool/a!=203.0.113.0/24 Secret/peer-192-0-2-1-password!")
}

func TestTheConfigMapGoes(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.write(twoPools)
	w.becomes("IPAddressPool/a=192.0.2.0/28 IPAddressPool/b=198.51.100.0/28 L2Advertisement/a L2Advertisement/b")
	eventually(w, "the state", "True|", w.state)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: configMap}}

	// kubectl delete --cascade=orphan: nothing is removed, and nothing is taken back while it goes.
	w.must(w.Delete(context.Background(), cm, client.PropagationPolicy(metav1.DeletePropagationOrphan)))
	for _, o := range w.all() {
		o.SetOwnerReferences(nil)
		w.must(w.Update(context.Background(), stripped(o)))
	}
	w.stays()
	edit(w, &corev1.ConfigMap{}, configMap, func(cm *corev1.ConfigMap) { cm.Finalizers = nil })
	eventually(w, "the state", "", w.state)
	w.stays()
	w.becomes("IPAddressPool/a!=192.0.2.0/28 IPAddressPool/b!=198.51.100.0/28 L2Advertisement/a! L2Advertisement/b!")

	// One of its name again: what it holds is taken back by its label, what it does not hold stays.
	w.write(onePool)
	w.becomes("IPAddressPool/a=192.0.2.0/28 IPAddressPool/b!=198.51.100.0/28 L2Advertisement/a L2Advertisement/b!")

	// Deleted and made anew before the garbage collector has done anything: the new one is the owner, the rest goes.
	w.write(onePool + "- name: c\n  protocol: layer2\n  addresses: [203.0.113.0/28]\n")
	w.becomes("IPAddressPool/a=192.0.2.0/28 IPAddressPool/b!=198.51.100.0/28 IPAddressPool/c=203.0.113.0/28 L2Advertisement/a L2Advertisement/b! L2Advertisement/c")
	w.must(w.Delete(context.Background(), cm))
	w.write(onePool)
	w.becomes("IPAddressPool/a=192.0.2.0/28 IPAddressPool/b!=198.51.100.0/28 L2Advertisement/a L2Advertisement/b!")
	w.must(w.Get(context.Background(), client.ObjectKeyFromObject(cm), cm))
	pool := &v1beta1.IPAddressPool{}
	w.must(w.Get(context.Background(), client.ObjectKey{Namespace: w.namespace, Name: "a"}, pool))
	if len(pool.OwnerReferences) != 1 || pool.OwnerReferences[0].UID != cm.UID {
		t.Errorf("the owners are %+v", pool.OwnerReferences)
	}
}

// stripped has no kind, which the client knows better.
func stripped(o client.Object) client.Object {
	o.GetObjectKind().SetGroupVersionKind((&corev1.Secret{}).GroupVersionKind())
	return o
}

func TestPasswords(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.write(onePeer)
	w.becomes("BGPPeer/peer-192-0-2-1 Secret/peer-192-0-2-1-password")
	password := func() string {
		s := &corev1.Secret{}
		w.must(client.IgnoreNotFound(w.Get(context.Background(), client.ObjectKey{Namespace: w.namespace, Name: "peer-192-0-2-1-password"}, s)))
		return string(s.Type) + " " + string(s.Data["password"])
	}
	eventually(w, "the Secret", "kubernetes.io/basic-auth s3cr3t-one", password)
	peer := &v1beta2.BGPPeer{}
	w.must(w.Get(context.Background(), client.ObjectKey{Namespace: w.namespace, Name: "peer-192-0-2-1"}, peer))
	if peer.Spec.Password != "" || peer.Spec.PasswordSecret.Name != "peer-192-0-2-1-password" {
		t.Errorf("the peer has %q and %+v", peer.Spec.Password, peer.Spec.PasswordSecret)
	}
	generation := peer.Generation
	w.write(strings.ReplaceAll(onePeer, "s3cr3t-one", "s3cr3t-two"))
	eventually(w, "the Secret", "kubernetes.io/basic-auth s3cr3t-two", password)
	w.must(w.Get(context.Background(), client.ObjectKeyFromObject(peer), peer))
	if peer.Generation != generation {
		t.Error("the peer was changed with its password")
	}
	// Wrong in every way that has a text of its own.
	for _, wrong := range []string{
		"{s3cr3t-three: }", "[s3cr3t-three]", "*s3cr3t-three", "!!binary s3cr3t-three", "'s3cr3t-three", `"s3cr3t-three\q"`, "@s3cr3t-three",
		"s3cr3t-three" + strings.Repeat("x", 80), "s3cr3t-three: s3cr3t-three",
	} {
		before := w.state()
		w.write(strings.ReplaceAll(onePeer, "s3cr3t-one", wrong))
		eventually(w, "another state with "+wrong, true, func() bool { return w.state() != before && strings.HasPrefix(w.state(), "False|") })
		if got := password(); got != "kubernetes.io/basic-auth s3cr3t-two" {
			t.Errorf("with the text %s the Secret is %s", wrong, got)
		}
		w.write(strings.ReplaceAll(onePeer, "s3cr3t-one", "s3cr3t-two"))
		eventually(w, "the state", "True|", w.state)
	}
	w.write(strings.ReplaceAll(onePeer, ", password: s3cr3t-one", ""))
	w.becomes("BGPPeer/peer-192-0-2-1")
	w.write(onePeer)
	w.becomes("BGPPeer/peer-192-0-2-1 Secret/peer-192-0-2-1-password")
	w.write("peers: []\n")
	w.becomes("")

	// Somebody else's Secret is neither used nor changed.
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "peer-192-0-2-1-password"}, StringData: map[string]string{"password": "s3cr3t-four"}}
	w.must(w.Create(context.Background(), secret))
	w.write(onePeer + onePool)
	w.becomes("IPAddressPool/a=192.0.2.0/28 L2Advertisement/a Secret/peer-192-0-2-1-password!")
	eventually(w, "the state", "False|ConfigMap config: line 2: peers[0].password: Secret peer-192-0-2-1-password is there and was not made of this ConfigMap, so it is left as it is: "+
		"remove this entry if that is to stay, or remove that (kubectl delete secrets peer-192-0-2-1-password) to have it made of this entry", w.state)

	time.Sleep(settle)
	if !strings.Contains(written.String(), "following the ConfigMap") {
		t.Error("nothing has been logged")
	}
	for where, text := range map[string]string{"the log": written.String(), "the events": strings.Join(w.events(), "\n"), "the state": w.state()} {
		if strings.Contains(text, "s3cr3t") {
			t.Errorf("%s has a password: %s", where, text)
		}
	}
}

func TestWarningsAreToldOnce(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.write("peer-autodiscovery: {from-labels: []}\n" + onePool)
	w.becomes("IPAddressPool/a=192.0.2.0/28 L2Advertisement/a")
	message := "line 1: peer-autodiscovery: is not supported, so no peers are made of it: list them under peers; all else is used"
	w.says("Warning ConfigurationWarning " + message + " x1")
	eventually(w, "the state", "True||ConfigMap config: "+message, w.state)
	w.write("peer-autodiscovery: {from-labels: []}\n" + twoPools)
	w.becomes("IPAddressPool/a=192.0.2.0/28 IPAddressPool/b=198.51.100.0/28 L2Advertisement/a L2Advertisement/b")
	w.stays()
	w.says("Warning ConfigurationWarning " + message + " x1")
}

// A user makes the very resource between the look and the write: theirs stays.
func TestAUserIsFaster(t *testing.T) {
	w := newWorld(t)
	var once atomic.Bool
	w.wrap = func(c client.WithWatch) client.Client {
		return interceptor.NewClient(c, interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				if _, ok := o.(*v1beta1.IPAddressPool); ok && !once.Swap(true) {
					w.must(w.Create(ctx, &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "a"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{"203.0.113.0/24"}}}))
				}
				return c.Create(ctx, o, opts...)
			},
		})
	}
	w.start()
	w.write(onePool)
	w.becomes("IPAddressPool/a!=203.0.113.0/24 L2Advertisement/a")
}

// Trouble on the way is no fault of the text: it is tried again and nothing is said of it.
func TestTrouble(t *testing.T) {
	w := newWorld(t)
	var failures atomic.Int32
	w.wrap = func(c client.WithWatch) client.Client {
		return interceptor.NewClient(c, interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				switch failures.Add(1) {
				case 2:
					return apierrors.NewInternalError(errors.New("failed calling webhook"))
				case 4:
					return &apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusTooManyRequests, Reason: metav1.StatusReasonTooManyRequests}}
				}
				return c.Create(ctx, o, opts...)
			},
		})
	}
	w.start()
	w.write(twoPools)
	w.becomes("IPAddressPool/a=192.0.2.0/28 IPAddressPool/b=198.51.100.0/28 L2Advertisement/a L2Advertisement/b")
	eventually(w, "the state", "True|", w.state)
	if n := failures.Load(); n < 6 {
		t.Errorf("%d attempts", n)
	}
}
