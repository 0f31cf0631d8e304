package legacy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"

	"go.yaml.in/yaml/v3"

	"metallb.io/operator/internal/config"
)

// Manifest is a text that was found in a file.
type Manifest struct {
	// Name and Namespace of the ConfigMap; empty where the file does not say.
	Name, Namespace string
	// Text of the configuration.
	Text []byte

	// first is the line of the file that the text begins in; exact says that each of its lines is one of the file.
	first int
	exact bool
}

// Line translates the place of a Problem with the text to the file. For a text that is not there line by line, but in
// quotes for instance, it is where the text begins, and the Problem keeps its own line.
func (m *Manifest) Line(p Problem) (int, Problem) {
	if !m.exact {
		return m.first, p
	}
	line := max(p.Line, 1) + m.first - 1
	p.Line = 0
	return line, p
}

var kindLine = regexp.MustCompile(`(?m)^["']?kind["']?[ ]*:`)

// Manifests finds the configurations in a file: ConfigMaps in a stream of YAML documents and lists, other objects being
// passed over, or the bare text.
func Manifests(file []byte) ([]Manifest, Problems) {
	if !kindLine.Match(file) && Recognise(file) {
		return []Manifest{{Text: file, first: 1, exact: true}}, nil
	}
	var out []Manifest
	for decoder := yaml.NewDecoder(bytes.NewReader(file)); ; {
		node, err := decode(decoder)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, Problems{syntax(file, err)}
		}
		out = append(out, configMaps(node)...)
	}
	if len(out) == 0 {
		return nil, Problems{{Severity: config.Error, Message: fmt.Sprintf(
			"there is no configuration here: give the ConfigMap, with the text under data.%s, or the text itself, with address-pools: or peers: at its top", DataKey)}}
	}
	return out, nil
}

// configMaps finds those in a document.
func configMaps(node *yaml.Node) []Manifest {
	switch text(node, "kind") {
	case "ConfigMap":
		data := child(child(node, "data"), DataKey)
		if data == nil || data.Kind != yaml.ScalarNode || !Recognise([]byte(data.Value)) {
			return nil
		}
		m := Manifest{
			Name: text(child(node, "metadata"), "name"), Namespace: text(child(node, "metadata"), "namespace"),
			Text: []byte(data.Value), first: data.Line,
		}
		if data.Style&yaml.LiteralStyle != 0 { // begins below the line with the bar
			m.first, m.exact = data.Line+1, true
		}
		return []Manifest{m}
	case "List", "ConfigMapList":
		var out []Manifest
		if items := child(node, "items"); items != nil && items.Kind == yaml.SequenceNode {
			for _, item := range items.Content {
				out = append(out, configMaps(item)...)
			}
		}
		return out
	}
	return nil
}

// child of a mapping; nil where there is none.
func child(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func text(n *yaml.Node, key string) string {
	if c := child(n, key); c != nil && c.Kind == yaml.ScalarNode {
		return c.Value
	}
	return ""
}
