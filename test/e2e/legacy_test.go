package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/test/e2e/product"
	"metallb.io/operator/test/lab"
)

// The ConfigMaps of three users, as they are: applied, edited, broken, emptied. The resources follow.
func TestLegacyConfigMaps(t *testing.T) {
	p := metallb(t, "metallb-system", "aspera/metallb.yaml")
	withoutPools(t, p)
	t.Run("smtp-bgp", func(t *testing.T) {
		l := legacyConfig(t, p, "smtp-bgp")
		l.becomes("the CRs of the ConfigMap", func(s *crs) error {
			return s.want("default=172.22.35.64/26 auto public=200.1.154.64/26", "172.22.35.1 64636-64635 ",
				"default:32:100:64635:100 public:32:100:64635:200")
		})
		l.edit("- 200.1.154.64/26", "- 200.1.154.64/26\n      - 198.51.100.0/28", "64635:200", "64635:201")
		l.becomes("the edited range and community", func(s *crs) error {
			return s.want("default=172.22.35.64/26 auto public=200.1.154.64/26,198.51.100.0/28", "172.22.35.1 64636-64635 ",
				"default:32:100:64635:100 public:32:100:64635:201")
		})
		l.edit("200.1.154.64/26", "200.1.154.300/26") // a slip: nothing that works goes
		message := warning(t, p, "ConfigMap/config", "200.1.154.300/26")
		t.Log(message)
		if !strings.Contains(message, "line ") {
			t.Error("the warning names no line")
		}
		l.stateSays("200.1.154.300/26")
		l.becomes("unchanged", func(s *crs) error {
			return s.want("default=172.22.35.64/26 auto public=200.1.154.64/26,198.51.100.0/28", "172.22.35.1 64636-64635 ",
				"default:32:100:64635:100 public:32:100:64635:201")
		})
		l.empty()
	})
	t.Run("private-dc", func(t *testing.T) {
		l := legacyConfig(t, p, "private-dc")
		l.becomes("the pool", func(s *crs) error { return s.want("default=10.12.0.200-10.12.0.220 auto", "", "") })
		l.edit("10.12.0.200-10.12.0.220", "172.30.0.100-172.30.0.120") // addresses of this LAN, so that one can be asked
		ns := namespace(t, p)
		address := asperaService(t, p, ns)
		answer, err := p.Answer(product.Within(t, time.Minute), lab.Client, "tcp", netip.AddrPortFrom(address, 33001))
		product.Must(t, err)
		answeredBy(t, answer, "tcp", "aspera-tcp-proxy")
		l.empty()
	})
	t.Run("cyso", func(t *testing.T) {
		l := legacyConfig(t, p, "cyso")
		l.becomes("the pool, the peer and its password", func(s *crs) error {
			return s.want("public-pool=1.2.3.4-1.2.3.8 auto", "10.0.0.1 65559-65559 foo", "public-pool:32:0")
		})
		const password = "a-password-of-forty-years"
		l.edit(`"foo"`, `"`+password+`"`)
		l.becomes("the new password", func(s *crs) error {
			return s.want("public-pool=1.2.3.4-1.2.3.8 auto", "10.0.0.1 65559-65559 "+password, "public-pool:32:0")
		})
		ctx := product.Within(t, 30*time.Second)
		for _, args := range []string{
			"get events -A -o yaml", "get metallb-all -n metallb-system -o yaml", "get services,configmaps -n my-metallb-operator -o yaml",
			"logs -n metallb-system -l app=metallb --tail=-1", "logs -n my-metallb-operator -l control-plane=controller-manager --tail=-1",
		} {
			out, err := p.Kubectl(ctx, strings.Fields(args)...)
			product.Must(t, err)
			if strings.Contains(out, password) {
				t.Errorf("kubectl %s prints the password", args)
			}
		}
		l.empty()
		product.Must(t, product.Until(ctx, "the password's Secret to go", func() (bool, error) {
			secrets := &corev1.SecretList{}
			err := p.List(ctx, secrets, client.InNamespace("metallb-system"))
			n := len(slices.DeleteFunc(secrets.Items, func(s corev1.Secret) bool { return s.Type != corev1.SecretTypeBasicAuth }))
			return err == nil && n == 0, errOr(err, fmt.Sprintf("%d left", n))
		}))
	})
}

// withoutPools puts away what other tests left, which would overlap.
func withoutPools(t *testing.T, p *product.Product) {
	t.Helper()
	_, err := p.Kubectl(product.Within(t, 20*time.Second), "delete", "addresspools.metallb.io,ipaddresspools.metallb.io", "--all", "-n", "metallb-system")
	product.Must(t, err)
}

// legacy is a ConfigMap of old in the lab.
type legacy struct {
	t        *testing.T
	p        *product.Product
	manifest string
}

// legacyConfig applies a user's ConfigMap, unchanged, and removes it at the end.
func legacyConfig(t *testing.T, p *product.Product, name string) *legacy {
	t.Helper()
	text, err := os.ReadFile(p.File("legacy/" + name + ".yaml"))
	product.Must(t, err)
	l := &legacy{t: t, p: p, manifest: string(text)}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if _, err := p.KubectlInput(ctx, l.manifest, "delete", "--ignore-not-found", "-f", "-"); err != nil {
			t.Error(err)
		}
	})
	l.apply(l.manifest)
	return l
}

func (l *legacy) apply(manifest string) {
	l.t.Helper()
	_, err := l.p.KubectlInput(product.Within(l.t, 10*time.Second), manifest, "apply", "-f", "-")
	product.Must(l.t, err)
	l.manifest = manifest
}

// edit replaces texts, in pairs of old and new.
func (l *legacy) edit(pairs ...string) {
	l.t.Helper()
	edited := strings.NewReplacer(pairs...).Replace(l.manifest)
	if edited == l.manifest {
		l.t.Fatalf("nothing to replace of %q", pairs)
	}
	l.apply(edited)
}

// empty leaves the ConfigMap there with nothing in it, and waits until nothing made from it is left.
func (l *legacy) empty() {
	l.t.Helper()
	head, _, _ := strings.Cut(l.manifest, "  config: |")
	l.apply(head + "  config: \"\"\n")
	l.becomes("empty", func(s *crs) error { return s.want("", "", "") })
}

// becomes waits until what the ConfigMap was turned into is as it should be.
func (l *legacy) becomes(what string, check func(*crs) error) {
	l.t.Helper()
	ctx := product.Within(l.t, 20*time.Second)
	start := time.Now()
	product.Must(l.t, product.Until(ctx, what, func() (bool, error) {
		s, err := readCRs(ctx, l.p)
		if err == nil {
			err = check(s)
		}
		return err == nil, err
	}))
	l.t.Logf("%s after %s", what, time.Since(start).Round(10*time.Millisecond))
}

// stateSays waits until the controller's ConfigurationState is Invalid and says the text.
func (l *legacy) stateSays(text string) {
	l.t.Helper()
	ctx := product.Within(l.t, 15*time.Second)
	product.Must(l.t, product.Until(ctx, "ConfigurationState controller to say so", func() (bool, error) {
		state := &v1beta1.ConfigurationState{}
		if err := l.p.Get(ctx, client.ObjectKey{Namespace: "metallb-system", Name: "controller"}, state); err != nil {
			return false, err
		}
		return state.Status.Result == v1beta1.ConfigurationInvalid && strings.Contains(state.Status.ErrorSummary, text),
			fmt.Errorf("%s: %s", state.Status.Result, state.Status.ErrorSummary)
	}))
}

// crs is the configuration in metallb-system, in short.
type crs struct {
	pools, peers, bgp string
}

func (s *crs) want(pools, peers, bgp string) error {
	if got := [3]string{s.pools, s.peers, s.bgp}; got != [3]string{pools, peers, bgp} {
		return fmt.Errorf("it is %q", got)
	}
	return nil
}

func readCRs(ctx context.Context, p *product.Product) (*crs, error) {
	var pools v1beta1.IPAddressPoolList
	var advertisements v1beta1.BGPAdvertisementList
	var peers v1beta2.BGPPeerList
	for _, list := range []client.ObjectList{&pools, &advertisements, &peers} {
		if err := p.List(ctx, list, client.InNamespace("metallb-system")); err != nil {
			return nil, err
		}
	}
	var out crs
	var texts []string
	for _, x := range pools.Items {
		text := x.Name + "=" + strings.Join(x.Spec.Addresses, ",")
		if *x.Spec.AutoAssign {
			text += " auto"
		}
		texts = append(texts, text)
	}
	slices.Sort(texts)
	out.pools, texts = strings.Join(texts, " "), nil
	for _, x := range peers.Items {
		password := ""
		if name := x.Spec.PasswordSecret.Name; name != "" {
			secret := &corev1.Secret{}
			if err := p.Get(ctx, client.ObjectKey{Namespace: x.Namespace, Name: name}, secret); client.IgnoreNotFound(err) != nil {
				return nil, err
			} else if apierrors.IsNotFound(err) || secret.Type != corev1.SecretTypeBasicAuth || x.Spec.Password != "" {
				return nil, fmt.Errorf("peer %s: the password is not in a Secret of type basic-auth", x.Name)
			}
			password = string(secret.Data["password"])
		}
		texts = append(texts, fmt.Sprintf("%s %d-%d %s", x.Spec.Address, x.Spec.MyASN, x.Spec.ASN, password))
	}
	slices.Sort(texts)
	out.peers, texts = strings.Join(texts, " "), nil
	for _, x := range advertisements.Items {
		text := fmt.Sprintf("%s:%d:%d", strings.Join(x.Spec.IPAddressPools, ","), *x.Spec.AggregationLength, x.Spec.LocalPref)
		if len(x.Spec.Communities) > 0 {
			text += ":" + strings.Join(x.Spec.Communities, ",")
		}
		texts = append(texts, text)
	}
	slices.Sort(texts)
	out.bgp = strings.Join(texts, " ")
	return &out, nil
}
