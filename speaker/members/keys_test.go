package members

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestKeyOf(t *testing.T) {
	for name, c := range map[string]struct {
		a, b string
		same bool
	}{
		"white space at the ends does not matter":    {"c2VjcmV0\n", "\r\n c2VjcmV0", true},
		"a line break inside is part of the secret":  {"c2Vj\ncmV0", "c2VjcmV0", false},
		"different secrets are different keys":       {"a", "b", false},
		"nothing but white space is no secret":       {" \n", "", true},
		"a long secret is used to its last byte":     {"0123456789012345678901234567890123456789a", "0123456789012345678901234567890123456789b", false},
		"a secret is not the key that everybody has": {"x", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := keyOf([]byte(c.a)) == keyOf([]byte(c.b)); got != c.same {
				t.Errorf("same = %v", got)
			}
		})
	}
}

func TestAMemberWithAKeyNeverReadsOpenGossip(t *testing.T) {
	k := newKeys([]byte("secret"))
	k.learn(nil, epoch)
	k.learn([]byte("other"), epoch)
	if slices.Contains(k.readable, openKey) {
		t.Error("the open key is readable")
	}
}

func TestAChangeThatOthersDoNotFollowEndsAfterPatience(t *testing.T) {
	k := newKeys(nil)
	stuck := newKeys(nil)
	var m meta
	stuck.describe(&m)
	others := []meta{m}
	if !k.learn([]byte("secret"), epoch) || k.learn([]byte(" secret\n"), epoch) {
		t.Fatal("a key is news once")
	}
	if k.advance(others, epoch.Add(keyPatience-1)) || k.writing != openKey {
		t.Fatal("the new key is used although a member cannot read it")
	}
	if !k.advance(others, epoch.Add(keyPatience)) || k.writing != keyOf([]byte("secret")) {
		t.Fatal("a member that does not follow holds up the change for ever")
	}
	if k.advance(others, epoch.Add(2*keyPatience-1)) {
		t.Fatal("the old key is dropped although a member uses it")
	}
	if !k.advance(others, epoch.Add(2*keyPatience)) || len(k.readable) != 1 {
		t.Fatal("clear text can be read for ever")
	}
}

// Members learn a new key in any order, and hear of one another late. Whatever one writes, all can read, always; in the
// end all use the new key and no other.
func TestNoMemberIsCutOffByAChange(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for round := range 300 {
		n := 2 + r.IntN(6)
		var old []byte
		if round%2 == 0 {
			old = []byte("old")
		}
		group := make([]keys, n)
		views := make([][]meta, n) // what i knows of j, as of some time ago
		for i := range group {
			group[i] = newKeys(old)
		}
		for i := range group {
			views[i] = make([]meta, n)
			for j := range group {
				group[j].describe(&views[i][j])
			}
		}
		others := func(i int) []meta { return slices.Concat(views[i][:i], views[i][i+1:]) }
		step := func(i, j int) {
			group[j].describe(&views[i][j])
			group[i].advance(others(i), epoch)
			for a := range group {
				for b := range group {
					if !slices.Contains(group[b].readable, group[a].writing) {
						t.Fatalf("round %d: member %d writes what %d cannot read", round, a, b)
					}
				}
			}
		}
		for _, i := range r.Perm(n) {
			for range r.IntN(20) {
				step(r.IntN(n), r.IntN(n))
			}
			group[i].learn([]byte("new"), epoch)
		}
		for range 3 {
			for i := range group {
				for j := range group {
					step(i, j)
				}
			}
		}
		for i, k := range group {
			if k.writing != keyOf([]byte("new")) || len(k.readable) != 1 {
				t.Fatalf("round %d: member %d did not finish: %d readable", round, i, len(k.readable))
			}
		}
	}
}

func TestApplyMakesTheRingFollow(t *testing.T) {
	k := newKeys([]byte("0"))
	ring, err := memberlist.NewKeyring(nil, k.writing[:])
	if err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		if err := k.apply(ring); err != nil {
			t.Fatal(err)
		}
		var got []key
		for _, b := range ring.GetKeys() {
			got = append(got, key(b))
		}
		if got[0] != k.writing || len(got) != len(k.readable) {
			t.Errorf("ring has %d keys, want %d; the first is right: %v", len(got), len(k.readable), got[0] == k.writing)
		}
	}
	for i := 1; i < 4; i++ {
		k.learn(fmt.Appendf(nil, "%d", i), epoch)
		check()
	}
	for range 4 {
		k.advance(nil, epoch)
		check()
	}
	if len(k.readable) != 1 {
		t.Error("old keys are left")
	}
}
