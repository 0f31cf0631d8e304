package main

import (
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func TestAnswer(t *testing.T) {
	lookup := func(namespace, name string) (netip.Addr, bool) {
		return netip.MustParseAddr("10.96.3.4"), namespace == "olm" && name == "metallb"
	}
	for _, c := range []struct {
		name    string
		kind    dnsmessage.Type
		code    dnsmessage.RCode
		answers int
	}{
		{"metallb.olm.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, 1},
		{"Metallb.OLM.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, 1},
		{"metallb.olm.svc.cluster.local.", dnsmessage.TypeAAAA, dnsmessage.RCodeSuccess, 0},
		{"other.olm.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeNameError, 0},
		{"metallb.olm.svc.olm.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeNameError, 0},
		{"metallb.olm.example.", dnsmessage.TypeA, dnsmessage.RCodeNameError, 0},
	} {
		query := dnsmessage.Message{Header: dnsmessage.Header{ID: 7},
			Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(c.name), Type: c.kind, Class: dnsmessage.ClassINET}}}
		b, err := query.Pack()
		if err != nil {
			t.Fatal(err)
		}
		var reply dnsmessage.Message
		if b, err = answer(b, lookup); err != nil {
			t.Fatal(err)
		}
		if err := reply.Unpack(b); err != nil {
			t.Fatal(err)
		}
		if reply.ID != 7 || reply.RCode != c.code || len(reply.Answers) != c.answers {
			t.Errorf("%s %s: ID %d, %s, %d answers", c.kind, c.name, reply.ID, reply.RCode, len(reply.Answers))
		}
	}
}
