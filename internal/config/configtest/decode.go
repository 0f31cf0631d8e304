package configtest

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"metallb.io/operator/api/v1alpha1"
	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/config"
)

// timestamp is the creation time of the document at place i.
func timestamp(i int) string {
	return time.Date(2025, 1, 1, 0, i, 0, 0, time.UTC).Format(time.RFC3339)
}

// add decodes one resource strictly and puts it into the Input, as old as born says.
func add(in *config.Input, text, born string) error {
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(text), &meta); err != nil {
		return err
	}
	at, err := time.Parse(time.RFC3339, born)
	if err != nil {
		return err
	}
	created := metav1.NewTime(at)
	switch meta.APIVersion + " " + meta.Kind {
	case "metallb.io/v1beta1 IPAddressPool":
		return decode(text, created, &in.IPAddressPools)
	case "metallb.io/v1beta1 AddressPool":
		return decode(text, created, &in.AddressPools)
	case "metallb.io/v1beta1 L2Advertisement":
		return decode(text, created, &in.L2Advertisements)
	case "metallb.io/v1beta1 BGPAdvertisement":
		return decode(text, created, &in.BGPAdvertisements)
	case "metallb.io/v1beta2 BGPPeer":
		return decode(text, created, &in.BGPPeers)
	case "metallb.io/v1beta1 BFDProfile":
		return decode(text, created, &in.BFDProfiles)
	case "metallb.io/v1beta1 Community":
		return decode(text, created, &in.Communities)
	case "metallb.io/v1alpha1 AddressPool":
		var old []v1alpha1.AddressPool
		if err := decode(text, created, &old); err != nil {
			return err
		}
		in.AddressPools = append(in.AddressPools, v1beta1.AddressPool{ObjectMeta: old[0].ObjectMeta, Spec: old[0].Spec})
		return nil
	case "metallb.io/v1beta1 BGPPeer":
		var old []v1beta1.BGPPeer
		if err := decode(text, created, &old); err != nil {
			return err
		}
		var peer v1beta2.BGPPeer
		if err := v1beta1.BGPPeerToV1beta2(&old[0], &peer); err != nil {
			return err
		}
		in.BGPPeers = append(in.BGPPeers, peer)
		return nil
	}
	return fmt.Errorf("%s %s is no kind of the configuration", meta.APIVersion, meta.Kind)
}

// reviewMetalLB decodes the MetalLBs and judges the last.
func (c *Case) reviewMetalLB() (config.Verdict, error) {
	var all []v1beta1.MetalLB
	for i, text := range append(documents(c.Given), c.Input) {
		at, err := time.Parse(time.RFC3339, timestamp(i))
		if err != nil {
			return config.Verdict{}, err
		}
		if err := decode(text, metav1.NewTime(at), &all); err != nil {
			return config.Verdict{}, err
		}
	}
	return config.ReviewMetalLB(all[:len(all)-1], &all[len(all)-1]), nil
}

// decode appends the resource in text.
func decode[T any, P interface {
	*T
	metav1.Object
}](text string, created metav1.Time, list *[]T) error {
	var o T
	if err := yaml.UnmarshalStrict([]byte(text), &o); err != nil {
		return err
	}
	P(&o).SetCreationTimestamp(created)
	if P(&o).GetNamespace() == "" {
		P(&o).SetNamespace(Namespace)
	}
	*list = append(*list, o)
	return nil
}
