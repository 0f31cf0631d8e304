package lab

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"metallb.io/operator/test/lab/internal/pid1"
)

// render makes the files of machines: what is configured where. It is pure.
type render struct {
	plan    plan
	options Options
	dir     stateDir
	bins    binaries
	cniBin  string // directory of the CNI plugins
	// snapshotter is overlayfs, or native where the disk is an overlay itself.
	snapshotter string
}

// Paths that steps wait for.
const (
	apiReady  = "api-ready"  // the API server answers and has its bootstrap roles
	nodesMade = "nodes-made" // the Node objects exist
)

func (r render) program(name string, args ...string) []string {
	return append([]string{filepath.Join(r.bins.Kubernetes, name)}, args...)
}

// controlPlane is etcd, API server, controller-manager and scheduler.
func (r render) controlPlane() pid1.Spec {
	dir := r.dir.machine(ControlPlane)
	pki := r.dir.pki
	services := fmt.Sprintf("--service-cluster-ip-range=%s,%s", serviceIPv4, serviceIPv6)
	etcd := r.program("etcd", "--name=cp", "--data-dir="+filepath.Join(dir, "etcd"),
		"--unsafe-no-fsync", // no data here outlives the host
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=cp=http://127.0.0.1:2380", "--log-level=warn")
	apiServer := r.program("kube-apiserver", "--etcd-servers=http://127.0.0.1:2379",
		"--bind-address=0.0.0.0", fmt.Sprint("--secure-port=", r.plan.apiServer().Port()),
		fmt.Sprint("--advertise-address=", r.plan.apiServer().Addr()),
		services, "--allow-privileged=true", "--anonymous-auth=true",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		// It dials webhooks in Pods itself: there is no kube-proxy beside it.
		"--enable-aggregator-routing=true",
		"--client-ca-file="+pki("ca.crt"), "--tls-cert-file="+pki("apiserver.crt"), "--tls-private-key-file="+pki("apiserver.key"),
		"--kubelet-client-certificate="+pki("apiserver-kubelet-client.crt"), "--kubelet-client-key="+pki("apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority="+pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+pki("sa.pub"), "--service-account-signing-key-file="+pki("sa.key"),
		"--requestheader-client-ca-file="+pki("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+pki("front-proxy-client.crt"), "--proxy-client-key-file="+pki("front-proxy-client.key"))
	kubeconfigs := func(name string) []string {
		path := pki(name + ".kubeconfig")
		return []string{"--kubeconfig=" + path, "--authentication-kubeconfig=" + path, "--authorization-kubeconfig=" + path,
			"--bind-address=127.0.0.1", "--leader-elect=false"}
	}
	controllers := append(r.program("kube-controller-manager", kubeconfigs("controller-manager")...),
		services, "--use-service-account-credentials=true", "--allocate-node-cidrs=false",
		"--root-ca-file="+pki("ca.crt"), "--service-account-private-key-file="+pki("sa.key"),
		"--cluster-signing-cert-file="+pki("ca.crt"), "--cluster-signing-key-file="+pki("ca.key"),
		"--flex-volume-plugin-dir=/run/flex",
		// At its own limit of 20 requests a second it takes 4 s to start its controllers.
		"--kube-api-qps=500", "--kube-api-burst=1000")
	if !r.options.SlowNodeFailure {
		controllers = append(controllers, "--node-monitor-grace-period=8s", "--node-monitor-period=1s")
	}
	ready := filepath.Join(dir, apiReady)
	s := r.spec(ControlPlane)
	s.Steps = []pid1.Step{
		{Name: "etcd", Args: etcd},
		{Name: "kube-apiserver", Args: append(apiServer, r.options.APIServerFlags...)},
		// Both fail if they start before the bootstrap roles exist.
		{Name: "kube-controller-manager", Args: append(controllers, r.options.ControllerManagerFlags...), Await: ready},
		{Name: "kube-scheduler", Args: r.program("kube-scheduler", kubeconfigs("scheduler")...)},
	}
	return s
}

func (r render) spec(machine string) pid1.Spec {
	return pid1.Spec{Hostname: machine, Dir: r.dir.machine(machine),
		// Both may lie where a machine has its own /run or /var/lib.
		Keep: append([]string{string(r.dir)}, r.bins.dirs()...)}
}

// node is containerd, kubelet and kube-proxy.
func (r render) node(name string) pid1.Spec {
	dir := r.dir.machine(name)
	m, err := r.plan.machine(name)
	if err != nil {
		panic(err) // the names are the plan's own
	}
	lan := m.NICs[LAN]
	s := r.spec(name)
	// A fresh /var; what must lie on a real disk is bound into it.
	s.Cover = []string{"/var/lib", "/var/log"}
	for _, path := range nodeDisk {
		s.Binds = append(s.Binds, pid1.Bind{From: filepath.Join(dir, "disk", path), To: path})
	}
	for _, path := range slices.Sorted(maps.Keys(kernelTunables)) {
		s.Binds = append(s.Binds, pid1.Bind{From: r.tunable(path), To: path})
	}
	s.Steps = []pid1.Step{
		{Name: "containerd", Args: []string{filepath.Join(r.bins.Containerd, "containerd"), "-c", filepath.Join(dir, "containerd.toml")}},
		{Name: "import", Args: r.loadImage(), Each: filepath.Join(r.dir.images(), "*.tar"), Retry: true},
		{Name: "kubelet", Await: filepath.Join(string(r.dir), nodesMade),
			Args: r.program("kubelet", "--config="+filepath.Join(dir, "kubelet.yaml"), "--kubeconfig="+r.dir.pki(name+".kubeconfig"),
				"--hostname-override="+name, fmt.Sprintf("--node-ip=%s,%s", lan.IPv4.Addr(), lan.IPv6.Addr()), "--v=2")},
		{Name: "kube-proxy", Args: r.program("kube-proxy", "--config="+filepath.Join(dir, "proxy.yaml"), "--hostname-override="+name, "--v=2")},
	}
	return s
}

// nodeDisk is what survives a node's power-off.
var nodeDisk = []string{"/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/var/log/pods"}

// kernelTunables are the kernel settings that kubelet wants and would make,
// machine-wide (pkg/kubelet/cm, setupKernelTunables). Each node sees a file in
// place of each, so this host keeps its own.
var kernelTunables = map[string]string{
	"/proc/sys/vm/overcommit_memory":      "1",
	"/proc/sys/vm/panic_on_oom":           "0",
	"/proc/sys/kernel/panic":              "10",
	"/proc/sys/kernel/panic_on_oops":      "1",
	"/proc/sys/kernel/keys/root_maxkeys":  "1000000",
	"/proc/sys/kernel/keys/root_maxbytes": "25000000",
}

func (r render) tunable(path string) string {
	return filepath.Join(string(r.dir), "tunables", filepath.Base(path))
}

// loadImage is the command that loads an image archive, whose path follows.
func (r render) loadImage() []string {
	return []string{filepath.Join(r.bins.Containerd, "ctr"), "-n", "k8s.io", "images", "import", "--no-unpack"}
}

// nodeFiles gives a node's configuration files, by name.
func (r render) nodeFiles(name string, number int) map[string]string {
	return map[string]string{
		"net.d/10-lab.conflist": r.cni(number),
		"containerd.toml":       r.containerd(name),
		"kubelet.yaml":          r.kubelet(name),
		"proxy.yaml":            r.proxy(),
	}
}

func (r render) cni(number int) string {
	v4, v6 := podCIDRs(number)
	return fmt.Sprintf(`{"cniVersion":"1.0.0","name":"lab","plugins":[
 {"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,"hairpinMode":true,
  "ipam":{"type":"host-local","ranges":[[{"subnet":"%s"}],[{"subnet":"%s"}]],
          "routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}}]}
`, v4, v6)
}

func (r render) containerd(name string) string {
	return fmt.Sprintf(`version = 3
[plugins.'io.containerd.cri.v1.images']
  snapshotter = '%[1]s'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '%[2]s'
[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  # Without CAP_SYS_RESOURCE no process may lower its score, and no Pod would start.
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['%[3]s']
    conf_dir = '%[4]s'
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = false
`, r.snapshotter, pauseImage, r.cniBin, filepath.Join(r.dir.machine(name), "net.d"))
}

func (r render) kubelet(name string) string {
	lease := ""
	if !r.options.SlowNodeFailure {
		lease = "nodeLeaseDurationSeconds: 8\n"
	}
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: %[1]s}}
authorization: {mode: Webhook}
tlsCertFile: %[2]s
tlsPrivateKeyFile: %[3]s
clusterDomain: cluster.local
resolvConf: ""
failSwapOn: false
serializeImagePulls: false
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, nodefs.inodesFree: 1%%, imagefs.available: 1%%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
maxPods: 60
volumePluginDir: /var/lib/kubelet/volumeplugins
`, r.dir.pki("ca.crt"), r.dir.pki(name+"-serving.crt"), r.dir.pki(name+"-serving.key")) + lease + r.options.KubeletConfig
}

func (r render) proxy() string {
	// With conntrack limits kube-proxy would set this host's.
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: %s
clientConnection: {kubeconfig: %s}
clusterCIDR: %s,%s
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
healthzBindAddress: 0.0.0.0:10256
metricsBindAddress: 127.0.0.1:10249
`, r.options.ProxyMode, r.dir.pki("proxy.kubeconfig"), podsIPv4, podsIPv6)
}

// nodeObject is a node's API object. It exists before its kubelet, which then
// adopts its Pod ranges.
func nodeObject(name string, number int) string {
	v4, v6 := podCIDRs(number)
	b, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Node",
		"metadata": map[string]any{"name": name, "labels": map[string]string{"kubernetes.io/hostname": name}},
		"spec":     map[string]any{"podCIDR": v4.String(), "podCIDRs": []string{v4.String(), v6.String()}},
	})
	if err != nil {
		panic(err) // strings only
	}
	return string(b)
}
