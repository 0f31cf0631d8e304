package members

import (
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

func TestRoute(t *testing.T) {
	tr := &transport{self: "pod-a@node-1"}
	for name, c := range map[string]struct {
		to    string
		local bool
		want  destination
	}{
		"our name":                                {"pod-a@node-1", false, toUs},
		"our name, passed on by a sibling":        {"pod-a@node-1", true, toUs},
		"no name is for any member of the node":   {"", false, toUs},
		"a sibling's name":                        {"pod-b@node-1", false, toSibling},
		"what was passed on is not passed again":  {"pod-b@node-1", true, toNobody},
		"another node's member":                   {"pod-a@node-2", false, toNobody},
		"a node whose name begins like ours":      {"pod-a@node-11", false, toNobody},
		"nobody passes on what is for any member": {"", true, toNobody},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tr.route(c.to, c.local); got != c.want {
				t.Errorf("route = %v, want %v", got, c.want)
			}
		})
	}
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{3, 'a', 'b'})
	f.Add(append(header("pod@node"), "payload"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		name, payload, ok := split(b)
		if ok && string(append(header(name), payload...)) != string(b) {
			t.Errorf("%q came apart into %q and %q", b, name, payload)
		}
	})
}

// Two processes share the port: whatever the kernel hands to the wrong one arrives at the right one.
func TestSiblingsShareAPort(t *testing.T) {
	for _, family := range []struct{ at, peer string }{{"127.0.9.1:7946", "127.0.9.2"}, {"[::1]:7946", "::1"}} {
		t.Run(family.peer, func(t *testing.T) {
			testSiblings(t, netip.MustParseAddrPort(family.at), netip.MustParseAddr(family.peer))
		})
	}
}

func testSiblings(t *testing.T, at netip.AddrPort, peers netip.Addr) {
	open := func(name string, at netip.AddrPort) *transport {
		tr, err := listen(name, at, quiet)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tr.Shutdown() })
		return tr
	}
	siblings := map[string]*transport{"old@node-1": open("old@node-1", at), "new@node-1": open("new@node-1", at)}
	for i := range 20 { // each peer has another source port, so the kernel's choice varies
		peer := open(fmt.Sprintf("%d@node-2", i), netip.AddrPortFrom(peers, uint16(17000+i)))
		for name, tr := range siblings {
			said := fmt.Sprintf("%d for %s", i, name)
			if _, err := peer.WriteToAddress([]byte(said), memberlist.Address{Addr: at.String(), Name: name}); err != nil {
				t.Fatal(err)
			}
			select {
			case p := <-tr.PacketCh():
				if string(p.Buf) != said {
					t.Errorf("%s got %q, want %q", name, p.Buf, said)
				}
			case <-time.After(2 * time.Second):
				t.Fatalf("the packet for %s is lost", name)
			}
			c, err := peer.DialAddressTimeout(memberlist.Address{Addr: at.String(), Name: name}, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write([]byte("ping")); err != nil {
				t.Fatal(err)
			}
			select {
			case s := <-tr.StreamCh():
				b := make([]byte, 4)
				_, err := io.ReadFull(s, b)
				if err != nil || string(b) != "ping" {
					t.Errorf("%s read %q, %v", name, b, err)
				}
				_, _ = s.Write([]byte("answer from " + name))
				_ = s.Close()
			case <-time.After(2 * time.Second):
				t.Fatalf("the connection to %s is lost", name)
			}
			if b, err := io.ReadAll(c); err != nil || string(b) != "answer from "+name {
				t.Errorf("the answer is %q, %v", b, err)
			}
			_ = c.Close()
		}
	}
}

func TestAPortThatAnotherProgramHoldsIsAClearError(t *testing.T) {
	at := netip.MustParseAddrPort("127.0.9.3:7946")
	s, err := open(at, true) // without SO_REUSEPORT
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.tcp.Close(); _ = s.udp.Close() }()
	if _, err := listen("pod@node", at, quiet); err == nil {
		t.Error("no error")
	} else {
		t.Log(err)
	}
}
