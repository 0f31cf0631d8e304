package bench

import "testing"

func TestParseMemory(t *testing.T) {
	rss, peak, err := parseMemory("Name:\tmetallb\nVmHWM:\t   2048 kB\nVmRSS:\t   1536 kB\n")
	if err != nil || rss != 1.5 || peak != 2 {
		t.Errorf("%v MiB, at its highest %v, %v", rss, peak, err)
	}
	for _, text := range []string{"", "VmHWM:\t2048 kB\n", "XVmRSS:\t1 kB\nVmHWM:\t2 kB\n", "VmRSS:\tmany kB\nVmHWM:\t2 kB\n"} {
		if _, _, err := parseMemory(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}
