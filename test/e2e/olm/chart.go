package olm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"k8s.io/apimachinery/pkg/util/yaml"
)

// left out of the chart: the package server, whose API only lists what catalogs hold.
var leftOut = []string{"0000_50_olm_15-packageserver.clusterserviceversion.yaml"}

// chart renders OLM's Helm chart as Helm does, with the few functions that its templates use. The settings are merged
// over the chart's values; their keys are paths with dots.
func chart(dir string, settings map[string]any) (string, error) {
	values, err := chartValues(dir, settings)
	if err != nil {
		return "", err
	}
	files, err := filepath.Glob(filepath.Join(dir, "templates", "*.yaml"))
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	for _, file := range files {
		name := filepath.Base(file)
		if strings.HasPrefix(name, "_") || slices.Contains(leftOut, name) {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		t, err := template.New(name).Funcs(chartFunctions).Parse(string(text))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "\n---\n# %s\n", name)
		if err := t.Execute(&out, map[string]any{"Values": values}); err != nil {
			return "", err
		}
	}
	return out.String(), nil
}

func chartValues(dir string, settings map[string]any) (map[string]any, error) {
	text, err := os.ReadFile(filepath.Join(dir, "values.yaml"))
	if err != nil {
		return nil, err
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(text, &values); err != nil {
		return nil, fmt.Errorf("the chart's values: %w", err)
	}
	for key, value := range settings {
		at := values
		path := strings.Split(key, ".")
		for _, k := range path[:len(path)-1] {
			below, is := at[k].(map[string]any)
			if !is {
				return nil, fmt.Errorf("the chart has no value %s", key)
			}
			at = below
		}
		at[path[len(path)-1]] = value
	}
	return values, nil
}

// chartFunctions are those of Helm's functions that the chart calls.
var chartFunctions = template.FuncMap{
	"toYaml": func(v any) (string, error) { // JSON is YAML
		b, err := json.Marshal(v)
		return string(b), err
	},
	"indent":     indent,
	"nindent":    func(n int, s string) string { return "\n" + indent(n, s) },
	"trimSuffix": func(suffix, s string) string { return strings.TrimSuffix(s, suffix) },
}

func indent(n int, s string) string {
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(s, "\n", "\n"+pad)
}
