package bgp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// TestPasswordIsNotPrinted prints, marshals and logs one in every way that comes to mind.
func TestPasswordIsNotPrinted(t *testing.T) {
	const text = "s3cr3t-T0ken"
	p := Password(text)
	type holder struct {
		Password Password
		Pointer  *Password
		Map      map[string]Password
		Any      any
	}
	h := holder{p, &p, map[string]Password{"r": p}, p}
	traces := []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text), fmt.Sprintf("%d", []byte(text))}
	check := func(how, out string) {
		t.Helper()
		for _, trace := range traces {
			if strings.Contains(out, trace) {
				t.Errorf("%s shows it: %s", how, out)
			}
		}
		if !strings.Contains(out, redacted) {
			t.Errorf("%s does not say that there is one: %s", how, out)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%10s", "%.2s", "%U"} {
		check(verb, fmt.Sprintf(verb, p))
		check(verb+" of a struct", fmt.Sprintf(verb, h))
		check(verb+" of a slice", fmt.Sprintf(verb, []Password{p}))
	}
	check("an error", errors.Join(fmt.Errorf("with %w and %v", errors.New("x"), p)).Error())
	for how, v := range map[string]any{"JSON": p, "JSON of a struct": h, "JSON of a pointer": &h} {
		out, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		check(how, string(out))
	}
	var log bytes.Buffer
	for how, handler := range map[string]slog.Handler{"slog as text": slog.NewTextHandler(&log, nil), "slog as JSON": slog.NewJSONHandler(&log, nil)} {
		log.Reset()
		slog.New(handler).Info("session", "password", p, "holder", h, slog.Group("g", "p", p))
		check(how, log.String())
	}
	check("String", p.String())
}

func TestNoPasswordPrintsNothing(t *testing.T) {
	out, err := json.Marshal(struct{ Password }{})
	if got := fmt.Sprintf("%v%s%q%x", Password(""), Password(""), Password(""), Password("")); got != "" || string(out) != `""` || err != nil {
		t.Errorf("prints %q, JSON %s, error %v", got, out, err)
	}
}

func TestPasswordIsRevealedOnDemand(t *testing.T) {
	if got := Password("x").Reveal(); got != "x" {
		t.Errorf("is %q", got)
	}
}
