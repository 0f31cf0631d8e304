package check

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"metallb.io/operator/internal/l2"
)

// Result is what came of asking once on an interface who has an address.
type Result struct {
	Address   netip.Addr
	Interface string
	// Answers are the stations that answered, each once.
	Answers [][6]byte
	// Complete: who did not answer was not there. Else the owner itself was not to be heard, so that the check was perhaps made
	// on another LAN and only what was heard counts.
	Complete bool
	// By is the node that has asked, which does not hear itself; empty: the owner.
	By string
}

// Kind says whose a hardware address is.
type Kind int

// The kinds. Unknown: nobody's that is known, but it may be that of a node that does not tell.
const (
	Unknown Kind = iota
	Self
	Node
	Stranger
)

// Who says whose a hardware address is, with the name where it is a node's.
type Who func(mac [6]byte) (Kind, string)

// Reason is what is wrong with an address on the LAN.
type Reason string

// The reasons.
const (
	// ForeignHolder: a machine that is no node of the cluster has the address.
	ForeignHolder Reason = "ForeignHolder"
	// OtherNodeAnswers: another node of the cluster answers for it too.
	OtherNodeAnswers Reason = "OtherNodeAnswers"
	// NotAnswered: this node answers for it, and the answers do not arrive.
	NotAnswered Reason = "NotAnswered"
)

// Problem of an address that is answered by this node. It is comparable.
type Problem struct {
	Address netip.Addr
	Reason  Reason
	// Holder is the hardware address of who has it (ForeignHolder), or the name of the node (OtherNodeAnswers).
	Holder string
	// Interface on which it was noticed, by name: of this node or of the one that has asked.
	Interface string
	Since     time.Time
}

// Compare is the order of problems: by address, reason, holder and interface.
func (p Problem) Compare(o Problem) int {
	return cmp.Or(p.Address.Compare(o.Address), cmp.Compare(p.Reason, o.Reason), cmp.Compare(p.Holder, o.Holder), cmp.Compare(p.Interface, o.Interface))
}

const (
	// silences in a row are no accident, and neither are twice answers of another node: in between an address may move.
	silences, twice = 3, 2
	// misses in a row of a station show that it does not have the address any more.
	misses = 2
	// believed is the least time for which what was heard counts without anything to confirm it.
	believed = 30 * time.Second
	// lookOver is how many turns the owner lets pass while another node checks an address.
	lookOver = 10
	// mostStations bounds the stations that are remembered of an address.
	mostStations = 16
)

// Book is what is known of the addresses that this node answers for. The zero Book is empty and ready.
type Book struct {
	pages map[netip.Addr]*page
	// marked are the pages on which there is more than when the address was checked: few of many.
	marked map[netip.Addr]*page
}

// page is what is known of an address. Its maps are nil until there is something.
type page struct {
	stations map[place]*station
	silent   map[string]*silence // by interface
	checked  time.Time           // completely, by another node
	looked   time.Time           // by this node
}

// place is a station at an interface.
type place struct {
	name string
	mac  [6]byte
}

type station struct {
	first, last time.Time
	near        bool // heard by this node itself
	answers     int  // in a row
	missed      int  // in a row
}

type silence struct {
	since, last time.Time
	times       int
}

func (b *Book) page(a netip.Addr) *page {
	p, ok := b.pages[a]
	if !ok {
		if b.pages == nil {
			b.pages, b.marked = map[netip.Addr]*page{}, map[netip.Addr]*page{}
		}
		p = &page{}
		b.pages[a] = p
	}
	return p
}

// mark keeps marked right after a page has changed.
func (b *Book) mark(a netip.Addr, p *page) {
	if len(p.stations)+len(p.silent) > 0 {
		b.marked[a] = p
	} else {
		delete(b.marked, a)
	}
}

// Keep forgets all addresses but these, sorted.
func (b *Book) Keep(addresses []netip.Addr) {
	for a := range b.pages {
		if !contains(addresses, a) {
			delete(b.pages, a)
			delete(b.marked, a)
		}
	}
}

// station returns what is known of a station that was just heard; nil where there are too many.
func (p *page) station(at place, now time.Time) *station {
	s, ok := p.stations[at]
	if !ok {
		if len(p.stations) >= mostStations {
			return nil
		}
		if p.stations == nil {
			p.stations = map[place]*station{}
		}
		s = &station{first: now}
		p.stations[at] = s
	}
	s.last, s.missed = now, 0
	return s
}

// Sighted takes another station that was heard to have an address.
func (b *Book) Sighted(x l2.Sighting) {
	p := b.page(x.Address)
	if s := p.station(place{x.Interface, x.MAC}, x.At); s != nil {
		s.near = true
	}
	b.mark(x.Address, p)
}

// Checked takes what came of a check.
func (b *Book) Checked(r Result, who Who, now time.Time) {
	p, own := b.page(r.Address), r.By == ""
	defer b.mark(r.Address, p)
	switch {
	case own:
		p.looked = now
	case r.Complete:
		p.checked = now
	}
	answered := false
	for _, mac := range r.Answers {
		if kind, _ := who(mac); kind == Self {
			answered = true
		} else if s := p.station(place{r.Interface, mac}, now); s != nil {
			s.answers++
			s.near = s.near || own
		}
	}
	if !r.Complete {
		return
	}
	for at, s := range p.stations {
		kind, name := who(at.mac)
		if at.name != r.Interface || slices.Contains(r.Answers, at.mac) || kind == Node && name == r.By {
			continue
		}
		s.answers, s.missed = 0, s.missed+1
		if s.missed >= misses {
			delete(p.stations, at)
		}
	}
	switch s := p.silent[r.Interface]; {
	case own:
	case answered:
		delete(p.silent, r.Interface)
	case s == nil:
		if p.silent == nil {
			p.silent = map[string]*silence{}
		}
		p.silent[r.Interface] = &silence{now, now, 1}
	default:
		s.last, s.times = now, s.times+1
	}
}

// Wants says whether it is for the owner itself to look who else has an address, in a turn of its own: where nobody checks it
// of late, where it has heard somebody itself, and now and then anyway, because who checks does not hear itself either.
func (b *Book) Wants(a netip.Addr, every time.Duration, now time.Time) bool {
	p, ok := b.pages[a]
	if !ok || now.Sub(p.checked) > 3*every || now.Sub(p.looked) > lookOver*every {
		return true
	}
	for _, s := range p.stations {
		if s.near {
			return true
		}
	}
	return false
}

// Problems returns what is wrong now, sorted. What nothing has confirmed for three times the time between two checks, or half a
// minute, is forgotten.
func (b *Book) Problems(who Who, every time.Duration, now time.Time) []Problem {
	limit := max(believed, 3*every)
	var out []Problem
	for a, p := range b.marked {
		for at, s := range p.stations {
			if now.Sub(s.last) > limit {
				delete(p.stations, at)
				continue
			}
			switch kind, name := who(at.mac); {
			case kind == Stranger:
				out = append(out, Problem{a, ForeignHolder, macText(at.mac), at.name, s.first})
			case kind == Node && s.answers >= twice:
				out = append(out, Problem{a, OtherNodeAnswers, name, at.name, s.first})
			}
		}
		for name, s := range p.silent {
			switch {
			case now.Sub(s.last) > limit:
				delete(p.silent, name)
			case s.times >= silences:
				out = append(out, Problem{a, NotAnswered, "", name, s.since})
			}
		}
		b.mark(a, p)
	}
	slices.SortFunc(out, Problem.Compare)
	return slices.CompactFunc(out, func(x, y Problem) bool { // of a holder that was noticed in two places one is enough
		return x.Address == y.Address && x.Reason == y.Reason && x.Holder == y.Holder && x.Reason != NotAnswered
	})
}

func macText(mac [6]byte) string {
	return l2.Interface{MAC: mac}.HardwareAddr().String()
}
