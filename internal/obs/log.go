// Package obs is how a process is observed: one log handler for our own code, controller-runtime and memberlist, the
// keys of log messages, and the definitions of metrics. It knows nothing of what is observed.
package obs

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
)

// Keys of log messages: the same fact has the same key everywhere.
const (
	KeyAddress = "address"
	KeyPool    = "pool"
	KeyReason  = "reason"
	KeyService = "service"
)

// levels maps the values of the API's LogLevel and of --log-level to slog's levels.
//
// "all" stops short of logr's level 8, at which client-go writes the bodies of requests and answers, and so Secrets.
var levels = map[string]slog.Level{
	"all":   slog.LevelDebug - 3,
	"debug": slog.LevelDebug,
	"info":  slog.LevelInfo,
	"warn":  slog.LevelWarn,
	"error": slog.LevelError,
	"none":  math.MaxInt,
}

// NewHandler returns a handler that writes JSON lines of at least the named level: all, debug, info, warn, error or none.
func NewHandler(w io.Writer, level string) (slog.Handler, error) {
	l, ok := levels[level]
	if !ok {
		names := make([]string, 0, len(levels))
		for n := range levels {
			names = append(names, n)
		}
		slices.Sort(names)
		return nil, fmt.Errorf("log level %q: use one of %s", level, strings.Join(names, ", "))
	}
	return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l}), nil
}
