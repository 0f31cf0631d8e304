package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/client-go/kubernetes"
)

// write is a kind of request that changes something: verb and resource with its subresource, as the API server's metrics
// name them.
type write struct {
	verb, resource string
}

// writes are numbers of requests by kind, and how many of them did not succeed.
type writes map[write]struct{ all, failed int }

const requestTotal = "apiserver_request_total"

// parseWrites reads the API server's metrics in Prometheus' text format and takes from them all requests that write.
func parseWrites(in io.Reader) (writes, error) {
	out := writes{}
	known := false
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line, ok := strings.CutPrefix(lines.Text(), requestTotal+"{")
		if !ok {
			continue
		}
		known = true
		labels, value, err := parseSample(line)
		if err != nil {
			return nil, fmt.Errorf("metrics of the API server: %q: %w", lines.Text(), err)
		}
		switch labels["verb"] {
		case "GET", "LIST", "WATCH", "CONNECT":
			continue
		}
		k := write{labels["verb"], labels["resource"]}
		if sub := labels["subresource"]; sub != "" {
			k.resource += "/" + sub
		}
		n := out[k]
		n.all += value
		if !strings.HasPrefix(labels["code"], "2") {
			n.failed += value
		}
		out[k] = n
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if !known {
		return nil, fmt.Errorf("the API server has no metric %s", requestTotal)
	}
	return out, nil
}

// parseSample reads what stands behind the opening brace: label="value",...} number.
func parseSample(text string) (map[string]string, int, error) {
	labels := map[string]string{}
	for !strings.HasPrefix(text, "}") {
		name, rest, ok := strings.Cut(text, "=")
		if !ok {
			return nil, 0, fmt.Errorf("no value of a label")
		}
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return nil, 0, fmt.Errorf("label %s: %w", name, err)
		}
		if labels[name], err = strconv.Unquote(quoted); err != nil {
			return nil, 0, fmt.Errorf("label %s: %w", name, err)
		}
		text = strings.TrimPrefix(rest[len(quoted):], ",")
	}
	value, err := strconv.ParseFloat(strings.TrimSpace(text[1:]), 64)
	return labels, int(value), err
}

// readWrites asks the API server how many requests it has had.
func readWrites(ctx context.Context, k kubernetes.Interface) (writes, error) {
	body, err := k.CoreV1().RESTClient().Get().AbsPath("/metrics").Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	return parseWrites(body)
}

// since returns what has been added.
func (w writes) since(before writes) writes {
	out := writes{}
	for k, n := range w {
		n.all -= before[k].all
		n.failed -= before[k].failed
		if n.all > 0 {
			out[k] = n
		}
	}
	return out
}

// of counts the requests to a resource and its subresources, whatever came of them, but for creations and deletions.
func (w writes) of(resource string) int {
	n := 0
	for k, count := range w {
		name, _, _ := strings.Cut(k.resource, "/")
		if name == resource && k.verb != "POST" && !strings.HasPrefix(k.verb, "DELETE") {
			n += count.all
		}
	}
	return n
}

func (w writes) String() string {
	keys := slices.SortedFunc(maps.Keys(w), func(a, b write) int {
		return cmp.Or(cmp.Compare(a.resource, b.resource), cmp.Compare(a.verb, b.verb))
	})
	var parts []string
	for _, k := range keys {
		text := fmt.Sprintf("%s %s %d", k.verb, k.resource, w[k].all)
		if w[k].failed > 0 {
			text += fmt.Sprintf(" (%d failed)", w[k].failed)
		}
		parts = append(parts, text)
	}
	return cmp.Or(strings.Join(parts, ", "), "none")
}
