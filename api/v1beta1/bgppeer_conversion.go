package v1beta1

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"metallb.io/operator/api/v1beta2"
)

// AnnotationV1beta2Fields holds, on a BGPPeer read as v1beta1, what only v1beta2 can say, as a JSON object with the
// names of v1beta2's fields. A v1beta2 object never has it: there the fields themselves are set.
const AnnotationV1beta2Fields = "metallb.io/v1beta2-fields"

// v1beta2Fields is the content of the annotation. The timers are there for an explicit zero alone: in v1beta1 a zero
// means unset, in v1beta2 a holdTime of zero means a session that never times out.
type v1beta2Fields struct {
	LocalASN               uint32                 `json:"localASN,omitempty"`
	DynamicASN             v1beta2.DynamicASN     `json:"dynamicASN,omitempty"`
	Interface              string                 `json:"interface,omitempty"`
	HoldTime               *metav1.Duration       `json:"holdTime,omitempty"`
	KeepaliveTime          *metav1.Duration       `json:"keepaliveTime,omitempty"`
	ConnectTime            *metav1.Duration       `json:"connectTime,omitempty"`
	PasswordSecret         corev1.SecretReference `json:"passwordSecret,omitzero"`
	EnableGracefulRestart  bool                   `json:"enableGracefulRestart,omitempty"`
	TTLSecurityHops        uint8                  `json:"ttlSecurityHops,omitempty"`
	VRFName                string                 `json:"vrf,omitempty"`
	DisableMP              bool                   `json:"disableMP,omitempty"`
	DualStackAddressFamily bool                   `json:"dualStackAddressFamily,omitempty"`
	PassiveMode            bool                   `json:"passiveMode,omitempty"`
}

// BGPPeerToV1beta2 writes in, read as v1beta1, into out. What v1beta1 cannot say comes from the annotation, unless the
// user has since written the v1beta1 field that excludes it (peerASN for dynamicASN, peerAddress for interface,
// password for passwordSecret, a timer for its zero). peerPort 0 stays unset, for the API server to default.
//
// An annotation that cannot be read is an error: to ignore it would silently take, for instance, the password off a
// session. It refuses a write only. Stored objects are v1beta2 and are read without looking at it.
func BGPPeerToV1beta2(in *BGPPeer, out *v1beta2.BGPPeer) error {
	var extra v1beta2Fields
	if text, ok := in.Annotations[AnnotationV1beta2Fields]; ok {
		err := unmarshalStrictly(text, &extra)
		if err == nil && (onlyZero(extra.HoldTime) != extra.HoldTime || onlyZero(extra.KeepaliveTime) != extra.KeepaliveTime) {
			err = errors.New("of the timers it holds zeros only")
		}
		if err != nil {
			return fmt.Errorf("metadata.annotations[%s] is not what was read with the object (%w): leave it as it was read, remove it, or write the BGPPeer as metallb.io/v1beta2", AnnotationV1beta2Fields, err)
		}
	}
	in.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Annotations = without(out.Annotations, AnnotationV1beta2Fields)
	s := &in.Spec
	out.Spec = v1beta2.BGPPeerSpec{
		MyASN:         s.MyASN,
		LocalASN:      extra.LocalASN,
		ASN:           s.ASN,
		Address:       s.Address,
		SrcAddress:    s.SrcAddress,
		Port:          s.Port,
		HoldTime:      timerToV1beta2(s.HoldTime, extra.HoldTime),
		KeepaliveTime: timerToV1beta2(s.KeepaliveTime, extra.KeepaliveTime),
		ConnectTime:   extra.ConnectTime,
		RouterID:      s.RouterID,
		NodeSelectors: selectorsToV1beta2(s.NodeSelectors),
		Password:      s.Password,
		BFDProfile:    s.BFDProfile,
		EBGPMultiHop:  s.EBGPMultiHop,

		EnableGracefulRestart:  extra.EnableGracefulRestart,
		TTLSecurityHops:        extra.TTLSecurityHops,
		VRFName:                extra.VRFName,
		DisableMP:              extra.DisableMP,
		DualStackAddressFamily: extra.DualStackAddressFamily,
		PassiveMode:            extra.PassiveMode,
	}
	if s.ASN == 0 {
		out.Spec.DynamicASN = extra.DynamicASN
	}
	if s.Address == "" {
		out.Spec.Interface = extra.Interface
	}
	if s.Password == "" {
		out.Spec.PasswordSecret = extra.PasswordSecret
	}
	if s.HoldTime.Duration != 0 && extra.HoldTime != nil {
		// The session that never timed out now does: its keepalives must not stay off.
		out.Spec.KeepaliveTime = timerToV1beta2(s.KeepaliveTime, nil)
	}
	return nil
}

// BGPPeerFromV1beta2 writes in into out, to be read as v1beta1. What v1beta1 cannot say goes into the annotation.
func BGPPeerFromV1beta2(in *v1beta2.BGPPeer, out *BGPPeer) error {
	s := &in.Spec
	text, err := json.Marshal(v1beta2Fields{
		LocalASN:               s.LocalASN,
		DynamicASN:             s.DynamicASN,
		Interface:              s.Interface,
		HoldTime:               onlyZero(s.HoldTime),
		KeepaliveTime:          onlyZero(s.KeepaliveTime),
		ConnectTime:            s.ConnectTime,
		PasswordSecret:         s.PasswordSecret,
		EnableGracefulRestart:  s.EnableGracefulRestart,
		TTLSecurityHops:        s.TTLSecurityHops,
		VRFName:                s.VRFName,
		DisableMP:              s.DisableMP,
		DualStackAddressFamily: s.DualStackAddressFamily,
		PassiveMode:            s.PassiveMode,
	})
	if err != nil {
		return err
	}
	in.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Annotations = without(out.Annotations, AnnotationV1beta2Fields)
	if string(text) != "{}" {
		if out.Annotations == nil {
			out.Annotations = map[string]string{}
		}
		out.Annotations[AnnotationV1beta2Fields] = string(text)
	}
	out.Spec = BGPPeerSpec{
		MyASN:         s.MyASN,
		ASN:           s.ASN,
		Address:       s.Address,
		SrcAddress:    s.SrcAddress,
		Port:          s.Port,
		HoldTime:      timerFromV1beta2(s.HoldTime),
		KeepaliveTime: timerFromV1beta2(s.KeepaliveTime),
		RouterID:      s.RouterID,
		NodeSelectors: selectorsFromV1beta2(s.NodeSelectors),
		Password:      s.Password,
		BFDProfile:    s.BFDProfile,
		EBGPMultiHop:  s.EBGPMultiHop,
	}
	return nil
}

func unmarshalStrictly(text string, into any) error {
	d := json.NewDecoder(bytes.NewBufferString(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the JSON object")
	}
	return nil
}

// without returns m without the key, nil if nothing is left of it.
func without(m map[string]string, key string) map[string]string {
	if _, ok := m[key]; !ok {
		return m
	}
	maps.DeleteFunc(m, func(k, _ string) bool { return k == key })
	if len(m) == 0 {
		return nil
	}
	return m
}

func timerToV1beta2(d metav1.Duration, zero *metav1.Duration) *metav1.Duration {
	switch {
	case d.Duration != 0:
		return &d
	case zero != nil:
		return &metav1.Duration{}
	}
	return nil
}

func timerFromV1beta2(d *metav1.Duration) metav1.Duration {
	if d == nil {
		return metav1.Duration{}
	}
	return *d
}

// onlyZero returns d if it is set to zero, which v1beta1 cannot tell from unset.
func onlyZero(d *metav1.Duration) *metav1.Duration {
	if d == nil || d.Duration != 0 {
		return nil
	}
	return d
}

func selectorsToV1beta2(in []NodeSelector) []metav1.LabelSelector {
	if in == nil {
		return nil
	}
	out := make([]metav1.LabelSelector, len(in))
	for i, s := range in {
		out[i].MatchLabels = maps.Clone(s.MatchLabels)
		for _, e := range s.MatchExpressions {
			out[i].MatchExpressions = append(out[i].MatchExpressions, metav1.LabelSelectorRequirement{
				Key: e.Key, Operator: metav1.LabelSelectorOperator(e.Operator), Values: slices.Clone(e.Values),
			})
		}
	}
	return out
}

func selectorsFromV1beta2(in []metav1.LabelSelector) []NodeSelector {
	if in == nil {
		return nil
	}
	out := make([]NodeSelector, len(in))
	for i, s := range in {
		out[i].MatchLabels = maps.Clone(s.MatchLabels)
		for _, e := range s.MatchExpressions {
			out[i].MatchExpressions = append(out[i].MatchExpressions, MatchExpression{
				Key: e.Key, Operator: string(e.Operator), Values: slices.Clone(e.Values),
			})
		}
	}
	return out
}
