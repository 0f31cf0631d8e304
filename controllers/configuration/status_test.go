package configuration

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/config"
)

func TestOutcomesAreMerged(t *testing.T) {
	for name, c := range map[string]struct {
		outcomes map[string]Outcome
		result   v1beta1.ConfigurationResult
		summary  string
		warnings []string
	}{
		"nothing is known yet":       {nil, v1beta1.ConfigurationUnknown, "", nil},
		"all is well":                {map[string]Outcome{"a": {}, "b": {}}, v1beta1.ConfigurationValid, "", nil},
		"warnings leave it valid":    {map[string]Outcome{"a": {Warnings: []string{"w"}}}, v1beta1.ConfigurationValid, "", []string{"w"}},
		"one that is wrong":          {map[string]Outcome{"a": {}, "b": {Errors: []string{"x", "y"}}}, v1beta1.ConfigurationInvalid, "x\ny", nil},
		"what two say is said once":  {map[string]Outcome{"a": {Errors: []string{"x", "y"}, Warnings: []string{"w"}}, "b": {Errors: []string{"y", "z"}, Warnings: []string{"v", "w"}}}, v1beta1.ConfigurationInvalid, "x\ny\nz", []string{"w", "v"}},
		"conditions are in an order": {map[string]Outcome{"b": {Errors: []string{"of b"}}, "a": {Errors: []string{"of a"}}}, v1beta1.ConfigurationInvalid, "of a\nof b", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := &State{outcomes: c.outcomes}
			got := s.status(time.Now())
			if got.Result != c.result || got.ErrorSummary != c.summary || !cmp.Equal(got.Warnings, c.warnings) || len(got.Conditions) != len(c.outcomes) {
				t.Errorf("status %+v", got)
			}
			for _, cond := range got.Conditions {
				if wrong := len(c.outcomes[cond.Type].Errors) > 0; wrong != (cond.Status == metav1.ConditionFalse) || wrong != (cond.Reason == ConfigurationError) {
					t.Errorf("condition %+v", cond)
				}
			}
		})
	}
}

func problem(kind, name string, severity config.Severity, texts ...string) config.Problem {
	p := config.Problem{Source: config.Source{Kind: kind, Name: name}, Severity: severity}
	for _, text := range texts {
		p.Errors = append(p.Errors, field.Required(field.NewPath("spec"), text))
	}
	return p
}

func TestProblemsAreToldOnceAndWarningsLater(t *testing.T) {
	start := time.Now()
	var p Problems
	old := config.Input{BGPPeers: []v1beta2.BGPPeer{{ObjectMeta: metav1.ObjectMeta{Name: "old", CreationTimestamp: metav1.NewTime(start.Add(-time.Hour))}}}}
	step := func(what string, after time.Duration, next time.Duration, problems []config.Problem, told ...string) {
		t.Helper()
		got := []string{}
		for _, x := range p.Update(old, problems, start.Add(after)) {
			got = append(got, x.Source.Name+" "+x.Errors[0].Detail)
		}
		if d := cmp.Diff(append([]string{}, told...), got); d != "" {
			t.Errorf("%s: %s", what, d)
		}
		if n := p.Next(start.Add(after)); n != next {
			t.Errorf("%s: look again after %v, want %v", what, n, next)
		}
	}
	ancient, fresh := problem("BGPPeer", "old", config.Warning, "is old"), problem("IPAddressPool", "pool", config.Warning, "not announced")
	bad := problem("Community", "c", config.Error, "bad", "worse")
	step("at the start what is old is told", 0, Grace, []config.Problem{ancient, fresh}, "old is old")
	step("a warning waits, an error does not", time.Second, 2*time.Second, []config.Problem{ancient, fresh, bad}, "c bad")
	if d := cmp.Diff(Outcome{Errors: []string{"Community c: spec: Required value: bad", "Community c: spec: Required value: worse"}, Warnings: []string{"BGPPeer old: spec: Required value: is old"}}, p.Outcome()); d != "" {
		t.Error(d)
	}
	step("nothing new", 2*time.Second, time.Second, []config.Problem{ancient, fresh, bad})
	step("its time has come", Grace, 0, []config.Problem{ancient, fresh, bad}, "pool not announced")
	if d := cmp.Diff(Outcome{Warnings: []string{"IPAddressPool pool: spec: Required value: not announced"}}, p.Outcome("IPAddressPool", "AddressPool")); d != "" {
		t.Error(d)
	}
	other := problem("Community", "c", config.Error, "bad in another way")
	step("another text is told", 4*time.Second, 0, []config.Problem{ancient, fresh, other}, "c bad in another way")
	step("what is right is forgotten", 5*time.Second, 0, nil)
	step("and told if it comes back", 6*time.Second, 0, []config.Problem{other}, "c bad in another way")
	if o := p.Outcome(); len(o.Errors) != 1 || len(o.Warnings) != 0 {
		t.Errorf("outcome %+v", o)
	}
}

func TestReferencesOfAllKinds(t *testing.T) {
	m := metav1.ObjectMeta{Name: "x", Namespace: "ns", UID: "1", ResourceVersion: "7"}
	in := config.Input{
		IPAddressPools: []v1beta1.IPAddressPool{{ObjectMeta: m}}, AddressPools: []v1beta1.AddressPool{{ObjectMeta: m}},
		L2Advertisements: []v1beta1.L2Advertisement{{ObjectMeta: m}}, BGPAdvertisements: []v1beta1.BGPAdvertisement{{ObjectMeta: m}},
		BGPPeers: []v1beta2.BGPPeer{{ObjectMeta: m}}, BFDProfiles: []v1beta1.BFDProfile{{ObjectMeta: m}}, Communities: []v1beta1.Community{{ObjectMeta: m}},
	}
	for _, kind := range []string{"IPAddressPool", "AddressPool", "L2Advertisement", "BGPAdvertisement", "BGPPeer", "BFDProfile", "Community"} {
		version := "metallb.io/v1beta1"
		if kind == "BGPPeer" {
			version = "metallb.io/v1beta2"
		}
		ref := Reference(in, config.Source{Kind: kind, Name: "x"})
		if ref.APIVersion != version || ref.Kind != kind || ref.Name != "x" || ref.Namespace != "ns" || ref.UID != "1" || ref.ResourceVersion != "7" {
			t.Errorf("%s: %+v", kind, ref)
		}
		if ref := Reference(in, config.Source{Kind: kind, Name: "y"}); ref.UID != "" || ref.Name != "y" {
			t.Errorf("%s: %+v", kind, ref)
		}
	}
}
