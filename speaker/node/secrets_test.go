package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/config"
)

// shelf is an API server that has Secrets, or fails.
type shelf struct {
	client.Reader
	mu   sync.Mutex
	has  map[string]string // passwords
	fail error
	gets int
}

func (s *shelf) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets++
	password, ok := s.has[key.Name]
	switch {
	case s.fail != nil:
		return s.fail
	case !ok:
		return apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, key.Name)
	}
	*o.(*corev1.Secret) = corev1.Secret{Type: corev1.SecretTypeBasicAuth, Data: map[string][]byte{"password": []byte(password)}}
	return nil
}

func TestSecretsAreReadBesideTheLoop(t *testing.T) {
	peer := func(name, secret string) v1beta2.BGPPeer {
		return v1beta2.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta2.BGPPeerSpec{PasswordSecret: corev1.SecretReference{Name: secret}}}
	}
	all := []v1beta2.BGPPeer{peer("plain", ""), peer("one", "a"), peer("two", "a"), peer("three", "b")}
	api := &shelf{has: map[string]string{"a": "hush"}}
	changes := 0
	s := newSecrets(api, "ns", func() { changes++ })
	step := func(what string, peers []v1beta2.BGPPeer, wantPeers, wantSecrets []string, wantProblems int, wantComplete bool) config.Input {
		t.Helper()
		in := config.Input{BGPPeers: peers}
		problems, complete := s.fill(&in)
		names, secrets := []string{}, []string{}
		for _, p := range in.BGPPeers {
			names = append(names, p.Name)
		}
		for _, name := range []string{"a", "b"} {
			if found, ok := in.Secrets[name]; ok {
				secrets = append(secrets, name+"="+found.Password.Reveal())
			}
		}
		if d := cmp.Diff(append([]string{}, wantPeers...), names); d != "" {
			t.Errorf("%s: peers %s", what, d)
		}
		if d := cmp.Diff(append([]string{}, wantSecrets...), secrets); d != "" {
			t.Errorf("%s: Secrets %s", what, d)
		}
		if len(problems) != wantProblems || complete != wantComplete {
			t.Errorf("%s: complete %v, problems %v", what, complete, problems)
		}
		if strings.Contains(fmt.Sprint(problems, in.Secrets), "hush") {
			t.Errorf("%s: the password shows", what)
		}
		return in
	}
	look := func(what string, wantOK, wantChange bool) {
		t.Helper()
		before := changes
		if ok := s.look(t.Context()); ok != wantOK || (changes > before) != wantChange {
			t.Errorf("%s: ok %v, changed %v", what, ok, changes > before)
		}
	}

	step("nothing is known: peers with a Secret wait", all, []string{"plain"}, nil, 0, false)
	if len(all) != 4 || all[1].Name != "one" {
		t.Errorf("the list that was given is changed: %v", all)
	}
	look("the first look", true, true)
	step("one exists, one does not", all, []string{"plain", "one", "two", "three"}, []string{"a=hush"}, 0, true)
	look("nothing has changed", true, false)

	api.has["b"], api.has["a"] = "b", "hush2"
	look("one comes, one changes", true, true)
	step("both are there", all, []string{"plain", "one", "two", "three"}, []string{"a=hush2", "b=b"}, 0, true)
	api.fail = errors.New("away")
	look("the API server is away", false, false)
	step("what was so stays", all, []string{"plain", "one", "two", "three"}, []string{"a=hush2", "b=b"}, 0, true)

	step("a new one waits", append(all, peer("four", "c")), []string{"plain", "one", "two", "three"}, []string{"a=hush2", "b=b"}, 0, false)
	look("it cannot be read", false, true)
	step("that is said", append(all, peer("four", "c")), []string{"plain", "one", "two", "three"}, []string{"a=hush2", "b=b"}, 1, true)
	api.fail = nil
	look("it can, and is not there", true, true)
	step("Compile says so", append(all, peer("four", "c")), []string{"plain", "one", "two", "three", "four"}, []string{"a=hush2", "b=b"}, 0, true)

	in := step("no peers", nil, nil, nil, 0, true)
	if in.Secrets == nil {
		t.Error("Secrets are not known where there are none")
	}
	api.gets = 0
	look("what nobody wants is forgotten", true, true)
	if api.gets != 0 || len(s.known) != 0 {
		t.Errorf("%d requests, known %v", api.gets, s.known)
	}
}
