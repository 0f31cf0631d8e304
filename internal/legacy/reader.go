package legacy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strconv"

	"go.yaml.in/yaml/v3"

	"metallb.io/operator/internal/bgp"
	"metallb.io/operator/internal/config"
)

const (
	// longest is what the API server takes as a ConfigMap, in bytes.
	longest = 1 << 20
	// mostRepeats is how many values may come from aliases beyond those that are written out. Without a bound a short
	// text can stand for billions of values.
	mostRepeats = 10_000
)

// reader walks over a YAML document and collects what is wrong with it.
type reader struct {
	problems Problems
	lines    map[string]int
	// left is how many values may still be read.
	left int

	// aliases of bgp-communities; nil is one that is wrong, and said to be.
	aliases map[string]*bgp.Community
	// profiles and pools by name, peers by identity: the key of each.
	profiles, pools, peers map[string]string
}

func newReader() *reader {
	return &reader{
		lines: map[string]int{}, aliases: map[string]*bgp.Community{},
		profiles: map[string]string{}, pools: map[string]string{}, peers: map[string]string{},
	}
}

// once notes the key of what has this name, and refuses a second one of the name.
func (r *reader) once(names map[string]string, v value, name, key string) bool {
	if other := names[name]; other != "" {
		r.errorf(v, "%s is the name of %s already (line %d): give it another one", quote(name), other, r.lines[other])
		return false
	}
	names[name] = key
	return true
}

// value is a value of the document; node is nil where it is not there.
type value struct {
	node *yaml.Node
	line int
	key  string
}

func (v value) there() bool { return v.node != nil }

func (r *reader) errorf(v value, format string, args ...any) {
	r.add(v, config.Error, format, args...)
}

func (r *reader) warnf(v value, format string, args ...any) {
	r.add(v, config.Warning, format, args...)
}

func (r *reader) add(v value, s config.Severity, format string, args ...any) {
	if r.left >= 0 { // once the text is given up, what follows says nothing
		r.problems = append(r.problems, Problem{Place{v.line, v.key}, s, fmt.Sprintf(format, args...)})
	}
}

// document reads the text. A second document, which was always ignored, is warned of.
func (r *reader) document(text []byte) value {
	if len(text) > longest {
		r.errorf(value{}, "the text has %d bytes: a ConfigMap holds %d at most", len(text), longest)
		return value{}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	node, err := decode(decoder)
	switch {
	case errors.Is(err, io.EOF):
		return value{}
	case err != nil:
		r.problems = append(r.problems, syntax(text, err))
		return value{}
	}
	if next, err := decode(decoder); err == nil && !isNull(next) {
		r.warnf(value{line: next.Line}, "only the first YAML document counts, as ever: move what comes after the --- into it, or remove it")
	} else if err != nil && !errors.Is(err, io.EOF) {
		r.warnf(value{}, "only the first YAML document counts, as ever; what comes after the --- cannot even be read: remove it")
	}
	r.left = count(node) + mostRepeats
	return r.value(node, "")
}

// decode reads the next document; nil for one that is empty. The library panics at what it takes for its own bugs.
func decode(d *yaml.Decoder) (node *yaml.Node, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("yaml: the text cannot be read")
		}
	}()
	var n yaml.Node
	if err := d.Decode(&n); err != nil {
		return nil, err
	}
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		return n.Content[0], nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}, nil
}

// count returns how many nodes are written out below a node, itself included.
func count(n *yaml.Node) int {
	out := 1
	for _, c := range n.Content {
		out += count(c)
	}
	return out
}

// longestSearched bounds the texts that are read several times to find a line, in bytes.
const longestSearched = 128 << 10

var (
	inLine  = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?`)
	tabbed  = regexp.MustCompile(`^ *\t`)
	anchor  = regexp.MustCompile(`^unknown anchor '.*' referenced$`)
	literal = regexp.MustCompile("`|^cannot decode|^invalid map key")
)

// syntax turns an error of the YAML library into a Problem, without any text of the document: it could be a password.
func syntax(text []byte, err error) Problem {
	p := Problem{Severity: config.Error}
	message := err.Error()
	if m := inLine.FindStringSubmatch(message); m != nil {
		p.Line, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
	}
	var line string
	if len(text) <= longestSearched {
		p.Line, line = breaking(text)
	}
	switch {
	case anchor.MatchString(message):
		message = "it refers to an anchor (&name) that is not there; a text that begins with * must be in quotes"
	case literal.MatchString(message):
		message = "it cannot be read"
	case tabbed.MatchString(line):
		message = "the line begins with a tab; write spaces"
	case message == "mapping values are not allowed in this context":
		message += "; a text that ends with a colon must be in quotes"
	}
	p.Message = "the text is not valid YAML: " + message
	return p
}

// breaking finds the line from which on the documents cannot be read any more. The library often names the line in which
// the block begins that something further down is wrong with.
func breaking(text []byte) (int, string) {
	lines := bytes.SplitAfter(text, []byte("\n"))
	n := sort.Search(len(lines)-1, func(n int) bool {
		decoder := yaml.NewDecoder(bytes.NewReader(bytes.Join(lines[:n+1], nil)))
		for {
			if _, err := decode(decoder); err != nil {
				return !errors.Is(err, io.EOF)
			}
		}
	})
	return n + 1, string(lines[n])
}

// value notes where a node stands, and follows it if it is an alias.
func (r *reader) value(n *yaml.Node, key string) value {
	v := value{line: n.Line, key: key}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case r.left < 0:
		return v
	case r.left == 0:
		r.errorf(v, "is one of more than %d values that come from aliases (*name): write them out", mostRepeats)
		r.left = -1
		return v
	}
	r.left--
	if r.lines[key] == 0 {
		r.lines[key] = v.line
	}
	if !isNull(n) { // null is as good as not there, as it always was
		v.node = n
	}
	return v
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// what a node is, in words.
func what(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping (key: value)"
	case yaml.SequenceNode:
		return "a list"
	default:
		return "a single value"
	}
}

// list returns the items of a list; ok is false where it is something else.
func (r *reader) list(v value, example string) []value {
	switch {
	case !v.there():
		return nil
	case v.node.Kind != yaml.SequenceNode:
		r.errorf(v, "is %s, not a list: %s", what(v.node), example)
		return nil
	}
	out := make([]value, 0, len(v.node.Content))
	for i, n := range v.node.Content {
		if r.left < 0 {
			return nil
		}
		out = append(out, r.value(n, fmt.Sprintf("%s[%d]", v.key, i)))
	}
	return out
}

// entry is a key of a mapping and what it stands for.
type entry struct {
	name string
	value
}

// entries returns what a mapping holds, in its order, then what it merges in (<<).
func (r *reader) entries(v value, example string) []entry {
	switch {
	case !v.there():
		return nil
	case v.node.Kind != yaml.MappingNode:
		r.errorf(v, "is %s, not a mapping: %s", what(v.node), example)
		return nil
	}
	m := merging{reader: r, key: v.key, seen: map[string]bool{}, inside: map[*yaml.Node]bool{}}
	m.mapping(v.node)
	return m.out
}

// merging collects the entries of a mapping and of those that it merges in; of one key the first counts.
type merging struct {
	*reader
	key    string
	out    []entry
	seen   map[string]bool
	inside map[*yaml.Node]bool
}

func (m *merging) mapping(n *yaml.Node) {
	if m.inside[n] || m.left < 0 {
		return
	}
	m.inside[n] = true
	here := map[string]bool{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content) && m.left >= 0; i += 2 {
		k, child := n.Content[i], n.Content[i+1]
		for k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		at := value{line: n.Content[i].Line, key: m.key}
		switch {
		case k.Kind != yaml.ScalarNode || isNull(k):
			m.errorf(at, "has a key that is not a text: write key: value")
		case k.ShortTag() == "!!merge":
			merged = append(merged, child)
		case here[k.Value]:
			m.errorf(at, "has the key %s twice: keep one of them", shown(k.Value))
		case !m.seen[k.Value]:
			here[k.Value], m.seen[k.Value] = true, true
			v := m.value(child, join(m.key, k.Value))
			v.line = at.line
			m.lines[v.key] = at.line
			m.out = append(m.out, entry{k.Value, v})
		}
	}
	for _, child := range merged {
		m.merge(child)
	}
}

func (m *merging) merge(n *yaml.Node) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case yaml.MappingNode:
		m.mapping(n)
	case yaml.SequenceNode:
		if m.inside[n] {
			return
		}
		m.inside[n] = true
		for _, c := range n.Content {
			m.merge(c)
		}
	default:
		m.errorf(value{line: n.Line, key: m.key}, "merges (<<) what is not a mapping: remove it")
	}
}

// join makes the path of a key in a mapping.
func join(key, name string) string {
	if key == "" {
		return shown(name)
	}
	return key + "." + shown(name)
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_./-]{1,128}`)

// shown is a key as it may be shown: what does not look like a key could be a password that lost its blank.
func shown(name string) string {
	if text := plain.FindString(name); text == name {
		return text
	} else if text != "" {
		return text + "…"
	}
	return "…"
}
