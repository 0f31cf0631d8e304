package members

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"

	"github.com/hashicorp/memberlist"
)

// meta is what a member tells the others about itself, in at most 512 bytes. Fields that a release does not know are
// ignored, so that two releases can gossip during an upgrade.
type meta struct {
	// Ready: the member can announce addresses.
	Ready bool `json:"ready,omitempty"`
	// Reads and Writes are the keys that the member can decrypt and the one that it encrypts with, by id.
	Reads  []string `json:"reads,omitempty"`
	Writes string   `json:"writes,omitempty"`
	// Interfaces that the member can announce on, as packNames writes them; empty: it does not tell.
	Interfaces string `json:"interfaces,omitempty"`
	// MACs are the hardware addresses of its node, as packMACs writes them; empty: it does not tell.
	MACs string `json:"macs,omitempty"`
	// Delivers: what arrives at the node gets to endpoints. Nil: the member does not tell.
	Delivers *bool `json:"delivers,omitempty"`
}

// encode leaves out what there is too much of: better none than some, since a member that does not tell its interfaces counts
// as having all, and one that does not tell its hardware addresses may have any. Those are the less important.
func (m meta) encode() []byte {
	b, err := json.Marshal(m)
	switch {
	case err != nil:
		panic(err) // a struct of strings and a bool has an encoding
	case len(b) <= memberlist.MetaMaxSize:
		return b
	case m.MACs != "":
		m.MACs = ""
		return m.encode()
	case m.Interfaces != "":
		m.Interfaces = ""
		return m.encode()
	}
	return b
}

// noMACs tells that there are no hardware addresses, which is more than to tell nothing.
const noMACs = "-"

// packMACs writes hardware addresses, each once, in 8 characters each (RFC 4648 section 5).
func packMACs(macs [][6]byte) string {
	if len(macs) == 0 {
		return noMACs
	}
	macs = slices.Clone(macs)
	slices.SortFunc(macs, func(a, b [6]byte) int { return bytes.Compare(a[:], b[:]) })
	var b []byte
	for _, mac := range slices.Compact(macs) {
		b = append(b, mac[:]...)
	}
	return base64.URLEncoding.EncodeToString(b)
}

// unpackMACs is the inverse. What it cannot read gives none.
func unpackMACs(packed string) (macs [][6]byte) {
	b, err := base64.URLEncoding.DecodeString(packed)
	if err != nil || len(b)%6 != 0 {
		return nil
	}
	for mac := range slices.Chunk(b, 6) {
		macs = append(macs, [6]byte(mac))
	}
	return macs
}

// decodeMeta reads what a member says; one that cannot be understood says nothing.
func decodeMeta(b []byte) meta {
	var m meta
	if json.Unmarshal(b, &m) != nil {
		return meta{}
	}
	return m
}
