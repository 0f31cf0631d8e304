package node

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/announce"
)

const (
	// statusWriters is how many ServiceL2Statuses are written at the same time: each node of a cluster does so.
	statusWriters = 4
	// statusRetry and longestStatusRetry bound the wait after one, two, three errors in a row with one of them.
	statusRetry, longestStatusRetry = 50 * time.Millisecond, 5 * time.Second
	// statusSettle is how long after the start nothing is removed: what the last pod announced this one probably will, once its
	// own gossip has told it that it may.
	statusSettle = time.Second
	// complaintEvery is the least time between two lines in the log about such errors.
	complaintEvery = 30 * time.Second
)

// l2Statuses are what this node's ServiceL2Statuses are to say, by Service.
type l2Statuses map[string]*v1beta1.ServiceL2StatusStatus

// add takes one address that the node announces. Those of a Service come in their order.
func (s l2Statuses) add(w announce.Why) {
	interfaces := make([]v1beta1.InterfaceInfo, len(w.Interfaces))
	for i, name := range w.Interfaces {
		interfaces[i].Name = name
	}
	x, ok := s[w.Service]
	switch {
	case !ok:
		x = &v1beta1.ServiceL2StatusStatus{Interfaces: interfaces}
		s[w.Service] = x
	case len(interfaces) == 0 || len(x.Interfaces) == 0: // none named is all
		x.Interfaces = nil
	default:
		for _, i := range interfaces {
			if !slices.Contains(x.Interfaces, i) {
				x.Interfaces = append(x.Interfaces, i)
			}
		}
	}
	x.Addresses = append(x.Addresses, w.Address.String())
}

// statuses keep the ServiceL2Statuses of this node in line with what it announces, one for each Service. They are written
// beside the loop, which never waits, a few at a time, where something differs, and again after an error. A resource whose
// label names another node is not seen here, and so never touched.
//
// The speaker's pod owns them: they go when it goes. While two speakers run on the node, the older one writes them. The
// younger only makes itself their owner, in time for the older one's end.
type statuses struct {
	*Node
	queue workqueue.TypedRateLimitingInterface[string] // names of resources

	mu         sync.Mutex
	since      time.Time // when it was known first what is wanted; zero: not yet
	want       l2Statuses
	named      map[string]*v1beta1.ServiceL2StatusStatus // the same by name of the resource
	kin        kin
	complained time.Time
}

func newStatuses(n *Node) *statuses {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[string](statusRetry, longestStatusRetry)
	return &statuses{Node: n, queue: workqueue.NewTypedRateLimitingQueue[string](limiter), named: map[string]*v1beta1.ServiceL2StatusStatus{}}
}

// statusName is that of the resource about a Service and a node. It is the same for every pod of the node, so that the next
// one finds what the last one left.
func statusName(service, node string) string {
	sum := sha256.Sum256([]byte(service + "/" + node))
	return fmt.Sprintf("l2-%x", sum[:8])
}

// set takes what is announced now.
func (s *statuses) set(want l2Statuses) {
	kin := s.inputs.kin()
	s.mu.Lock()
	defer s.mu.Unlock()
	for service, w := range want {
		old, ok := s.want[service]
		if ok && slices.Equal(old.Addresses, w.Addresses) && slices.Equal(old.Interfaces, w.Interfaces) && slices.Equal(old.Problems, w.Problems) {
			want[service] = old
			continue
		}
		key := splitName(service)
		w.Node, w.ServiceNamespace, w.ServiceName = s.Name, key.Namespace, key.Name
		name := statusName(service, s.Name)
		s.named[name] = w
		s.queue.Add(name)
	}
	for service := range s.want {
		if want[service] == nil {
			name := statusName(service, s.Name)
			delete(s.named, name)
			s.queue.Add(name)
		}
	}
	if s.since.IsZero() {
		s.since = time.Now()
		s.queue.Add(allThere)
	}
	if kin != s.kin {
		for name := range s.named {
			s.queue.Add(name)
		}
		s.queue.Add(allThere)
	}
	s.want, s.kin = want, kin
}

// allThere in the queue, which is the name of no resource, stands for all that are there.
const allThere = ""

// seen queues a resource that a watch tells of.
func (s *statuses) seen(o *v1beta1.ServiceL2Status) { s.queue.Add(o.Name) }

// run writes until the context ends.
func (s *statuses) run(ctx context.Context) {
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
func (s *statuses) next(ctx context.Context) bool {
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
func (s *statuses) complainOf(err error) {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return
	}
	s.Metrics.kubernetes.UpdateErrors.Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.complained) > complaintEvery {
		s.complained = now
		s.Log.Warn("cannot write a ServiceL2Status; trying again", "error", err)
	}
}

// sync brings one resource in line with what is wanted of it.
func (s *statuses) sync(ctx context.Context, name string) error {
	s.mu.Lock()
	want, since, kin := s.named[name], s.since, s.kin
	s.mu.Unlock()
	switch settled := since.Add(statusSettle); {
	case since.IsZero():
		return nil // all are looked at once it is known what is wanted
	case name == allThere:
		return s.queueAll(ctx)
	case want == nil && time.Now().Before(settled):
		s.queue.AddAfter(name, time.Until(settled))
		return nil
	}
	is := &v1beta1.ServiceL2Status{}
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
		return s.count(client.IgnoreNotFound(s.Live.Delete(ctx, is, client.Preconditions{UID: &is.UID})))
	}
	return s.update(ctx, is.DeepCopy(), want, kin)
}

func (s *statuses) queueAll(ctx context.Context) error {
	var list v1beta1.ServiceL2StatusList
	if err := s.Cache.List(ctx, &list, client.InNamespace(s.Namespace)); err != nil {
		return err
	}
	for i := range list.Items {
		s.queue.Add(list.Items[i].Name)
	}
	return nil
}

// create makes the resource. The API takes its status by a second request; where that fails, the watch brings the resource back
// here.
func (s *statuses) create(ctx context.Context, name string, want *v1beta1.ServiceL2StatusStatus, kin kin) error {
	o := &v1beta1.ServiceL2Status{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: name, Labels: statusLabels(want), OwnerReferences: kin.owners()}}
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
func (s *statuses) update(ctx context.Context, o *v1beta1.ServiceL2Status, want *v1beta1.ServiceL2StatusStatus, kin kin) error {
	labels, owners := maps.Clone(o.Labels), o.OwnerReferences
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, statusLabels(want))
	if uid := kin.self.UID; uid != "" && !kin.younger && (len(owners) != 1 || owners[0].UID != uid) {
		owners = kin.owners()
	}
	if !maps.Equal(labels, o.Labels) || !slices.Equal(owners, o.OwnerReferences) {
		o.Labels, o.OwnerReferences = labels, owners
		if err := s.count(s.Live.Update(ctx, o)); err != nil {
			return err
		}
	}
	if kin.older || equality.Semantic.DeepEqual(&o.Status, want) {
		return nil
	}
	o.Status = *want
	return s.count(s.Live.Status().Update(ctx, o))
}

// count counts a write that succeeded.
func (s *statuses) count(err error) error {
	if err == nil {
		s.Metrics.kubernetes.Updates.Inc()
	}
	return err
}

func statusLabels(s *v1beta1.ServiceL2StatusStatus) map[string]string {
	return map[string]string{
		v1beta1.LabelNode: s.Node, v1beta1.LabelServiceName: s.ServiceName, v1beta1.LabelServiceNamespace: s.ServiceNamespace,
	}
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
