package bench

import (
	"math"
	"strings"
	"testing"
)

func TestJudge(t *testing.T) {
	bar := Bar{PacedP50, 5000, 10}
	for name, tt := range map[string]struct {
		values        []float64
		median, worst float64
		met           bool
	}{
		"no run misses the bar":                  {nil, 0, 0, false},
		"the bar itself is met":                  {[]float64{10}, 10, 10, true},
		"a little more is not":                   {[]float64{10.001}, 10.001, 10.001, false},
		"the median counts, not the worst":       {[]float64{30, 9, 8}, 9, 30, true},
		"nor the best":                           {[]float64{1, 30, 11}, 11, 30, false},
		"of two runs the worse counts":           {[]float64{9, 11}, 11, 11, false},
		"what could not be computed does not do": {[]float64{1, math.NaN(), 1}, 1, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := Samples{}
			for _, v := range tt.values {
				s.Add(PacedP50, 5000, v)
			}
			s.Add(PacedP50, 1000, 0) // of another size: no matter
			v := Judge([]Bar{bar}, s)[0]
			if v.Met != tt.met || v.Median != tt.median || v.Worst != tt.worst || v.Measured != (len(tt.values) > 0) {
				t.Errorf("verdict is %+v", v)
			}
			var out strings.Builder
			if Report(&out, []Verdict{v}) != tt.met || strings.HasPrefix(out.String(), "met") != tt.met {
				t.Errorf("report says %q", out.String())
			}
		})
	}
	if Report(&strings.Builder{}, nil) {
		t.Error("no bar at all counts as met")
	}
	met, missed := Verdict{Measured: true, Met: true}, Verdict{Measured: true}
	if Report(&strings.Builder{}, []Verdict{missed, met}) || !Report(&strings.Builder{}, []Verdict{met, met}) {
		t.Error("all bars must be met, and no more than that")
	}
}

func TestEveryBarIsMetBySomethingAndMissedBySomething(t *testing.T) {
	seen := map[Bar]bool{}
	for _, b := range Addresses {
		if b.Most < 0 || math.IsInf(b.Most, 0) || seen[Bar{b.Measure, b.Services, 0}] {
			t.Errorf("%+v cannot be met, or missed, or stands there twice", b)
		}
		seen[Bar{b.Measure, b.Services, 0}] = true
	}
}

func TestPercentile(t *testing.T) {
	values := []float64{50, 15, 40, 20, 35}
	for _, tt := range []struct{ p, want float64 }{{0, 15}, {0.05, 15}, {0.30, 20}, {0.40, 20}, {0.50, 35}, {0.99, 50}, {1, 50}} {
		if got := Percentile(values, tt.p); got != tt.want {
			t.Errorf("percentile %v is %v, want %v", tt.p, got, tt.want)
		}
	}
	if values[0] != 50 {
		t.Error("the values were sorted in place")
	}
	if !math.IsNaN(Percentile(nil, 0.5)) {
		t.Error("nothing has a percentile")
	}
}
