package config

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"metallb.io/operator/api/v1beta1"
)

const kindBFDProfile = "BFDProfile"

// noEcho is why there is no echo function (RFC 5880, section 6.4; docs/bfd.md).
const noEcho = "echo packets are not sent, since what returns them differs from peer to peer and a node's firewall may drop them; sessions run without: " +
	"remove it, and for fast detection write transmitInterval: 50 and receiveInterval: 50"

// profiles compiles the BFDProfiles. A value out of range is dropped, and the default stands in its place.
func (c *compiler) profiles(in []v1beta1.BFDProfile) {
	for i := range in {
		c.bfd[in[i].Name] = c.profile(&in[i])
		c.bfdNames = append(c.bfdNames, in[i].Name)
	}
	slices.Sort(c.bfdNames)
}

func (c *compiler) profile(in *v1beta1.BFDProfile) *BFDProfile {
	source := Source{Kind: kindBFDProfile, Name: in.Name}
	number := func(name string, value *uint32, low, high, otherwise uint32) uint32 {
		switch {
		case value == nil:
			return otherwise
		case *value < low || *value > high:
			c.errors(source, field.Invalid(field.NewPath("spec", name), *value, fmt.Sprintf("write a number from %d to %d; unset it is %d", low, high, otherwise)))
			return otherwise
		default:
			return *value
		}
	}
	interval := func(name string, value *uint32, otherwise uint32) time.Duration {
		return time.Duration(number(name, value, 10, 60000, otherwise)) * time.Millisecond
	}
	// What stays is the check: the interval is stored in profiles of old.
	number("echoInterval", in.Spec.EchoInterval, 10, 60000, 50)
	if in.Spec.EchoMode != nil && *in.Spec.EchoMode {
		c.errors(source, field.Forbidden(field.NewPath("spec", "echoMode"), noEcho))
	}
	return &BFDProfile{
		Name:       in.Name,
		Receive:    interval("receiveInterval", in.Spec.ReceiveInterval, 300),
		Transmit:   interval("transmitInterval", in.Spec.TransmitInterval, 300),
		Multiplier: int(number("detectMultiplier", in.Spec.DetectMultiplier, 2, 255, 3)),
		Passive:    in.Spec.PassiveMode != nil && *in.Spec.PassiveMode,
		MinimumTTL: int(number("minimumTtl", in.Spec.MinimumTTL, 1, 254, 254)),
	}
}
