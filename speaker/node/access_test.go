package node

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/testenv"
)

// bindRoles lets the speakers do what their roles allow, and no more.
func (c *cluster) bindRoles() {
	c.t.Helper()
	root, err := testenv.Root()
	if err != nil {
		c.t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "config", "rbac", "speaker_role.yaml"))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, document := range strings.Split(string(text), "\n---\n") {
		role := &rbacv1.ClusterRole{}
		if err := yaml.UnmarshalStrict([]byte(document), role); err != nil {
			c.t.Fatal(err)
		}
		if err := c.client.Create(context.Background(), role); err != nil && !apierrors.IsAlreadyExists(err) {
			c.t.Fatal(err)
		}
	}
	speaker := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: c.namespace, Name: "speaker"}}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "metallb-speaker"}
	c.create(&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: c.namespace}, RoleRef: ref, Subjects: speaker})
	ref.Name = "metallb-speaker-local"
	c.create(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "speaker", Namespace: c.namespace}, RoleRef: ref, Subjects: speaker})
}

// as is access as a speaker has it.
func (c *cluster) as() *rest.Config {
	out := rest.CopyConfig(c.config)
	out.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + c.namespace + ":speaker", Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	return out
}

// wire is a way to the API server that can be cut.
type wire struct {
	mu    sync.Mutex
	isCut bool
	conns []net.Conn
}

func (w *wire) config(c *rest.Config) *rest.Config {
	out := rest.CopyConfig(c)
	var d net.Dialer
	out.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.isCut {
			return nil, &net.OpError{Op: "dial", Net: network, Err: os.ErrDeadlineExceeded}
		}
		c, err := d.DialContext(ctx, network, address)
		w.conns = append(w.conns, c)
		return c, err
	}
	return out
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = true
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = false
}

// mortalARP and mortalNDP do nothing any more after a crash: the loop of the crashed speaker still runs, and would open
// sockets anew. While ARP is broken it answers nothing and does not know it; opening a socket anew so many times helps.
type mortalARP struct {
	ARP
	crashed *atomic.Bool
	broken  *atomic.Int32
}

func (m mortalARP) Sync(entries []l2.Entry) ([]l2.Entry, error) {
	if m.broken.Load() > 0 {
		_, err := m.ARP.Sync(nil)
		return entries, err
	}
	return m.ARP.Sync(entries)
}

func (m mortalARP) Reopen(name string) bool {
	m.broken.Add(-1)
	return m.ARP.Reopen(name)
}

func (m mortalARP) Listen(on []l2.Interface) ([]string, error) {
	if m.crashed.Load() {
		return nil, nil
	}
	return m.ARP.Listen(on)
}

type mortalNDP struct {
	NDP
	crashed *atomic.Bool
}

func (m mortalNDP) Sync(on []l2.Interface, entries []l2.Entry, also ...string) ([]l2.Entry, error) {
	if m.crashed.Load() {
		return nil, nil
	}
	return m.NDP.Sync(on, entries, also...)
}
