package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/controllers/legacy"
	"metallb.io/operator/controllers/pool"
	"metallb.io/operator/controllers/service"
	"metallb.io/operator/internal/apiserver"
	"metallb.io/operator/internal/lbservice"
	"metallb.io/operator/internal/memory"
)

// controllerLease is the name of the Lease that the working replica of the controller holds.
const controllerLease = "metallb-controller"

// namespaceFile holds a pod's namespace.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

type controllerFlags struct {
	namespace, secret, deployment, podName string
	class                                  lbservice.Class
	probePort, metricsPort                 int
	metricsAddress                         string
	leaderElect                            bool
	profiler                               string
	metrics                                metricsFlags
}

func controllerCommand(fs *flag.FlagSet) func(ctx context.Context, log *slog.Logger) error {
	f := &controllerFlags{}
	fs.StringVar(&f.namespace, "namespace", os.Getenv("METALLB_NAMESPACE"), "namespace of the configuration (env METALLB_NAMESPACE); by default the pod's own")
	fs.StringVar(&f.class.Name, "lb-class", "", "serve the Services of this spec.loadBalancerClass; by default those without a class")
	fs.BoolVar(&f.class.Default, "lb-class-default", false, "with --lb-class, serve the Services without a class too")
	fs.StringVar(&f.secret, "ml-secret-name", cmp.Or(os.Getenv("METALLB_ML_SECRET_NAME"), "memberlist"), "Secret with the key of the speakers' gossip, made if it is not there (env METALLB_ML_SECRET_NAME)")
	fs.StringVar(&f.deployment, "deployment", os.Getenv("METALLB_DEPLOYMENT"), "the controller's own Deployment, which owns what the controller makes (env METALLB_DEPLOYMENT)")
	fs.StringVar(&f.podName, "pod-name", os.Getenv("METALLB_POD_NAME"), "name of the pod, which owns the report on the configuration (env METALLB_POD_NAME)")
	fs.IntVar(&f.probePort, "health-probe-port", 17472, "port of /healthz and /readyz")
	fs.IntVar(&f.metricsPort, "port", 9120, "port of /metrics; 0: none")
	fs.StringVar(&f.metricsAddress, "metrics-bind-address", "", "address of /metrics; by default all")
	f.metrics.declare(fs)
	declareProfiler(fs, &f.profiler)
	fs.BoolVar(&f.leaderElect, "leader-elect", true, "let one replica work at a time: the one that holds the Lease "+controllerLease)
	return func(ctx context.Context, _ *slog.Logger) error { return runController(ctx, f) }
}

// declareProfiler declares the flag for the address of Go's profiles.
func declareProfiler(fs *flag.FlagSet, to *string) {
	fs.StringVar(to, "pprof-bind-address", "", "address of /debug/pprof, for whoever wants to know where time and memory go; by default none. It asks nobody who he is: use 127.0.0.1:6060 or the like")
}

func runController(ctx context.Context, f *controllerFlags) error {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1) // nearly all it does is to wait for the API server; several processors mostly wake one another
	}
	namespace, err := ownNamespace(f.namespace)
	if err != nil {
		return err
	}
	measured, err := f.metrics.options(metricsAddress(f.metricsAddress, f.metricsPort))
	if err != nil {
		return err
	}
	restConfig, err := apiserver.Config(userAgent(service.Component))
	if err != nil {
		return err
	}
	scheme := kruntime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1beta1.AddToScheme(scheme), v1beta2.AddToScheme(scheme)); err != nil {
		return err
	}
	mapper := controllerMapper()
	// The Lease is renewed over a connection of its own, behind no fence and no queue.
	leaseConfig := rest.CopyConfig(restConfig)
	belongings := &service.Belongings{Namespace: namespace, Secret: f.secret, Deployment: f.deployment}
	options := ctrl.Options{
		Scheme:                 scheme,
		Cache:                  service.CacheOptions(namespace),
		NewCache:               apiserver.NewCoalescingCache,
		NewClient:              apiserver.NewWriter,
		MapperProvider:         func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return mapper, nil },
		HealthProbeBindAddress: net.JoinHostPort("", strconv.Itoa(f.probePort)),
		Metrics:                measured,
		PprofBindAddress:       f.profiler,
		// A replica that waits knows all when its turn comes.
		Controller: config.Controller{EnableWarmup: ptr.To(true), CacheSyncTimeout: apiserver.CachePatience},
	}
	legacy.ExtendCache(&options.Cache, namespace)
	var lease *service.Lease
	if f.leaderElect {
		if lease, err = elect(&options, leaseConfig, belongings); err != nil {
			return err
		}
		restConfig.Wrap(lease.Fence)
	}
	read := memory.Reading(memory.Usual)
	reconciler := &service.Reconciler{Namespace: namespace, Class: f.class}
	recorder, stop, err := newRecorder(ctx, restConfig, scheme, corev1.EventSource{Component: service.Component}, reconciler.AfterServices)
	if err != nil {
		return err
	}
	defer stop()
	live, err := client.New(restConfig, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		return err
	}
	belongings.Live = live
	state := &configuration.State{
		Client: live, Namespace: namespace, Name: configuration.ControllerState, Component: configuration.Controller, Pod: f.podName,
	}
	mgr, err := ctrl.NewManager(restConfig, options)
	if err != nil {
		return err
	}
	reconciler.Client, reconciler.Live, reconciler.Recorder, reconciler.State = mgr.GetClient(), mgr.GetAPIReader(), recorder, state
	belongings.Client = mgr.GetClient()
	if err := errors.Join(
		reconciler.SetupWithManager(mgr),
		state.SetupWithManager(mgr),
		(&legacy.Reconciler{Client: mgr.GetClient(), Live: live, Recorder: recorder, State: state, Namespace: namespace}).SetupWithManager(mgr),
		mgr.Add(belongings),
		mgr.Add(manager.RunnableFunc(func(context.Context) error { read(); return nil })), // it begins when the caches are full and the Lease is held
		mgr.Add(&pool.Reporter{Client: mgr.GetClient(), Namespace: namespace, Pools: reconciler.Pools}),
		mgr.AddHealthzCheck("ping", healthz.Ping),
		mgr.AddReadyzCheck("ping", healthz.Ping), // a replica that waits for the Lease is ready: it is there to take over
		metrics.Registry.Register(reconciler),
	); err != nil {
		return err
	}
	err = mgr.Start(ctx)
	if lease == nil || !lease.Lost() || ctx.Err() != nil {
		return err
	}
	// The Lease was lost, mostly with the API server. The process begins anew in its place: a container that ends is
	// started again after pauses of up to five minutes.
	ctrl.Log.Info("the Lease is lost: beginning anew", "reason", err.Error())
	return beginAnew()
}

// controllerMapper knows the kinds that the controller reads and writes.
func controllerMapper() meta.RESTMapper {
	return configuration.Mapper(corev1.SchemeGroupVersion.WithKind("Service"), corev1.SchemeGroupVersion.WithKind("Secret"),
		corev1.SchemeGroupVersion.WithKind("ConfigMap"), corev1.SchemeGroupVersion.WithKind("Pod"), appsv1.SchemeGroupVersion.WithKind("Deployment"),
		discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), v1beta1.GroupVersion.WithKind("ServiceL2Status"),
		v1beta1.GroupVersion.WithKind("ServiceBGPStatus"), v1beta1.GroupVersion.WithKind("BGPSessionState"))
}

// candidate is how a process stands for election: the client for the Lease, and its own name, that of its pod first.
func candidate(restConfig *rest.Config) (leases coordinationclient.LeasesGetter, identity string, err error) {
	if leases, err = coordinationclient.NewForConfig(restConfig); err != nil {
		return nil, "", err
	}
	hostname, err := os.Hostname()
	return leases, hostname + "_" + string(uuid.NewUUID()), err
}

// elect lets one replica work at a time.
func elect(options *ctrl.Options, restConfig *rest.Config, belongings *service.Belongings) (*service.Lease, error) {
	leases, identity, err := candidate(restConfig)
	if err != nil {
		return nil, err
	}
	lease := &service.Lease{Interface: service.OwnedLock(leases, belongings.Namespace, controllerLease, identity, belongings.Owners)}
	options.LeaderElection = true
	options.LeaderElectionResourceLockInterface = lease
	options.LeaderElectionReleaseOnCancel = true
	options.LeaseDuration, options.RenewDeadline, options.RetryPeriod = ptr.To(service.LeaseDuration), ptr.To(service.RenewDeadline), ptr.To(service.LookInterval)
	return lease, nil
}

// ownNamespace returns the namespace given, else the pod's.
func ownNamespace(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	text, err := os.ReadFile(namespaceFile)
	if err != nil {
		return "", fmt.Errorf("give --namespace (or the environment variable METALLB_NAMESPACE), since this is not a pod: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// userAgent is by whom the API server sees itself asked.
func userAgent(component string) string {
	return fmt.Sprintf("%s/%s (%s/%s)", component, version, runtime.GOOS, runtime.GOARCH)
}

func metricsAddress(host string, port int) string {
	if port == 0 {
		return "0" // controller-runtime's word for none
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// newRecorder makes a recorder of events that come from the source, and what ends it. Events go the ways given, if any.
func newRecorder(ctx context.Context, restConfig *rest.Config, scheme *kruntime.Scheme, source corev1.EventSource, by ...func(record.EventSink) record.EventSink) (record.EventRecorder, func(), error) {
	restConfig = rest.CopyConfig(restConfig)
	restConfig.ContentType, restConfig.AcceptContentTypes = kruntime.ContentTypeProtobuf, kruntime.ContentTypeProtobuf // there may be very many
	events, err := typedcorev1.NewForConfig(restConfig)
	if err != nil {
		return nil, nil, err
	}
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	var sink record.EventSink = &typedcorev1.EventSinkImpl{Interface: events.Events("")}
	for _, way := range by {
		sink = way(sink)
	}
	broadcaster.StartRecordingToSink(sink)
	return broadcaster.NewRecorder(scheme, source), broadcaster.Shutdown, nil
}
