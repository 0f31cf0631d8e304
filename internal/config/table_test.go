package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/config/configtest"
)

// onlySchema are the cases that config.Review has no opinion on: what is decoded says the same as if it were right, or
// it takes the API server to compare with what was there.
var onlySchema = map[string]bool{
	"bgpadvertisement/a number for a peer":               true, // YAML's 64513 is the text "64513" once decoded
	"bgppeer/a password that is a number":                true,
	"bgppeer/a localASN of 0":                            true, // unset, once decoded
	"bgppeer/a peerPort of 0":                            true,
	"l2advertisement/a weight without a preference":      true, // a selector of everything, once decoded
	"bgppeer/enableGracefulRestart set later":            true, // a speaker that starts anew can take both
	"bgppeer/enableGracefulRestart removed":              true,
	"bgppeer/enableGracefulRestart set to false":         true,
	"community/a value of more than 64 characters":       true, // bounds of the CEL budget
	"community/a name of more than 128 characters":       true,
	"ipaddresspool/an entry of more than 128 characters": true,
	"metallb/an unknown bgpBackend":                      true, // means nothing, like the known ones
	"metallb/an unknown logLevel":                        true,
	"metallb/a pod affinity without a topology key":      true,
}

func TestReviewSaysWhatTheTableSays(t *testing.T) {
	for _, tt := range cases(t) {
		if tt.Refuser() == configtest.BySchema {
			continue
		}
		t.Run(tt.ID(), func(t *testing.T) {
			verdict, err := tt.Review()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range verdict.Errors {
				got = append(got, e.Error())
			}
			if diff := cmp.Diff(tt.Errors, got); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.Warnings, verdict.Warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

// TestReviewRefusesWhatTheSchemaRefuses, for objects that were stored before there was the rule, and wherever the
// schema is not asked.
func TestReviewRefusesWhatTheSchemaRefuses(t *testing.T) {
	for _, tt := range cases(t) {
		if tt.Refuser() != configtest.BySchema {
			continue
		}
		t.Run(tt.ID(), func(t *testing.T) {
			verdict, err := tt.Review()
			if err != nil {
				return // it cannot be decoded, which refuses it as well
			}
			if refused := len(verdict.Errors) > 0; refused == onlySchema[tt.ID()] {
				t.Errorf("refused: %v (%v); want the opposite", refused, verdict.Errors)
			}
		})
	}
}

// TestSpeakersReportWhatAdmissionCannotSee: the Secrets.
func TestSpeakersReportWhatAdmissionCannotSee(t *testing.T) {
	n := 0
	for _, tt := range cases(t) {
		if len(tt.Problems) == 0 {
			continue
		}
		n++
		t.Run(tt.ID(), func(t *testing.T) {
			in, err := tt.Stored()
			if err != nil {
				t.Fatal(err)
			}
			_, problems := config.Compile(in)
			var got []string
			for _, p := range problems {
				for _, e := range p.Errors {
					got = append(got, p.Source.Kind+"/"+p.Source.Name+" "+string(p.Severity)+": "+e.Error())
				}
			}
			if diff := cmp.Diff(tt.Problems, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if n == 0 {
		t.Error("the table has no such case")
	}
}

// TestABadResourceThatIsStoredAllTheSameTakesNothingDown: a new resource is the youngest, so that whatever is wrong with
// it, the pools keep their addresses and the peers their sessions.
func TestABadResourceThatIsStoredAllTheSameTakesNothingDown(t *testing.T) {
	for _, tt := range cases(t) {
		if tt.File == "metallb" || tt.Update || tt.Delete {
			continue
		}
		t.Run(tt.ID(), func(t *testing.T) {
			before, after, _, err := tt.Inputs()
			if err != nil {
				t.Skip("it cannot be decoded, so it cannot be stored")
			}
			was, _ := config.Compile(before)
			is, _ := config.Compile(after)
			for _, p := range was.Pools {
				now, ok := is.Pool(p.Name)
				if !ok || now.Source != p.Source || !cmp.Equal(texts(now), texts(&p)) {
					t.Errorf("pool %s is %v; it was %v", p.Name, now, p)
				}
			}
			peers := map[string]config.Peer{}
			for _, p := range is.Peers {
				peers[p.Name] = p
			}
			for _, p := range was.Peers {
				if now, ok := peers[p.Name]; !ok || now.Address != p.Address {
					t.Errorf("peer %s is gone or changed: %v", p.Name, now)
				}
			}
		})
	}
}

func texts(p *config.Pool) []string {
	out := make([]string, len(p.Addresses))
	for i, r := range p.Addresses {
		out[i] = r.String()
	}
	return out
}

func cases(t *testing.T) []configtest.Case {
	t.Helper()
	out, err := configtest.Cases("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 300 {
		t.Errorf("the table has %d cases; were some lost?", len(out))
	}
	return out
}
