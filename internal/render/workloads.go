package render

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"metallb.io/operator/api/v1beta1"
)

const nobody = 65534

func (r renderer) controller() *appsv1.Deployment {
	container := corev1.Container{
		Args: r.args("controller"),
		Env: []corev1.EnvVar{
			fromField("METALLB_NAMESPACE", "metadata.namespace"),
			fromField("METALLB_POD_NAME", "metadata.name"),
			{Name: "METALLB_DEPLOYMENT", Value: Controller},
			{Name: "METALLB_ML_SECRET_NAME", Value: gossipSecret},
		},
		LivenessProbe:  liveness(),
		ReadinessProbe: readiness(),
		Resources:      requests("50m", "64Mi"),
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.To(false),
			ReadOnlyRootFilesystem:   ptr.To(true),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
	pod := corev1.PodSpec{
		NodeSelector:                  onLinux(r.m.Spec.ControllerNodeSelector),
		Tolerations:                   slices.Clone(r.m.Spec.ControllerTolerations),
		PriorityClassName:             "system-cluster-critical",
		TerminationGracePeriodSeconds: ptr.To[int64](10),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:   ptr.To(true),
			RunAsUser:      ptr.To[int64](nobody),
			RunAsGroup:     ptr.To[int64](nobody),
			FSGroup:        ptr.To[int64](nobody),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
	if r.env.OpenShift { // the namespace's own range of users is what is allowed there
		pod.SecurityContext.RunAsUser, pod.SecurityContext.RunAsGroup, pod.SecurityContext.FSGroup = nil, nil, nil
	}
	shape := ptr.Deref(r.m.Spec.ControllerConfig, v1beta1.ControllerConfig{})
	if r.replicas() > 1 {
		pod.Affinity = apart(PodLabels(Controller))
	}
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment"},
		ObjectMeta: r.meta(Controller, Controller),
		Spec: appsv1.DeploymentSpec{
			Replicas:             ptr.To(r.replicas()),
			RevisionHistoryLimit: ptr.To[int32](3),
			Selector:             &metav1.LabelSelector{MatchLabels: PodLabels(Controller)},
			// The new pod is there, waiting for the lease, before the old one hands it over.
			Strategy: appsv1.DeploymentStrategy{
				Type: appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{
					MaxSurge:       ptr.To(intstr.FromInt32(1)),
					MaxUnavailable: ptr.To(intstr.FromInt32(0)),
				},
			},
			Template: r.template(Controller, pod, container, shape.WorkloadConfig),
		},
	}
}

// disruptionBudget lets one controller at a time be evicted, so that draining nodes leaves another. A single one may be
// evicted: who drains its node would wait for ever otherwise.
func (r renderer) disruptionBudget() *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: policyv1.SchemeGroupVersion.String(), Kind: "PodDisruptionBudget"},
		ObjectMeta: r.meta("metallb-"+Controller, Controller),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable:             ptr.To(intstr.FromInt32(1)),
			Selector:                   &metav1.LabelSelector{MatchLabels: PodLabels(Controller)},
			UnhealthyPodEvictionPolicy: ptr.To(policyv1.AlwaysAllow), // one that does not work protects nobody
		},
	}
}

// replicas of the controller.
func (r renderer) replicas() int32 {
	return ptr.Deref(ptr.Deref(r.m.Spec.ControllerConfig, v1beta1.ControllerConfig{}).Replicas, 1)
}

// apart asks for pods on nodes of their own; where there are not enough nodes they share.
func apart(labels map[string]string) *corev1.Affinity {
	return &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{
			Weight: 100,
			PodAffinityTerm: corev1.PodAffinityTerm{
				LabelSelector: &metav1.LabelSelector{MatchLabels: labels},
				TopologyKey:   corev1.LabelHostname,
			},
		}},
	}}
}

// speakerArgs are the arguments of the speaker. What the resource leaves to us is not among them.
func (r renderer) speakerArgs() []string {
	args := r.args("speaker")
	if names := r.m.Spec.ExcludeInterfaces; len(names) > 0 {
		args = append(args, "--exclude-interfaces="+join(names))
	}
	if port := r.bgpPort(); port > 0 {
		args = append(args, flagInt("bgp-listen-port", int(port)))
	}
	proxy := ptr.Deref(r.m.Spec.KubeProxy, v1beta1.KubeProxyConfig{})
	if proxy.Health != "" {
		args = append(args, "--kube-proxy-health="+strings.ToLower(string(proxy.Health)))
	}
	if proxy.HealthURL != "" {
		args = append(args, "--kube-proxy-health-url="+proxy.HealthURL)
	}
	gossip := ptr.Deref(r.m.Spec.Memberlist, v1beta1.MemberlistConfig{})
	if gossip.HeartbeatInterval != nil {
		args = append(args, "--heartbeat-interval="+gossip.HeartbeatInterval.Duration.String())
	}
	if gossip.ProbeInterval != nil {
		args = append(args, "--ml-probe-interval="+gossip.ProbeInterval.Duration.String())
	}
	if gossip.ProbeTimeout != nil {
		args = append(args, "--ml-probe-timeout="+gossip.ProbeTimeout.Duration.String())
	}
	if gossip.SuspicionMultiplier != nil {
		args = append(args, flagInt("ml-suspicion-multiplier", int(*gossip.SuspicionMultiplier)))
	}
	return args
}

// bgpPort is where the speakers accept BGP connections; 0: nowhere.
func (r renderer) bgpPort() int32 { return ptr.Deref(r.m.Spec.BGP, v1beta1.BGPConfig{}).ListenPort }

// speakerCapabilities are for packet sockets and, if there is need, a port that not everybody may have.
func (r renderer) speakerCapabilities() []corev1.Capability {
	const unprivileged = 1024
	out := []corev1.Capability{"NET_RAW"}
	if port := r.bgpPort(); port > 0 && port < unprivileged {
		out = append(out, "NET_BIND_SERVICE")
	}
	return out
}

// updateStrategy is, unless the resource asks for another, that the new pod starts beside the old one, so that a node is
// never without a speaker.
func updateStrategy(want *v1beta1.SpeakerUpdateStrategy) appsv1.DaemonSetUpdateStrategy {
	surge, unavailable := intstr.FromInt32(1), intstr.FromInt32(0)
	if want != nil && want.Type == v1beta1.OnDelete {
		return appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
	}
	if want != nil && want.RollingUpdate != nil {
		unavailable = ptr.Deref(want.RollingUpdate.MaxUnavailable, unavailable)
		if !isZero(unavailable) {
			surge = intstr.FromInt32(0) // Kubernetes takes one of the two
		}
		surge = ptr.Deref(want.RollingUpdate.MaxSurge, surge)
	}
	return appsv1.DaemonSetUpdateStrategy{
		Type:          appsv1.RollingUpdateDaemonSetStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxSurge: ptr.To(surge), MaxUnavailable: ptr.To(unavailable)},
	}
}

func isZero(n intstr.IntOrString) bool {
	return n == intstr.FromInt32(0) || n == intstr.FromString("0%")
}

func (r renderer) speaker() *appsv1.DaemonSet {
	container := corev1.Container{
		Args: r.speakerArgs(),
		Env: []corev1.EnvVar{
			fromField("METALLB_NAMESPACE", "metadata.namespace"),
			fromField("METALLB_POD_NAME", "metadata.name"),
			fromField("METALLB_NODE_NAME", "spec.nodeName"),
			fromField("METALLB_ML_BIND_ADDR", "status.hostIP"),
			{Name: "METALLB_ML_BIND_PORT", Value: fmt.Sprint(gossipPort)},
			{Name: "METALLB_ML_LABELS", Value: metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: PodLabels(Speaker)})},
			{Name: "METALLB_ML_SECRET_KEY_PATH", Value: gossipSecretDir},
		},
		LivenessProbe:  liveness(),
		ReadinessProbe: readiness(),
		Resources:      requests("100m", "64Mi"),
		SecurityContext: &corev1.SecurityContext{
			// An added capability reaches the process only as uid 0, the binary having no file capabilities.
			RunAsUser:                ptr.To[int64](0),
			RunAsGroup:               ptr.To[int64](0),
			AllowPrivilegeEscalation: ptr.To(false),
			ReadOnlyRootFilesystem:   ptr.To(true),
			Capabilities: &corev1.Capabilities{
				Add:  r.speakerCapabilities(),
				Drop: []corev1.Capability{"ALL"},
			},
		},
		VolumeMounts: []corev1.VolumeMount{{Name: gossipSecret, MountPath: gossipSecretDir, ReadOnly: true}},
	}
	pod := corev1.PodSpec{
		HostNetwork:                   true,
		NodeSelector:                  onLinux(r.m.Spec.NodeSelector),
		Tolerations:                   append(controlPlaneTolerations(), r.m.Spec.SpeakerTolerations...),
		PriorityClassName:             "system-node-critical",
		TerminationGracePeriodSeconds: ptr.To[int64](5),
		SecurityContext: &corev1.PodSecurityContext{
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		// Not optional: pods wait for the Secret, which the controller makes. A kubelet brings a Secret that comes later in a
		// minute or two, and until then speakers with the key and speakers without cannot talk.
		Volumes: []corev1.Volume{{Name: gossipSecret, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName:  gossipSecret,
			DefaultMode: ptr.To[int32](0o400),
		}}}},
	}
	shape := ptr.Deref(r.m.Spec.SpeakerConfig, v1beta1.SpeakerConfig{})
	template := r.template(Speaker, pod, container, shape.WorkloadConfig)
	probeAtItsOwn(&template)
	return &appsv1.DaemonSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "DaemonSet"},
		ObjectMeta: r.meta(Speaker, Speaker),
		Spec: appsv1.DaemonSetSpec{
			RevisionHistoryLimit: ptr.To[int32](3),
			Selector:             &metav1.LabelSelector{MatchLabels: PodLabels(Speaker)},
			UpdateStrategy:       updateStrategy(shape.UpdateStrategy),
			Template:             template,
		},
	}
}

// probeAtItsOwn has the speaker answer its probes at an address of the host's loopback (127.0.0.0/8: RFC 1122, 3.2.1.3)
// that belongs to this template. During an update two speakers are on a node, in one network, and at an address that they
// share each would answer for the other: the old one would count as not ready while a new one does not come up, and
// Kubernetes would remove it.
func probeAtItsOwn(template *corev1.PodTemplateSpec) {
	text, err := json.Marshal(template)
	if err != nil { // plain structures always encode
		panic(err)
	}
	sum := sha256.Sum256(text)
	address := netip.AddrFrom4([4]byte{127, 64 | sum[0]&63, sum[1], sum[2]}).String() // far from 127.0.0.1 and what is near it
	c := &template.Spec.Containers[0]
	c.Args = append(c.Args, "--health-probe-address="+address)
	c.LivenessProbe.HTTPGet.Host, c.ReadinessProbe.HTTPGet.Host = address, address
}

func controlPlaneTolerations() []corev1.Toleration {
	return []corev1.Toleration{
		{Key: "node-role.kubernetes.io/control-plane", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
		{Key: "node-role.kubernetes.io/master", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	}
}

// liveness allows for a minute of silence: a node without a free core is no reason to end a process that works.
func liveness() *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:        probe("/healthz"),
		InitialDelaySeconds: 10,
		PeriodSeconds:       10,
		TimeoutSeconds:      5,
		FailureThreshold:    6,
	}
}

func readiness() *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:     probe("/readyz"),
		PeriodSeconds:    2,
		TimeoutSeconds:   2,
		FailureThreshold: 3,
	}
}

func probe(path string) corev1.ProbeHandler {
	return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(healthPort), Path: path}}
}

// requests are what the scheduler sets aside. There is no limit: a process that is throttled or killed loses addresses.
func requests(cpu, memory string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse(cpu),
		corev1.ResourceMemory: resource.MustParse(memory),
	}}
}

func fromField(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path},
	}}
}

func flagInt(name string, value int) string { return fmt.Sprintf("--%s=%d", name, value) }
