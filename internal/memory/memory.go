// Package memory keeps small what a process takes from its machine. Much of what it reads at its start is garbage soon, and what Go
// has taken once it gives back over minutes only.
package memory

import (
	"os"
	"runtime/debug"
	"time"
)

// What GOGC, in percent, is afterwards.
const (
	// Usual is Go's own.
	Usual = 100
	// Frugal is for what runs on every node and mostly rests.
	Frugal = 50
)

const (
	// reading is GOGC while everything is read.
	reading = 40
	// settling is for how long what has been read is put to use: Services written, routers told, reports compared.
	settling = 10 * time.Second
)

// Reading has garbage collected sooner, which costs processor time, until a while after what it returns has been called. Then
// memory that is free is given back, and GOGC is as given. What a user has set in the environment (GOGC) stays.
func Reading(afterwards int) (done func()) {
	set := func(percent int) {
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(percent)
		}
	}
	set(reading)
	return func() {
		time.AfterFunc(settling, func() {
			set(afterwards)
			debug.FreeOSMemory()
		})
	}
}
