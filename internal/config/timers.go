package config

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"metallb.io/operator/api/v1beta2"
)

const (
	defaultHold = 90 * time.Second
	// A hold time is 0 or at least 3 seconds, and a number of 16 bits (RFC 4271, section 4.2).
	leastHold = 3 * time.Second
	longest   = 65535 * time.Second
)

// times compiles the timers: what is unset follows from the other, a third or three times as long. A keepalive time of 0
// beside a hold time is one that an older version filled in where nothing was written.
func (c *compiler) times(source Source, spec *field.Path, in *v1beta2.BGPPeerSpec, p *Peer) {
	holdAt, keepaliveAt, connectAt := spec.Child("holdTime"), spec.Child("keepaliveTime"), spec.Child("connectTime")
	if in.ConnectTime != nil {
		p.ConnectTime = in.ConnectTime.Duration
		if t := p.ConnectTime; t < time.Second || t > longest || t%time.Second != 0 {
			c.errors(source, field.Invalid(connectAt, t.String(), "write whole seconds from 1s to 65535s"))
		}
	}
	if in.KeepaliveTime != nil && in.KeepaliveTime.Duration < 0 {
		c.errors(source, field.Invalid(keepaliveAt, in.KeepaliveTime.Duration.String(), "is negative: write a third of the hold time, or nothing"))
		return
	}
	if in.HoldTime == nil {
		p.HoldTime, p.KeepaliveTime = defaultHold, defaultHold/3
		if in.KeepaliveTime != nil {
			p.KeepaliveTime = in.KeepaliveTime.Duration
			p.HoldTime = (3 * p.KeepaliveTime).Truncate(time.Second)
			if p.HoldTime != 0 && p.HoldTime < leastHold || p.HoldTime > longest || p.HoldTime == 0 && p.KeepaliveTime > 0 {
				c.errors(source, field.Invalid(keepaliveAt, p.KeepaliveTime.String(), "the hold time would be three times as long, and is from 3s to 65535s: write 1s to 21845s, or a holdTime as well"))
			}
		}
		return
	}
	written := in.HoldTime.Duration
	p.HoldTime = written.Truncate(time.Second)
	if written < 0 || p.HoldTime > longest || p.HoldTime < leastHold && written != 0 {
		c.errors(source, field.Invalid(holdAt, written.String(), "write 3s to 65535s, or 0s for a session that never expires"))
		return
	}
	p.KeepaliveTime = p.HoldTime / 3
	if in.KeepaliveTime == nil || in.KeepaliveTime.Duration == 0 {
		return
	}
	p.KeepaliveTime = in.KeepaliveTime.Duration
	switch {
	case p.HoldTime == 0:
		c.errors(source, field.Invalid(keepaliveAt, p.KeepaliveTime.String(), "the holdTime is 0s, for a session without keepalives: remove keepaliveTime, or write a holdTime of at least 3s"))
	case p.KeepaliveTime > p.HoldTime:
		c.errors(source, field.Invalid(keepaliveAt, p.KeepaliveTime.String(), fmt.Sprintf("is longer than the hold time of %s: write at most that, better a third of it", p.HoldTime)))
	}
}
