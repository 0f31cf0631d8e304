package pki

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	server, node := netip.MustParseAddr("172.31.0.2"), netip.MustParseAddr("fd00:30::11")
	c := Cluster{Server: "https://172.31.0.2:6443", ServerAddresses: []netip.Addr{server}, Nodes: map[string][]netip.Addr{"node1": {node}}}
	if err := c.Write(dir); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ file, ca, host, commonName, organization string }{
		"the API server by its address":       {"apiserver", "ca", "172.31.0.2", "kube-apiserver", ""},
		"the API server by its Service":       {"apiserver", "ca", "kubernetes.default.svc", "kube-apiserver", ""},
		"a kubelet by its address":            {"node1-serving", "ca", "fd00:30::11", "system:node:node1", "system:nodes"},
		"a kubelet as a client":               {"node1", "ca", "", "system:node:node1", "system:nodes"},
		"the administrator":                   {"admin", "ca", "", "kubernetes-admin", "system:masters"},
		"the scheduler":                       {"scheduler", "ca", "", "system:kube-scheduler", ""},
		"the front proxy has its own issuer":  {"front-proxy-client", "front-proxy-ca", "", "front-proxy-client", ""},
		"the API server as kubelets' client ": {"apiserver-kubelet-client", "ca", "", "kube-apiserver-kubelet-client", "system:masters"},
	} {
		t.Run(name, func(t *testing.T) {
			cert := load(t, filepath.Join(dir, test.file))
			roots := x509.NewCertPool()
			roots.AddCert(load(t, filepath.Join(dir, test.ca)))
			_, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: test.host,
				KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}})
			if err != nil {
				t.Error(err)
			}
			if cert.Subject.CommonName != test.commonName || strings.Join(cert.Subject.Organization, ",") != test.organization {
				t.Errorf("it is of %s", cert.Subject)
			}
		})
	}
	for _, file := range []string{"admin.kubeconfig", "proxy.kubeconfig", "node1.kubeconfig", "sa.key", "sa.pub"} {
		st, err := os.Stat(filepath.Join(dir, file))
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, st.Mode(), err)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "admin.kubeconfig"))
	if err != nil || !strings.Contains(string(b), `server: "https://172.31.0.2:6443"`) {
		t.Errorf("kubeconfig: %v\n%s", err, b)
	}
}

func load(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(path+".crt", path+".key")
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}
