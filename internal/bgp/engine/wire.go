// Package engine runs each BGP session in a process of its own, which a parent starts, watches and starts again. So a router
// that makes one fall over takes nothing else with it. The two speak over a pipe: the parent says what
// is wanted, one change at a time, the child how the sessions are. It imports internal/bgp only; which Router the child
// has is for main to say.
package engine

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"

	"metallb.io/operator/internal/bgp"
)

// longestFrame bounds what one end makes the other hold. A chunk of paths with as many communities as an UPDATE can have
// is less.
const longestFrame = 8 << 20

// request is what the parent wants. One of the fields is set.
type request struct {
	Set      *peer     `json:",omitempty"`
	Remove   string    `json:",omitempty"`
	Announce *announce `json:",omitempty"`
	Reset    *reset    `json:",omitempty"`
}

// peer is a bgp.Peer with its password, which shows itself to nobody else.
type peer struct {
	bgp.Peer
	Secret string `json:",omitempty"`
}

type announce struct {
	Peer      string
	Advertise []bgp.Path     `json:",omitempty"`
	Withdraw  []netip.Prefix `json:",omitempty"`
}

// reset is done at once, and not replied to.
type reset struct {
	Peer string
	Why  bgp.Notification
}

// report is what the child says: a reply to each request but a reset, in order, and how the sessions are when that has
// changed.
type report struct {
	Reply    *reply        `json:",omitempty"`
	Sessions []bgp.Session `json:",omitempty"`
}

type reply struct {
	Error string `json:",omitempty"`
}

// write writes a value as a frame: its length, 32 bits, and JSON.
func write(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > longestFrame {
		return fmt.Errorf("a frame of %d bytes is too long", len(body))
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}

// read reads a frame into a value.
func read(r io.Reader, v any) error {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > longestFrame {
		return fmt.Errorf("a frame of %d bytes is too long", n)
	}
	body, err := io.ReadAll(io.LimitReader(r, int64(n))) // grows with what comes, not with what is promised
	switch {
	case err != nil:
		return err
	case len(body) < int(n):
		return io.ErrUnexpectedEOF
	}
	return json.Unmarshal(body, v)
}
