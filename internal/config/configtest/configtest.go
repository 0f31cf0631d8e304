// Package configtest reads the table of bad inputs, internal/config/testdata/problems: what users may get wrong, a case
// each, and what they are told. Three tests run it: the pure one of internal/config, the one of the API server's schema
// in api/v1beta1, and the one of the webhooks. It owns the form of the table, and is imported by tests only.
package configtest

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/config"
)

// Who refuses the input of a Case.
const (
	// BySchema: the API server itself, by the schema or a CEL rule of the CRD. The webhook is not asked.
	BySchema = "schema"
	// ByWebhook: config.Review, in the webhook.
	ByWebhook = "webhook"
	// ByNobody: it is stored. Warnings, if any, are told at once; Problems are what the speakers report.
	ByNobody = "nobody"
)

// Namespace is that of every resource of the table that does not say another. A test with an API server may use another
// one, and then reads that in the texts.
const Namespace = "metallb-system"

// Case is one input and what its author is told.
type Case struct {
	// File is the base name of the file that holds the case, without .yaml.
	File string `json:"-"`
	// Name is a sentence.
	Name string `json:"name"`
	// Given are the resources that are there before, YAML documents, the oldest first.
	Given string `json:"given"`
	// Input is the resource that is created. With Update it replaces the given one of its kind and name; with Delete it is
	// that one's kind and name.
	Input  string `json:"input"`
	Update bool   `json:"update"`
	Delete bool   `json:"delete"`
	// Errors and Warnings are what config.Review says, in its order.
	Errors   []string `json:"errors"`
	Warnings []string `json:"warnings"`
	// RefusedBy is BySchema where the API server itself refuses. Refusal are then its causes, "field: message", sorted.
	RefusedBy string   `json:"refusedBy"`
	Refusal   []string `json:"refusal"`
	// Problems are what config.Compile reports of the Stored input, "Kind/name Severity: message", where only those who may
	// read Secrets can tell.
	Problems []string `json:"problems"`
	// Nodes of the cluster; none: they are not known.
	Nodes []Node `json:"nodes"`
	// Secrets of the namespace, which the webhook cannot read.
	Secrets []Secret `json:"secrets"`
}

// Node is a config.Node as the table writes it.
type Node struct {
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels"`
	Addresses []string          `json:"addresses"`
	Subnets   []string          `json:"subnets"`
	Gateways  []string          `json:"gateways"`
}

// Secret is a Secret as the table writes it.
type Secret struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Password string `json:"password"`
}

// Cases reads the table in the project's directory root.
func Cases(root string) ([]Case, error) {
	paths, err := filepath.Glob(filepath.Join(root, "internal", "config", "testdata", "problems", "*.yaml"))
	if err != nil {
		return nil, err
	}
	var out []Case
	names := map[string]bool{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var cases []Case
		if err := yaml.UnmarshalStrict(data, &cases); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, c := range cases {
			c.File = strings.TrimSuffix(filepath.Base(path), ".yaml")
			if err := c.check(); err != nil {
				return nil, fmt.Errorf("%s: case %q: %w", path, c.Name, err)
			}
			if names[c.ID()] {
				return nil, fmt.Errorf("%s: there are two cases %q", path, c.Name)
			}
			names[c.ID()] = true
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("there are no cases under %s", root)
	}
	return out, nil
}

// ID names the case among all.
func (c *Case) ID() string { return c.File + "/" + c.Name }

// Refuser says who refuses the input: BySchema, ByWebhook or ByNobody.
func (c *Case) Refuser() string {
	switch {
	case c.RefusedBy != "":
		return c.RefusedBy
	case len(c.Errors) > 0:
		return ByWebhook
	default:
		return ByNobody
	}
}

func (c *Case) check() error {
	switch {
	case c.Name == "" || c.Input == "":
		return errors.New("name and input are needed")
	case c.Update && c.Delete:
		return errors.New("update and delete exclude each other")
	case c.RefusedBy != "" && c.RefusedBy != BySchema:
		return fmt.Errorf("refusedBy is %q; it is %q or left out", c.RefusedBy, BySchema)
	case (c.RefusedBy == BySchema) != (len(c.Refusal) > 0):
		return errors.New("refusedBy: schema and refusal go together")
	case len(c.Errors)+len(c.Warnings)+len(c.Refusal)+len(c.Problems) == 0:
		return errors.New("nobody says anything")
	}
	return nil
}

// Objects are the given resources and the input, to be sent to an API server.
func (c *Case) Objects() (given []*unstructured.Unstructured, input *unstructured.Unstructured, err error) {
	for _, text := range documents(c.Given) {
		u, err := object(text)
		if err != nil {
			return nil, nil, err
		}
		given = append(given, u)
	}
	input, err = object(c.Input)
	return given, input, err
}

func object(text string) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		return nil, err
	}
	if u.GetAPIVersion() == "" || u.GetKind() == "" || u.GetName() == "" {
		return nil, fmt.Errorf("apiVersion, kind or metadata.name is missing in:\n%s", text)
	}
	return u, nil
}

func documents(text string) []string {
	var out []string
	for _, d := range strings.Split("\n"+text, "\n---") {
		if strings.TrimSpace(d) != "" {
			out = append(out, d)
		}
	}
	return out
}

// Inputs are the configuration before the change and after it, and the resource that is changed.
func (c *Case) Inputs() (before, after config.Input, subject config.Source, err error) {
	all := documents(c.Given)
	if before, err = c.input(all, ""); err != nil {
		return before, after, subject, err
	}
	u, err := object(c.Input)
	if err != nil {
		return before, after, subject, err
	}
	subject = config.Source{Kind: u.GetKind(), Name: u.GetName()}
	var rest []string
	born := ""
	for i, text := range all {
		o, err := object(text)
		if err != nil {
			return before, after, subject, err
		}
		if o.GetKind() == subject.Kind && o.GetName() == subject.Name {
			born = timestamp(i)
			rest = append(rest, "")
			continue
		}
		rest = append(rest, text)
	}
	if (c.Update || c.Delete) != (born != "") {
		return before, after, subject, fmt.Errorf("%s %s: update and delete are of a given resource, a creation is not", subject.Kind, subject.Name)
	}
	if !c.Delete {
		rest = append(rest, c.Input)
	}
	after, err = c.input(rest, born)
	return before, after, subject, err
}

// Review runs config.Review, or config.ReviewMetalLB.
func (c *Case) Review() (config.Verdict, error) {
	u, err := object(c.Input)
	if err != nil {
		return config.Verdict{}, err
	}
	if u.GetKind() == "MetalLB" {
		return c.reviewMetalLB()
	}
	before, after, subject, err := c.Inputs()
	if err != nil {
		return config.Verdict{}, err
	}
	return config.Review(before, after, subject), nil
}

// Stored is the configuration once the input is stored, as those see it who may read Secrets.
func (c *Case) Stored() (config.Input, error) {
	_, in, _, err := c.Inputs()
	in.Secrets = map[string]config.Secret{}
	for _, s := range c.Secrets {
		in.Secrets[s.Name] = config.Secret{Type: s.Type, Password: bgp.Password(s.Password)}
	}
	return in, err
}

// input decodes the documents. Each is a minute younger than the one before it; born is the creation time of the last one,
// if it is not as young as that.
func (c *Case) input(docs []string, born string) (config.Input, error) {
	var in config.Input
	for i, text := range docs {
		if text == "" {
			continue
		}
		at := timestamp(i)
		if last := i == len(docs)-1; last && born != "" {
			at = born
		}
		if err := add(&in, text, at); err != nil {
			return in, err
		}
	}
	for _, n := range c.Nodes {
		node, err := n.node()
		if err != nil {
			return in, err
		}
		in.Nodes = append(in.Nodes, node)
	}
	return in, nil
}

func (n *Node) node() (config.Node, error) {
	out := config.Node{Name: n.Name, Labels: n.Labels}
	for _, text := range n.Subnets {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return out, err
		}
		out.Subnets = append(out.Subnets, p)
	}
	var err error
	if out.Addresses, err = addresses(n.Addresses); err != nil {
		return out, err
	}
	out.Gateways, err = addresses(n.Gateways)
	return out, err
}

func addresses(texts []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, text := range texts {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}
