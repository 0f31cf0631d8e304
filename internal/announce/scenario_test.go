package announce

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"

	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/ipam"
)

var update = flag.Bool("update", false, "rewrite the expected results of the scenarios")

// world is a cluster that a scenario builds. Lines change it:
//
//	pool NAME RANGE...
//	advert NAME POOL [nodes=SELECTOR] [services=SELECTOR] [prefer=SELECTOR@WEIGHT] [interfaces=A,B]
//	node NAME [label=value...] [address=IP] [cordoned] [network-unavailable] [not-ready] [interfaces=A,B]
//	member NAME [silent] [broken], gone NAME, lost NAME (a member that has not joined); a silent one does not tell its interfaces,
//	nor whether it delivers; on a broken one kube-proxy does not
//	service NAME IP[,IP] [label=value...] [local] [endpoints=NODE,NODE | endpoints=elsewhere] [pool=NAME]
//	peer NAME ADDRESS [graceful-restart], route NAME POOL [nodes=SELECTOR]
//	parting NODE: it was excluded just now; parted NODE: that is over
//	delete NAME (a service, node, advert or pool)
//	ignore-exclude-label
//
// A selector is key=value or key. "plan" prints what each member decides, "routes" what it tells its routers, "end NODE" what it
// tells them when it ends, "checks" what each checks of others; the indented
// lines after it are expected.
type world struct {
	pools    []config.Pool
	peers    []config.Peer
	parting  map[string]bool
	services map[string]Service
	nodes    map[string]Node
	ifaces   map[string][]string
	members  map[string]bool // value: joined
	silent   map[string]bool
	broken   map[string]bool
	ignore   bool
	compiled *config.Config // nil: pools have changed
}

func newWorld() *world {
	return &world{services: map[string]Service{}, nodes: map[string]Node{}, ifaces: map[string][]string{}, members: map[string]bool{}, silent: map[string]bool{}, broken: map[string]bool{}, parting: map[string]bool{}}
}

// snapshot is what the member on a node sees; of no node, what one that knows all would.
func (w *world) snapshot(node string) Snapshot {
	if w.compiled == nil {
		w.compiled = &config.Config{Pools: slices.Clone(w.pools), Peers: slices.Clone(w.peers)}
	}
	s := Snapshot{Cluster: Cluster{
		Node: node, Config: w.compiled, Joined: w.members[node] || node == "",
		Interfaces: w.ifaces[node], Addresses: w.nodes[node].Addresses, Parting: w.parting[node], IgnoreExcludeLabel: w.ignore,
	}}
	for _, x := range w.services {
		s.Services = append(s.Services, x)
	}
	for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
		s.Nodes = append(s.Nodes, w.nodes[name])
	}
	for _, m := range w.names() {
		switch joined := w.members[m]; {
		case joined && w.silent[m]:
			s.Members = append(s.Members, Member{Node: m})
		case joined:
			said := Delivering
			if w.broken[m] {
				said = NotDelivering
			}
			s.Members = append(s.Members, Member{m, w.ifaces[m], said})
		}
	}
	return s
}

func (w *world) names() []string { return slices.Sorted(maps.Keys(w.members)) }

// options splits words into key=value and the rest.
func options(words []string) (kv map[string]string, flags []string) {
	kv = map[string]string{}
	for _, x := range words {
		if k, v, ok := strings.Cut(x, "="); ok {
			kv[k] = v
		} else {
			flags = append(flags, x)
		}
	}
	return kv, flags
}

func take(kv map[string]string, key string) (string, bool) {
	v, ok := kv[key]
	delete(kv, key)
	return v, ok
}

func (w *world) do(line string) error {
	f := strings.Fields(line)
	if len(f) < 2 && f[0] != "ignore-exclude-label" {
		return fmt.Errorf("too short")
	}
	switch f[0] {
	case "pool":
		return w.pool(f[1], f[2:])
	case "advert":
		return w.advert(f[1], f[2], f[3:])
	case "node":
		return w.node(f[1], f[2:])
	case "member":
		w.members[f[1]] = true
		w.silent[f[1]] = slices.Contains(f, "silent")
		w.broken[f[1]] = slices.Contains(f, "broken")
	case "peer":
		w.compiled = nil
		w.peers = append(w.peers, config.Peer{Name: f[1], MyASN: 64512, ASN: 64513, Address: netip.MustParseAddr(f[2]), GracefulRestart: slices.Contains(f, "graceful-restart")})
	case "route":
		return w.route(f[1], f[2], f[3:])
	case "parting", "parted":
		w.parting[f[1]] = f[0] == "parting"
	case "lost":
		w.members[f[1]] = false
	case "gone":
		delete(w.members, f[1])
	case "service":
		return w.service(f[1], f[2], f[3:])
	case "delete":
		if _, ok := w.services[f[1]]; !ok {
			w.compiled = nil
		}
		delete(w.services, f[1])
		delete(w.nodes, f[1])
		w.pools = slices.DeleteFunc(w.pools, func(p config.Pool) bool { return p.Name == f[1] })
		for i := range w.pools {
			w.pools[i].L2 = slices.DeleteFunc(slices.Clone(w.pools[i].L2), func(a config.L2Advertisement) bool { return a.Name == f[1] })
		}
	case "ignore-exclude-label":
		w.ignore = true
	default:
		return fmt.Errorf("unknown word %q", f[0])
	}
	return nil
}

func (w *world) pool(name string, ranges []string) error {
	w.compiled = nil
	p := config.Pool{Name: name, AutoAssign: true}
	for _, text := range ranges {
		r, err := ipam.ParseRange(text)
		if err != nil {
			return err
		}
		p.Addresses = append(p.Addresses, r)
	}
	w.pools = append(w.pools, p)
	return nil
}

func (w *world) advert(name, pool string, words []string) error {
	w.compiled = nil
	kv, _ := options(words)
	adv := config.L2Advertisement{Name: name}
	for key, value := range kv {
		switch key {
		case "nodes", "services":
			sel, err := labels.Parse(value)
			if err != nil {
				return err
			}
			if key == "nodes" {
				adv.NodeSelectors = append(adv.NodeSelectors, sel)
			} else {
				adv.ServiceSelectors = append(adv.ServiceSelectors, sel)
			}
		case "prefer":
			text, weight, _ := strings.Cut(value, "@")
			sel, err := labels.Parse(text)
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(weight)
			if err != nil {
				return err
			}
			adv.Preferred = append(adv.Preferred, config.PreferredNodes{Selector: sel, Weight: n})
		case "interfaces":
			adv.Interfaces = strings.Split(value, ",")
		default:
			return fmt.Errorf("unknown option %q", key)
		}
	}
	for i := range w.pools {
		if w.pools[i].Name == pool {
			w.pools[i].L2 = append(w.pools[i].L2, adv)
			return nil
		}
	}
	return fmt.Errorf("no pool %q", pool)
}

func (w *world) route(name, pool string, words []string) error {
	w.compiled = nil
	adv := config.BGPAdvertisement{Name: name, Length4: 32, Length6: 128}
	kv, _ := options(words)
	if text, ok := take(kv, "nodes"); ok {
		sel, err := labels.Parse(text)
		if err != nil {
			return err
		}
		adv.NodeSelectors = append(adv.NodeSelectors, sel)
	}
	for i := range w.pools {
		if w.pools[i].Name == pool {
			w.pools[i].BGP = append(w.pools[i].BGP, adv)
			return nil
		}
	}
	return fmt.Errorf("no pool %q", pool)
}

// routes says what each member tells its routers, and why.
func (w *world) routes() (out []string) {
	for _, m := range w.names() {
		d := Plan(w.snapshot(m)).BGP
		out = append(out, tellings(m, d)...)
		for _, y := range d.Why {
			out = append(out, fmt.Sprintf("%s says %s %s %s: %s", m, y.Service, y.Address, y.Reason, y.Message))
		}
	}
	return out
}

func tellings(node string, d BGP) (out []string) {
	for _, p := range d.Peers {
		for _, x := range p.Paths {
			line := fmt.Sprintf("%s tells %s of %s", node, p.Name, x.Prefix)
			if x.Shutdown {
				line += ", to use others first"
			}
			out = append(out, line)
		}
	}
	return out
}

func (w *world) node(name string, words []string) error {
	kv, flags := options(words)
	n := Node{Name: name, Cordoned: slices.Contains(flags, "cordoned"), NetworkUnavailable: slices.Contains(flags, "network-unavailable")}
	if a, ok := take(kv, "address"); ok {
		n.Addresses = []netip.Addr{netip.MustParseAddr(a)}
	}
	w.ifaces[name] = []string{"eth0"}
	if ifs, ok := take(kv, "interfaces"); ok {
		w.ifaces[name] = strings.FieldsFunc(ifs, func(r rune) bool { return r == ',' })
	}
	n.Labels = kv
	w.nodes[name] = n
	return nil
}

func (w *world) service(name, addresses string, words []string) error {
	kv, flags := options(words)
	s := Service{Name: name, Local: slices.Contains(flags, "local")}
	for _, a := range strings.Split(addresses, ",") {
		s.Addresses = append(s.Addresses, netip.MustParseAddr(a))
	}
	of := func(key string) (out Endpoints) {
		if e, ok := take(kv, key); ok {
			out.Any = true
			if e != "elsewhere" {
				out.Nodes = slices.Sorted(slices.Values(strings.Split(e, ",")))
			}
		}
		return out
	}
	s.Endpoints4, s.Endpoints6 = of("endpoints4"), of("endpoints6")
	if both := of("endpoints"); both.Any {
		s.Endpoints4, s.Endpoints6 = both, both
	}
	s.Pool, _ = take(kv, "pool")
	s.Labels = kv
	w.services[name] = s
	return nil
}

// plan prints what each member decides: entries, and then reasons; what all say of an address is said once.
func (w *world) plan() []string {
	var out []string
	saying := map[string][]string{}
	var lines []string
	for _, m := range w.names() {
		d := Plan(w.snapshot(m))
		if d.Excluded != "" {
			out = append(out, fmt.Sprintf("%s announces nothing, because it %s", m, d.Excluded))
		}
		for _, e := range d.L2 {
			on := "all interfaces"
			if len(e.Interfaces) > 0 {
				on = strings.Join(e.Interfaces, ",")
			}
			out = append(out, fmt.Sprintf("%s announces %s on %s for %s", m, e.Address, on, strings.Join(e.Services, ",")))
		}
		for _, y := range d.Why {
			if y.Reason == OtherNode || y.Reason == Announced && !strings.Contains(y.Message, "kube-proxy") {
				continue
			}
			line := fmt.Sprintf("%s %s %s: %s", y.Service, y.Address, y.Reason, y.Message)
			if saying[line] == nil {
				lines = append(lines, line)
			}
			saying[line] = append(saying[line], m)
		}
	}
	slices.Sort(lines)
	for _, l := range lines {
		switch by := saying[l]; len(by) {
		case 1:
			out = append(out, by[0]+" says "+l)
		case len(w.members):
			out = append(out, "all say "+l)
		default:
			out = append(out, strings.Join(by, ",")+" say "+l)
		}
	}
	if len(out) == 0 {
		out = []string{"nothing"}
	}
	return out
}

// checks says what each member checks of what others own.
func (w *world) checks() (out []string) {
	for _, m := range w.names() {
		for _, c := range Plan(w.snapshot(m)).Checks {
			if c.Owner != m {
				out = append(out, fmt.Sprintf("%s checks %s of %s on %s, beside it %s", m, c.Address, c.Owner, strings.Join(c.Interfaces, ","), c.Beside))
			}
		}
	}
	return append(out, fmt.Sprintf("addresses: %d", Plan(w.snapshot("")).Addresses))
}

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var out []string
			w := newWorld()
			for i, line := range strings.Split(strings.TrimRight(string(b), "\n"), "\n") {
				switch {
				case strings.HasPrefix(line, "    "):
					continue
				case line == "plan":
					out = append(out, line)
					for _, l := range w.plan() {
						out = append(out, "    "+l)
					}
					checkOwners(t, w, i+1)
					continue
				case line == "routes", strings.HasPrefix(line, "end "):
					out = append(out, line)
					lines := w.routes()
					if node, ok := strings.CutPrefix(line, "end "); ok {
						lines = tellings(node, Plan(w.snapshot(node)).BGP.Ending())
					}
					for _, l := range lines {
						out = append(out, "    "+l)
					}
					continue
				case line == "checks":
					out = append(out, line)
					for _, l := range w.checks() {
						out = append(out, "    "+l)
					}
					continue
				case line != "" && !strings.HasPrefix(line, "#"):
					if err := w.do(line); err != nil {
						t.Fatalf("%s:%d: %s: %v", file, i+1, line, err)
					}
				}
				out = append(out, line)
			}
			got := strings.Join(out, "\n") + "\n"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if d := gocmp.Diff(string(b), got); d != "" {
				t.Error(d)
			}
		})
	}
}

// checkOwners: where members agree about who is there, no two announce an address, each names the owner that a plan for none
// of them names, and of each address of a Service one of them speaks. The owner and at most one other check an address.
func checkOwners(t *testing.T, w *world, line int) {
	t.Helper()
	type about struct {
		service string
		address netip.Addr
	}
	owner, by, checked, spoken := map[netip.Addr]string{}, map[netip.Addr]string{}, map[netip.Addr]string{}, map[about]string{}
	whole := Plan(w.snapshot(""))
	for _, y := range whole.Why {
		owner[y.Address] = cmp.Or(owner[y.Address], y.Owner)
	}
	if len(whole.L2) > 0 {
		t.Errorf("line %d: nobody announces %+v", line, whole.L2)
	}
	for _, m := range w.names() {
		if !w.members[m] {
			continue
		}
		d := Plan(w.snapshot(m))
		for _, e := range d.L2 {
			if by[e.Address] != "" {
				t.Errorf("line %d: %s and %s both announce %s", line, by[e.Address], m, e.Address)
			}
			by[e.Address] = m
			if owner[e.Address] != m {
				t.Errorf("line %d: %s announces %s, others wait for %s", line, m, e.Address, owner[e.Address])
			}
		}
		for _, x := range d.Checks {
			switch {
			case x.Owner != owner[x.Address]:
				t.Errorf("line %d: %s takes %s for the owner of %s, others wait for %s", line, m, x.Owner, x.Address, owner[x.Address])
			case x.Owner != m && checked[x.Address] != "":
				t.Errorf("line %d: both %s and %s check %s", line, checked[x.Address], m, x.Address)
			case x.Owner != m:
				checked[x.Address] = m
			}
		}
		for _, y := range d.Why {
			a := about{y.Service, y.Address}
			if spoken[a] != "" {
				t.Errorf("line %d: both %s and %s speak of %v", line, spoken[a], m, a)
			}
			spoken[a] = m
		}
	}
	for _, y := range whole.Why {
		if a := (about{y.Service, y.Address}); spoken[a] == "" && len(w.snapshot("").Members) > 0 {
			t.Errorf("line %d: nobody speaks of %v", line, a)
		}
	}
}
