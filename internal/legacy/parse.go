package legacy

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"metallb.io/operator/internal/bgp"
)

var topKeys = []string{keyPeers, keyPools, keyCommunities, keyProfiles, keyAutodiscovery}

// topKey finds a key at the top of a text that is not valid YAML.
var topKey = regexp.MustCompile(`(?m)^[ {]*["']?(` + strings.Join(topKeys, "|") + `)["']?[ ]*:`)

// Recognise says whether a text is meant as such a configuration: a mapping with at least one of its keys, or with one
// that is nearly spelt like it; of what is not valid YAML, whether a line begins with such a key. An empty text is not.
func Recognise(text []byte) bool {
	if len(text) > longest {
		return topKey.Match(text[:longest])
	}
	node, err := decode(yaml.NewDecoder(bytes.NewReader(text)))
	if err != nil {
		return topKey.Match(text)
	}
	if node.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i < len(node.Content); i += 2 {
		// The name peers is too short for a guess.
		if name := node.Content[i].Value; slices.Contains(topKeys, name) || nearest(name, topKeys[1:]) != "" {
			return true
		}
	}
	return false
}

// Parse reads a text and says all that is wrong with it, in its order. What is in the Configuration is right as far as
// it goes; what its parts mean together is for Read to judge. A text without anything is an empty Configuration.
func Parse(text []byte) (*Configuration, Problems) {
	r := newReader()
	cfg := &Configuration{lines: r.lines}
	top := r.fields(r.document(text), "write address-pools: or peers: at its top", topKeys...)
	if v := top[keyAutodiscovery]; v.there() {
		r.warnf(v, "is not supported, so no peers are made of it: list them under peers; all else is used")
	}
	for _, e := range r.entries(top[keyCommunities], "write for instance no-export: 65535:65281") {
		r.community(cfg, e)
	}
	for _, v := range r.list(top[keyProfiles], "write - before each entry") {
		r.profile(cfg, v)
	}
	for _, v := range r.list(top[keyPools], "write - before each entry") {
		r.pool(cfg, v)
	}
	for _, v := range r.list(top[keyPeers], "write - before each entry") {
		r.peer(cfg, v)
	}
	r.problems.sort()
	if r.left < 0 {
		return &Configuration{lines: r.lines}, r.problems
	}
	return cfg, r.problems
}

func (r *reader) community(cfg *Configuration, e entry) {
	r.aliases[e.name] = nil
	text, ok := r.scalar(e.value, "write a community, for instance 64512:100")
	if !ok {
		if !e.there() {
			r.errorf(e.value, "is missing: write the community that it stands for, for instance 64512:100")
		}
		return
	}
	c, err := bgp.ParseCommunity(text)
	if err != nil {
		r.errorf(e.value, "%s %v", quote(text), err)
		return
	}
	r.aliases[e.name] = &c
	cfg.Communities = append(cfg.Communities, Community{Key: e.key, Name: e.name, Value: c})
}

// profile reads an entry of bfd-profiles. One that is wrong is kept by its name, so that peers find it.
func (r *reader) profile(cfg *Configuration, v value) {
	f := r.fields(v, "write name: and intervals", "name", "receive-interval", "transmit-interval", "detect-multiplier",
		"echo-interval", "echo-mode", "passive-mode", "minimum-ttl")
	if !v.there() || v.node.Kind != yaml.MappingNode {
		r.absent(v)
		return
	}
	number := func(name string, least, most uint64, example string) *uint32 {
		n, ok := r.number(f[name], least, most, example)
		if !ok {
			return nil
		}
		short := uint32(n) //nolint:gosec // bounded by most
		return &short
	}
	p := Profile{
		Key:              v.key,
		ReceiveInterval:  number("receive-interval", 10, 60000, "300"),
		TransmitInterval: number("transmit-interval", 10, 60000, "300"),
		DetectMultiplier: number("detect-multiplier", 2, 255, "3"),
		EchoInterval:     number("echo-interval", 10, 60000, "50"),
		MinimumTTL:       number("minimum-ttl", 1, 254, "254"),
		EchoMode:         r.boolean(f["echo-mode"]),
		PassiveMode:      r.boolean(f["passive-mode"]),
	}
	if p.EchoMode != nil && *p.EchoMode {
		p.EchoMode = nil
		r.warnf(f["echo-mode"], "is not supported, so sessions run without echo packets: remove it, and for fast detection write transmit-interval: 50 and receive-interval: 50")
	}
	p.Name, _ = r.scalar(r.required(v, f, "name", "write the name by which peers find the profile"), "write a name")
	if p.Name == "" {
		r.emptyName(f["name"])
		return
	}
	if r.once(r.profiles, f["name"], p.Name, v.key) {
		cfg.Profiles = append(cfg.Profiles, p)
	}
}

// absent complains of an item of a list with nothing in it; one of another type has been complained of.
func (r *reader) absent(v value) {
	if !v.there() {
		r.errorf(v, "is empty: remove the dash, or write the entry")
	}
}

func (r *reader) emptyName(v value) {
	if v.there() && v.node.Kind == yaml.ScalarNode && v.node.Value == "" {
		r.errorf(v, "is empty: write a name")
	}
}
