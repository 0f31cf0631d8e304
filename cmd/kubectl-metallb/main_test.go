package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const seeds = "../../internal/legacy/testdata/"

// call runs the plugin and returns its exit code and what it has written.
func call(t *testing.T, stdin string, args ...string) (code int, out, err string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(args, streams{strings.NewReader(stdin), &o, &e})
	return code, o.String(), e.String()
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestConvertPrintsResources(t *testing.T) {
	manifest := read(t, seeds+"cyso.yaml")
	want := read(t, seeds+"cyso.golden.yaml")
	_, bare, _ := strings.Cut(manifest, "config: |\n")
	bare = strings.ReplaceAll("\n"+bare, "\n    ", "\n")[1:]
	list := "apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(strings.TrimSpace(manifest), "\n", "\n  ") + "\n"
	other := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\ndata: {config: 'a: b'}\n"
	for name, tc := range map[string]struct {
		stdin string
		args  []string
	}{
		"from a file":           {"", []string{"-f", seeds + "cyso.yaml"}},
		"from stdin":            {manifest, []string{"-f", "-"}},
		"long flags":            {manifest, []string{"--filename=-", "--namespace", "metallb-system"}},
		"the bare text":         {bare, []string{"-f", "-"}},
		"among other documents": {"---\n" + other + "---\n" + manifest + "---\nkind: Service\n---\n", []string{"-f", "-"}},
		"in a list":             {list, []string{"-f", "-"}},
		"as JSON":               {`{"kind":"ConfigMap","data":{"config":"` + strings.ReplaceAll(strings.ReplaceAll(bare, `"`, `'`), "\n", `\n`) + `"}}`, []string{"-f", "-"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, err := call(t, tc.stdin, append([]string{"convert"}, tc.args...)...)
			if code != 0 || err != "" {
				t.Errorf("exit code %d, %s", code, err)
			}
			if diff := cmp.Diff(want, out); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("into a namespace", func(t *testing.T) {
		_, out, _ := call(t, manifest, "convert", "-f", "-", "-n", "elsewhere")
		if out != strings.ReplaceAll(want, "metallb-system", "elsewhere") {
			t.Error(out)
		}
	})
	t.Run("from two files", func(t *testing.T) {
		code, out, err := call(t, "", "convert", "-f", seeds+"cyso.yaml", "-f", seeds+"private-dc.yaml")
		if code != 0 || err != "" || out != want+read(t, seeds+"private-dc.golden.yaml") {
			t.Error(code, err, out)
		}
	})
	t.Run("no label of ours: what is printed is the user's", func(t *testing.T) {
		_, out, _ := call(t, "", "convert", "-f", seeds+"everything.yaml")
		if strings.Contains(out, "labels:") || strings.Contains(out, "metallb.io/legacy") || strings.Contains(out, "status") {
			t.Error(out)
		}
	})
}

func TestConvertTellsWhatIsWrong(t *testing.T) {
	manifest := read(t, seeds+"smtp-bgp.yaml")
	dir := t.TempDir()
	broken := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(broken, []byte(strings.ReplaceAll(manifest, "64635:200", "64635:70000")), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		stdin string
		args  []string
		code  int
		err   string
	}{
		"a bad value, with the line of the file": {"", []string{"-f", broken}, 1,
			broken + `:31: error: address-pools[1].bgp-advertisements[0].communities[0]: "64635:70000" is not one of bgp-communities, and has the part "70000", which is not a number from 0 to 65535: write for instance 64512:100` + "\n"},
		"a text in quotes": {`{"kind": "ConfigMap", "data": {"config": "peers:\n- my-asn: 0\n  peer-asn: 1\n  peer-address: 192.0.2.1"}}`, []string{"-f", "-"}, 1,
			`stdin:1: error: line 2: peers[0].my-asn: "0" is not a whole number from 1 to 4294967295: write for instance 64512` + "\n"},
		"no configuration": {"kind: Service\n", []string{"-f", "-"}, 1,
			"stdin: error: there is no configuration here: give the ConfigMap, with the text under data.config, or the text itself, with address-pools: or peers: at its top\n"},
		"nothing": {"", []string{"-f", "-"}, 1,
			"stdin: error: there is no configuration here: give the ConfigMap, with the text under data.config, or the text itself, with address-pools: or peers: at its top\n"},
		"a manifest that is no YAML": {"kind: ConfigMap\ndata:\n  config: |\n    peers: []\n   x\n", []string{"-f", "-"}, 1, "stdin:5: error: the text is not valid YAML: did not find expected key\n"},
		"a second one that is none":  {"kind: Service\n---\nkind: ConfigMap\n- x\n", []string{"-f", "-"}, 1, "stdin:4: error: the text is not valid YAML: did not find expected key\n"},
		"a bare text that is none":   {"peers:\n- my-asn: [\n", []string{"-f", "-"}, 1, "stdin:2: error: the text is not valid YAML: did not find expected node content\n"},
		"one twice":                  {manifest + "---\n" + manifest, []string{"-f", "-"}, 1, "BGPPeer metallb-system/peer-172-22-35-1 comes of another configuration too (stdin:9): convert them one by one, with different namespaces"},
		"a file that is not there":   {"", []string{"-f", filepath.Join(dir, "none")}, 1, "kubectl metallb convert: open " + filepath.Join(dir, "none") + ": no such file or directory\n"},
		"no file":                    {"", nil, 2, "kubectl metallb convert: say what to read: -f FILE, or -f - for standard input\n\n" + convertHelp},
		"an argument":                {"", []string{"-f", "-", "x"}, 2, "kubectl metallb convert: unexpected argument \"x\"\n\n" + convertHelp},
		"an unknown flag":            {"", []string{"-source", "x"}, 2, "kubectl metallb convert: flag provided but not defined: -source\n\n" + convertHelp},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, err := call(t, tc.stdin, append([]string{"convert"}, tc.args...)...)
			if code != tc.code || out != "" {
				t.Errorf("exit code %d, printed %s", code, out)
			}
			if name == "one twice" {
				if !strings.Contains(err, tc.err) {
					t.Error(err)
				}
			} else if diff := cmp.Diff(tc.err, err); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWarningsDoNotFail(t *testing.T) {
	code, out, err := call(t, "", "convert", "-f", seeds+"ancient.yaml")
	if code != 0 || !strings.HasPrefix(out, "---\n") {
		t.Error(code, out)
	}
	if first, _, _ := strings.Cut(err, "\n"); first != seeds+"ancient.yaml:9: warning: peer-autodiscovery: is not supported, so no peers are made of it: list them under peers; all else is used" {
		t.Error(err)
	}
}

func TestPasswordsAreInSecretsOnly(t *testing.T) {
	code, out, err := call(t, "peers:\n- my-asn: 1\n  peer-asn: 2\n  peer-address: 192.0.2.1\n  password: [s3cr3t]\n", "convert", "-f", "-")
	if code != 1 || strings.Contains(out+err, "s3cr3t") {
		t.Error(code, out, err)
	}
}

func TestUsage(t *testing.T) {
	for _, tc := range []struct {
		args []string
		code int
		out  string
		err  string
	}{
		{nil, 2, "", usage()},
		{[]string{"help"}, 0, usage(), ""},
		{[]string{"--help"}, 0, usage(), ""},
		{[]string{"status"}, 2, "", "kubectl metallb: there is no subcommand \"status\"\n\n" + usage()},
		{[]string{"convert", "--help"}, 0, convertHelp, ""},
		{[]string{"version"}, 0, "dev\n", ""},
		{[]string{"version", "x"}, 2, "", "Usage: kubectl metallb version\n"},
	} {
		if code, out, err := call(t, "", tc.args...); code != tc.code || out != tc.out || err != tc.err {
			t.Errorf("%v: %d\n%s%s", tc.args, code, out, err)
		}
	}
}
