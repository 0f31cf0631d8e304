package main

import (
	"crypto/tls"
	"flag"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
)

func TestMetricsFlags(t *testing.T) {
	for args, want := range map[string]string{
		"":                               "1.3 []",
		"--tls-min-version=VersionTLS13": "1.3 []",
		"--tls-min-version=VersionTLS12": "1.2 []",
		"--tls-min-version=VersionTLS12 --tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "1.2 [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]",
		"--metrics-cert-dir=/certs":                                                       "1.3 []",
		"--tls-min-version=VersionTLS11":                                                  "neither VersionTLS12 nor VersionTLS13",
		"--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256":                       "give --tls-min-version=VersionTLS12 too",
		"--tls-min-version=VersionTLS12 --tls-cipher-suites=TLS_AES_128_GCM_SHA256":       "no secure cipher suite of TLS 1.2",
		"--tls-min-version=VersionTLS12 --tls-cipher-suites=TLS_RSA_WITH_RC4_128_SHA":     "no secure cipher suite of TLS 1.2",
		"--tls-min-version=VersionTLS12 --tls-cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA": "no secure cipher suite of TLS 1.2",
	} {
		f := &metricsFlags{}
		fs := flag.NewFlagSet("speaker", flag.ContinueOnError)
		fs.SetOutput(io.Discard)
		f.declare(fs)
		if err := fs.Parse(strings.Fields(args)); err != nil {
			t.Fatal(err)
		}
		options, err := f.options(":9120")
		if err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", args, err, want)
			}
			continue
		}
		if !options.SecureServing || options.FilterProvider == nil {
			t.Errorf("%s: metrics for everybody", args)
		}
		config := &tls.Config{} //nolint:gosec // the version is what is tested
		for _, o := range options.TLSOpts {
			o(config)
		}
		if (config.GetCertificate != nil) != (f.directory == "") {
			t.Errorf("%s: a certificate of our own: %v", args, config.GetCertificate != nil)
		}
		var names []string
		for _, id := range config.CipherSuites {
			names = append(names, tls.CipherSuiteName(id))
		}
		got := strings.TrimPrefix(tls.VersionName(config.MinVersion), "TLS ") + " [" + strings.Join(names, " ") + "]"
		if got != want || slices.Contains(config.NextProtos, "h2") {
			t.Errorf("%s: %s, %v; want %s", args, got, config.NextProtos, want)
		}
	}
}

// In an upgrade a node has two speakers for a moment, each with its metrics.
func TestTwoSpeakersShareAPort(t *testing.T) {
	shared := net.ListenConfig{Control: reusePort}
	first, err := shared.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Close() }()
	_, port, _ := net.SplitHostPort(first.Addr().String())
	second, err := shared.Listen(t.Context(), "tcp", ":"+port) // those of before had it on the loopback alone
	if err != nil {
		t.Fatal(err)
	}
	_ = second.Close()
}
