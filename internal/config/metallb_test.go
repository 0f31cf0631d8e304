package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"metallb.io/operator/api/v1beta1"
)

func metalLB(t *testing.T, namespace, name, spec string) v1beta1.MetalLB {
	t.Helper()
	var m v1beta1.MetalLB
	if err := yaml.UnmarshalStrict([]byte("spec: {"+spec+"}"), &m); err != nil {
		t.Fatal(err)
	}
	m.Namespace, m.Name = namespace, name
	return m
}

func TestReviewMetalLB(t *testing.T) {
	const qualified = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
	const value = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
	for name, tt := range map[string]struct {
		spec string
		want []string
	}{
		"nothing written": {"", []string{}},
		"everything, well written": {
			"nodeSelector: {a/b: c}, controllerNodeSelector: {kubernetes.io/os: linux}, speakerTolerations: [{operator: Exists}, {key: a, value: b}, {key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 5}, {key: a, operator: Gt, value: '7'}], " +
				"loadBalancerClass: example.com/lb, frrk8sConfig: {alwaysBlock: [192.0.2.0/24, '2001:db8::/32']}, speakerConfig: {annotations: {a: b}, priorityClassName: high, resources: {requests: {cpu: 1}, limits: {cpu: 1}}, " +
				"affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, preference: {}}]}}}",
			[]string{},
		},
		"what has no effect": {"image: x, bgpBackend: frr, frrk8sConfig: {namespace: x, secretPassthrough: true}", []string{
			"W spec.image: has no effect: the operator deploys the image that it runs itself",
			"W spec.bgpBackend: frr is served by the one implementation of BGP that there is, inside the speaker",
			"W spec.frrk8sConfig.namespace: is not used: BGP runs inside the speaker",
			"W spec.frrk8sConfig.secretPassthrough: is not used: BGP runs inside the speaker, which reads the Secrets itself",
		}},
		"node selectors": {"nodeSelector: {a b: c, d: e f}, controllerNodeSelector: {'': c}", []string{
			`E spec.nodeSelector: Invalid value: "a b": ` + qualified,
			`E spec.nodeSelector: Invalid value: "e f": ` + value,
			`E spec.controllerNodeSelector: Invalid value: "": name part must be non-empty`,
			`E spec.controllerNodeSelector: Invalid value: "": ` + qualified,
		}},
		"tolerations": {"speakerTolerations: [{key: a, operator: Exists, value: b}, {value: a}, {key: a, operator: Like}, {key: a, effect: Never}], controllerTolerations: [{key: a b}, {key: a, value: b c}, {key: a, tolerationSeconds: 5}, {key: a, operator: Lt, value: x}]", []string{
			`E spec.speakerTolerations[0].value: Invalid value: "b": must be empty with operator Exists: remove it, or write operator: Equal`,
			`E spec.speakerTolerations[1].operator: Invalid value: "": without a key it must be Exists, which tolerates every taint: write that, or a key`,
			`E spec.speakerTolerations[2].operator: Unsupported value: "Like": supported values: "Equal", "Exists"`,
			`E spec.speakerTolerations[3].effect: Unsupported value: "Never": supported values: "NoExecute", "NoSchedule", "PreferNoSchedule"`,
			`E spec.controllerTolerations[0].key: Invalid value: "a b": ` + qualified,
			`E spec.controllerTolerations[1].value: Invalid value: "b c": ` + value,
			`E spec.controllerTolerations[2].tolerationSeconds: Invalid value: 5: is for the effect NoExecute only: remove it, or write effect: NoExecute`,
			`E spec.controllerTolerations[3].value: Invalid value: "x": must be a valid decimal integer in canonical form`,
		}},
		"a class": {"loadBalancerClass: a/b/c", []string{
			`E spec.loadBalancerClass: Invalid value: "a/b/c": a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`,
		}},
		"settings, well written": {"controllerConfig: {replicas: 5}, speakerConfig: {updateStrategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 100%, maxUnavailable: 0}}}, " +
			"excludeInterfaces: [eth1, wlan0.5, '^wg.*', '^eth[34]$', '^en[a-z0-9]+\\.7$'], memberlist: {heartbeatInterval: 0s, probeInterval: 10s, probeTimeout: 20ms, suspicionMultiplier: 20}, kubeProxy: {health: Required, healthURL: 'http://[::1]:10257/healthz'}, " +
			"metrics: {port: 0, tlsMinVersion: VersionTLS12, tlsCipherSuites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]}", []string{}},
		"settings, everything at once": {"controllerConfig: {replicas: 0}, speakerConfig: {updateStrategy: {rollingUpdate: {maxSurge: -1, maxUnavailable: x}}}, excludeInterfaces: ['^(', '^.+', a, a], " +
			"memberlist: {heartbeatInterval: 1ms, probeInterval: 1ms, probeTimeout: 1ms, suspicionMultiplier: 21}, kubeProxy: {health: Sometimes, healthURL: 'https://127.0.0.1'}, metrics: {port: 17472, tlsCipherSuites: [x]}", []string{
			"E spec.controllerConfig.replicas: Invalid value: 0: write a number from 1 to 5",
			`E spec.speakerConfig.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: "x": is neither a number nor a share: write 1 or more, or for instance 10%`,
			`E spec.speakerConfig.updateStrategy.rollingUpdate.maxSurge: Invalid value: "-1": is neither a number nor a share: write 1 or more, or for instance 10%`,
			`E spec.excludeInterfaces[0]: Invalid value: "^(": is neither the name of an interface nor a pattern: write a name such as eth1, or a pattern that begins with ^, such as ^eth[34]$ or ^wg.*`,
			`E spec.excludeInterfaces[1]: Invalid value: "^.+": would exclude every interface: name those to exclude, or announce nothing by having no L2Advertisement`,
			`E spec.excludeInterfaces[3]: Duplicate value: "a"`,
			`E spec.memberlist.heartbeatInterval: Invalid value: "1ms": is no heartbeat interval: write a time from 50ms to 10s, for instance 150ms, or 0s for none`,
			`E spec.memberlist.probeInterval: Invalid value: "1ms": is no probe interval: write a time from 100ms to 10s, for instance 300ms`,
			`E spec.memberlist.probeTimeout: Invalid value: "1ms": is no probe timeout: write a time from 20ms that is less than probeInterval, for instance 150ms`,
			`E spec.memberlist.suspicionMultiplier: Invalid value: 21: write a number from 2 to 20`,
			`E spec.kubeProxy.health: Unsupported value: "Sometimes": supported values: "Automatic", "Required", "Ignored"`,
			`E spec.kubeProxy.healthURL: Invalid value: "https://127.0.0.1": is no address of an HTTP health endpoint: write for instance http://127.0.0.1:10256/healthz`,
			`E spec.metrics.port: Invalid value: 17472: is taken by the speaker itself (7946: gossip, 17472: probes): write another port`,
			`E spec.metrics.tlsCipherSuites[0]: Unsupported value: "x": supported values: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"`,
			`E spec.metrics.tlsCipherSuites: Invalid value: "x": cannot be chosen for TLS 1.3: write tlsMinVersion: VersionTLS12, or remove tlsCipherSuites`,
		}},
		"prefixes to block": {"frrk8sConfig: {alwaysBlock: [192.0.2.0/24, 192.0.2.1]}", []string{
			`E spec.frrk8sConfig.alwaysBlock[1]: Invalid value: "192.0.2.1": is not a prefix: write for instance 192.0.2.0/24 or 2001:db8::/32`,
		}},
		"workloads": {
			"controllerConfig: {annotations: {a b: c}, priorityClassName: Not Me, affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, preference: {}}]}, podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 101, podAffinityTerm: {topologyKey: a}}]}, podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: -1, podAffinityTerm: {topologyKey: a}}]}}}, " +
				"speakerConfig: {resources: {requests: {memory: 2Gi, cpu: 200m}, limits: {memory: 1Gi, cpu: -1}}}",
			[]string{
				`E spec.controllerConfig.priorityClassName: Invalid value: "Not Me": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`,
				`E spec.controllerConfig.annotations: Invalid value: "a b": ` + qualified,
				`E spec.controllerConfig.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: write a number from 1 to 100`,
				`E spec.controllerConfig.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 101: write a number from 1 to 100`,
				`E spec.controllerConfig.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: -1: write a number from 1 to 100`,
				`E spec.speakerConfig.resources.limits[cpu]: Invalid value: "-1": is negative: write 0 or more`,
				`E spec.speakerConfig.resources.requests[cpu]: Invalid value: "200m": is more than the limit of -1: write at most that, or raise the limit`,
				`E spec.speakerConfig.resources.requests[memory]: Invalid value: "2Gi": is more than the limit of 1Gi: write at most that, or raise the limit`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := metalLB(t, "metallb-system", "metallb", tt.spec)
			if diff := cmp.Diff(tt.want, verdict(ReviewMetalLB(nil, &m))); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReviewMetalLBBesideOthers(t *testing.T) {
	first := metalLB(t, "first", "metallb", "")
	leaving := metalLB(t, "leaving", "metallb", "")
	now := metav1.NewTime(time.Unix(0, 0))
	leaving.DeletionTimestamp = &now
	misnamed := metalLB(t, "first", "lb", "")
	const wrongName = `E metadata.name: Invalid value: "lb": a MetalLB must be named "metallb": create it under that name`
	for name, tt := range map[string]struct {
		existing []v1beta1.MetalLB
		subject  v1beta1.MetalLB
		want     string
	}{
		"the only one":                         {nil, first, ""},
		"a second one":                         {[]v1beta1.MetalLB{misnamed, leaving, first}, metalLB(t, "second", "metallb", ""), "E metadata.namespace: Forbidden: there is one MetalLB per cluster, and it is in namespace first: change that one, or delete it first"},
		"a second one while the first goes":    {[]v1beta1.MetalLB{leaving}, first, ""},
		"another name":                         {[]v1beta1.MetalLB{first}, misnamed, wrongName},
		"another name, stored before":          {[]v1beta1.MetalLB{misnamed}, metalLB(t, "first", "lb", "logLevel: info"), ""},
		"the first, changed, beside a second":  {[]v1beta1.MetalLB{first, metalLB(t, "second", "metallb", "")}, metalLB(t, "first", "metallb", "logLevel: info"), ""},
		"one that is wrong since long, as is":  {[]v1beta1.MetalLB{metalLB(t, "a", "metallb", "nodeSelector: {a b: c}, image: x")}, metalLB(t, "a", "metallb", "nodeSelector: {a b: c}, image: x"), ""},
		"one that is wrong, and still so":      {[]v1beta1.MetalLB{metalLB(t, "a", "metallb", "loadBalancerClass: a/b/c")}, metalLB(t, "a", "metallb", "loadBalancerClass: a/b/c, image: x"), "E spec.loadBalancerClass"},
		"one that was wrong, and is put right": {[]v1beta1.MetalLB{metalLB(t, "a", "metallb", "loadBalancerClass: a/b/c")}, metalLB(t, "a", "metallb", "loadBalancerClass: a/b"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(verdict(ReviewMetalLB(tt.existing, &tt.subject)), "\n")
			if !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("verdict is %q, not %q", got, tt.want)
			}
		})
	}
}
