package apiserver

import (
	"context"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Between two looks at a cache passes a tenth of what it has been waited for, within these bounds.
const (
	shortestLook = 2 * time.Millisecond
	longestLook  = 100 * time.Millisecond
)

// NewCache makes a cache (it is a cache.NewCacheFunc) whose watchers go on as soon as it is filled. The library's looks each
// 100 ms, and a watcher waits four times, one after the other: most of the time that it takes to start.
func NewCache(config *rest.Config, options cache.Options) (cache.Cache, error) {
	c, err := cache.New(config, options)
	return &promptCache{Cache: c}, err
}

type promptCache struct {
	cache.Cache
	started atomic.Bool
}

// Start is of cache.Informers.
func (c *promptCache) Start(ctx context.Context) error {
	c.started.Store(true)
	return c.Cache.Start(ctx)
}

// GetInformer is of cache.Informers. Once the cache is started it waits until the informer is filled, unless options say otherwise.
func (c *promptCache) GetInformer(ctx context.Context, o client.Object, options ...cache.InformerGetOption) (cache.Informer, error) {
	if len(options) > 0 {
		return c.Cache.GetInformer(ctx, o, options...)
	}
	informer, err := c.Cache.GetInformer(ctx, o, cache.BlockUntilSynced(false))
	if err != nil || !c.started.Load() {
		return informer, err
	}
	if !toolscache.WaitFor(ctx, "", informer.HasSyncedChecker()) {
		return nil, context.Cause(ctx)
	}
	return promptInformer{informer, ctx}, nil
}

// WaitForCacheSync is of cache.Informers.
func (c *promptCache) WaitForCacheSync(ctx context.Context) bool {
	for began := time.Now(); ; {
		look, cancel := context.WithTimeout(ctx, min(max(shortestLook, time.Since(began)/10), longestLook))
		synced := c.Cache.WaitForCacheSync(look)
		cancel()
		if synced || ctx.Err() != nil {
			return synced
		}
	}
}

// promptInformer is one that is filled.
type promptInformer struct {
	cache.Informer
	ctx context.Context // in which it is asked for
}

// AddEventHandlerWithOptions is of cache.Informer. It waits until the handler has been given everything that is there.
func (i promptInformer) AddEventHandlerWithOptions(handler toolscache.ResourceEventHandler, options toolscache.HandlerOptions) (toolscache.ResourceEventHandlerRegistration, error) {
	registration, err := i.Informer.AddEventHandlerWithOptions(handler, options)
	if err == nil {
		toolscache.WaitFor(i.ctx, "", registration.HasSyncedChecker())
	}
	return registration, err
}
