package apiserver

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
)

// script answers requests one after the other.
type script struct {
	t       *testing.T
	answers []error
	asked   int
}

func (s *script) RoundTrip(*http.Request) (*http.Response, error) {
	s.asked++
	if s.asked > len(s.answers) {
		s.t.Fatalf("asked %d times, for %d answers", s.asked, len(s.answers))
	}
	switch err := s.answers[s.asked-1]; {
	case err == nil:
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	case errors.Is(err, errForbidden):
		return &http.Response{StatusCode: http.StatusForbidden, Body: http.NoBody}, nil
	default:
		return nil, err
	}
}

var errForbidden = errors.New("forbidden")

func TestAnAPIServerThatIsAwayIsWaitedFor(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	untrusted := x509.UnknownAuthorityError{}
	for name, tt := range map[string]struct {
		method  string
		answers []error
		asked   int
		err     error
	}{
		"it is there":                                          {http.MethodGet, []error{nil}, 1, nil},
		"it comes back":                                        {http.MethodGet, []error{refused, refused, refused, nil}, 4, nil},
		"a write fails at once":                                {http.MethodPatch, []error{refused, nil}, 1, refused},
		"nobody waits for a certificate":                       {http.MethodGet, []error{untrusted, nil}, 1, untrusted},
		"nor for a certificate of one that is new":             {http.MethodGet, []error{refused, untrusted, nil}, 2, untrusted},
		"it comes back, and has to find out first who may ask": {http.MethodGet, []error{refused, errForbidden, errForbidden, nil}, 4, nil},
		"it comes back, and refuses for good":                  {http.MethodGet, append([]error{refused}, slices.Repeat([]error{errForbidden}, 22)...), 23, errForbidden},
		"it is there, and refuses":                             {http.MethodGet, []error{errForbidden, nil}, 1, errForbidden},
		"a connection that ended":                              {http.MethodGet, []error{io.ErrUnexpectedEOF, nil}, 1, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{t: t, answers: tt.answers}
				r, err := http.NewRequestWithContext(t.Context(), tt.method, "https://192.0.2.1/api", nil)
				if err != nil {
					t.Fatal(err)
				}
				res, err := patient{s}.RoundTrip(r)
				if res != nil {
					_ = res.Body.Close()
					if res.StatusCode == http.StatusForbidden {
						err = errForbidden
					}
				}
				if s.asked != tt.asked || !errors.Is(err, tt.err) {
					t.Errorf("asked %d times, error %v; not %d times, error %v", s.asked, err, tt.asked, tt.err)
				}
			})
		})
	}
}

func TestWhoEndsDoesNotWaitForTheAPIServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*dialPause/2)
		defer cancel()
		refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		s := &script{t: t, answers: []error{refused, refused}}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://192.0.2.1/api", nil)
		if err != nil {
			t.Fatal(err)
		}
		if res, err := (patient{s}).RoundTrip(r); !errors.Is(err, refused) {
			_ = res.Body.Close()
			t.Errorf("error %v; not %v", err, refused)
		}
		if s.asked != 2 {
			t.Errorf("asked %d times; not 2", s.asked)
		}
	})
}
