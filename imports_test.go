package main

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "metallb.io/operator/"

// rule says what a package and those below it may import, directly, of our own and of others; and what must not be
// reached even through others. The standard library is allowed but for what mayNot names.
type rule struct {
	may    []string
	mayNot []string
}

var (
	stdIO    = []string{"net/http", "os", "os/exec", "log", "log/slog", "syscall"}
	clients  = []string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime"}
	linux    = []string{"github.com/mdlayher", "github.com/vishvananda", "github.com/hashicorp"}
	kube     = []string{"k8s.io", "sigs.k8s.io"}
	apiTypes = []string{"k8s.io/api", "k8s.io/apimachinery"}
)

// rules is the design's table of who may import whom; the longest matching path counts.
var rules = map[string]rule{
	"api":                   {may: append([]string{module + "api"}, apiTypes...), mayNot: slices.Concat(clients, linux)},
	"internal/ipam":         {mayNot: slices.Concat(stdIO, kube, linux)},
	"internal/election":     {mayNot: slices.Concat(stdIO, kube, linux)},
	"internal/l2":           {mayNot: slices.Concat(stdIO, kube, linux)},
	"internal/l2/responder": {may: []string{module + "internal/l2", "golang.org/x"}, mayNot: slices.Concat(kube, linux)},
	"internal/l2/arp":       {may: []string{module + "internal/l2", "github.com/mdlayher", "golang.org/x"}, mayNot: append([]string{module + "internal/l2/ndp"}, kube...)},
	"internal/memory":       {mayNot: slices.Concat(kube, linux)},
	"internal/linklocal":    {may: []string{"golang.org/x/sys"}, mayNot: kube},
	"internal/l2/ndp":       {may: []string{module + "internal/l2", module + "internal/linklocal", "github.com/mdlayher", "golang.org/x"}, mayNot: append([]string{module + "internal/l2/arp"}, kube...)},
	"internal/l2/l2test":    {may: []string{module + "internal/l2", "go.uber.org/goleak", "golang.org/x/sys"}, mayNot: kube},
	"internal/l2/iface":     {may: []string{module + "internal/l2", "github.com/vishvananda/netlink", "golang.org/x/sys"}, mayNot: kube},
	"internal/bgp":          {mayNot: slices.Concat(kube, linux)}, // log/slog is for the password that does not show itself
	"internal/bgp/gobgp":    {may: []string{module + "internal/bgp", "github.com/osrg/gobgp", "golang.org/x/sys"}, mayNot: kube},
	"internal/bgp/bgptest":  {may: []string{module + "internal/l2/l2test"}, mayNot: slices.Concat(kube, linux)},
	"internal/bgp/engine":   {may: []string{module + "internal/bgp"}, mayNot: append([]string{"github.com/osrg"}, kube...)},
	"internal/bfd":          {mayNot: slices.Concat(stdIO, kube, linux)},
	"internal/bfd/udp":      {may: []string{module + "internal/bfd", "golang.org/x/net", "golang.org/x/sys"}, mayNot: slices.Concat(kube, linux)},
	"internal/bfd/bfdtest":  {may: []string{module + "internal/bfd"}, mayNot: slices.Concat(kube, linux)},
	"internal/config":       {may: append([]string{module + "api", module + "internal/ipam", module + "internal/bgp"}, apiTypes...), mayNot: slices.Concat(clients, linux)},
	"internal/lbservice":    {may: append([]string{module + "internal/ipam", module + "internal/announce", "k8s.io/utils"}, apiTypes...), mayNot: slices.Concat(clients, linux)},
	"internal/bgp/tcp": {
		may:    []string{module + "internal/bgp", module + "internal/l2/l2test", "golang.org/x/sys"},
		mayNot: slices.Concat(kube, linux),
	},
	"internal/bgp/discovery": {
		may:    []string{module + "internal/l2/l2test", module + "internal/linklocal", "golang.org/x"},
		mayNot: slices.Concat(kube, linux),
	},
	"internal/announce": {
		may:    []string{module + "internal/config", module + "internal/election", module + "internal/l2", module + "internal/bgp", "k8s.io/apimachinery"},
		mayNot: slices.Concat(clients, linux),
	},
	"internal/config/configtest": {may: append([]string{module + "api", module + "internal/config", module + "internal/bgp", "sigs.k8s.io/yaml"}, apiTypes...), mayNot: slices.Concat(clients, linux)},
	"internal/legacy":            {may: append([]string{module + "api", module + "internal/config", module + "internal/bgp", module + "internal/ipam", "go.yaml.in/yaml", "sigs.k8s.io/yaml"}, apiTypes...), mayNot: slices.Concat(clients, linux)},
	"cmd/metallb-bgp":            {may: []string{module + "internal/bgp", module + "internal/memory", module + "internal/obs"}, mayNot: kube},
	"cmd/kubectl-metallb":        {may: append([]string{module + "api", module + "internal", "sigs.k8s.io/yaml"}, apiTypes...), mayNot: linux},
	"internal/render":            {may: append([]string{module + "api", "k8s.io/utils"}, apiTypes...), mayNot: slices.Concat(clients, linux)},
	"internal/rollout":           {may: append([]string{module + "api", module + "internal/render"}, apiTypes...), mayNot: slices.Concat(clients, linux)},
	"internal/scrape":            {may: append([]string{"github.com/go-logr"}, kube...), mayNot: linux},
	"bench":                      {mayNot: slices.Concat(kube, linux)},
	"bench/bfd":                  {may: []string{module + "bench", module + "internal/bfd"}, mayNot: slices.Concat(kube, linux)},
	"bench/operand":              {may: append([]string{module + "api", module + "bench", module + "internal/testenv"}, kube...), mayNot: linux},
	"bench/addresses":            {may: append([]string{module + "api", module + "bench", module + "controllers/service", module + "controllers/configuration", module + "internal/ipam", module + "internal/lbservice", "github.com/go-logr"}, kube...), mayNot: linux},
	"bench/l2":                   {may: append([]string{module + "api", module + "bench", module + "internal/l2", "github.com/go-logr", "golang.org/x/sys"}, kube...)},
	"bench/bgp":                  {may: append([]string{module + "api", module + "bench", "github.com/go-logr"}, kube...), mayNot: linux},
	"bench/plan":                 {may: []string{module + "bench", module + "internal/announce", module + "internal/config", module + "internal/ipam", "k8s.io/apimachinery"}, mayNot: slices.Concat(clients, linux)},
	"charts":                     {mayNot: linux}, // tests only
	"config/crd":                 {mayNot: slices.Concat(kube, linux)},
	"internal/setup":             {may: []string{module + "api", module + "config/crd", module + "controllers/webhook", module + "internal/render", "k8s.io", "sigs.k8s.io"}, mayNot: linux},
	"internal/apiserver":         {may: append([]string{module + "internal/l2/l2test", "golang.org/x/sys"}, kube...), mayNot: linux},
	"internal/obs":               {may: []string{"github.com/prometheus/client_golang", "github.com/go-logr"}, mayNot: slices.Concat(kube, linux)},
	"controllers/storageversion": {may: append([]string{"github.com/go-logr"}, kube...), mayNot: append([]string{module + "api"}, linux...)},
	"speaker/sessions":           {may: []string{module + "internal/bfd", module + "internal/bgp"}, mayNot: append([]string{"github.com/osrg"}, kube...)},
	"speaker/heartbeat":          {may: []string{module + "internal/bfd", "golang.org/x"}, mayNot: kube},
	"speaker/kubeproxy":          {mayNot: slices.Concat(kube, linux)},
	"speaker/members":            {may: []string{"github.com/hashicorp/memberlist", "golang.org/x"}, mayNot: kube},
}

type listed struct {
	ImportPath    string
	Imports, Deps []string
}

func TestImportsFollowTheDesign(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,Deps", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	checked := map[string]bool{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p listed
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		path, ours := strings.CutPrefix(p.ImportPath, module)
		if !ours {
			continue
		}
		name, r := ruleFor(path)
		if name == "" {
			if !strings.HasPrefix(path, "controllers/") && !strings.HasPrefix(path, "speaker/node") && !strings.HasPrefix(path, "internal/testenv") {
				t.Errorf("%s has no rule: add it to the table", path)
			}
			continue
		}
		checked[name] = true
		for _, i := range p.Imports {
			if !standard(i) && !under(i, slices.Concat(r.may, []string{module + name})) {
				t.Errorf("%s imports %s", path, i)
			}
			if standard(i) && slices.Contains(r.mayNot, i) {
				t.Errorf("%s imports %s", path, i)
			}
		}
		for _, d := range p.Deps {
			if !standard(d) && under(d, r.mayNot) {
				t.Errorf("%s reaches %s", path, d)
			}
		}
	}
	for name := range rules {
		if !checked[name] {
			t.Errorf("the rule for %s matches no package", name)
		}
	}
}

// ruleFor returns the rule with the longest path that holds the package.
func ruleFor(path string) (name string, r rule) {
	for n, candidate := range rules {
		if (path == n || strings.HasPrefix(path, n+"/")) && len(n) > len(name) {
			name, r = n, candidate
		}
	}
	return name, r
}

func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func under(path string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") })
}
