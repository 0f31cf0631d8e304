package certificate

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Keys of the Secret besides tls.crt and tls.key.
const (
	// AuthoritiesKey holds the certificates of all authorities to trust, the one that signs first.
	AuthoritiesKey = "ca.crt"
	// AuthorityKeyKey holds the key of the authority that signs.
	AuthorityKeyKey = "ca.key"
)

// mostAuthorities bounds the bundle: who deletes the Secret again and again does not make it grow.
const mostAuthorities = 8

// material is what the Secret holds, as far as it is of use.
type material struct {
	// authorities that API servers are to trust, the one that signs first.
	authorities []*x509.Certificate
	// key of the first authority; nil: it is lost, or not its.
	key *ecdsa.PrivateKey
	// serving certificate with its key, its Leaf parsed; nil: there is none that one of the authorities makes valid.
	serving *tls.Certificate
}

// parse reads a Secret's data for a server of these names. What is damaged, foreign or expired is left out.
func parse(data map[string][]byte, hosts []string, now time.Time) material {
	m := material{authorities: parseAuthorities(data[AuthoritiesKey])}
	if key := parseKey(data[AuthorityKeyKey]); key != nil && len(m.authorities) > 0 && valid(m.authorities[0], now) && key.PublicKey.Equal(m.authorities[0].PublicKey) {
		m.key = key
	}
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	if err == nil && m.trusts(&pair, hosts, now) {
		m.serving = &pair
	}
	return m
}

// trusts tells whether a client that trusts the authorities accepts the certificate for each of these names.
func (m material) trusts(pair *tls.Certificate, hosts []string, now time.Time) bool {
	if pair == nil {
		return false
	}
	pool := x509.NewCertPool()
	for _, a := range m.authorities {
		pool.AddCert(a)
	}
	for _, host := range hosts {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: host, CurrentTime: now}); err != nil {
			return false
		}
	}
	return true
}

// bundle is what API servers are to trust, in PEM. It follows from the Secret alone, whatever the time: else two replicas
// could disagree on it.
func (m material) bundle() []byte {
	var out []byte
	for _, a := range m.authorities {
		out = append(out, encode("CERTIFICATE", a.Raw)...)
	}
	return out
}

// data is what the Secret is to hold.
func (m material) data() (map[string][]byte, error) {
	authorityKey, err := x509.MarshalPKCS8PrivateKey(m.key)
	if err != nil {
		return nil, err
	}
	servingKey, err := x509.MarshalPKCS8PrivateKey(m.serving.PrivateKey)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		AuthoritiesKey:          m.bundle(),
		AuthorityKeyKey:         encode("PRIVATE KEY", authorityKey),
		corev1.TLSCertKey:       encode("CERTIFICATE", m.serving.Leaf.Raw),
		corev1.TLSPrivateKeyKey: encode("PRIVATE KEY", servingKey),
	}, nil
}

// withAuthority returns the material with a new authority in front of those that it holds and those that are to be kept.
func (m material) withAuthority(cert *x509.Certificate, key *ecdsa.PrivateKey, keep []*x509.Certificate, now time.Time) material {
	next := material{authorities: []*x509.Certificate{cert}, key: key, serving: m.serving}
	for _, a := range slices.Concat(m.authorities, keep) {
		if valid(a, now) && ours(a) && !slices.ContainsFunc(next.authorities, a.Equal) && len(next.authorities) < mostAuthorities {
			next.authorities = append(next.authorities, a)
		}
	}
	return next
}

// withServing returns the material with a new serving certificate of the authority that signs. If it replaces one of the
// same authority, then nothing that an older one has signed can be in use any more, and the older ones are dropped.
func (m material) withServing(cert *x509.Certificate, key *ecdsa.PrivateKey) material {
	next := m
	if m.serving != nil && m.current() {
		next.authorities = m.authorities[:1:1]
	}
	next.serving = &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
	return next
}

// withoutExpired returns the material without the older authorities that have expired.
func (m material) withoutExpired(now time.Time) material {
	next := m
	next.authorities = slices.DeleteFunc(slices.Clone(m.authorities), func(a *x509.Certificate) bool {
		return !a.Equal(m.authorities[0]) && !now.Before(a.NotAfter)
	})
	return next
}

// current tells whether the serving certificate is of the authority that signs now.
func (m material) current() bool {
	return m.serving.Leaf.CheckSignatureFrom(m.authorities[0]) == nil
}

func valid(c *x509.Certificate, now time.Time) bool {
	return !now.Before(c.NotBefore) && now.Before(c.NotAfter)
}

func ours(c *x509.Certificate) bool {
	return slices.Contains(c.Subject.Organization, organization)
}

// parseAuthorities returns the certificates of authorities in a PEM text; what else is in it is passed over.
func parseAuthorities(text []byte) []*x509.Certificate {
	var out []*x509.Certificate
	for len(text) > 0 {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return out
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" && cert.IsCA {
			out = append(out, cert)
		}
	}
	return out
}

// parseKey returns the ECDSA key in a PEM text, nil if there is none.
func parseKey(text []byte) *ecdsa.PrivateKey {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil
	}
	ec, _ := key.(*ecdsa.PrivateKey)
	return ec
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
