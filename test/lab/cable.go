package lab

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// Cut says how a cable fails.
type Cut int

// The ways in which a cable can fail.
const (
	// CarrierLoss: the machine sees its link go down.
	CarrierLoss Cut = iota + 1
	// Silent: frames are lost both ways while the link looks up, as behind a
	// switch that failed.
	Silent
)

// CutCable cuts the machine's cable to a network; one that is cut already then
// fails in the new way.
func (c *Cluster) CutCable(machine string, network Network, how Cut) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.setPort(machine, network, how)
}

// MendCable undoes CutCable, however the cable was cut.
func (c *Cluster) MendCable(machine string, network Network) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.setPort(machine, network, 0)
}

func (c *Cluster) setPort(machine string, network Network, how Cut) error {
	err := c.plan.inNamespace(Switch, func(h *netlink.Handle) error {
		end, err := h.LinkByName(port(network, machine))
		if err != nil {
			return err
		}
		switch how {
		case CarrierLoss:
			return h.LinkSetDown(end)
		case Silent:
			if err := h.LinkSetNoMaster(end); err != nil {
				return err
			}
			return h.LinkSetUp(end)
		default:
			return patch(h, network, machine)
		}
	})
	if err != nil {
		return fmt.Errorf("cable of %s to the %s network: %w", machine, network, err)
	}
	return nil
}

// Cable says how a machine's cable to a network is: ok, cut, silent or, where
// the machine is off, none.
func (c *Cluster) Cable(machine string, network Network) string {
	how := "none"
	_ = c.plan.inNamespace(Switch, func(h *netlink.Handle) error {
		end, err := h.LinkByName(port(network, machine))
		switch {
		case err != nil:
		case end.Attrs().Flags&net.FlagUp == 0:
			how = "cut"
		case end.Attrs().MasterIndex == 0:
			how = "silent"
		default:
			how = "ok"
		}
		return nil
	})
	return how
}
