package members

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"
)

// delegate is what memberlist calls. It is called with memberlist's lock held and may not call back; the nodes that it
// is given may not be kept.
type delegate struct{ m *Members }

// NotifyJoin, NotifyUpdate and NotifyLeave keep the members that are alive.
func (d delegate) NotifyJoin(n *memberlist.Node)   { d.set(n) }
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.set(n) }

func (d delegate) NotifyLeave(n *memberlist.Node) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.m.mayBeThere(n.Name) {
		d.m.doubts[n.Name] = &doubt{since: time.Now()}
		d.m.config.Log.Info("gossip has lost a member", "member", n.Name)
	} else {
		d.m.drop(n.Name)
	}
	d.news()
}

func (d delegate) set(n *memberlist.Node) {
	address, _ := netip.AddrFromSlice(n.Addr)
	k := known{node: nodeOf(n.Name), address: address.Unmap(), meta: decodeMeta(n.Meta)}
	k.interfaces, k.macs = unpackNames(k.meta.Interfaces), unpackMACs(k.meta.MACs)
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	_, old := d.m.known[n.Name]
	d.m.known[n.Name] = k
	if d.m.silence.lost[k.node].member == n.Name {
		delete(d.m.silence.lost, k.node)
		d.m.heal(k.node)
	}
	if d.m.doubts[n.Name] != nil {
		delete(d.m.doubts, n.Name)
		d.m.config.Log.Info("gossip hears a member again", "member", n.Name)
	}
	if !old {
		d.m.config.Log.Info("member alive", "member", n.Name, "address", k.address)
	}
	d.news()
}

// news wakes the reader of the view and the loop, which has keys to settle.
func (d delegate) news() {
	signal(d.m.changed)
	signal(d.m.kick)
}

// NodeMeta is what the others are told about this member.
func (d delegate) NodeMeta(int) []byte {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	return d.m.own.encode()
}

// NotifyMsg is given what another member says, to all or to this one.
func (d delegate) NotifyMsg(b []byte) {
	d.m.listenTo(b, time.Now())
	d.m.takeNote(b)
}

// Messages and states of our own are not gossiped.
func (delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (delegate) LocalState(bool) []byte          { return nil }
func (delegate) MergeRemoteState([]byte, bool)   {}

// logger turns memberlist's lines into records, one level lower than it thinks of them: what it calls an error is a
// packet that did not arrive.
func logger(l *slog.Logger) *log.Logger {
	return log.New(lines{l}, "", 0)
}

type lines struct{ log *slog.Logger }

func (w lines) Write(b []byte) (int, error) {
	level, text := slog.LevelDebug, string(bytes.TrimSpace(b))
	for prefix, l := range map[string]slog.Level{
		"[ERR] ": slog.LevelInfo, "[WARN] ": slog.LevelInfo, "[INFO] ": slog.LevelDebug, "[DEBUG] ": slog.LevelDebug - 4,
	} {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			level, text = l, rest
		}
	}
	w.log.Log(context.Background(), level, "gossip", "detail", strings.TrimPrefix(text, "memberlist: "))
	return len(b), nil
}
