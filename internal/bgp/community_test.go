package bgp

import (
	"strings"
	"testing"
)

func TestParseCommunity(t *testing.T) {
	const shape = "is not a community: write two numbers, as in 64512:100 (RFC 1997), or three after large:, as in large:64512:1:2 (RFC 8092)"
	for name, tt := range map[string]struct {
		text string
		want Community
		err  string
	}{
		"of two halves":               {"64512:100", Community{Parts: [3]uint32{64512, 100}}, ""},
		"the least":                   {"0:0", Community{}, ""},
		"the greatest":                {"65535:65535", Community{Parts: [3]uint32{65535, 65535}}, ""},
		"large":                       {"large:4294967295:0:7", Community{Large: true, Parts: [3]uint32{4294967295, 0, 7}}, ""},
		"large, of all zeros":         {"large:0:0:0", Community{Large: true}, ""},
		"zeros in front":              {"007:0100", Community{Parts: [3]uint32{7, 100}}, ""},
		"nothing":                     {"", Community{}, shape},
		"one number":                  {"64512", Community{}, shape},
		"three numbers without large": {"64512:1:2", Community{}, shape},
		"large with two numbers":      {"large:1:2", Community{}, shape},
		"large with four":             {"large:1:2:3:4", Community{}, shape},
		"large in capitals":           {"LARGE:1:2:3", Community{}, shape},
		"a word":                      {"no-export", Community{}, shape},
		"an alias with a colon":       {"my:alias", Community{}, `has the part "my", which is not a number from 0 to 65535: write for instance 64512:100`},
		"a half too great":            {"64512:65536", Community{}, `has the part "65536", which is not a number from 0 to 65535: write for instance 64512:100`},
		"a part too great":            {"large:1:2:4294967296", Community{}, `has the part "4294967296", which is not a number from 0 to 4294967295: write for instance large:64512:1:2`},
		"a sign":                      {"+1:2", Community{}, `has the part "+1", which is not a number from 0 to 65535: write for instance 64512:100`},
		"a blank":                     {"1: 2", Community{}, `has the part " 2", which is not a number from 0 to 65535: write for instance 64512:100`},
		"hexadecimal":                 {"0x1:2", Community{}, `has the part "0x1", which is not a number from 0 to 65535: write for instance 64512:100`},
		"an empty half":               {"64512:", Community{}, `has the part "", which is not a number from 0 to 65535: write for instance 64512:100`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseCommunity(tt.text)
			text := ""
			if err != nil {
				text = err.Error()
			}
			if got != tt.want || text != tt.err {
				t.Errorf("%q is %v, %q; not %v, %q", tt.text, got, text, tt.want, tt.err)
			}
		})
	}
}

func FuzzParseCommunity(f *testing.F) {
	for _, seed := range []string{"64512:100", "65535:65535", "large:4294967295:0:7", "large:", ":", "large:1:2", "1:2:3", "", "+1:-2", "１:2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCommunity(text)
		if err != nil {
			if c != (Community{}) || !strings.Contains(err.Error(), "write") {
				t.Errorf("%q: %v beside error %q", text, c, err)
			}
			return
		}
		if !c.Large && (c.Parts[0] > 65535 || c.Parts[1] > 65535 || c.Parts[2] != 0) {
			t.Errorf("%q has parts %v", text, c.Parts)
		}
		if again, err := ParseCommunity(c.String()); again != c || err != nil {
			t.Errorf("%q is %v, and %q is %v (error %v)", text, c, c.String(), again, err)
		}
	})
}
