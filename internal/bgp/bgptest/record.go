package bgptest

import (
	"os"
	"testing"
)

// Record has bgpd write down each UPDATE that it hears; Recorded is that.
func (f *FRR) Record(t testing.TB) {
	t.Helper()
	f.Configure(t, "log file "+f.dir+"/updates.log debugging", "debug bgp updates in")
}

// Recorded is what was heard since Record, a line for each UPDATE's attributes and for each prefix.
func (f *FRR) Recorded(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(f.dir + "/updates.log")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
