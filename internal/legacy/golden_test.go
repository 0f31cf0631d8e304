package legacy_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/legacy"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden lists ConfigMaps of users, as they are (smtp-bgp, private-dc, cyso), and some that have everything.
var golden = []string{"smtp-bgp", "private-dc", "cyso", "everything", "ancient"}

func configMap(t testing.TB, name string) *corev1.ConfigMap {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	cm := &corev1.ConfigMap{}
	if err := yaml.UnmarshalStrict(data, cm); err != nil {
		t.Fatal(err)
	}
	return cm
}

func TestGolden(t *testing.T) {
	for _, name := range golden {
		t.Run(name, func(t *testing.T) {
			cm := configMap(t, name)
			text := []byte(cm.Data[legacy.DataKey])
			if !legacy.Recognise(text) {
				t.Error("not recognised")
			}
			res, problems := legacy.Read(text, legacy.Options{Namespace: cm.Namespace})
			var got bytes.Buffer
			for _, p := range problems {
				got.WriteString("# " + string(p.Severity) + ": " + p.String() + "\n")
			}
			if problems.Failed() {
				t.Errorf("has errors: %v", problems)
			}
			if err := res.WriteYAML(&got); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".golden.yaml")
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("%s (-want +got, -update rewrites it):\n%s", file, diff)
			}
		})
	}
}

// A text without errors becomes resources that can all be used: Compile drops nothing.
func TestGoldenCompiles(t *testing.T) {
	for _, name := range golden {
		t.Run(name, func(t *testing.T) {
			cm := configMap(t, name)
			res, _ := legacy.Read([]byte(cm.Data[legacy.DataKey]), legacy.Options{Namespace: cm.Namespace})
			compiled, problems := config.Compile(config.Input{
				IPAddressPools: res.IPAddressPools, AddressPools: res.AddressPools, L2Advertisements: res.L2Advertisements,
				BGPAdvertisements: res.BGPAdvertisements, BGPPeers: res.BGPPeers, BFDProfiles: res.BFDProfiles, Communities: res.Communities,
				Nodes: []config.Node{},
			})
			for _, p := range problems {
				if p.Severity == config.Error {
					t.Error(p)
				}
			}
			if got, want := len(compiled.Pools), strings.Count(cm.Data[legacy.DataKey], "  protocol:"); got != want {
				t.Errorf("%d pools are left of %d", got, want)
			}
			if got, want := len(compiled.Peers), strings.Count(cm.Data[legacy.DataKey], "peer-address:"); got != want {
				t.Errorf("%d peers are left of %d", got, want)
			}
		})
	}
}
