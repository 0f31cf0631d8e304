package main

import (
	"testing"

	"metallb.io/operator/bench"
)

// What does not depend on the machine is judged by the tests too.
func TestSpreadAndMoves(t *testing.T) {
	samples := bench.Samples{}
	simulate(t.Output(), samples)
	if !bench.Report(t.Output(), bench.Judge(bench.Election, samples)) {
		t.Error("a bar is missed")
	}
}
