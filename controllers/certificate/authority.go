package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"time"
)

// organization is the subject's organization in each certificate made here. Authorities of others are not taken over.
const organization = "metallb.io webhook"

// longestBackdate is how far a clock may be behind ours and still find a new certificate valid.
const longestBackdate = time.Hour

// Lifetimes of what is made. A third of each passes between the renewal and the end of what is renewed.
type Lifetimes struct {
	// Authority signs; Serving is presented to API servers and never outlives the authority that signed it.
	Authority, Serving time.Duration
}

// DefaultLifetimes are five years and one year.
var DefaultLifetimes = Lifetimes{Authority: 5 * 365 * 24 * time.Hour, Serving: 365 * 24 * time.Hour}

// newAuthority makes an authority that signs for itself.
func newAuthority(now time.Time, life time.Duration) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{organization}, CommonName: "metallb-webhook-ca"},
		NotBefore:             now.Add(-backdate(life)),
		NotAfter:              now.Add(life),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true, // it signs serving certificates only
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	return sign(template, nil, nil)
}

// newServing makes a certificate of the authority for a server of these names.
func newServing(authority *x509.Certificate, key *ecdsa.PrivateKey, hosts []string, now time.Time, life time.Duration) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	end := now.Add(life)
	if end.After(authority.NotAfter) {
		end = authority.NotAfter
	}
	start := now.Add(-backdate(end.Sub(now)))
	if start.Before(authority.NotBefore) {
		start = authority.NotBefore
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{Organization: []string{organization}, CommonName: hosts[0]},
		DNSNames:    hosts,
		NotBefore:   start,
		NotAfter:    end,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	return sign(template, authority, key)
}

// sign makes the certificate with a key of its own; without a parent it is signed by that.
func sign(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

// backdate is an hour, but never more than a tenth of the life: renewal is reckoned from it.
func backdate(life time.Duration) time.Duration {
	return min(longestBackdate, life/10)
}

// due is when a certificate is to be renewed: after two thirds of its own life, or at once if it is valid for notably longer
// than what is made now.
func due(c *x509.Certificate, life time.Duration, now time.Time) time.Time {
	if c.NotAfter.Sub(now) > life+life/10 {
		return now
	}
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 3 * 2)
}
