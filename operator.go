package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/controllers/metallb"
	"metallb.io/operator/internal/apiserver"
	"metallb.io/operator/internal/render"
)

// operatorLease is the name of the Lease that the working replica of the operator holds.
const operatorLease = "metallb-operator"

type operatorFlags struct {
	image, namespace, pod        string
	condition                    string
	probeAddress, metricsAddress string
	leaderElect, policies        bool
	metrics                      metricsFlags
	webhook                      webhookFlags
}

func operatorCommand(fs *flag.FlagSet) func(ctx context.Context, log *slog.Logger) error {
	f := &operatorFlags{}
	fs.StringVar(&f.image, "image", "", "image of the workloads; by default the one that the operator's own pod runs")
	fs.StringVar(&f.namespace, "namespace", os.Getenv("POD_NAMESPACE"), "the operator's own namespace (env POD_NAMESPACE)")
	fs.StringVar(&f.pod, "pod-name", os.Getenv("POD_NAME"), "name of the operator's own pod (env POD_NAME)")
	fs.StringVar(&f.condition, "operator-condition", os.Getenv("OPERATOR_CONDITION_NAME"), "name of the OperatorCondition in its own namespace that tells OLM when not to upgrade (env OPERATOR_CONDITION_NAME, which OLM sets); empty: none")
	fs.BoolVar(&f.leaderElect, "leader-elect", true, "let one replica work at a time: the one that holds the Lease "+operatorLease+" in its namespace")
	fs.StringVar(&f.probeAddress, "health-probe-bind-address", ":8081", "address of /healthz and /readyz")
	fs.StringVar(&f.metricsAddress, "metrics-bind-address", ":9120", "address of /metrics; 0: none")
	f.metrics.declare(fs)
	disabled, _ := strconv.ParseBool(os.Getenv("DISABLE_NETWORK_POLICIES"))
	fs.BoolVar(&f.policies, "network-policies", !disabled, "make a NetworkPolicy for the controller's pods (env DISABLE_NETWORK_POLICIES=true: not)")
	f.webhook.declare(fs)
	return func(ctx context.Context, _ *slog.Logger) error { return runOperator(ctx, f) }
}

func runOperator(ctx context.Context, f *operatorFlags) error {
	if f.namespace == "" && f.leaderElect {
		return errors.New("give --namespace (or the environment variable POD_NAMESPACE): the Lease is kept there; or --leader-elect=false")
	}
	measured, err := f.metrics.options(f.metricsAddress)
	if err != nil {
		return err
	}
	restConfig, err := apiserver.Config(userAgent(operatorLease))
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme), v1beta1.AddToScheme(scheme), v1beta2.AddToScheme(scheme)); err != nil {
		return err
	}
	recorder, stop, err := newRecorder(ctx, restConfig, scheme, corev1.EventSource{Component: operatorLease})
	if err != nil {
		return err
	}
	defer stop()
	webhooks, err := newWebhooks(&f.webhook, f.namespace)
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(restConfig, ctrl.Options{
		Scheme:                 scheme,
		Cache:                  cache.Options{ByObject: webhooks.cacheObjects()},
		NewCache:               apiserver.NewCache,
		HealthProbeBindAddress: f.probeAddress,
		Metrics:                measured,
		Controller:             config.Controller{CacheSyncTimeout: apiserver.CachePatience},
	})
	if err != nil {
		return err
	}
	env, err := workloadEnvironment(ctx, f, mgr)
	if err != nil {
		return err
	}
	env.NetworkPolicies = f.policies
	if env, err = metallb.Discover(ctx, mgr.GetAPIReader(), mgr.GetRESTMapper(), servicePort(), env); err != nil {
		return err
	}
	w := &worker{config: restConfig, scheme: scheme, environment: env, recorder: recorder, webhooks: webhooks,
		condition: client.ObjectKey{Namespace: f.namespace, Name: f.condition}}
	if f.leaderElect {
		if w.lock, err = operatorLock(restConfig, f.namespace); err != nil {
			return err
		}
	}
	if err := errors.Join(
		webhooks.setUp(mgr),
		mgr.Add(manager.RunnableFunc(func(context.Context) error { return w.run(ctx) })),
		mgr.AddHealthzCheck("ping", healthz.Ping),
		mgr.AddReadyzCheck("caches", w.ready),
	); err != nil {
		return err
	}
	return mgr.Start(webhooks.until(ctx))
}

// workloadEnvironment is that of the operator's own pod, its image replaced where a flag says so. Outside of a pod the
// flag is all there is.
func workloadEnvironment(ctx context.Context, f *operatorFlags, mgr ctrl.Manager) (render.Environment, error) {
	if f.pod == "" || f.namespace == "" {
		if f.image == "" {
			return render.Environment{}, errors.New("give --image, or --pod-name and --namespace (environment variables POD_NAME and POD_NAMESPACE) of the pod whose image the workloads are to run")
		}
		return render.Environment{Image: f.image}, nil
	}
	env, err := metallb.OwnEnvironment(ctx, mgr.GetAPIReader(), client.ObjectKey{Namespace: f.namespace, Name: f.pod})
	env.Image = cmp.Or(f.image, env.Image)
	return env, err
}

// servicePort is that of the Service by which pods reach the API server, as the kubelet tells it.
func servicePort() int32 {
	port, err := strconv.ParseUint(os.Getenv("KUBERNETES_SERVICE_PORT"), 10, 16)
	if err != nil {
		return 443
	}
	return int32(port)
}
