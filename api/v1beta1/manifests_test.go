package v1beta1_test

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/testenv"
)

var update = flag.Bool("update", false, "rewrite the expected configurations in testdata/manifests")

// TestManifestsOfUsersAreAccepted applies each file of testdata/manifests to the API server and compares what they come
// out as with the .config file beside it.
func TestManifestsOfUsersAreAccepted(t *testing.T) {
	files, err := filepath.Glob("testdata/manifests/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			got := apply(t, file)
			golden := strings.TrimSuffix(file, ".yaml") + ".config"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestManifestsOfTheEndToEndTestsAreAccepted: no error, and some pool in each.
func TestManifestsOfTheEndToEndTestsAreAccepted(t *testing.T) {
	n := 0
	err := filepath.WalkDir("../../test/e2e/testdata", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(filepath.Base(path), "pool") {
			return err
		}
		n++
		t.Run(path, func(t *testing.T) {
			if got := apply(t, path); !strings.Contains(got, "pool ") || strings.Contains(got, "Error") {
				t.Errorf("got\n%s", got)
			}
		})
		return nil
	})
	if err != nil || n == 0 {
		t.Errorf("%d files with pools, %v", n, err)
	}
}

// apply creates the resources of a file in a namespace of their own and compiles what the API server made of them.
func apply(t *testing.T, file string) string {
	c, ctx := newClient(t), context.Background()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	namespace := testenv.Namespace(t, c, nil)
	for _, doc := range strings.Split(string(data), "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(u.GetAPIVersion(), "metallb.io/") {
			continue
		}
		u.SetNamespace(namespace)
		if err := c.Create(ctx, u); err != nil {
			t.Errorf("%s %s: %v", u.GetKind(), u.GetName(), err)
		}
	}
	return describe(read(t, c, namespace))
}

func read(t *testing.T, c client.Client, namespace string) config.Input {
	t.Helper()
	var (
		pools       v1beta1.IPAddressPoolList
		legacy      v1beta1.AddressPoolList
		l2          v1beta1.L2AdvertisementList
		bgp         v1beta1.BGPAdvertisementList
		profiles    v1beta1.BFDProfileList
		communities v1beta1.CommunityList
		peers       v1beta2.BGPPeerList
	)
	for _, list := range []client.ObjectList{&pools, &legacy, &l2, &bgp, &profiles, &communities, &peers} {
		if err := c.List(context.Background(), list, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
	}
	return config.Input{IPAddressPools: pools.Items, AddressPools: legacy.Items, L2Advertisements: l2.Items, BGPAdvertisements: bgp.Items,
		BGPPeers: peers.Items, BFDProfiles: profiles.Items, Communities: communities.Items}
}

// describe writes the Config, what differs from a line's usual content only, and the problems.
func describe(in config.Input) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	compiled, problems := config.Compile(in)
	for _, p := range compiled.Pools {
		line("pool %s of %s %s: %v auto=%v%s%s", p.Name, p.Source.Kind, p.Source.Name, p.Addresses, p.AutoAssign,
			when(p.AvoidBuggyIPs, "avoidBuggyIPs"), when(p.Incomplete, "incomplete"))
		if a := p.Allocation; a != nil {
			line(" for namespaces %v or %v, Services %v, priority %d", a.Namespaces, a.NamespaceSelectors, a.ServiceSelectors, a.Priority)
		}
		line("\n")
		for _, a := range p.L2 {
			line("  l2 %s nodes=%v services=%v interfaces=%v", a.Name, a.NodeSelectors, a.ServiceSelectors, a.Interfaces)
			for _, n := range a.Preferred {
				line(" prefer %v by %d", n.Selector, n.Weight)
			}
			line("\n")
		}
		for _, a := range p.BGP {
			line("  bgp %s /%d /%d localPref=%d communities=%v nodes=%v services=%v peers=%v\n", a.Name, a.Length4, a.Length6, a.LocalPref, a.Communities, a.NodeSelectors, a.ServiceSelectors, a.Peers)
		}
	}
	for _, p := range compiled.Peers {
		line("peer %s AS %d", p.Name, p.MyASN)
		if p.LocalASN != 0 {
			line(" as %d", p.LocalASN)
		}
		line(" to %v%s AS %d%s port %d", p.Address, p.Interface, p.ASN, p.Dynamic, p.Port)
		line(" hold=%v keepalive=%v connect=%v password=%v nodes=%v", p.HoldTime, p.KeepaliveTime, p.ConnectTime, p.Password, p.NodeSelectors)
		if p.Source.IsValid() || p.RouterID.IsValid() || p.VRF != "" {
			line(" from %v id %v vrf %s", p.Source, p.RouterID, p.VRF)
		}
		line("%s%s%s", when(p.MultiHop, "multihop"), when(p.DualStack, "dualstack"), when(p.GracefulRestart, "gracefulRestart"))
		if p.BFD != nil {
			line(" bfd %+v", *p.BFD)
		}
		line("\n")
	}
	for _, p := range problems {
		line("%s %v\n", p.Severity, p)
	}
	return b.String()
}

func when(on bool, text string) string {
	if on {
		return " " + text
	}
	return ""
}
