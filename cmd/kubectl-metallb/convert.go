package main

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/legacy"
)

// defaultNamespace is where MetalLB ran, where nothing says otherwise.
const defaultNamespace = "metallb-system"

const convertHelp = `Usage: kubectl metallb convert -f FILE [-n NAMESPACE]

Turns the ConfigMap that MetalLB was configured by up to version 0.12 into resources of today, and prints them as YAML.
Nothing is read from or written to the cluster. FILE holds the ConfigMap, among other objects maybe, or the text that is
under its key "config"; - is the standard input.

Passwords of peers are printed, in Secrets: keep the output where you would keep them.
What is wrong with the text is told on standard error with its file, line and key; then nothing is printed and the exit
code is 1.

To write the resources yourself from now on, with nothing going away in between:

  kubectl get configmap config -n metallb-system -o yaml | kubectl metallb convert -f - > metallb.yaml
  kubectl delete configmap config -n metallb-system --cascade=orphan
  kubectl apply -f metallb.yaml

Flags:
  -f, --filename FILE        the file to read, - for standard input; may be given several times
  -n, --namespace NAMESPACE  namespace of the resources; by default that of the ConfigMap, else metallb-system
  -h, --help                 this text
`

// files are the values of -f.
type files []string

func (f *files) String() string     { return strings.Join(*f, ",") }
func (f *files) Set(s string) error { *f = append(*f, s); return nil }

func convert(args []string, s streams) int {
	fs := flag.NewFlagSet("kubectl metallb convert", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	var from files
	var namespace string
	fs.Var(&from, "f", "")
	fs.Var(&from, "filename", "")
	fs.StringVar(&namespace, "n", "", "")
	fs.StringVar(&namespace, "namespace", "", "")
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(s.out, convertHelp)
		return exitOK
	case err == nil && fs.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case err == nil && len(from) == 0:
		err = errors.New("say what to read: -f FILE, or -f - for standard input")
	}
	if err != nil {
		fmt.Fprintf(s.err, "kubectl metallb convert: %v\n\n%s", err, convertHelp)
		return exitUsage
	}
	c := converter{namespace: namespace, streams: s, seen: map[string]string{}}
	for _, name := range from {
		c.file(name)
	}
	if c.failed {
		return exitFailed
	}
	if _, err := s.out.Write(c.printed.Bytes()); err != nil {
		fmt.Fprintln(s.err, "kubectl metallb convert:", err)
		return exitFailed
	}
	return exitOK
}

// converter collects what is to be printed if nothing is wrong.
type converter struct {
	streams
	namespace string
	printed   bytes.Buffer
	failed    bool
	// seen tells where a resource comes from.
	seen map[string]string
}

func (c *converter) file(name string) {
	shown, data, err := name, []byte(nil), error(nil)
	if name == "-" {
		shown = "stdin"
		data, err = io.ReadAll(c.in)
	} else {
		data, err = os.ReadFile(name)
	}
	if err != nil {
		c.failed = true
		fmt.Fprintln(c.err, "kubectl metallb convert:", err)
		return
	}
	manifests, problems := legacy.Manifests(data)
	for _, p := range problems {
		line := p.Line
		p.Line = 0
		c.tell(shown, line, p)
	}
	for i := range manifests {
		c.manifest(shown, &manifests[i])
	}
}

func (c *converter) manifest(file string, m *legacy.Manifest) {
	res, problems := legacy.Read(m.Text, legacy.Options{Namespace: cmp.Or(c.namespace, m.Namespace, defaultNamespace)})
	for _, o := range res.Objects() {
		kind := o.GetObjectKind().GroupVersionKind().Kind
		key := kind + " " + o.GetNamespace() + "/" + o.GetName()
		if where := c.seen[key]; where != "" {
			problems = append(problems, legacy.Problem{Place: res.Place(kind, o.GetName(), ""), Severity: config.Error,
				Message: key + " comes of another configuration too (" + where + "): convert them one by one, with different namespaces"})
		}
		line, _ := m.Line(legacy.Problem{Place: res.Place(kind, o.GetName(), "")})
		c.seen[key] = fmt.Sprintf("%s:%d", file, line)
	}
	for _, p := range problems {
		line, p := m.Line(p)
		c.tell(file, line, p)
	}
	if err := res.WriteYAML(&c.printed); err != nil {
		c.failed = true
		fmt.Fprintln(c.err, "kubectl metallb convert:", err)
	}
}

// tell writes a problem as compilers do: file:line: error: text.
func (c *converter) tell(file string, line int, p legacy.Problem) {
	if p.Severity == config.Error {
		c.failed = true
	}
	if line > 0 {
		file = fmt.Sprintf("%s:%d", file, line)
	}
	fmt.Fprintf(c.err, "%s: %s: %s\n", file, strings.ToLower(string(p.Severity)), p)
}
