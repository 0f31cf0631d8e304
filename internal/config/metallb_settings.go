package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"metallb.io/operator/api/v1beta1"
)

// settings checks the fields that the installation has beside those of old. The schema refuses the same.
func settings(spec *field.Path, s *v1beta1.MetalLBSpec) field.ErrorList {
	var errs field.ErrorList
	if c := s.ControllerConfig; c != nil && c.Replicas != nil && (*c.Replicas < 1 || *c.Replicas > 5) {
		errs = append(errs, field.Invalid(spec.Child("controllerConfig", "replicas"), *c.Replicas, "write a number from 1 to 5"))
	}
	if s.SpeakerConfig != nil && s.SpeakerConfig.UpdateStrategy != nil {
		errs = append(errs, updateStrategy(spec.Child("speakerConfig", "updateStrategy"), s.SpeakerConfig.UpdateStrategy)...)
	}
	errs = append(errs, excludedInterfaces(spec.Child("excludeInterfaces"), s.ExcludeInterfaces)...)
	if s.Memberlist != nil {
		errs = append(errs, memberlist(spec.Child("memberlist"), s.Memberlist)...)
	}
	if b := s.BGP; b != nil && (b.ListenPort < 0 || b.ListenPort > 65535) {
		errs = append(errs, field.Invalid(spec.Child("bgp", "listenPort"), b.ListenPort, "is no port: write 179, where routers expect BGP, or another one up to 65535"))
	}
	if s.KubeProxy != nil {
		errs = append(errs, kubeProxy(spec.Child("kubeProxy"), s.KubeProxy)...)
	}
	if s.Metrics != nil {
		errs = append(errs, metrics(spec.Child("metrics"), s.Metrics)...)
	}
	return errs
}

func updateStrategy(at *field.Path, in *v1beta1.SpeakerUpdateStrategy) field.ErrorList {
	var errs field.ErrorList
	types := []v1beta1.UpdateStrategyType{v1beta1.RollingUpdate, v1beta1.OnDelete}
	if in.Type != "" && !slices.Contains(types, in.Type) {
		errs = append(errs, field.NotSupported(at.Child("type"), in.Type, types))
	}
	if in.RollingUpdate == nil {
		return errs
	}
	at = at.Child("rollingUpdate")
	if in.Type == v1beta1.OnDelete {
		return append(errs, field.Invalid(at, in.RollingUpdate, "is for the type RollingUpdate: remove rollingUpdate, or write type: RollingUpdate"))
	}
	surge, unavailable := in.RollingUpdate.MaxSurge, in.RollingUpdate.MaxUnavailable
	errs = append(errs, share(at.Child("maxUnavailable"), unavailable)...)
	errs = append(errs, share(at.Child("maxSurge"), surge)...)
	switch {
	case len(errs) > 0:
	case surge != nil && unavailable != nil && isNone(*surge) == isNone(*unavailable):
		errs = append(errs, field.Invalid(at.Child("maxUnavailable"), unavailable.String(), "contradicts maxSurge: exactly one of the two must be more than 0, so remove one"))
	case surge != nil && unavailable == nil && isNone(*surge):
		errs = append(errs, field.Invalid(at.Child("maxSurge"), surge.String(), "is 0 and maxUnavailable is not given: write a maxUnavailable of 1 or more, or remove maxSurge"))
	}
	return errs
}

var percent = regexp.MustCompile(`^(100|[1-9]?[0-9])%$`)

// share checks a number of nodes or a share of them.
func share(at *field.Path, in *intstr.IntOrString) field.ErrorList {
	if in == nil || in.Type == intstr.Int && in.IntVal >= 0 || in.Type == intstr.String && percent.MatchString(in.StrVal) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, in.String(), "is neither a number nor a share: write 1 or more, or for instance 10%")}
}

func isNone(n intstr.IntOrString) bool { return n.String() == "0" || n.String() == "0%" }

var (
	// interfaceOrPattern is a name, or an expression out of so little that each of them compiles.
	interfaceOrPattern = regexp.MustCompile(`^([A-Za-z0-9_.:@-]{1,15}|\^(([A-Za-z0-9_:@.-]|\\[.]|\[([A-Za-z0-9_.]|0-9|a-z|A-Z)+\])[*+?]?)+[$]?)$`)
	anyInterface       = regexp.MustCompile(`^\^[.*+?$]+$`)
)

func excludedInterfaces(at *field.Path, in []string) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[string]()
	for i, text := range in {
		switch {
		case len(text) > 64 || !interfaceOrPattern.MatchString(text):
			errs = append(errs, field.Invalid(at.Index(i), text, "is neither the name of an interface nor a pattern: write a name such as eth1, or a pattern that begins with ^, such as ^eth[34]$ or ^wg.*"))
		case anyInterface.MatchString(text):
			errs = append(errs, field.Invalid(at.Index(i), text, "would exclude every interface: name those to exclude, or announce nothing by having no L2Advertisement"))
		case seen.Has(text):
			errs = append(errs, field.Duplicate(at.Index(i), text))
		}
		seen.Insert(text)
	}
	return errs
}

// defaultProbeInterval is what the speaker takes where none is given.
const defaultProbeInterval = 300 * time.Millisecond

func memberlist(at *field.Path, in *v1beta1.MemberlistConfig) field.ErrorList {
	var errs field.ErrorList
	if in.HeartbeatInterval != nil {
		if beat := in.HeartbeatInterval.Duration; beat != 0 && (beat < 50*time.Millisecond || beat > 10*time.Second) {
			errs = append(errs, field.Invalid(at.Child("heartbeatInterval"), beat.String(), "is no heartbeat interval: write a time from 50ms to 10s, for instance 150ms, or 0s for none"))
		}
	}
	interval := defaultProbeInterval
	if in.ProbeInterval != nil {
		if interval = in.ProbeInterval.Duration; interval < 100*time.Millisecond || interval > 10*time.Second {
			errs = append(errs, field.Invalid(at.Child("probeInterval"), interval.String(), "is no probe interval: write a time from 100ms to 10s, for instance 300ms"))
		}
	}
	if in.ProbeTimeout != nil {
		switch timeout := in.ProbeTimeout.Duration; {
		case timeout < 20*time.Millisecond:
			errs = append(errs, field.Invalid(at.Child("probeTimeout"), timeout.String(), "is no probe timeout: write a time from 20ms that is less than probeInterval, for instance 150ms"))
		case timeout >= interval:
			errs = append(errs, field.Invalid(at.Child("probeTimeout"), timeout.String(), fmt.Sprintf("is not less than probeInterval, which is %s: write less, or a longer probeInterval", interval)))
		}
	}
	if n := in.SuspicionMultiplier; n != nil && (*n < 2 || *n > 20) {
		errs = append(errs, field.Invalid(at.Child("suspicionMultiplier"), *n, "write a number from 2 to 20"))
	}
	return errs
}

var healthURL = regexp.MustCompile(`^http://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}(/[A-Za-z0-9._/-]*)?$`)

func kubeProxy(at *field.Path, in *v1beta1.KubeProxyConfig) field.ErrorList {
	var errs field.ErrorList
	values := []v1beta1.KubeProxyHealth{v1beta1.KubeProxyHealthAutomatic, v1beta1.KubeProxyHealthRequired, v1beta1.KubeProxyHealthIgnored}
	if in.Health != "" && !slices.Contains(values, in.Health) {
		errs = append(errs, field.NotSupported(at.Child("health"), in.Health, values))
	}
	if in.HealthURL != "" && (len(in.HealthURL) > 128 || !healthURL.MatchString(in.HealthURL)) {
		errs = append(errs, field.Invalid(at.Child("healthURL"), in.HealthURL, "is no address of an HTTP health endpoint: write for instance http://127.0.0.1:10256/healthz"))
	}
	return errs
}

// tls12Suites are the secure cipher suites of TLS 1.2.
var tls12Suites = []v1beta1.TLSCipherSuite{
	"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
	"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}

func metrics(at *field.Path, in *v1beta1.MetricsConfig) field.ErrorList {
	var errs field.ErrorList
	if p := in.Port; p != nil && (*p < 0 || *p > 65535) {
		errs = append(errs, field.Invalid(at.Child("port"), *p, "write a port from 1 to 65535, or 0 for no metrics"))
	} else if p != nil && (*p == 7946 || *p == 17472) {
		errs = append(errs, field.Invalid(at.Child("port"), *p, "is taken by the speaker itself (7946: gossip, 17472: probes): write another port"))
	}
	versions := []v1beta1.TLSVersion{v1beta1.VersionTLS12, v1beta1.VersionTLS13}
	if in.TLSMinVersion != "" && !slices.Contains(versions, in.TLSMinVersion) {
		errs = append(errs, field.NotSupported(at.Child("tlsMinVersion"), in.TLSMinVersion, versions))
	}
	for i, suite := range in.TLSCipherSuites {
		if !slices.Contains(tls12Suites, suite) {
			errs = append(errs, field.NotSupported(at.Child("tlsCipherSuites").Index(i), suite, tls12Suites))
		} else if slices.Contains(in.TLSCipherSuites[:i], suite) {
			errs = append(errs, field.Duplicate(at.Child("tlsCipherSuites").Index(i), suite))
		}
	}
	if len(in.TLSCipherSuites) > 0 && in.TLSMinVersion != v1beta1.VersionTLS12 {
		errs = append(errs, field.Invalid(at.Child("tlsCipherSuites"), joined(in.TLSCipherSuites), "cannot be chosen for TLS 1.3: write tlsMinVersion: VersionTLS12, or remove tlsCipherSuites"))
	}
	return errs
}

func joined(suites []v1beta1.TLSCipherSuite) string {
	list := make([]string, len(suites))
	for i, s := range suites {
		list[i] = string(s)
	}
	return strings.Join(list, ",")
}
