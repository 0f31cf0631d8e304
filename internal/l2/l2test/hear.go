package l2test

import (
	"net"
	"testing"
	"time"

	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/responder"
)

// Counted passes on what its socket lets into the process, too.
type Counted struct {
	responder.Conn
	Reads chan []byte
}

// ReadFrom reads a frame.
func (c Counted) ReadFrom(b []byte) (int, net.Addr, error) {
	n, a, err := c.Conn.ReadFrom(b)
	if err == nil {
		c.Reads <- append([]byte(nil), b[:n]...)
	}
	return n, a, err
}

// Sighted waits until responders have heard on lan0 that another station has an address, and returns its hardware address. It
// does again what makes the station say so.
func Sighted(t testing.TB, sightings func() []l2.Sighting, address string, again func()) (mac string) {
	t.Helper()
	Eventually(t, 10*time.Second, "a station is heard that has "+address, func() bool {
		again()
		time.Sleep(20 * time.Millisecond)
		for _, s := range sightings() {
			if s.Address.String() == address && s.Interface == "lan0" {
				mac = net.HardwareAddr(s.MAC[:]).String()
			}
		}
		return mac != ""
	})
	return mac
}
