package legacy

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/config"
)

// Read parses and converts a text and has internal/config judge the resources. Where a Problem is an Error the resources
// are not to be used.
func Read(text []byte, o Options) (*Resources, Problems) {
	cfg, problems := Parse(text)
	res := Convert(cfg, o)
	problems = append(problems, res.renamed()...)
	for _, p := range res.judged() {
		// What was found in the text itself says it better, and what is left out because of it explains the rest.
		if !slices.ContainsFunc(problems, func(q Problem) bool {
			return q.Severity == config.Error && (within(p.Key, q.Key) || within(q.Key, p.Key))
		}) {
			problems = append(problems, p)
		}
	}
	problems.sort()
	return res, problems
}

// renamed warns of pools that cannot be asked for by their old name.
func (r *Resources) renamed() Problems {
	var out Problems
	for i := range r.cfg.Pools {
		if p := &r.cfg.Pools[i]; p.AvoidBuggyIPs && len(validation.IsDNS1123Subdomain(p.Name)) > 0 {
			out = append(out, Problem{r.cfg.place(p.Key + ".name"), config.Warning,
				quote(p.Name) + " cannot be the name of an IPAddressPool, and nothing else has avoid-buggy-ips: the pool is named " + objectName(p.Name) +
					", and Services that ask for it by name must ask for that"})
		}
	}
	return out
}

// judged returns the errors that internal/config finds, by their place in the text. Warnings are left to those who
// compile the resources as they are stored.
func (r *Resources) judged() Problems {
	var out Problems
	seen := map[Problem]bool{}
	for _, in := range r.inputs() {
		_, found := config.Compile(in)
		for _, f := range found {
			if f.Severity != config.Error {
				continue
			}
			for _, e := range f.Errors {
				p := Problem{r.Place(f.Source.Kind, f.Source.Name, e.Field), config.Error, explain(e)}
				if !seen[p] {
					seen[p] = true
					out = append(out, p)
				}
			}
		}
	}
	return out
}

// explain says what a field error says, without the name of the field.
func explain(e *field.Error) string {
	// Age is the place in the text here.
	return strings.NewReplacer(", which is older,", "", ", which is older", "").Replace(e.ErrorBody())
}

// inputs are what to compile. Whether two peers that choose their nodes share one cannot be told without the nodes, so
// they are judged as if there were none; those that are for every node are judged together.
func (r *Resources) inputs() []config.Input {
	in := config.Input{
		IPAddressPools: slices.Clone(r.IPAddressPools), AddressPools: slices.Clone(r.AddressPools), L2Advertisements: r.L2Advertisements,
		BGPAdvertisements: r.BGPAdvertisements, BGPPeers: slices.Clone(r.BGPPeers), BFDProfiles: r.BFDProfiles, Communities: r.Communities,
		Secrets: map[string]config.Secret{}, Nodes: []config.Node{},
	}
	// Of two in conflict the one further down is to blame.
	born := func(key string) metav1.Time {
		return metav1.Unix(int64(time.Hour/time.Second)+int64(r.cfg.place(key).Line), 0)
	}
	for i := range in.IPAddressPools {
		o := &in.IPAddressPools[i]
		o.CreationTimestamp = born(r.Place(o.Kind, o.Name, "").Key)
	}
	for i := range in.AddressPools {
		o := &in.AddressPools[i]
		o.CreationTimestamp = born(r.Place(o.Kind, o.Name, "").Key)
	}
	for i := range in.BGPPeers {
		o := &in.BGPPeers[i]
		o.CreationTimestamp = born(r.Place(o.Kind, o.Name, "").Key)
	}
	for i := range r.Secrets {
		s := &r.Secrets[i]
		in.Secrets[s.Name] = config.Secret{Type: string(s.Type), Password: bgp.Password(s.Data["password"])}
	}
	everywhere := in
	everywhere.Nodes, everywhere.BGPPeers = nil, nil
	for _, p := range in.BGPPeers {
		if len(p.Spec.NodeSelectors) == 0 {
			everywhere.BGPPeers = append(everywhere.BGPPeers, p)
		}
	}
	return []config.Input{in, everywhere}
}
