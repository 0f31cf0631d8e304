package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/setup"
)

// setupFlags are those of the commands with which an installer, such as the Helm chart, does its work.
type setupFlags struct {
	namespace string
	timeout   time.Duration
}

func (f *setupFlags) declare(fs *flag.FlagSet, timeout time.Duration) {
	fs.StringVar(&f.namespace, "namespace", os.Getenv("POD_NAMESPACE"), "namespace of the operator and of the MetalLB resource (env POD_NAMESPACE)")
	fs.DurationVar(&f.timeout, "timeout", timeout, "how long to try")
}

// run does the work with a client of the API server and in the time that the flags allow.
func (f *setupFlags) run(ctx context.Context, work func(context.Context, client.Client) error) error {
	if f.namespace == "" {
		return errors.New("give --namespace (or the environment variable POD_NAMESPACE)")
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	config.WarningHandlerWithContext = rest.NoWarnings{} // what a review of a dry run warns of is nobody's business
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), apiextensionsv1.AddToScheme(scheme), v1beta1.AddToScheme(scheme)); err != nil {
		return err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	return work(ctx, c)
}

func installCRDsCommand(fs *flag.FlagSet) func(ctx context.Context, log *slog.Logger) error {
	f := &setupFlags{namespace: "none"} // they have no namespace
	fs.DurationVar(&f.timeout, "timeout", 2*time.Minute, "how long to try")
	return func(ctx context.Context, log *slog.Logger) error {
		return f.run(ctx, func(ctx context.Context, c client.Client) error { return setup.InstallCRDs(ctx, c, log) })
	}
}

func installResourceCommand(fs *flag.FlagSet) func(ctx context.Context, log *slog.Logger) error {
	f := &setupFlags{}
	f.declare(fs, 4*time.Minute)
	spec := fs.String("spec", "{}", "specification of the MetalLB resource, as JSON")
	return func(ctx context.Context, log *slog.Logger) error {
		return f.run(ctx, func(ctx context.Context, c client.Client) error {
			return setup.InstallResource(ctx, c, log, f.namespace, *spec)
		})
	}
}

func uninstallCommand(fs *flag.FlagSet) func(ctx context.Context, log *slog.Logger) error {
	f := &setupFlags{}
	f.declare(fs, 4*time.Minute)
	resource := fs.Bool("resource", true, "remove the MetalLB resource, too")
	return func(ctx context.Context, log *slog.Logger) error {
		return f.run(ctx, func(ctx context.Context, c client.Client) error {
			return setup.Remove(ctx, c, log, f.namespace, *resource)
		})
	}
}

func checkCommand(fs *flag.FlagSet) func(ctx context.Context, log *slog.Logger) error {
	f := &setupFlags{}
	f.declare(fs, 50*time.Second)
	resource := fs.Bool("resource", true, "ask for a MetalLB resource that is Available, too")
	return func(ctx context.Context, log *slog.Logger) error {
		return f.run(ctx, func(ctx context.Context, c client.Client) error {
			return setup.Check(ctx, c, log, f.namespace, *resource)
		})
	}
}
