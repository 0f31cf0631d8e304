// Package configuration reads the configuration resources of a namespace, and what the cluster around them is like, for
// internal/config to compile; and it tells in a ConfigurationState what came of it. Controller, speaker and admission
// share it.
package configuration

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/config"
)

// Objects returns one object of each kind of configuration resource, for caches and watches. All are of the version that
// is stored, so that reading them needs no conversion.
func Objects() []client.Object {
	return []client.Object{
		&v1beta1.IPAddressPool{}, &v1beta1.AddressPool{}, &v1beta1.L2Advertisement{}, &v1beta1.BGPAdvertisement{},
		&v1beta2.BGPPeer{}, &v1beta1.BFDProfile{}, &v1beta1.Community{},
	}
}

// Load reads all configuration resources of a namespace. Secrets, Nodes and Node of the Input are the caller's to fill.
// A kind that the API server does not have is an error: going on without it could undo what was configured.
func Load(ctx context.Context, r client.Reader, namespace string) (config.Input, error) {
	var (
		pools   v1beta1.IPAddressPoolList
		legacy  v1beta1.AddressPoolList
		l2      v1beta1.L2AdvertisementList
		bgpAdvs v1beta1.BGPAdvertisementList
		peers   v1beta2.BGPPeerList
		bfd     v1beta1.BFDProfileList
		aliases v1beta1.CommunityList
	)
	var errs []error
	for _, kind := range []struct {
		resource string
		list     client.ObjectList
	}{
		{"ipaddresspools", &pools}, {"addresspools", &legacy}, {"l2advertisements", &l2}, {"bgpadvertisements", &bgpAdvs},
		{"bgppeers", &peers}, {"bfdprofiles", &bfd}, {"communities", &aliases},
	} {
		errs = append(errs, listing(kind.resource, r.List(ctx, kind.list, client.InNamespace(namespace))))
	}
	if err := errors.Join(errs...); err != nil {
		return config.Input{}, err
	}
	return config.Input{
		IPAddressPools: pools.Items, AddressPools: legacy.Items, L2Advertisements: l2.Items, BGPAdvertisements: bgpAdvs.Items,
		BGPPeers: peers.Items, BFDProfiles: bfd.Items, Communities: aliases.Items,
	}, nil
}

// listing puts an error of a list in words; nil for none.
func listing(resource string, err error) error {
	group := v1beta1.GroupVersion.Group
	switch {
	case err == nil:
		return nil
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err):
		return fmt.Errorf("the API server does not have %s.%s in the version that is needed: apply the CRDs of this release: %w", resource, group, err)
	default:
		return fmt.Errorf("listing %s.%s: %w", resource, group, err)
	}
}

// SecretNames lists the Secrets that the peers of the Input refer to, each once, sorted.
func SecretNames(in config.Input) []string {
	var names []string
	for i := range in.BGPPeers {
		if name := in.BGPPeers[i].Spec.PasswordSecret.Name; name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Secrets reads the Secrets that the peers of the Input refer to, by name, in that namespace. One that does not exist is
// missing from the map, which is never nil.
func Secrets(ctx context.Context, r client.Reader, namespace string, in config.Input) (map[string]config.Secret, error) {
	out := map[string]config.Secret{}
	var errs []error
	for _, name := range SecretNames(in) {
		switch secret, ok, err := Secret(ctx, r, namespace, name); {
		case err != nil:
			errs = append(errs, err)
		case ok:
			out[name] = secret
		}
	}
	return out, errors.Join(errs...)
}

// Secret reads one Secret; ok is false where it does not exist.
func Secret(ctx context.Context, r client.Reader, namespace, name string) (secret config.Secret, ok bool, err error) {
	var s corev1.Secret
	if err := r.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &s); apierrors.IsNotFound(err) {
		return config.Secret{}, false, nil
	} else if err != nil {
		return config.Secret{}, false, fmt.Errorf("reading Secret %s: %w", name, err)
	}
	return config.Secret{Type: string(s.Type), Password: bgp.Password(s.Data[corev1.BasicAuthPasswordKey])}, true, nil
}

// Nodes reads the Nodes with their addresses; subnets and gateways are what the speakers reported in the
// ConfigurationStates of the namespace.
func Nodes(ctx context.Context, r client.Reader, namespace string) ([]config.Node, error) {
	var nodes corev1.NodeList
	if err := r.List(ctx, &nodes); err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	var states v1beta1.ConfigurationStateList
	if err := listing("configurationstates", r.List(ctx, &states, client.InNamespace(namespace))); err != nil {
		return nil, err
	}
	byName := make(map[string]*v1beta1.ConfigurationStateStatus, len(states.Items))
	for i := range states.Items {
		byName[states.Items[i].Name] = &states.Items[i].Status
	}
	out := make([]config.Node, len(nodes.Items))
	for i := range nodes.Items {
		n := &nodes.Items[i]
		out[i] = config.Node{Name: n.Name, Labels: labels.Set(n.Labels), Addresses: NodeAddresses(n)}
		if s := byName[SpeakerState(n.Name)]; s != nil {
			out[i].Subnets, out[i].Gateways = networks(s)
		}
	}
	return out, nil
}

// NodeAddresses returns the internal and external addresses of a Node, in its order.
func NodeAddresses(n *corev1.Node) []netip.Addr {
	var out []netip.Addr
	for _, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP && a.Type != corev1.NodeExternalIP {
			continue
		}
		if ip, err := netip.ParseAddr(a.Address); err == nil && !slices.Contains(out, ip.Unmap()) {
			out = append(out, ip.Unmap())
		}
	}
	return out
}

// networks is what a speaker reported. What is no address there was written by somebody else, and says nothing.
func networks(s *v1beta1.ConfigurationStateStatus) (subnets []netip.Prefix, gateways []netip.Addr) {
	for _, text := range s.Subnets {
		if p, err := netip.ParsePrefix(text); err == nil {
			subnets = append(subnets, p.Masked())
		}
	}
	for _, text := range s.Gateways {
		if a, err := netip.ParseAddr(text); err == nil {
			gateways = append(gateways, a.Unmap())
		}
	}
	return subnets, gateways
}
