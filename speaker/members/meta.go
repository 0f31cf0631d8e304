package members

import (
	"encoding/json"

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
}

// encode leaves the interfaces out where there are too many of them: better none than some, since a member that does not tell
// counts as having all.
func (m meta) encode() []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // a struct of strings and a bool has an encoding
	}
	if len(b) > memberlist.MetaMaxSize && m.Interfaces != "" {
		m.Interfaces = ""
		return m.encode()
	}
	return b
}

// decodeMeta reads what a member says; one that cannot be understood says nothing.
func decodeMeta(b []byte) meta {
	var m meta
	if json.Unmarshal(b, &m) != nil {
		return meta{}
	}
	return m
}
