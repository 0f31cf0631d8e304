package service

import (
	"sync"

	ctrlevent "sigs.k8s.io/controller-runtime/pkg/event"

	"metallb.io/operator/internal/ipam"
)

// written knows our own writes of Services, so that nobody looks at a Service for the event of one. A Service that has been looked
// at since is looked at for it all the same: such a look may have read the version before it. The zero value knows of none.
type written struct {
	mu   sync.Mutex
	last map[ipam.Key]write
}

// write is the last one of a Service, until an event brings it.
type write struct {
	// version that it made; empty: it is under way.
	version string
	// meanwhile is the last version that an event brought while it was under way; empty: there was no event.
	meanwhile string
}

// begin notes that a write of the Service is under way.
func (w *written) begin(key ipam.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last == nil {
		w.last = map[ipam.Key]write{}
	}
	w.last[key] = write{}
}

// end notes that it was answered, and the version that it made; empty: none. It returns whether an event came before the answer
// that was not of this write: the Service is to be looked at again.
func (w *written) end(key ipam.Key, version string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	meanwhile := w.last[key].meanwhile
	delete(w.last, key)
	if meanwhile == "" && version != "" {
		w.last[key] = write{version: version}
	}
	return meanwhile != "" && meanwhile != version
}

// forget has the Service looked at for whatever event comes.
func (w *written) forget(key ipam.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.last, key)
}

// news says whether the Service is to be looked at for an event. Of one that comes while a write is under way only the answer to
// that can tell; end does.
func (w *written) news(e ctrlevent.UpdateEvent) bool {
	key := ipam.Key{Namespace: e.ObjectNew.GetNamespace(), Name: e.ObjectNew.GetName()}
	version := e.ObjectNew.GetResourceVersion()
	w.mu.Lock()
	defer w.mu.Unlock()
	last, ours := w.last[key]
	if ours && last.version == "" {
		w.last[key] = write{meanwhile: version}
		return false
	}
	delete(w.last, key)
	return !ours || version != last.version
}
