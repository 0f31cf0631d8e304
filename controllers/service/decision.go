package service

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/ipam"
	"metallb.io/operator/internal/lbservice"
)

// ConditionAddressAllocated of a Service is True while it has the addresses that it asks for. Its reasons are those of
// ipam, and ForeignAddress. It is False also for a Service that keeps an address but asks for another that it cannot
// have: whoever waits for the condition waits for what was asked for.
const ConditionAddressAllocated = "metallb.io/AddressAllocated"

// ForeignAddress is the reason where another controller wrote the Service's status.
const ForeignAddress = "ForeignAddress"

// decision is what a Service's status should be.
type decision struct {
	ingress []corev1.LoadBalancerIngress
	// pool that the addresses are from, written as an annotation; empty: none.
	pool string
	// condition ConditionAddressAllocated, announced, ConditionAnnounced, conflict, ConditionAddressConflict, and contradiction,
	// ConditionAdvertisementConflict, are nil where there should be none.
	condition, announced, conflict, contradiction *metav1.Condition
	// lost says in words why an address that is gone is gone.
	lost string
	// untouched is a Service that has nothing to do with us.
	untouched bool
}

// grant is the decision on a Service of ours.
func grant(svc *corev1.Service, cfg *config.Config, namespace string, req ipam.Request, res ipam.Result, errs field.ErrorList) decision {
	d := decision{
		pool: res.Pool,
		condition: &metav1.Condition{
			Type:    ConditionAddressAllocated,
			Status:  metav1.ConditionFalse,
			Reason:  string(res.Reason),
			Message: explain(svc, cfg, namespace, req, res, errs),
		},
	}
	if res.Reason == ipam.Assigned {
		d.condition.Status = metav1.ConditionTrue
	}
	for _, addr := range res.Addresses {
		d.ingress = append(d.ingress, entryFor(svc, addr))
	}
	for _, ing := range svc.Status.LoadBalancer.Ingress {
		if ing.IP == "" {
			d.ingress = append(d.ingress, ing) // a host name is never ours
		}
	}
	d.lost = "what the Service asks for, or its pool, has changed"
	for _, addr := range lbservice.Addresses(svc) {
		if _, ok := cfg.PoolFor(addr, recordedPool(svc)); !ok {
			d.lost = "no pool has it any more"
		}
	}
	return d
}

// entryFor returns the entry of an address, as it is where there is one: what the API server or others added stays.
func entryFor(svc *corev1.Service, addr netip.Addr) corev1.LoadBalancerIngress {
	for _, ing := range svc.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(ing.IP); err == nil && a.Unmap() == addr {
			return ing
		}
	}
	return corev1.LoadBalancerIngress{IP: addr.String()}
}

// leave is the decision on a Service of ours whose status is another controller's.
func leave(svc *corev1.Service) decision {
	return decision{
		ingress: svc.Status.LoadBalancer.Ingress,
		condition: &metav1.Condition{
			Type:   ConditionAddressAllocated,
			Status: metav1.ConditionFalse,
			Reason: ForeignAddress,
			Message: fmt.Sprintf("status.loadBalancer has %s, which is in no pool and was given by another controller; it is left alone. "+
				"If that controller should serve the Service, give the Service its loadBalancerClass. If not, stop that controller and clear the status: "+
				`kubectl patch service %s -n %s --subresource=status --type=merge -p '{"status":{"loadBalancer":null}}'`,
				strings.Join(ingressTexts(svc.Status.LoadBalancer.Ingress), ", "), svc.Name, svc.Namespace),
		},
	}
}

// withdraw is the decision on a Service that is not ours: what we gave is taken back, what others wrote stays. Known
// says that we have been its controller in this process.
//
// Of a Service of another class only its own account and our pools together prove that an address is ours: a second
// installation with that class signs in the same way.
func withdraw(svc *corev1.Service, cfg *config.Config, known bool) decision {
	var kept []corev1.LoadBalancerIngress
	taken := false
	for _, ing := range svc.Status.LoadBalancer.Ingress {
		addr, err := netip.ParseAddr(ing.IP)
		if err == nil && (known || given(svc)) {
			if p, ok := cfg.PoolFor(addr, recordedPool(svc)); ok && p.Name == recordedPool(svc) {
				taken = true
				continue
			}
		}
		kept = append(kept, ing)
	}
	if !taken && !known && svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
		return decision{untouched: true}
	}
	return decision{ingress: kept, lost: "the Service is not this load balancer's any more"}
}

func findCondition(svc *corev1.Service, name string) *metav1.Condition {
	return meta.FindStatusCondition(svc.Status.Conditions, name)
}

// statusPatch is a JSON merge patch (RFC 7396) of a Service's status: what is nil stays as it is, but an annotation, which goes.
type statusPatch struct {
	Metadata struct {
		ResourceVersion string             `json:"resourceVersion"`
		Annotations     map[string]*string `json:"annotations,omitempty"`
	} `json:"metadata"`
	Status struct {
		LoadBalancer *statusPatchEntries `json:"loadBalancer,omitempty"`
		Conditions   *[]metav1.Condition `json:"conditions,omitempty"`
	} `json:"status,omitzero"`
}

// statusPatchEntries replaces them all; nil: there are none then.
type statusPatchEntries struct {
	Ingress []corev1.LoadBalancerIngress `json:"ingress"`
}

// patch returns a JSON merge patch of what differs, nil where nothing does. It holds the version that the decision was made
// from, so that the lists in it, which replace those of the server, lose nothing of others.
func (d decision) patch(svc *corev1.Service) []byte {
	if d.untouched {
		return nil
	}
	var p statusPatch
	annotate := func(name string, value *string) {
		if p.Metadata.Annotations == nil {
			p.Metadata.Annotations = map[string]*string{}
		}
		p.Metadata.Annotations[name] = value
	}
	const current, deprecated = lbservice.Prefix + lbservice.AllocatedFrom, lbservice.DeprecatedPrefix + lbservice.AllocatedFrom
	switch value, ok := svc.Annotations[current]; {
	case d.pool == "" && ok:
		annotate(current, nil)
	case d.pool != "" && value != d.pool:
		annotate(current, &d.pool)
	}
	if _, ok := svc.Annotations[deprecated]; ok {
		annotate(deprecated, nil)
	}
	if !sameEntries(svc.Status.LoadBalancer.Ingress, d.ingress) {
		p.Status.LoadBalancer = &statusPatchEntries{d.ingress}
	}
	if conditions, differ := d.conditions(svc); differ {
		p.Status.Conditions = &conditions
	}
	if p.Metadata.Annotations == nil && p.Status.LoadBalancer == nil && p.Status.Conditions == nil {
		return nil
	}
	p.Metadata.ResourceVersion = svc.ResourceVersion
	out, err := json.Marshal(&p)
	if err != nil {
		panic(err) // strings and API types always marshal
	}
	return out
}

// conditions are the Service's, ours as they should be, and whether that makes a difference.
func (d decision) conditions(svc *corev1.Service) (out []metav1.Condition, differ bool) {
	out = slices.Clone(svc.Status.Conditions)
	set := func(name string, want *metav1.Condition) {
		switch is := findCondition(svc, name); {
		case sameCondition(is, want):
			return
		case want == nil:
			meta.RemoveStatusCondition(&out, name)
		default:
			meta.SetStatusCondition(&out, *want)
		}
		differ = true
	}
	set(ConditionAddressAllocated, d.condition)
	set(ConditionAnnounced, d.announced)
	set(ConditionAddressConflict, d.conflict)
	set(ConditionAdvertisementConflict, d.contradiction)
	return out, differ
}

// sameEntries compares addresses and host names, in any order. What the API server fills in (ipMode) is no difference.
func sameEntries(a, b []corev1.LoadBalancerIngress) bool {
	x, y := ingressTexts(a), ingressTexts(b)
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

func ingressTexts(in []corev1.LoadBalancerIngress) []string {
	out := make([]string, len(in))
	for i, ing := range in {
		out[i] = ing.IP + ing.Hostname
		if addr, err := netip.ParseAddr(ing.IP); err == nil {
			out[i] = addr.Unmap().String() + ing.Hostname
		}
	}
	return out
}

func sameCondition(a, b *metav1.Condition) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message
}

// event is told about a Service.
type event struct {
	kind, reason, message string
}

// events tells of what a decision changes, and of nothing else.
func (d decision) events(svc *corev1.Service) []event {
	var out []event
	before, after := ingressTexts(svc.Status.LoadBalancer.Ingress), ingressTexts(d.ingress)
	without := func(a, b []string) []string {
		return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
	}
	if lost := without(before, after); len(lost) > 0 {
		out = append(out, event{corev1.EventTypeNormal, "ClearAssignment", fmt.Sprintf("No longer has %s: %s", strings.Join(lost, ", "), d.lost)})
	}
	if gained := without(after, before); len(gained) > 0 {
		out = append(out, event{corev1.EventTypeNormal, allocated, fmt.Sprintf("Has got %s from pool %s", strings.Join(gained, ", "), d.pool)})
		for _, key := range deprecatedKeys(svc) {
			if name := strings.TrimPrefix(key, lbservice.DeprecatedPrefix); name != lbservice.AllocatedFrom {
				out = append(out, event{corev1.EventTypeWarning, "deprecatedAnnotation", fmt.Sprintf("Annotation %s is deprecated: write %s", key, lbservice.Prefix+name)})
			}
		}
	}
	if d.condition != nil && d.condition.Status == metav1.ConditionFalse && !sameCondition(findCondition(svc, ConditionAddressAllocated), d.condition) {
		out = append(out, event{corev1.EventTypeWarning, "AllocationFailed", d.condition.Message})
	}
	if c := d.announced; c != nil && slices.Equal(before, after) && tellsOf(findCondition(svc, ConditionAnnounced), c) {
		out = append(out, event{corev1.EventTypeWarning, "announceFailed", c.Message})
	}
	return out
}

// tellsOf says whether an announcement that is not, or for another reason than before, is worth an event. Not where the speakers
// tell of it themselves. In the moment in which an address is given there is none either: its advertisement may be on its way.
func tellsOf(before, now *metav1.Condition) bool {
	switch announce.Reason(now.Reason) {
	case announce.NoNode, announce.NoInterface, announce.Conflict, NotReported:
		return false
	}
	return now.Status == metav1.ConditionFalse && (before == nil || before.Status != now.Status || before.Reason != now.Reason)
}
