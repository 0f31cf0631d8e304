package legacy

import (
	"context"
	"maps"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/legacy"
)

// labelled says whether a resource is marked as made of the ConfigMap.
func labelled(o client.Object) bool { return o.GetLabels()[Label] == configMap }

// owned says whether a resource has the ConfigMap, or one of its name that was there before, as an owner.
func owned(o client.Object) bool {
	return slices.ContainsFunc(o.GetOwnerReferences(), refersToConfigMap)
}

func refersToConfigMap(r metav1.OwnerReference) bool {
	return r.APIVersion == "v1" && r.Kind == "ConfigMap" && r.Name == configMap
}

// id names a resource.
type id struct{ kind, name string }

// inventory is what there is.
type inventory map[id]client.Object

// read finds all configuration resources, and the Secrets that are to be made or may have been made.
func (r *Reconciler) read(ctx context.Context) (inventory, error) {
	in, err := configuration.Load(ctx, r.Live, r.Namespace)
	if err != nil {
		return nil, err
	}
	inv := inventoryOf(in)
	var names []string
	for key, o := range inv {
		// A peer that was made here, or was taken over since.
		if key.kind == "BGPPeer" && (labelled(o) || owned(o)) {
			names = append(names, legacy.PasswordSecret(key.name))
		}
	}
	return inv, r.readSecrets(ctx, inv, names)
}

// readSecrets reads Secrets one by one: there is no right to list them.
func (r *Reconciler) readSecrets(ctx context.Context, inv inventory, names []string) error {
	for _, name := range names {
		if inv[id{"Secret", name}] != nil {
			continue
		}
		secret := &corev1.Secret{}
		switch err := r.Live.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: name}, secret); {
		case err == nil:
			inv[id{"Secret", name}] = secret
		case !apierrors.IsNotFound(err):
			return err
		}
	}
	return nil
}

func inventoryOf(in config.Input) inventory {
	inv := inventory{}
	add(inv, "BFDProfile", in.BFDProfiles)
	add(inv, "Community", in.Communities)
	add(inv, "BGPPeer", in.BGPPeers)
	add(inv, "IPAddressPool", in.IPAddressPools)
	add(inv, "AddressPool", in.AddressPools)
	add(inv, "L2Advertisement", in.L2Advertisements)
	add(inv, "BGPAdvertisement", in.BGPAdvertisements)
	return inv
}

func add[T any, P interface {
	*T
	client.Object
}](inv inventory, kind string, items []T) {
	for i := range items {
		inv[id{kind, P(&items[i]).GetName()}] = P(&items[i])
	}
}

// of says whether any resource has been made of the ConfigMap of this UID.
func (inv inventory) of(uid types.UID) bool {
	for _, o := range inv {
		if labelled(o) && slices.ContainsFunc(o.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == uid }) {
			return true
		}
	}
	return false
}

// content points to what a resource says.
func content(o client.Object) any {
	switch o := o.(type) {
	case *corev1.Secret:
		return &o.Data
	case *v1beta1.BFDProfile:
		return &o.Spec
	case *v1beta1.Community:
		return &o.Spec
	case *v1beta2.BGPPeer:
		return &o.Spec
	case *v1beta1.IPAddressPool:
		return &o.Spec
	case *v1beta1.AddressPool:
		return &o.Spec
	case *v1beta1.L2Advertisement:
		return &o.Spec
	case *v1beta1.BGPAdvertisement:
		return &o.Spec
	}
	panic("not a resource that is made of the ConfigMap") // Convert makes no other
}

// marked is the wanted resource with what says where it comes from.
func marked(want client.Object, cm *corev1.ConfigMap, origin string) client.Object {
	out := want.DeepCopyObject().(client.Object)
	out.SetLabels(map[string]string{Label: configMap})
	out.SetAnnotations(map[string]string{Annotation: origin})
	// Not blocking the owner's deletion, and not its controller.
	out.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: cm.Name, UID: cm.UID}})
	return out
}

// updated is what is there with what is wanted; nil if that is no difference. Labels, annotations and owners that others
// have added stay.
func updated(is, want client.Object) client.Object {
	out := is.DeepCopyObject().(client.Object)
	reflect.ValueOf(content(out)).Elem().Set(reflect.ValueOf(content(want)).Elem())
	out.SetLabels(merged(is.GetLabels(), want.GetLabels()))
	out.SetAnnotations(merged(is.GetAnnotations(), want.GetAnnotations()))
	out.SetOwnerReferences(append(withoutConfigMap(is), want.GetOwnerReferences()...))
	if equality.Semantic.DeepEqual(content(is), content(out)) && maps.Equal(is.GetLabels(), out.GetLabels()) &&
		maps.Equal(is.GetAnnotations(), out.GetAnnotations()) && sameOwners(is, out) {
		return nil
	}
	return out
}

func merged(is, want map[string]string) map[string]string {
	out := map[string]string{}
	maps.Copy(out, is)
	maps.Copy(out, want)
	return out
}

func withoutConfigMap(o client.Object) []metav1.OwnerReference {
	return slices.DeleteFunc(slices.Clone(o.GetOwnerReferences()), refersToConfigMap)
}

// sameOwners compares owners whatever their order.
func sameOwners(a, b client.Object) bool {
	uids := func(o client.Object) []types.UID {
		var out []types.UID
		for _, r := range o.GetOwnerReferences() {
			out = append(out, r.UID)
		}
		slices.Sort(out)
		return out
	}
	return slices.Equal(uids(a), uids(b))
}
