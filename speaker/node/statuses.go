package node

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// statusWriters is how many resources of a kind are written at the same time: each node of a cluster does so.
	statusWriters = 4
	// statusRetry and longestStatusRetry bound the wait after one, two, three errors in a row with one of them.
	statusRetry, longestStatusRetry = 50 * time.Millisecond, 5 * time.Second
	// statusSettle is how long after the start nothing is removed: what the last pod announced this one probably will, once its
	// own gossip has told it that it may.
	statusSettle = time.Second
	// complaintEvery is the least time between two lines in the log about such errors.
	complaintEvery = 30 * time.Second
)

// reports are a kind of resource by which a speaker says what it does: O, whose status is S.
type reports[O client.Object, S any] struct {
	kind   string
	prefix string // of the resources' names
	empty  func() O
	list   func() client.ObjectList
	status func(O) *S
	labels func(*S) map[string]string
}

// statuses keep the resources of one kind of this node in line with what it does, one for each of what they are about: a
// Service, or a peer. They are written beside the loop, which never waits, a few at a time, where something differs, and
// again after an error. A resource whose label names another node is not seen here, and so never touched.
//
// The speaker's pod owns them: they go when it goes. While two speakers run on the node, the older one writes them. The
// younger only makes itself their owner, in time for the older one's end.
type statuses[O client.Object, S any] struct {
	*Node
	reports[O, S]
	queue workqueue.TypedRateLimitingInterface[string] // names of resources
	known chan struct{}                                // closed when it is known first what is wanted

	mu         sync.Mutex
	since      time.Time     // when that was; zero: not yet
	want       map[string]*S // by what they are about
	named      map[string]*S // the same by name of the resource
	kin        kin
	complained time.Time
}

func newStatuses[O client.Object, S any](n *Node, r reports[O, S]) *statuses[O, S] {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[string](statusRetry, longestStatusRetry)
	return &statuses[O, S]{
		Node: n, reports: r, queue: workqueue.NewTypedRateLimitingQueue[string](limiter), known: make(chan struct{}),
		want: map[string]*S{}, named: map[string]*S{},
	}
}

// name is that of the resource about something and a node. It is the same for every pod of the node, so that the next one
// finds what the last one left.
func (r *reports[O, S]) name(about, node string) string {
	sum := sha256.Sum256([]byte(about + "/" + node))
	return fmt.Sprintf("%s-%x", r.prefix, sum[:8])
}

// set takes all that is so now.
func (s *statuses[O, S]) set(want map[string]*S) {
	changes := map[string]*S{}
	s.mu.Lock()
	for about, w := range want {
		if old, ok := s.want[about]; !ok || !reflect.DeepEqual(old, w) {
			changes[about] = w
		}
	}
	for about := range s.want {
		if want[about] == nil {
			changes[about] = nil
		}
	}
	s.mu.Unlock()
	s.change(changes)
}

// change takes what is different now; nil is for what nothing is to be said of any more. It is called for the first time when all
// is known.
func (s *statuses[O, S]) change(changes map[string]*S) {
	kin := s.inputs.kin()
	s.mu.Lock()
	defer s.mu.Unlock()
	for about, w := range changes {
		name := s.name(about, s.Name)
		switch _, there := s.want[about]; {
		case w != nil:
			s.want[about], s.named[name] = w, w
		case there:
			delete(s.want, about)
			delete(s.named, name)
		default:
			continue
		}
		s.queue.Add(name)
	}
	if s.since.IsZero() {
		s.since = time.Now()
		close(s.known)
		s.queue.Add(allThere)
	}
	if kin != s.kin {
		for name := range s.named {
			s.queue.Add(name)
		}
		s.queue.Add(allThere)
	}
	s.kin = kin
}

// allThere in the queue, which is the name of no resource, stands for all that are there.
const allThere = ""

// seen queues a resource that a watch tells of.
func (s *statuses[O, S]) seen(o O) { s.queue.Add(o.GetName()) }

// run writes until the context ends. What is there is not read before it is known what is wanted: there can be thousands, and the
// node announces first.
func (s *statuses[O, S]) run(ctx context.Context) {
	select {
	case <-s.known:
	case <-ctx.Done():
		return
	}
	if _, err := follow(ctx, s.Cache, s.empty(), s.seen, s.seen); err != nil {
		s.Log.Error("no "+s.kind+" is written", "error", err)
		return
	}
	var writers sync.WaitGroup
	for range statusWriters {
		writers.Go(func() {
			for s.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	s.queue.ShutDown()
	writers.Wait()
}

// next brings one resource in line, and returns false when there will be no more.
func (s *statuses[O, S]) next(ctx context.Context) bool {
	name, over := s.queue.Get()
	if over {
		return false
	}
	defer s.queue.Done(name)
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch err := s.sync(limited, name); {
	case err == nil:
		s.queue.Forget(name)
	case ctx.Err() != nil:
		return false
	default:
		s.complainOf(err)
		s.queue.AddRateLimited(name)
	}
	return true
}

// complainOf logs an error and counts it, but for a conflict: that is the cache being late.
func (s *statuses[O, S]) complainOf(err error) {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return
	}
	s.Metrics.kubernetes.UpdateErrors.Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.complained) > complaintEvery {
		s.complained = now
		s.Log.Warn("cannot write a "+s.kind+"; trying again", "error", err)
	}
}

// sync brings one resource in line with what is wanted of it.
func (s *statuses[O, S]) sync(ctx context.Context, name string) error {
	s.mu.Lock()
	want, since, kin := s.named[name], s.since, s.kin
	s.mu.Unlock()
	switch settled := since.Add(statusSettle); {
	case name == allThere:
		return s.queueAll(ctx)
	case want == nil && time.Now().Before(settled):
		s.queue.AddAfter(name, time.Until(settled))
		return nil
	}
	is := s.empty()
	err := s.Cache.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: name}, is)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return err
	case err != nil && (want == nil || kin.older):
		return nil
	case err != nil:
		return s.create(ctx, name, want, kin)
	case want == nil && kin.older:
		return nil
	case want == nil:
		uid := is.GetUID()
		return s.count(client.IgnoreNotFound(s.Live.Delete(ctx, is, client.Preconditions{UID: &uid})))
	}
	return s.update(ctx, is.DeepCopyObject().(O), want, kin)
}

func (s *statuses[O, S]) queueAll(ctx context.Context) error {
	list := s.list()
	if err := s.Cache.List(ctx, list, client.InNamespace(s.Namespace)); err != nil {
		return err
	}
	return meta.EachListItem(list, func(o runtime.Object) error {
		s.queue.Add(o.(client.Object).GetName())
		return nil
	})
}

// create makes the resource. The API takes its status by a second request; where that fails, the watch brings the resource back
// here.
func (s *statuses[O, S]) create(ctx context.Context, name string, want *S, kin kin) error {
	o := s.empty()
	o.SetNamespace(s.Namespace)
	o.SetName(name)
	o.SetLabels(s.labels(want))
	o.SetOwnerReferences(kin.owners())
	err := s.Live.Create(ctx, o)
	if apierrors.IsAlreadyExists(err) { // the cache is late, or somebody took the label away by which it finds it
		if err := s.Live.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		return s.update(ctx, o, want, kin)
	}
	if s.count(err) != nil {
		return err
	}
	return s.update(ctx, o, want, kin)
}

// update writes what differs of a resource.
func (s *statuses[O, S]) update(ctx context.Context, o O, want *S, kin kin) error {
	labels, owners := maps.Clone(o.GetLabels()), o.GetOwnerReferences()
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, s.labels(want))
	if uid := kin.self.UID; uid != "" && !kin.younger && (len(owners) != 1 || owners[0].UID != uid) {
		owners = kin.owners()
	}
	if !maps.Equal(labels, o.GetLabels()) || !slices.Equal(owners, o.GetOwnerReferences()) {
		o.SetLabels(labels)
		o.SetOwnerReferences(owners)
		if err := s.count(s.Live.Update(ctx, o)); err != nil {
			return err
		}
	}
	if kin.older || equality.Semantic.DeepEqual(s.status(o), want) {
		return nil
	}
	*s.status(o) = *want
	return s.count(s.Live.Status().Update(ctx, o))
}

// count counts a write that succeeded.
func (s *statuses[O, S]) count(err error) error {
	if err == nil {
		s.Metrics.kubernetes.Updates.Inc()
	}
	return err
}

// kin says who else speaks for this node.
type kin struct {
	self podID // not known: empty
	// older and younger: such a pod is there, and not about to go.
	older, younger bool
}

type podID struct {
	Name string
	UID  types.UID
}

// owners of a resource that this pod makes.
func (k kin) owners() []metav1.OwnerReference {
	if k.self.UID == "" {
		return nil
	}
	return []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: k.self.Name, UID: k.self.UID}}
}

// kin looks through the speakers' pods of this node.
func (in *inputs) kin() kin {
	in.mu.Lock()
	defer in.mu.Unlock()
	own, ok := in.pods[in.pod]
	if !ok {
		return kin{}
	}
	k := kin{self: podID{own.Name, own.UID}}
	for _, p := range in.pods {
		if p.Name == own.Name || p.Spec.NodeName != in.node || over(p) || p.DeletionTimestamp != nil {
			continue
		}
		age := cmp.Or(p.CreationTimestamp.Compare(own.CreationTimestamp.Time), cmp.Compare(p.Name, own.Name))
		k.older, k.younger = k.older || age < 0, k.younger || age > 0
	}
	return k
}
