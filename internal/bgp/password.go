package bgp

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "(redacted)"

// Password of a session (RFC 2385). It shows itself to Reveal alone: printed, logged or marshalled it is "(redacted)",
// or empty where there is none.
type Password string

// Reveal returns the password itself, for the socket option that needs it.
func (p Password) Reveal() string { return string(p) }

// String implements fmt.Stringer.
func (p Password) String() string {
	if p == "" {
		return ""
	}
	return redacted
}

// Format implements fmt.Formatter for every verb, %#v and %x included.
func (p Password) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, p.String()) }

// MarshalText implements encoding.TextMarshaler, and with it JSON and YAML.
func (p Password) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// LogValue implements slog.LogValuer.
func (p Password) LogValue() slog.Value { return slog.StringValue(p.String()) }
