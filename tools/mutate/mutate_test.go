package main

import (
	"context"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// module makes a module of one package p and its tests, and returns its directory.
func module(t *testing.T, code, tests string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.com/m\n\ngo 1.26.0\n", "p/p.go": code, "p/p_test.go": tests} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func list(t *testing.T, body string) []string {
	t.Helper()
	src, err := load(module(t, "package p\n\n"+body, ""), "p")
	if err != nil {
		t.Fatal(err)
	}
	ms, err := src.mutants()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.schema(src.dir, ms); err != nil {
		t.Errorf("the program with all mutants does not compile: %v", err)
	}
	var out []string
	for _, m := range ms {
		_, change, _ := strings.Cut(m.name, ": ")
		out = append(out, change)
	}
	return out
}

func TestMutants(t *testing.T) {
	for name, tt := range map[string]struct {
		code string
		want []string
	}{
		"comparisons": {
			"func f(a, b int) bool { return a < b }; func g(a, b string) bool { return a == b }",
			[]string{"a < b -> a <= b", "a == b -> a != b"},
		},
		"conditions": {
			"func f(a, b bool) bool { if !a && b { return true }; return false }",
			[]string{"!a && b -> !a || b", "!a -> a", "b -> !b", "true -> false", "false -> true"},
		},
		"a chain is named by its neighbours": {
			"func f(a, b, c bool) bool { return a || b || c }",
			[]string{"a || b -> a && b", "a -> !a", "b || c -> b && c", "b -> !b", "c -> !c"},
		},
		"numbers, also within constants": {
			"func f(a uint64) uint64 { const c = 3; return a + c + 1<<4 }",
			[]string{"3 -> 4", "a + c + 1<<4 -> a + c - 1<<4", "a + c -> a - c", "1 << 4 -> 1 >> 4", "1 -> 2", "4 -> 5"},
		},
		"what would not compile is left out": {
			"func f() uint8 { return 255 }; func g(s []int) []int { var x int; x = len(s); return s[:x] }",
			[]string{"x = len(s) -> (removed)"},
		},
		"statements": {
			"func f(s []int) (n int) { for i := range s { if s[i] == 0 { continue }; n += s[i] }; g(); return n }; func g() {}",
			[]string{"s[i] == 0 -> s[i] != 0", "0 -> 1", "continue -> (removed)", "n += s[i] -> n -= s[i]", "n += s[i] -> (removed)", "g() -> (removed)"},
		},
		"loops": {
			"func f() (n int) { for i := 0; i < 3; i++ { n++ }; return n }",
			[]string{"0 -> 1", "i < 3 -> i <= 3", "3 -> 4", "i++ -> i--", "i++ -> (removed)", "n++ -> (removed)", "n++ -> n--"},
		},
		"the same twice in a function": {
			"func f(a bool) bool { if a { return a }; return false }", []string{"a -> !a", "a -> !a #2", "false -> true"},
		},
		"what is assigned to is not changed": {"func f(s []bool, i int) { s[i] = s[i+1] }", []string{"s[i] = s[i+1] -> (removed)", "s[i+1] -> !s[i+1]", "i + 1 -> i - 1", "1 -> 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := list(t, tt.code)
			slices.Sort(got)
			if want := slices.Sorted(slices.Values(tt.want)); !slices.Equal(got, want) {
				t.Errorf("mutants are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

const small = `package p

// Clamp keeps n from 0 to 10.
func Clamp(n int) int {
	if n < 0 {
		return 0
	}
	for n > 10 {
		n--
	}
	return n
}
`

// examine runs all and returns what it says of the mutants of small, by change.
func examine(t *testing.T, tests, equivalents string) (string, error) {
	t.Helper()
	root := module(t, small, "package p\n\nimport \"testing\"\n\n"+tests)
	file := filepath.Join(t.TempDir(), "equivalents.txt")
	if err := os.WriteFile(file, []byte(equivalents), 0o644); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	o := options{root: root, equivalents: file, workers: 2, timeout: 5 * time.Second, out: &out}
	err := run(context.Background(), o, []string{"p"})
	for path, want := range map[string]string{"p/p.go": small} {
		if now, _ := os.ReadFile(filepath.Join(root, path)); string(now) != want {
			t.Errorf("%s was changed", path)
		}
	}
	return out.String(), err
}

const good = `func TestClamp(t *testing.T) {
	for in, want := range map[int]int{-1: 0, 1: 1, 10: 10, 12: 10} {
		if got := Clamp(in); got != want {
			t.Errorf("%d becomes %d", in, got)
		}
	}
}
`

func TestSurvivorsAreFound(t *testing.T) {
	const equal = "p/p.go Clamp: n < 0 -> n <= 0\n  0 becomes 0 either way\np/p.go Clamp: 0 -> 1\n  as above\n"
	for name, tt := range map[string]struct {
		tests, equivalents string
		says               []string // lines that must be there
		fails              bool
	}{
		"all are killed or equivalent, one for want of an end": {good, equal, []string{"p: 7 mutants, 5 killed, 2 survived or equivalent"}, false},
		"an equivalent that is not listed":                     {good, "", []string{"p/p.go:5: survived: p/p.go Clamp: n < 0 -> n <= 0"}, true},
		"a test that is missing":                               {strings.Replace(good, "-1: 0, ", "", 1), equal, []string{"p/p.go:6: survived: p/p.go Clamp: 0 -> 1 #2"}, true},
		"a killed one that is listed":                          {good, equal + "p/p.go Clamp: n-- -> n++\n  no reason\n", []string{"a test notices it: p/p.go Clamp: n-- -> n++"}, true},
		"one that is listed and does not exist":                {good, equal + "p/p.go Clamp: n == 0 -> n != 0\n  gone\n", []string{"no such mutant: p/p.go Clamp: n == 0 -> n != 0"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said, err := examine(t, tt.tests, tt.equivalents)
			if (err != nil) != tt.fails {
				t.Errorf("error %v, and it says\n%s", err, said)
			}
			for _, line := range tt.says {
				if !strings.Contains(said, line) {
					t.Errorf("it does not say %q but\n%s", line, said)
				}
			}
		})
	}
	t.Run("tests that fail anyway", func(t *testing.T) {
		if _, err := examine(t, "func TestNo(t *testing.T) { t.Error(1) }\n", ""); err == nil {
			t.Error("no error")
		}
	})
	t.Run("no package", func(t *testing.T) {
		if err := run(context.Background(), options{workers: 1, out: io.Discard}, nil); err == nil {
			t.Error("no error")
		}
	})
}

func TestParseEquivalents(t *testing.T) {
	got, err := parseEquivalents("# a comment\n\na.go f: x -> y\n  one\n\treason\nb.go g: 0 -> 1\n  another\n")
	if want := map[string]string{"a.go f: x -> y": "one reason", "b.go g: 0 -> 1": "another"}; err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for name, text := range map[string]string{
		"no reason":         "a.go f: x -> y\nb.go g: 0 -> 1\n  reason\n",
		"none for the last": "a.go f: x -> y\n",
		"twice":             "a\n  r\na\n  r\n",
		"only a reason":     "  reason\n",
	} {
		if _, err := parseEquivalents(text); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
