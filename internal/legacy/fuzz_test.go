package legacy_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/legacy"
)

// FuzzParse: nothing panics, what is accepted is converted to the same resources each time, and Compile drops none of
// them.
func FuzzParse(f *testing.F) {
	for _, name := range golden {
		f.Add([]byte(configMap(f, name).Data[legacy.DataKey]))
	}
	files, err := filepath.Glob("testdata/fuzz-seeds/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("address-pools:\n- name: \xff\xfe\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		legacy.Recognise(text)
		one, problems := legacy.Read(text, legacy.Options{Namespace: "n"})
		two, again := legacy.Read(text, legacy.Options{Namespace: "n"})
		var a, b bytes.Buffer
		if err := one.WriteYAML(&a); err != nil {
			t.Fatal(err)
		}
		if err := two.WriteYAML(&b); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Bytes(), b.Bytes()) || len(problems) != len(again) {
			t.Fatal("it differs from one time to the next")
		}
		for i, p := range problems {
			if p != again[i] {
				t.Fatalf("%v, then %v", p, again[i])
			}
		}
		if problems.Failed() {
			return
		}
		seen := map[string]bool{}
		for _, o := range one.Objects() {
			kind := o.GetObjectKind().GroupVersionKind().Kind
			if key := kind + "/" + o.GetName(); seen[key] {
				t.Fatalf("%s is there twice", key)
			} else {
				seen[key] = true
			}
			if one.Place(kind, o.GetName(), "spec.whatever").Line == 0 || one.Origin(kind, o.GetName()) == "" {
				t.Fatalf("%s %s comes from nowhere", kind, o.GetName())
			}
		}
		_, found := config.Compile(config.Input{
			IPAddressPools: one.IPAddressPools, AddressPools: one.AddressPools, L2Advertisements: one.L2Advertisements,
			BGPAdvertisements: one.BGPAdvertisements, BGPPeers: one.BGPPeers, BFDProfiles: one.BFDProfiles, Communities: one.Communities,
			Nodes: []config.Node{},
		})
		for _, p := range found {
			if p.Severity == config.Error {
				t.Fatalf("accepted, but: %v", p)
			}
		}
	})
}
