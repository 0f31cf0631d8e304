package main

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"metallb.io/operator/controllers/metallb"
	"metallb.io/operator/controllers/storageversion"
	"metallb.io/operator/internal/apiserver"
	"metallb.io/operator/internal/render"
)

// betweenTerms is the pause between the end of a term and the next: longer than the one that has lost its Lease may go on writing,
// which is the 3 s for its last word to OLM.
const betweenTerms = 5 * time.Second

// worker is the part of the operator in which one replica works at a time. It has a manager of its own, which ends with the
// Lease; the process, and with it what answers API servers, goes on.
type worker struct {
	config      *rest.Config
	scheme      *runtime.Scheme
	environment render.Environment
	recorder    record.EventRecorder
	webhooks    *webhooks
	condition   client.ObjectKey       // see metallb.Reconciler
	lock        resourcelock.Interface // nil: it works without a Lease

	cache  atomic.Pointer[cache.Cache] // of this term
	filled atomic.Bool                 // what it works on has been read once
}

// operatorLock is the lock of the leader election. It is the same in each term of a process: whoever could not give the Lease
// up, because the API server was away, need not wait for its end.
func operatorLock(restConfig *rest.Config, namespace string) (resourcelock.Interface, error) {
	leases, identity, err := candidate(restConfig)
	if err != nil {
		return nil, err
	}
	return &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: operatorLease},
		Client:     leases,
		LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
	}, nil
}

// run works term after term until the context ends. A term ends with the Lease, which is lost while the API server is away, or
// by an error. What cannot even be set up ends it.
func (w *worker) run(ctx context.Context) error {
	for {
		mgr, err := w.setUp()
		if err != nil {
			return err
		}
		w.cache.Store(ptr.To(mgr.GetCache()))
		err = mgr.Start(ctx)
		if ctx.Err() != nil {
			return err
		}
		ctrl.Log.Info("the operator works no more: beginning anew", "reason", err)
		select {
		case <-time.After(betweenTerms):
		case <-ctx.Done():
			return nil
		}
	}
}

// setUp prepares a term.
func (w *worker) setUp() (ctrl.Manager, error) {
	mgr, err := ctrl.NewManager(w.config, ctrl.Options{
		Scheme:                              w.scheme,
		Cache:                               metallb.CacheOptions(),
		NewCache:                            apiserver.NewCache,
		LeaderElection:                      w.lock != nil,
		LeaderElectionID:                    operatorLease,
		LeaderElectionResourceLockInterface: w.lock,
		LeaderElectionReleaseOnCancel:       true,
		Metrics:                             metricsserver.Options{BindAddress: "0"}, // those of the process are served all the time
		Controller: config.Controller{
			CacheSyncTimeout:   apiserver.CachePatience,
			SkipNameValidation: ptr.To(true), // the names are those of the term before
		},
	})
	if err != nil {
		return nil, err
	}
	reconciler := &metallb.Reconciler{Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Environment: w.environment, Version: version,
		OperatorCondition: w.condition}
	return mgr, errors.Join(reconciler.SetupWithManager(mgr), w.setUpMigration(mgr))
}

// setUpMigration has what older versions stored written anew. An operator without webhooks leaves that to one that has them:
// it does not convert.
func (w *worker) setUpMigration(mgr ctrl.Manager) error {
	if w.webhooks.listener == nil {
		return nil
	}
	r := &storageversion.Reconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Recorder: w.recorder,
		Ready:  func() error { return w.webhooks.ready(nil) },
		Settle: storageversion.DefaultSettle,
	}
	return r.SetupWithManager(mgr)
}

// ready is a check: what the operator works on (metallb.Watched) has been read once. From then on a replica that does not work
// answers all the same.
func (w *worker) ready(req *http.Request) error {
	ctx, cancel := context.WithTimeout(req.Context(), 500*time.Millisecond)
	defer cancel()
	if !w.filled.Load() && !w.fill(ctx) {
		return errors.New("the caches are not filled yet")
	}
	w.filled.Store(true)
	return nil
}

func (w *worker) fill(ctx context.Context) bool {
	c := w.cache.Load()
	if c == nil || !(*c).WaitForCacheSync(ctx) { // it has been started
		return false
	}
	for _, o := range metallb.Watched() {
		if _, err := (*c).GetInformer(ctx, o); err != nil {
			return false
		}
	}
	return true
}
