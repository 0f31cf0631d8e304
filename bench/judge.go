package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
)

// Samples are the values of measurements, one of each run.
type Samples map[Measure]map[int][]float64

// Add adds the value of one run, with so many Services present.
func (s Samples) Add(m Measure, services int, value float64) {
	if s[m] == nil {
		s[m] = map[int][]float64{}
	}
	s[m][services] = append(s[m][services], value)
}

// Verdict is what came of a bar.
type Verdict struct {
	Bar
	// Median and Worst of the runs; the median of an even number of runs is the higher of the two in the middle.
	Median, Worst float64
	// Measured is false where there was no run, which misses the bar.
	Measured, Met bool
}

// Judge holds samples against bars, in the order of the bars.
func Judge(bars []Bar, s Samples) []Verdict {
	out := make([]Verdict, len(bars))
	for i, b := range bars {
		out[i].Bar = b
		values := slices.Sorted(slices.Values(s[b.Measure][b.Services]))
		if len(values) == 0 {
			continue
		}
		out[i].Measured = true
		out[i].Median, out[i].Worst = values[len(values)/2], values[len(values)-1]
		// A NaN sorts first and is never at most anything.
		out[i].Met = out[i].Median <= b.Most && !math.IsNaN(values[0])
	}
	return out
}

// Report prints verdicts, one a line, and says whether all bars are met. No bar at all is not met either.
func Report(w io.Writer, verdicts []Verdict) bool {
	all := len(verdicts) > 0
	for _, v := range verdicts {
		word, what := "met   ", string(v.Measure)
		if !v.Met {
			word, all = "MISSED", false
		}
		if v.Services > 0 {
			what = fmt.Sprintf("%s, with %d Services", what, v.Services)
		}
		if !v.Measured {
			fmt.Fprintf(w, "%s  %-60s not measured\n", word, what)
			continue
		}
		fmt.Fprintf(w, "%s  %-60s median %.4g, worst %.4g, bar %.4g\n", word, what, v.Median, v.Worst, v.Most)
	}
	return all
}

// Percentile returns the value that the share p (0 to 1) of the values does not exceed, by the nearest rank; NaN of none.
func Percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(p * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}
