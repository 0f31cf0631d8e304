package members

import (
	"fmt"
	"slices"
	"testing"

	"github.com/hashicorp/memberlist"
)

func TestNamesOfInterfacesArePackedWithoutLoss(t *testing.T) {
	for name, c := range map[string]struct {
		names  []string
		packed string
		want   []string
	}{
		"none":                                   {nil, "", nil},
		"one":                                    {[]string{"eth0"}, "0eth0", []string{"eth0"}},
		"sorted, each once":                      {[]string{"eth1", "eth0", "eth1"}, "0eth0/31", []string{"eth0", "eth1"}},
		"VLANs":                                  {[]string{"eno1", "eno1.100", "eno1.101", "eno1.20"}, "0eno1/4.100/71/520", []string{"eno1", "eno1.100", "eno1.101", "eno1.20"}},
		"the longest name there is":              {[]string{"abcdefghijklmno", "abcdefghijklmnp"}, "0abcdefghijklmno/ep", []string{"abcdefghijklmno", "abcdefghijklmnp"}},
		"a longer one is none":                   {[]string{"abcdefghijklmnop", "a"}, "0a", []string{"a"}},
		"digits are not taken for lengths":       {[]string{"1", "10", "f"}, "01/10/0f", []string{"1", "10", "f"}},
		"characters of several bytes stay whole": {[]string{"ifé", "ifè"}, "0ifè/2é", []string{"ifè", "ifé"}},
		"what is not UTF-8 is left out":          {[]string{"if\xff", "eth0"}, "0eth0", []string{"eth0"}},
		"what no interface is called, too":       {[]string{"a/b", "", "eth0"}, "0eth0", []string{"eth0"}},
	} {
		t.Run(name, func(t *testing.T) {
			packed := packNames(c.names)
			if packed != c.packed {
				t.Errorf("packed %q, want %q", packed, c.packed)
			}
			if got := unpackNames(packed); !slices.Equal(got, c.want) {
				t.Errorf("unpacked %q, want %q", got, c.want)
			}
		})
	}
}

func TestWhatIsNoPackedNamesGivesNone(t *testing.T) {
	for _, s := range []string{"/", "0eth0/", "x", "1eth0", "0eth0/5x", "0eth0//31", "-1a"} {
		if got := unpackNames(s); got != nil {
			t.Errorf("%q gives %q", s, got)
		}
	}
}

func TestAMemberTellsAllOfItsInterfacesOrNone(t *testing.T) {
	k := newKeys([]byte("a"))
	for _, n := range []int{1, 100, 1000} {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf("eno1.%d", 100+i))
		}
		m := meta{Ready: true, Interfaces: packNames(names)}
		k.describe(&m)
		b := m.encode()
		if len(b) > memberlist.MetaMaxSize {
			t.Errorf("%d VLANs: %d bytes, which memberlist refuses", n, len(b))
		}
		got := decodeMeta(b)
		if told := unpackNames(got.Interfaces); len(told) != n && (told != nil || n <= 100) {
			t.Errorf("%d VLANs: tells %d", n, len(told))
		}
		if !got.Ready || got.Writes != m.Writes {
			t.Errorf("%d VLANs: the rest is lost: %+v", n, got)
		}
	}
}

func TestHardwareAddressesGiveWayToNames(t *testing.T) {
	for n, want := range map[int][2]int{0: {0, 0}, 1: {1, 1}, 8: {8, 8}, 60: {60, 0}, 300: {0, 0}} {
		var names []string
		var macs [][6]byte
		for i := range n {
			names, macs = append(names, fmt.Sprintf("eth%d", i)), append(macs, [6]byte{2, 0, 0, 0, byte(i >> 8), byte(i)})
		}
		m := meta{Ready: true, Writes: "0123456789abcdef", Interfaces: packNames(names), MACs: packMACs(macs)}
		b := m.encode()
		got := decodeMeta(b)
		if is := [2]int{len(unpackNames(got.Interfaces)), len(unpackMACs(got.MACs))}; len(b) > memberlist.MetaMaxSize || is != want {
			t.Errorf("%d interfaces: tells %v in %d bytes, want %v", n, is, len(b), want)
		}
		if n == 0 && got.MACs == "" {
			t.Error("one without hardware addresses does not tell so")
		}
	}
	for _, bad := range []string{"", noMACs, "AgAAAAA", "AgAAAAAC=", "AgAA", "?"} {
		if got := unpackMACs(bad); got != nil {
			t.Errorf("%q gives %v", bad, got)
		}
	}
}

func FuzzPackNames(f *testing.F) {
	f.Add("eth0", "eth1", "0eth0/31")
	f.Add("ifé", "ifè", "0a/f")
	f.Fuzz(func(t *testing.T, a, b, packed string) {
		got := unpackNames(packNames([]string{a, b}))
		for _, name := range got {
			if name != a && name != b {
				t.Errorf("%q out of %q and %q", name, a, b)
			}
		}
		again := unpackNames(packNames(got))
		if !slices.Equal(got, again) {
			t.Errorf("%q, and again %q", got, again)
		}
		unpackNames(packed)
	})
}
