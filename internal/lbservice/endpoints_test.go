package lbservice

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	discoveryv1 "k8s.io/api/discovery/v1"

	"metallb.io/operator/internal/announce"
)

func TestEndpoints(t *testing.T) {
	yes, no := true, false
	endpoint := func(node string, ready, serving, terminating *bool) discoveryv1.Endpoint {
		e := discoveryv1.Endpoint{Conditions: discoveryv1.EndpointConditions{Ready: ready, Serving: serving, Terminating: terminating}}
		if node != "" {
			e.NodeName = &node
		}
		return e
	}
	for name, c := range map[string]struct {
		slices [][]discoveryv1.Endpoint
		want   announce.Endpoints
	}{
		"no slices":                                 {nil, announce.Endpoints{}},
		"an empty slice":                            {[][]discoveryv1.Endpoint{{}}, announce.Endpoints{}},
		"ready":                                     {[][]discoveryv1.Endpoint{{endpoint("a", &yes, &yes, &no)}}, announce.Endpoints{Any: true, Nodes: []string{"a"}}},
		"not saying anything is ready":              {[][]discoveryv1.Endpoint{{endpoint("a", nil, nil, nil)}}, announce.Endpoints{Any: true, Nodes: []string{"a"}}},
		"not ready":                                 {[][]discoveryv1.Endpoint{{endpoint("a", &no, nil, nil)}}, announce.Endpoints{}},
		"not ready and not serving":                 {[][]discoveryv1.Endpoint{{endpoint("a", &no, &no, &yes)}}, announce.Endpoints{}},
		"terminating but still serving":             {[][]discoveryv1.Endpoint{{endpoint("a", &no, &yes, &yes)}}, announce.Endpoints{Any: true, Nodes: []string{"a"}}},
		"terminating, not saying that it serves":    {[][]discoveryv1.Endpoint{{endpoint("a", &no, nil, &yes)}}, announce.Endpoints{Any: true, Nodes: []string{"a"}}},
		"serving but neither ready nor terminating": {[][]discoveryv1.Endpoint{{endpoint("a", &no, &yes, &no)}}, announce.Endpoints{}},
		"ready though it does not serve (publishNotReadyAddresses)": {[][]discoveryv1.Endpoint{{endpoint("a", &yes, &no, &no)}}, announce.Endpoints{Any: true, Nodes: []string{"a"}}},
		"a ready one here, one that still serves there":             {[][]discoveryv1.Endpoint{{endpoint("a", &yes, &yes, &no), endpoint("b", &no, &yes, &yes)}}, announce.Endpoints{Any: true, Nodes: []string{"a", "b"}}},
		"an endpoint outside of the cluster":                        {[][]discoveryv1.Endpoint{{endpoint("", &yes, nil, nil)}}, announce.Endpoints{Any: true}},
		"several slices, each node once":                            {[][]discoveryv1.Endpoint{{endpoint("b", &yes, nil, nil), endpoint("a", &no, nil, nil)}, {endpoint("b", nil, nil, nil), endpoint("c", &yes, nil, nil)}}, announce.Endpoints{Any: true, Nodes: []string{"b", "c"}}},
		"nodes are sorted, as announce wants":                       {[][]discoveryv1.Endpoint{{endpoint("c", nil, nil, nil), endpoint("a", nil, nil, nil), endpoint("b", nil, nil, nil)}}, announce.Endpoints{Any: true, Nodes: []string{"a", "b", "c"}}},
	} {
		t.Run(name, func(t *testing.T) {
			var in []*discoveryv1.EndpointSlice
			for _, e := range c.slices {
				in = append(in, &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Endpoints: e})
			}
			four, six := Endpoints(in...)
			if d := cmp.Diff(c.want, four, cmpopts.EquateEmpty()); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(announce.Endpoints{}, six); d != "" {
				t.Errorf("IPv6: %s", d)
			}
			kept := 0
			for _, s := range in {
				s.Endpoints = Essence(s.Endpoints)
				kept += len(s.Endpoints)
			}
			if again, _ := Endpoints(in...); !again.Equal(four) || kept > max(1, len(in)*len(four.Nodes)) {
				t.Errorf("%d are kept and say %v", kept, again)
			}
		})
	}
}

func TestEndpointsOfEachFamily(t *testing.T) {
	slice := func(family discoveryv1.AddressType, node string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{AddressType: family, Endpoints: []discoveryv1.Endpoint{{NodeName: &node}}}
	}
	four, six := Endpoints(slice(discoveryv1.AddressTypeIPv6, "b"), slice(discoveryv1.AddressTypeFQDN, "c"), slice(discoveryv1.AddressTypeIPv4, "a"))
	if d := cmp.Diff([]announce.Endpoints{{Any: true, Nodes: []string{"a"}}, {Any: true, Nodes: []string{"b"}}}, []announce.Endpoints{four, six}); d != "" {
		t.Error(d)
	}
}
