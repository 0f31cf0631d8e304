package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/apiserver"
	"metallb.io/operator/internal/bfd/udp"
	"metallb.io/operator/internal/bgp/tcp"
	"metallb.io/operator/internal/l2/arp"
	"metallb.io/operator/internal/l2/iface"
	"metallb.io/operator/internal/l2/ndp"
	"metallb.io/operator/internal/lbservice"
	"metallb.io/operator/internal/memory"
	"metallb.io/operator/speaker/heartbeat"
	"metallb.io/operator/speaker/kubeproxy"
	"metallb.io/operator/speaker/members"
	"metallb.io/operator/speaker/node"
	"metallb.io/operator/speaker/sessions"
)

type speakerFlags struct {
	namespace, nodeName, podName          string
	class                                 lbservice.Class
	gossipAddress, gossipLabels, secretAt string
	gossipPort, probePort, metricsPort    int
	bgpListenPort                         int
	metricsAddress, probeAddress          string
	excludeInterfaces                     string
	ignoreExcludeLabel                    bool
	metrics                               metricsFlags
	timing                                members.Timing
	heartbeat                             time.Duration
	kubeProxy, kubeProxyURL               string
	profiler                              string
	logLevel                              string // as all commands have it
}

func speakerCommand(fs *flag.FlagSet) func(ctx context.Context, log *slog.Logger) error {
	f := &speakerFlags{}
	gossipPort, portErr := strconv.Atoi(cmp.Or(os.Getenv("METALLB_ML_BIND_PORT"), "7946"))
	fs.StringVar(&f.namespace, "namespace", os.Getenv("METALLB_NAMESPACE"), "namespace of the configuration (env METALLB_NAMESPACE); by default the pod's own")
	fs.StringVar(&f.class.Name, "lb-class", "", "announce the Services of this spec.loadBalancerClass; by default those without a class")
	fs.BoolVar(&f.class.Default, "lb-class-default", false, "with --lb-class, announce the Services without a class too")
	fs.StringVar(&f.nodeName, "node-name", os.Getenv("METALLB_NODE_NAME"), "name of the node (env METALLB_NODE_NAME)")
	fs.StringVar(&f.podName, "pod-name", os.Getenv("METALLB_POD_NAME"), "name of the pod (env METALLB_POD_NAME)")
	fs.StringVar(&f.gossipAddress, "ml-bindaddr", os.Getenv("METALLB_ML_BIND_ADDR"), "the node's address on the LAN, for the speakers' gossip (env METALLB_ML_BIND_ADDR)")
	fs.IntVar(&f.gossipPort, "ml-bindport", gossipPort, "TCP and UDP port of the gossip, the same on all nodes (env METALLB_ML_BIND_PORT)")
	fs.StringVar(&f.gossipLabels, "ml-labels", cmp.Or(os.Getenv("METALLB_ML_LABELS"), "app=metallb,component=speaker"), "labels of the speakers' pods (env METALLB_ML_LABELS)")
	fs.StringVar(&f.secretAt, "ml-secret-key-path", cmp.Or(os.Getenv("METALLB_ML_SECRET_KEY_PATH"), "/etc/ml_secret_key"), "directory whose file secretkey holds the key of the gossip (env METALLB_ML_SECRET_KEY_PATH)")
	fs.BoolVar(&f.ignoreExcludeLabel, "ignore-exclude-lb", false, "announce from nodes with the label node.kubernetes.io/exclude-from-external-load-balancers too")
	fs.StringVar(&f.probeAddress, "health-probe-address", "127.0.0.1", "address of /healthz and /readyz")
	fs.IntVar(&f.probePort, "health-probe-port", 17472, "port of /healthz and /readyz")
	fs.IntVar(&f.metricsPort, "port", 9120, "port of /metrics; 0: none")
	fs.StringVar(&f.metricsAddress, "metrics-bind-address", "", "address of /metrics; by default all")
	f.metrics.declare(fs)
	fs.StringVar(&f.excludeInterfaces, "exclude-interfaces", "", "network interfaces on which nothing is announced, besides those of containers and virtual machines: names, or regular expressions that begin with ^, with commas between")
	fs.IntVar(&f.bgpListenPort, "bgp-listen-port", 0, "port where BGP peers can open connections; 0: they cannot, and this end opens them all")
	fs.DurationVar(&f.heartbeat, "heartbeat-interval", heartbeat.DefaultInterval, "time between two heartbeats to a neighbour, UDP port 3784; two that are missed are silence, if the node's kernel does not answer either; 0: no heartbeats")
	fs.DurationVar(&f.timing.ProbeInterval, "ml-probe-interval", members.DefaultTiming.ProbeInterval, "time between two looks at another speaker")
	fs.DurationVar(&f.timing.ProbeTimeout, "ml-probe-timeout", 0, "how long its answer may take before it is asked for by other ways; by default half of --ml-probe-interval")
	fs.IntVar(&f.timing.SuspicionMultiplier, "ml-suspicion-multiplier", members.DefaultTiming.SuspicionMultiplier, "for how many times --ml-probe-interval a speaker that does not answer can speak up before it counts as gone")
	fs.StringVar(&f.kubeProxy, "kube-proxy-health", string(kubeproxy.Automatic), "what follows from the health of kube-proxy on this node. automatic: once it has been healthy, a node where it is not announces only what no other can; required: also before it has been; ignored: nothing")
	fs.StringVar(&f.kubeProxyURL, "kube-proxy-health-url", kubeproxy.DefaultURL, "where kube-proxy on this node says whether it is healthy")
	declareProfiler(fs, &f.profiler)
	return func(ctx context.Context, log *slog.Logger) error {
		if level := fs.Lookup("log-level"); level != nil {
			f.logLevel = level.Value.String()
		}
		if portErr != nil {
			return fmt.Errorf("environment variable METALLB_ML_BIND_PORT: %w", portErr)
		}
		return runSpeaker(ctx, f, log)
	}
}

func (f *speakerFlags) check() (gossip netip.AddrPort, pods labels.Selector, err error) {
	var errs []error
	for _, required := range []struct{ value, flag, env string }{
		{f.nodeName, "--node-name", "METALLB_NODE_NAME"}, {f.podName, "--pod-name", "METALLB_POD_NAME"},
	} {
		if required.value == "" {
			errs = append(errs, fmt.Errorf("give %s (or the environment variable %s)", required.flag, required.env))
		}
	}
	address, err := netip.ParseAddr(f.gossipAddress)
	if err != nil {
		errs = append(errs, fmt.Errorf("--ml-bindaddr (or the environment variable METALLB_ML_BIND_ADDR): give the node's address: %w", err))
	}
	if f.gossipPort < 1 || f.gossipPort > 65535 {
		errs = append(errs, fmt.Errorf("--ml-bindport: %d is no port", f.gossipPort))
	}
	if f.bgpListenPort < 0 || f.bgpListenPort > 65535 {
		errs = append(errs, fmt.Errorf("--bgp-listen-port: %d is no port", f.bgpListenPort))
	}
	if err := f.timing.Check(); err != nil {
		errs = append(errs, fmt.Errorf("--ml-probe-interval, --ml-probe-timeout, --ml-suspicion-multiplier: %w", err))
	}
	if err := heartbeat.Check(f.heartbeat); err != nil {
		errs = append(errs, fmt.Errorf("--heartbeat-interval: %w", err))
	}
	if err := kubeproxy.Check(kubeproxy.Mode(f.kubeProxy), f.kubeProxyURL); err != nil {
		errs = append(errs, fmt.Errorf("--kube-proxy-health, --kube-proxy-health-url: %w", err))
	}
	pods, err = labels.Parse(f.gossipLabels)
	if err != nil {
		errs = append(errs, fmt.Errorf("--ml-labels: %w", err))
	}
	return netip.AddrPortFrom(address.Unmap(), uint16(f.gossipPort)), pods, errors.Join(errs...)
}

func runSpeaker(ctx context.Context, f *speakerFlags, log *slog.Logger) error {
	gossip, pods, err := f.check()
	if err != nil {
		return err
	}
	measured, err := f.metrics.options(metricsAddress(f.metricsAddress, f.metricsPort))
	if err != nil {
		return err
	}
	namespace, err := ownNamespace(f.namespace)
	if err != nil {
		return err
	}
	config, err := apiserver.Config(userAgent(node.Component))
	if err != nil {
		return err
	}
	scheme := kruntime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), discoveryv1.AddToScheme(scheme), v1beta1.AddToScheme(scheme), v1beta2.AddToScheme(scheme)); err != nil {
		return err
	}
	api, err := cache.New(config, node.CacheOptions(scheme, namespace, f.nodeName, pods))
	if err != nil {
		return err
	}
	live, err := client.New(config, node.ClientOptions(scheme))
	if err != nil {
		return err
	}
	// Until the speaker has handed over, it goes on reading and telling: the context of those ends with this function.
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	recorder, stop, err := newRecorder(background, config, scheme, corev1.EventSource{Component: node.Component, Host: f.nodeName})
	if err != nil {
		return err
	}
	defer stop()

	counters, err := node.NewMetrics(metrics.Registry)
	if err != nil {
		return err
	}
	exclude, err := iface.Exclude(f.excludeInterfaces)
	if err != nil {
		return fmt.Errorf("--exclude-interfaces: %w", err)
	}
	network, err := iface.Watch(iface.DefaultExclude, log, exclude...)
	if err != nil {
		return err
	}
	defer network.Close()
	ipv4, ipv6 := arp.New(counters, log), ndp.New(counters, log)
	defer ipv4.Close()
	defer ipv6.Close()
	secret := filepath.Join(f.secretAt, "secretkey")
	member := members.Config{Node: f.nodeName, Instance: f.podName, Address: gossip, Secret: readSecret(secret, log), Timing: f.timing, Log: log}
	bfd := udp.New(udp.Options{Log: log})
	defer closeBFD(bfd, log)
	paths := udp.Divide(bfd)
	defer paths.Close()
	if f.heartbeat > 0 {
		beats := heartbeat.New(paths.Share(), gossip.Addr(), f.heartbeat, log)
		defer beats.Close()
		member.Heartbeats = beats
	}
	bgp, err := newEngine(cmp.Or(f.logLevel, "info"), log)
	if err != nil {
		return err
	}
	defer bgp.Close()
	var listener sessions.Listener
	if f.bgpListenPort > 0 {
		l := tcp.New(uint16(f.bgpListenPort), bgp.Accept, log)
		defer l.Close()
		listener = l
	}
	routers := sessions.New(bgp, paths.Share(), listener, log)
	defer routers.Close()
	group, err := join(ctx, member)
	if err != nil {
		return err
	}
	defer func() { _ = group.Close() }()

	proxy := kubeproxy.New(kubeproxy.Mode(f.kubeProxy), f.kubeProxyURL, log)
	n := node.New(node.Options{
		Name: f.nodeName, Pod: f.podName, Namespace: namespace, Class: f.class, Address: gossip.Addr(),
		IgnoreExcludeLabel: f.ignoreExcludeLabel, Cache: api, Live: live, Gateways: iface.Gateways,
		State: &configuration.State{
			Client: live, Namespace: namespace, Name: configuration.SpeakerState(f.nodeName), Component: configuration.Speaker,
			Node: f.nodeName, Pod: f.podName,
		},
		Members: group, Network: network, KubeProxy: proxy, ARP: ipv4, NDP: ipv6, BGP: routers,
		Recorder: recorder, Metrics: counters, Log: log, Read: memory.Reading(memory.Frugal),
	})
	return runAll(ctx, background, n.Run,
		func(ctx context.Context) error { return api.Start(ctx) },
		proxy.Run,
		func(ctx context.Context) error { return followSecret(ctx, secret, group.SetSecret, log) },
		func(ctx context.Context) error {
			return serveHealth(ctx, net.JoinHostPort(f.probeAddress, strconv.Itoa(f.probePort)), n)
		},
		func(ctx context.Context) error { return shareMetrics(ctx, measured, config, log) },
		func(ctx context.Context) error { return serveProfiles(ctx, f.profiler) },
	)
}

// runAll runs main until ctx ends, and the others for as long as main runs. The first to fail ends them all.
func runAll(ctx, background context.Context, main func(context.Context) error, others ...func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	background, end := context.WithCancel(background)
	defer end()
	errs := make([]error, len(others))
	var wg sync.WaitGroup
	for i, run := range others {
		wg.Go(func() {
			if err := run(background); err != nil && background.Err() == nil {
				errs[i] = err
				stop()
			}
		})
	}
	err := main(ctx)
	end()
	wg.Wait()
	return errors.Join(append(errs, err)...)
}

// portPatience is how long a speaker waits for the gossip's port. The kubelet, which has no answer from it until then, may end
// it earlier.
const portPatience = 5 * time.Minute

// join becomes a member. While a speaker of another installation holds the port on this node, it waits: who is started anew
// only when the kubelet has waited, for longer each time, comes too late when that one goes.
func join(ctx context.Context, c members.Config) (*members.Members, error) {
	patience, cancel := context.WithTimeout(ctx, portPatience)
	defer cancel()
	for waiting := false; ; waiting = true {
		group, err := members.Start(c)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return group, err
		}
		if !waiting {
			c.Log.Warn("waiting for the port of the gossip, which another program on this node holds: is there another installation?", "address", c.Address)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-patience.Done():
			return nil, err
		}
	}
}

// readSecret returns the key of the gossip as it is now; nothing where there is none yet.
func readSecret(file string, log *slog.Logger) []byte {
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Warn("cannot read the gossip key", "file", file, "error", err)
	}
	return b
}

// followSecret passes the key on when it has changed. The kubelet replaces the file behind a symbolic link some time after
// the Secret has changed; there is no use in noticing that faster than this.
func followSecret(ctx context.Context, file string, use func([]byte), log *slog.Logger) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	var last []byte
	for {
		select {
		case <-tick.C:
			if b := readSecret(file, log); !bytes.Equal(b, last) {
				use(b)
				last = b
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// serveHealth answers the kubelet's probes, from the host's loopback. A pod that follows this one in an update has another
// address there, but for one of the same specification, with which it is shared.
func serveHealth(ctx context.Context, address string, n *node.Node) error {
	mux := http.NewServeMux()
	for path, check := range map[string]func() error{"/healthz": n.Healthy, "/readyz": n.Ready} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			if err := check(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			_, _ = w.Write([]byte("ok"))
		})
	}
	return serve(ctx, address, mux)
}

// serveProfiles serves those of Go's runtime at an address, if that is not empty.
func serveProfiles(ctx context.Context, address string) error {
	if address == "" {
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	return serve(ctx, address, mux)
}

// serve serves HTTP on a port that a second speaker on this node can share, until the context ends.
func serve(ctx context.Context, address string, h http.Handler) error {
	shared := net.ListenConfig{Control: reusePort}
	l, err := shared.Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
