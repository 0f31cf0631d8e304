package members

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestNeighbours(t *testing.T) {
	for name, tt := range map[string]struct {
		nodes int
		want  int
	}{
		"one node watches nobody":                  {1, 0},
		"two watch each other":                     {2, 1},
		"three watch each other":                   {3, 2},
		"four too":                                 {4, 3},
		"five too":                                 {5, 4},
		"of six each watches four":                 {6, 4},
		"of a hundred too, not the ninety-nine":    {100, 4},
		"nobody watches a node that is not of it":  {0, 0},
		"and a thousand cost a node what six cost": {1000, 4},
	} {
		t.Run(name, func(t *testing.T) {
			var nodes []string
			for i := range tt.nodes {
				nodes = append(nodes, node(i))
			}
			order := ring(nodes)
			for _, n := range append(nodes, "stranger") {
				got := neighbours(order, n)
				want := tt.want
				if n == "stranger" {
					want = 0
				}
				if len(got) != want || slices.Contains(got, n) {
					t.Errorf("%s watches %v, not %d", n, got, want)
				}
				for _, other := range got {
					if !slices.Contains(neighbours(order, other), n) {
						t.Errorf("%s watches %s, but not the other way round", n, other)
					}
				}
			}
		})
	}
}

func TestTheRingIsTheSameForAll(t *testing.T) {
	var nodes []string
	for i := range 20 {
		nodes = append(nodes, node(i))
	}
	want := ring(nodes)
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // reproducible
	for range 100 {
		random.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
		if got := ring(append(nodes, nodes[0])); !slices.Equal(got, want) {
			t.Fatalf("%v gives %v, not %v", nodes, got, want)
		}
	}
	if slices.IsSorted(want) {
		t.Error("machines are watched by those numbered next to them")
	}
}

func TestWhoIsGone(t *testing.T) {
	for name, tt := range map[string]struct {
		nodes  int
		silent map[int][]int
		want   []int
	}{
		"nobody, if nobody says so":                                     {3, nil, nil},
		"of two, the one that the other does not hear":                  {2, map[int][]int{0: {1}}, []int{1}},
		"of two that do not hear each other, the second":                {2, map[int][]int{0: {1}, 1: {0}}, []int{1}},
		"of three, not the one that only one does not hear":             {3, map[int][]int{0: {1}}, nil},
		"of three, the one that both others do not hear":                {3, map[int][]int{0: {1}, 2: {1}}, []int{1}},
		"of three, the one without a cable, whatever it says":           {3, map[int][]int{0: {1}, 2: {1}, 1: {0, 2}}, []int{1}},
		"of three, nobody, where only two do not hear each other":       {3, map[int][]int{0: {1}, 1: {0}}, nil},
		"of five, not the one that two do not hear":                     {5, map[int][]int{0: {4}, 1: {4}}, nil},
		"of five, the one that three do not hear":                       {5, map[int][]int{0: {4}, 1: {4}, 2: {4}}, []int{4}},
		"of five, the two that lost power together":                     {5, map[int][]int{0: {3, 4}, 1: {3, 4}, 2: {3, 4}}, []int{3, 4}},
		"of five, the two behind the broken switch":                     {5, map[int][]int{0: {3, 4}, 1: {3, 4}, 2: {3, 4}, 3: {0, 1, 2}, 4: {0, 1, 2}}, []int{3, 4}},
		"what nodes say that are not of the group does not count":       {2, map[int][]int{7: {0, 1}}, nil},
		"nor what is said of them":                                      {2, map[int][]int{0: {7}}, nil},
		"alone, nobody is gone":                                         {1, map[int][]int{0: {0}}, nil},
		"of four, two do not make a majority of three watchers' minds":  {4, map[int][]int{0: {3}}, nil},
		"of four, two of three watchers do":                             {4, map[int][]int{0: {3}, 1: {3}}, []int{3}},
		"of three that hear nobody, the one whose name comes last goes": {3, map[int][]int{0: {1, 2}, 1: {0, 2}, 2: {0, 1}}, []int{2}},
	} {
		t.Run(name, func(t *testing.T) {
			var nodes []string
			for i := range tt.nodes {
				nodes = append(nodes, node(i))
			}
			silent := map[string][]string{}
			for who, of := range tt.silent {
				for _, n := range of {
					silent[node(who)] = append(silent[node(who)], node(n))
				}
			}
			got := gone(nodes, silent)
			var want []string
			for _, n := range tt.want {
				want = append(want, node(n))
			}
			if !slices.Equal(slices.Sorted(maps.Keys(got)), want) {
				t.Errorf("gone are %v, not %v", got, want)
			}
		})
	}
}

// Whatever anybody says: of a group that hears itself, not all are gone.
func TestSomebodyIsLeft(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // reproducible
	for range 20000 {
		n := 1 + random.IntN(9)
		var nodes []string
		for i := range n {
			nodes = append(nodes, fmt.Sprintf("n%d", i))
		}
		silent := map[string][]string{}
		for _, a := range nodes {
			for _, b := range nodes {
				if a != b && random.IntN(3) > 0 {
					silent[a] = append(silent[a], b)
				}
			}
		}
		if got := gone(nodes, silent); len(got) == n {
			t.Fatalf("nobody of %v is left: %v", nodes, silent)
		}
	}
}
