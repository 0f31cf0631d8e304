// Package pki makes the certificates, keys and kubeconfigs of one cluster. It
// knows the names that Kubernetes expects in them (Kubernetes documentation,
// "PKI certificates and requirements") and nothing of the lab.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// Cluster is what certificates are made for.
type Cluster struct {
	// Server is the API server's URL as clients use it.
	Server string
	// ServerAddresses are the addresses that its certificate holds.
	ServerAddresses []netip.Addr
	// Nodes are the addresses of each node, by node name.
	Nodes map[string][]netip.Addr
}

// pair is a certificate with its key.
type pair struct {
	cert            *x509.Certificate
	key             *ecdsa.PrivateKey
	certPEM, keyPEM []byte
}

// subject is what a certificate says of its owner.
type subject struct {
	commonName, organization string
	dns                      []string
	addresses                []netip.Addr
}

// Write makes everything in dir, one year valid:
//
//	ca, front-proxy-ca, front-proxy-client, apiserver, apiserver-kubelet-client,
//	<node>-serving (.crt and .key); sa.key and sa.pub;
//	admin, controller-manager, scheduler, proxy, <node> (.kubeconfig)
func (c Cluster) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	ca, err := issue(dir, "ca", subject{commonName: "lab-ca"}, nil)
	if err != nil {
		return err
	}
	front, err := issue(dir, "front-proxy-ca", subject{commonName: "lab-front-proxy-ca"}, nil)
	if err != nil {
		return err
	}
	if _, err := issue(dir, "front-proxy-client", subject{commonName: "front-proxy-client"}, front); err != nil {
		return err
	}
	serving := map[string]subject{
		"apiserver": {commonName: "kube-apiserver", addresses: append(c.ServerAddresses, netip.MustParseAddr("127.0.0.1")),
			dns: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}},
		"apiserver-kubelet-client": {commonName: "kube-apiserver-kubelet-client", organization: "system:masters"},
	}
	clients := map[string]subject{
		"admin":              {commonName: "kubernetes-admin", organization: "system:masters"},
		"controller-manager": {commonName: "system:kube-controller-manager"},
		"scheduler":          {commonName: "system:kube-scheduler"},
		"proxy":              {commonName: "system:kube-proxy"},
	}
	for node, addresses := range c.Nodes {
		who := subject{commonName: "system:node:" + node, organization: "system:nodes", dns: []string{node}, addresses: addresses}
		serving[node+"-serving"] = who
		clients[node] = who
	}
	for file, who := range serving {
		if _, err := issue(dir, file, who, ca); err != nil {
			return err
		}
	}
	for file, who := range clients {
		p, err := issue(dir, file, who, ca)
		if err != nil {
			return err
		}
		if err := write(dir, file+".kubeconfig", c.kubeconfig(ca, p)); err != nil {
			return err
		}
	}
	return serviceAccountKeys(dir)
}

func serviceAccountKeys(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := write(dir, "sa.key", encode("PRIVATE KEY", private)); err != nil {
		return err
	}
	return write(dir, "sa.pub", encode("PUBLIC KEY", public))
}

// issue makes a certificate signed by ca, or a CA of its own where ca is nil,
// and writes <file>.crt and <file>.key.
func issue(dir, file string, who subject, ca *pair) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: who.commonName},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		DNSNames:     who.dns,
	}
	if who.organization != "" {
		t.Subject.Organization = []string{who.organization}
	}
	for _, a := range who.addresses {
		t.IPAddresses = append(t.IPAddresses, net.IP(a.AsSlice()))
	}
	p := &pair{key: key}
	parent, signer := t, key
	if ca == nil {
		t.IsCA, t.BasicConstraintsValid, t.ExtKeyUsage = true, true, nil
		t.KeyUsage |= x509.KeyUsageCertSign
	} else {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("make certificate %s: %w", file, err)
	}
	if p.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	p.certPEM, p.keyPEM = encode("CERTIFICATE", der), encode("PRIVATE KEY", private)
	if err := write(dir, file+".crt", p.certPEM); err != nil {
		return nil, err
	}
	return p, write(dir, file+".key", p.keyPEM)
}

func (c Cluster) kubeconfig(ca, client *pair) []byte {
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: lab
  cluster: {server: %q, certificate-authority-data: %s}
users:
- name: lab
  user: {client-certificate-data: %s, client-key-data: %s}
contexts:
- name: lab
  context: {cluster: lab, user: lab}
current-context: lab
`, c.Server, b64(ca.certPEM), b64(client.certPEM), b64(client.keyPEM))
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func write(dir, name string, b []byte) error {
	return os.WriteFile(filepath.Join(dir, name), b, 0o600)
}
