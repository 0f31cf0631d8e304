package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"flag"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/rest"
	certutil "k8s.io/client-go/util/cert"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"metallb.io/operator/internal/scrape"
)

// metricsRetry is how long to wait after metrics could not be served: another process may have the port for a while.
const metricsRetry = 10 * time.Second

// metricsFlags say how metrics are served: over TLS, to who is known to the API server and may get /metrics.
type metricsFlags struct {
	minVersion, suites, directory string
}

func (f *metricsFlags) declare(fs *flag.FlagSet) {
	fs.StringVar(&f.minVersion, "tls-min-version", "", "oldest version of TLS for /metrics: VersionTLS12 or VersionTLS13, which is the default")
	fs.StringVar(&f.suites, "tls-cipher-suites", "", "cipher suites of TLS 1.2 for /metrics, with commas between; by default Go's choice")
	fs.StringVar(&f.directory, "metrics-cert-dir", "", "directory of tls.crt and tls.key for /metrics; changes are noticed. By default the certificate is made at the start and signs itself")
}

// options returns how to serve at an address; "0" is none.
func (f *metricsFlags) options(address string) (metricsserver.Options, error) {
	minVersion := uint16(tls.VersionTLS13)
	switch f.minVersion {
	case "", "VersionTLS13":
	case "VersionTLS12":
		minVersion = tls.VersionTLS12
	default:
		return metricsserver.Options{}, fmt.Errorf("--tls-min-version: %q is neither VersionTLS12 nor VersionTLS13", f.minVersion)
	}
	suites, err := cipherSuites(f.suites)
	if err != nil {
		return metricsserver.Options{}, err
	}
	if len(suites) > 0 && minVersion > tls.VersionTLS12 {
		return metricsserver.Options{}, fmt.Errorf("--tls-cipher-suites: those of TLS 1.3 cannot be chosen: give --tls-min-version=VersionTLS12 too, or remove it")
	}
	var certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	if f.directory == "" {
		if certificate, err = selfSigned(); err != nil {
			return metricsserver.Options{}, err
		}
	}
	return metricsserver.Options{
		BindAddress:    address,
		SecureServing:  true,
		CertDir:        f.directory,
		FilterProvider: scrape.Filter,
		TLSOpts: []func(*tls.Config){func(c *tls.Config) {
			c.MinVersion, c.CipherSuites, c.GetCertificate = minVersion, suites, certificate
			c.NextProtos = []string{"http/1.1"} // HTTP/2 gives a scraper nothing, and others ways to keep us busy
		}},
	}, nil
}

// selfSigned makes a certificate that lasts for ten years. The metrics server would make one itself, with RSA keys that keep
// a process that starts busy for up to half a second.
func selfSigned() (func(*tls.ClientHelloInfo) (*tls.Certificate, error), error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	certificate, err := certutil.NewSelfSignedCACert(certutil.Config{CommonName: "metallb"}, key)
	if err != nil {
		return nil, err
	}
	pair := &tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair, nil }, nil
}

// cipherSuites looks names up, among the secure suites of TLS 1.2.
func cipherSuites(names string) ([]uint16, error) {
	if names == "" {
		return nil, nil
	}
	known := map[string]uint16{}
	for _, s := range tls.CipherSuites() {
		if s.SupportedVersions[0] <= tls.VersionTLS12 {
			known[s.Name] = s.ID
		}
	}
	var ids []uint16
	for name := range strings.SplitSeq(names, ",") {
		id, ok := known[strings.TrimSpace(name)]
		if !ok {
			return nil, fmt.Errorf("--tls-cipher-suites: %q is no secure cipher suite of TLS 1.2: write for instance TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", name)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// shareMetrics serves on a port that a second speaker on this node can share, until the context ends. A speaker without
// metrics still announces, so failing to serve them is no reason to end.
func shareMetrics(ctx context.Context, options metricsserver.Options, config *rest.Config, log *slog.Logger) error {
	http, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	options.ListenConfig.Control = reusePort
	server, err := metricsserver.NewServer(options, config, http)
	if err != nil || server == nil {
		return err
	}
	for ctx.Err() == nil {
		ended := make(chan error, 1)
		go func() { ended <- server.Start(ctx) }()
		select {
		case <-ctx.Done(): // who still reads is not waited for
		case err := <-ended:
			log.Warn("cannot serve metrics; trying again", "error", err, "in", metricsRetry.String())
			select {
			case <-ctx.Done():
			case <-time.After(metricsRetry):
			}
		}
	}
	return nil
}

// reusePort lets another process of the same user listen there too.
func reusePort(_, _ string, c syscall.RawConn) (err error) {
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); e != nil {
		return e
	}
	return err
}
