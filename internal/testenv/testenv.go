// Package testenv gives integration tests and benchmarks a real kube-apiserver and etcd with the project's CRDs. It owns
// their start and their end, and is imported by tests and bench only. There is no controller-manager behind the API server: no garbage
// collection, no pods, no ServiceAccount tokens; a test patches what such a controller would report.
package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// AssetsVariable names the environment variable with the directory that holds kube-apiserver and etcd.
const AssetsVariable = "KUBEBUILDER_ASSETS"

var cluster struct {
	sync.Mutex
	running bool // Run is on the stack and will stop what is started
	server  *Server
	err     error
}

// Server is an API server with its etcd.
type Server struct {
	config *rest.Config
	env    *envtest.Environment
	guard  *guard
}

// Config returns an administrator's access, without a limit of its own.
func (s *Server) Config() *rest.Config { return rest.CopyConfig(s.config) }

// Stop ends both and removes their files.
func (s *Server) Stop() error {
	s.guard.dismiss()
	return s.env.Stop()
}

// Run runs the tests of a package and stops the API server afterwards, if one of them has asked for it. It is for TestMain:
//
//	func TestMain(m *testing.M) { os.Exit(testenv.Run(m)) }
func Run(m *testing.M) int {
	cluster.Lock()
	cluster.running = true
	cluster.Unlock()
	code := m.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping the API server:", err)
		return max(code, 1)
	}
	return code
}

// Config returns an administrator's access to the API server, which the first call starts. Where its binaries are
// missing the test is skipped, or fails if the environment variable CI is true.
func Config(t testing.TB) *rest.Config {
	t.Helper()
	if reason := missing(); reason != "" {
		if os.Getenv("CI") == "true" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	cluster.Lock()
	defer cluster.Unlock()
	if !cluster.running {
		t.Fatal("testenv: TestMain must call testenv.Run, which stops the API server")
	}
	if cluster.server == nil && cluster.err == nil {
		cluster.server, cluster.err = Start()
	}
	if cluster.err != nil {
		t.Fatalf("starting the API server: %v", cluster.err)
	}
	return cluster.server.Config()
}

// Namespace makes a namespace with a name that no other test has and with the given labels. It lives as long as the
// API server.
func Namespace(t testing.TB, c client.Client, labels map[string]string) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-", Labels: labels}}
	if err := c.Create(context.Background(), ns); err != nil {
		t.Fatalf("making a namespace: %v", err)
	}
	return ns.Name
}

// Stored returns what etcd holds for an object as the API server has encoded it; the key is, say,
// "metallb.io/bgppeers/<namespace>/<name>". It fails the test if there is nothing.
func Stored(t testing.TB, key string) string {
	t.Helper()
	cluster.Lock()
	address := cluster.server.env.ControlPlane.Etcd.URL.String()
	cluster.Unlock()
	// etcd's gateway takes and gives JSON, with keys and values in base64, which is how Go writes bytes.
	body, err := json.Marshal(map[string][]byte{"key": []byte("/registry/" + key)})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, address+"/v3/kv/range", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var found struct{ KVs []struct{ Value []byte } }
	if err := json.NewDecoder(answer.Body).Decode(&found); err != nil {
		t.Fatalf("etcd answered %s: %v", answer.Status, err)
	}
	if len(found.KVs) != 1 {
		t.Fatalf("etcd has %d values for %s (%s)", len(found.KVs), key, answer.Status)
	}
	return string(found.KVs[0].Value)
}

// Root returns the project's directory: the nearest one upwards that holds go.mod.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod here or above")
		}
		dir = parent
	}
}

// missing says why the API server cannot be started here; empty if it can.
func missing() string {
	dir := os.Getenv(AssetsVariable)
	if dir == "" {
		return AssetsVariable + " is not set: it names the directory with kube-apiserver and etcd"
	}
	var absent []string
	for _, name := range []string{"kube-apiserver", "etcd"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			absent = append(absent, name)
		}
	}
	if len(absent) > 0 {
		return fmt.Sprintf("%s=%s lacks %s", AssetsVariable, dir, strings.Join(absent, " and "))
	}
	return ""
}

// Start starts an API server for a program that is no test. Whoever calls it stops it; if the program ends without doing so,
// both servers end all the same. The error says what is missing.
func Start() (*Server, error) {
	if reason := missing(); reason != "" {
		return nil, errors.New(reason)
	}
	root, err := Root()
	if err != nil {
		return nil, err
	}
	env := &envtest.Environment{
		CRDDirectoryPaths:     []string{filepath.Join(root, "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	args := env.ControlPlane.GetAPIServer().Configure()
	args.Set("advertise-address", "127.0.0.1") // else a machine without a default route has none to offer
	args.Set("service-cluster-ip-range", "10.96.0.0/16,fd00:10:96::/112")
	config, err := env.Start()
	if err != nil {
		return nil, errors.Join(err, env.Stop())
	}
	config.QPS, config.Burst = -1, -1 // a test waits for the server, never for its own client
	guard, err := newGuard(env)
	if err != nil {
		return nil, errors.Join(err, env.Stop())
	}
	return &Server{config, env, guard}, nil
}

func stop() error {
	cluster.Lock()
	defer cluster.Unlock()
	if cluster.server == nil {
		return nil
	}
	server := cluster.server
	cluster.server = nil
	cluster.err = errors.New("the API server has been stopped")
	return server.Stop()
}
