package node

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"metallb.io/operator/internal/announce"
	"metallb.io/operator/internal/l2"
	"metallb.io/operator/internal/l2/check"
	"metallb.io/operator/internal/l2/iface"
	"metallb.io/operator/internal/obs"
	"metallb.io/operator/speaker/members"
)

// window is how long answers to a question are waited for.
const window = 500 * time.Millisecond

// checks make those of the plan, keep the book of what is wrong with the addresses that this node answers for, and repair what
// can be repaired. They do so beside the loop, which never waits; what is wrong is part of its next round.
type checks struct {
	*Node
	poke chan struct{} // size 1

	mu       sync.Mutex
	work     work
	gone     map[[6]byte]gone
	problems []check.Problem

	// Of the checks' own loop alone.
	pace      check.Pace
	book      check.Book
	repairs   check.Repairs
	checks    map[netip.Addr]announce.Check
	every     time.Duration
	planned   []announce.Check // that pace and checks were made of
	questions map[netip.Addr]*question
}

// work is what a round has decided, and who is who.
type work struct {
	checks    []announce.Check
	addresses int
	nodes     map[[6]byte]string // by hardware address
	untold    bool               // there may be others
}

// gone is a node that a hardware address was told to belong to until a while ago.
type gone struct {
	node string
	at   time.Time
}

// remembered is how long a hardware address that a node does not tell any more still counts as its own: an interface that has
// gone down was heard just before, and what was heard is looked at later.
const remembered = time.Minute

func newChecks(n *Node) *checks {
	return &checks{Node: n, poke: make(chan struct{}, 1), gone: map[[6]byte]gone{}, questions: map[netip.Addr]*question{}}
}

// set takes what a round has decided.
func (c *checks) set(d announce.Desired, view members.View, network iface.State) {
	w := work{checks: d.Checks, addresses: d.Addresses, nodes: map[[6]byte]string{}, untold: view.Untold}
	for node, macs := range view.MACs {
		for _, mac := range macs {
			w.nodes[mac] = node
		}
	}
	for _, i := range network.Interfaces {
		w.nodes[i.MAC] = c.Name
	}
	c.mu.Lock()
	c.remember(w.nodes, time.Now())
	c.work = w
	c.mu.Unlock()
	signal(c.poke)
}

// remember adds the hardware addresses that were told until a while ago to those that are told now. The caller holds mu.
func (c *checks) remember(nodes map[[6]byte]string, now time.Time) {
	for mac, node := range c.work.nodes {
		_, told := nodes[mac]
		if _, known := c.gone[mac]; !told && !known {
			c.gone[mac] = gone{node, now}
		}
	}
	for mac, g := range c.gone {
		if _, told := nodes[mac]; told || now.Sub(g.at) > remembered {
			delete(c.gone, mac)
		} else {
			nodes[mac] = g.node
		}
	}
}

// found returns what is wrong with the addresses that this node answers for.
func (c *checks) found() []check.Problem {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.problems
}

// who says whose a hardware address is.
func (w *work) who(self string) check.Who {
	return func(mac [6]byte) (check.Kind, string) {
		switch node, known := w.nodes[mac]; {
		case known && node == self:
			return check.Self, node
		case known:
			return check.Node, node
		case w.untold:
			return check.Unknown, ""
		default:
			return check.Stranger, ""
		}
	}
}

// run checks until the context ends.
func (c *checks) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-c.poke:
		case <-c.ARP.Sighted():
		case <-c.NDP.Sighted():
		case <-c.Members.Noted():
		case <-ctx.Done():
			return
		}
		timer.Reset(time.Until(c.step(time.Now())))
	}
}

// step does what is due, and returns when it should be called again at the latest.
func (c *checks) step(now time.Time) time.Time {
	c.mu.Lock()
	w := c.work
	c.mu.Unlock()
	c.plan(w, now)
	who := w.who(c.Name)
	for _, s := range slices.Concat(c.ARP.Sightings(), c.NDP.Sightings()) {
		c.hear(s, w)
	}
	for _, n := range c.Members.Notes() {
		c.read(n, who, now)
	}
	for _, q := range c.questions {
		if !now.Before(q.until) {
			c.conclude(q, w, now)
		}
	}
	if a, ok := c.pace.Next(now); ok {
		c.ask(c.checks[a], now)
	}
	c.judge(c.book.Problems(who, c.every, now), now)

	next := now.Add(time.Second) // for what only time changes
	if due, ok := c.pace.Due(); ok && due.Before(next) {
		next = due
	}
	for _, q := range c.questions {
		if q.until.Before(next) {
			next = q.until
		}
	}
	return next
}

// plan takes over which addresses to check, if that has changed.
func (c *checks) plan(w work, now time.Time) {
	most := 0
	for _, x := range w.checks {
		most = max(most, len(x.Interfaces))
	}
	every := check.Every(w.addresses, most)
	if every == c.every && sameSlice(w.checks, c.planned) {
		return
	}
	c.every, c.planned, c.checks = every, w.checks, make(map[netip.Addr]announce.Check, len(w.checks))
	all, own := make([]netip.Addr, 0, len(w.checks)), make([]netip.Addr, 0, len(w.checks))
	for _, x := range w.checks {
		c.checks[x.Address] = x
		all = append(all, x.Address)
		if x.Owner == c.Name {
			own = append(own, x.Address)
		}
	}
	c.pace.Set(all, every, now)
	c.book.Keep(own)
	maps.DeleteFunc(c.questions, func(a netip.Addr, q *question) bool { return q.Owner != c.checks[a].Owner })
}

// judge publishes what is wrong, for the next round, and repairs what is due.
func (c *checks) judge(problems []check.Problem, now time.Time) {
	if !slices.Equal(problems, c.found()) {
		c.mu.Lock()
		c.problems = problems
		c.mu.Unlock()
		c.inputs.signal()
	}
	defend, reopen := c.repairs.Due(problems, now)
	for _, a := range defend {
		c.Log.Warn("claiming an address anew that another machine has", obs.KeyAddress, a.String())
		c.answerer(a).Defend(a)
		c.Metrics.repairs.WithLabelValues("defend").Inc()
	}
	for _, name := range reopen {
		c.Log.Warn("answers do not arrive, opening the sockets of an interface anew", "interface", name)
		for _, own := range c.named(name, problems) {
			c.ARP.Reopen(own)
			c.NDP.Reopen(own)
		}
		c.Metrics.repairs.WithLabelValues("reopen").Inc()
	}
}

// named are the interfaces of this node that another one calls so: that of the name, else all on which it announces what has a
// problem there.
func (c *checks) named(name string, problems []check.Problem) (own []string) {
	for _, p := range problems {
		if x := c.checks[p.Address]; p.Reason == check.NotAnswered && p.Interface == name {
			if slices.Contains(x.Interfaces, name) {
				return []string{name}
			}
			own = append(own, x.Interfaces...)
		}
	}
	slices.Sort(own)
	return slices.Compact(own)
}

// answerer is who speaks the protocol of an address.
func (c *checks) answerer(a netip.Addr) responders {
	if a.Is4() {
		return c.ARP
	}
	return c.NDP
}

// question is an address that somebody was asked for, and what came of it so far.
type question struct {
	announce.Check
	on     []string // interfaces that it was asked on
	until  time.Time
	beside bool // the owner's own address was asked for
	// answers by interface, those for the owner's own address apart.
	answers map[string][][6]byte
	near    map[string]bool
	told    bool
}

// ask begins a check.
func (c *checks) ask(x announce.Check, now time.Time) {
	if x.Owner == c.Name && !c.book.Wants(x.Address, c.every, now) || c.questions[x.Address] != nil {
		return
	}
	q := &question{Check: x, until: now.Add(window), answers: map[string][][6]byte{}, near: map[string]bool{}}
	for _, name := range x.Interfaces {
		if err := c.answerer(x.Address).Ask(name, x.Address); err != nil {
			c.Log.Debug("cannot ask for an address", obs.KeyAddress, x.Address.String(), "error", err)
			continue
		}
		q.on = append(q.on, name)
	}
	if len(q.on) > 0 {
		c.questions[x.Address] = q
	}
}

// hear takes another station that has an address of this node, or one that was asked for.
func (c *checks) hear(s l2.Sighting, w work) {
	if x, ok := c.checks[s.Address]; ok && x.Owner == c.Name {
		c.book.Sighted(s)
	}
	for _, q := range c.questions {
		switch {
		case q.beside && q.Beside == s.Address:
			q.near[s.Interface] = q.near[s.Interface] || w.nodes[s.MAC] == q.Owner
		case q.Address == s.Address && !slices.Contains(q.answers[s.Interface], s.MAC):
			q.answers[s.Interface] = append(q.answers[s.Interface], s.MAC)
			if w.nodes[s.MAC] == "" && q.Owner != c.Name && !q.told { // bad news does not wait
				q.told = true
				c.tell(q.Owner, findings{{Address: q.Address, Interface: s.Interface, Answers: texts(q.answers[s.Interface])}})
			}
		}
	}
}

// conclude ends a question, or asks another one first where the owner was not heard: whether it is on this LAN at all.
func (c *checks) conclude(q *question, w work, now time.Time) {
	own := q.Owner == c.Name
	ofOwner := func(mac [6]byte) bool { return w.nodes[mac] == q.Owner }
	var unheard []string
	clean := true
	for _, name := range q.on {
		answers := q.answers[name]
		if q.near[name] = q.near[name] || slices.ContainsFunc(answers, ofOwner); !q.near[name] && !own {
			unheard = append(unheard, name)
		}
		clean = clean && !slices.ContainsFunc(answers, func(mac [6]byte) bool { return !ofOwner(mac) })
	}
	if len(unheard) > 0 && !q.beside && q.Beside.IsValid() {
		q.beside, q.until = true, now.Add(window)
		for _, name := range unheard {
			if err := c.answerer(q.Beside).Ask(name, q.Beside); err != nil {
				c.Log.Debug("cannot ask for an address", obs.KeyAddress, q.Beside.String(), "error", err)
			}
		}
		return
	}
	delete(c.questions, q.Address)
	if !clean || len(unheard) > 0 {
		c.pace.Again(q.Address, now)
	}
	var all findings
	for _, name := range q.on {
		if own {
			c.book.Checked(check.Result{Address: q.Address, Interface: name, Answers: q.answers[name], Complete: true}, w.who(c.Name), now)
			continue
		}
		all = append(all, finding{Address: q.Address, Interface: name, Answers: texts(q.answers[name]), Complete: q.near[name]})
	}
	if !own {
		c.tell(q.Owner, all)
	}
}

// finding is what the speaker of one node tells that of the owner of an address; findings are all of one check. Those of later
// releases may say more.
type finding struct {
	Address   netip.Addr `json:"address"`
	Interface string     `json:"interface"`
	// Answers are hardware addresses.
	Answers []string `json:"answers,omitempty"`
	// Complete is as in a Result.
	Complete bool `json:"complete,omitempty"`
}

type findings []finding

type note struct {
	Findings findings `json:"findings"`
}

func (c *checks) tell(node string, f findings) {
	text, err := json.Marshal(note{f})
	if err == nil {
		err = c.Members.Tell(node, text)
	}
	if err != nil {
		c.Log.Debug("cannot tell a node what was found on the LAN", "node", node, "error", err)
	}
}

// read takes what another node has found about addresses of this one.
func (c *checks) read(n members.Note, who check.Who, now time.Time) {
	var text note
	if json.Unmarshal(n.Text, &text) != nil {
		return // of a later release perhaps
	}
	for _, f := range text.Findings {
		if x, ok := c.checks[f.Address]; !ok || x.Owner != c.Name {
			continue // it has moved meanwhile
		}
		r := check.Result{Address: f.Address, Interface: f.Interface, Complete: f.Complete, By: n.From}
		for _, a := range f.Answers {
			if mac, err := net.ParseMAC(a); err == nil && len(mac) == 6 {
				r.Answers = append(r.Answers, [6]byte(mac))
			}
		}
		c.book.Checked(r, who, now)
	}
}

func texts(macs [][6]byte) (out []string) {
	macs = slices.Clone(macs)
	slices.SortFunc(macs, func(a, b [6]byte) int { return bytes.Compare(a[:], b[:]) })
	for _, mac := range macs {
		out = append(out, net.HardwareAddr(mac[:]).String())
	}
	return out
}
