package service

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// books is a lock that counts what is written.
type books struct {
	resourcelock.Interface
	written []string
	err     error
}

func (b *books) write(holder string) error {
	if b.err == nil {
		b.written = append(b.written, holder)
	}
	return b.err
}

func (b *books) Create(_ context.Context, r resourcelock.LeaderElectionRecord) error {
	return b.write(r.HolderIdentity)
}
func (b *books) Update(_ context.Context, r resourcelock.LeaderElectionRecord) error {
	return b.write(r.HolderIdentity)
}
func (b *books) Identity() string { return "me" }
func (b *books) Describe() string { return "ns/lease" }

type sent struct{ urls []string }

func (s *sent) RoundTrip(r *http.Request) (*http.Response, error) {
	s.urls = append(s.urls, r.Method+" "+r.URL.Path)
	return nil, nil
}

func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		b, s := &books{}, &sent{}
		l := &Lease{Interface: b}
		held := func(when string, want bool) {
			t.Helper()
			if l.Held() != want {
				t.Errorf("%s: held %v", when, !want)
			}
			s.urls = nil
			for _, method := range []string{http.MethodPatch, http.MethodPost, http.MethodPut, http.MethodDelete} {
				_, err := l.Fence(s).RoundTrip(&http.Request{Method: method, URL: &url.URL{Path: "/api/v1/namespaces/a/services/b/status"}})
				if want != (err == nil) || err != nil && !strings.Contains(err.Error(), "does not hold ns/lease") {
					t.Errorf("%s: %s: %v", when, method, err)
				}
			}
			if want != (len(s.urls) == 4) {
				t.Errorf("%s: sent %v", when, s.urls)
			}
			s.urls = nil
			for _, r := range []*http.Request{
				{Method: http.MethodGet, URL: &url.URL{Path: "/api/v1/services"}},
				{Method: http.MethodPost, URL: &url.URL{Path: "/apis/authentication.k8s.io/v1/tokenreviews"}},
				{Method: http.MethodPost, URL: &url.URL{Path: "/apis/authorization.k8s.io/v1/subjectaccessreviews"}},
			} {
				if _, err := l.Fence(s).RoundTrip(r); err != nil {
					t.Errorf("%s: %v", when, err)
				}
			}
			if len(s.urls) != 3 {
				t.Errorf("%s: questions sent %v", when, s.urls)
			}
		}
		lost := func(when string, want bool) {
			t.Helper()
			if l.Lost() != want {
				t.Errorf("%s: lost %v", when, !want)
			}
		}
		record := resourcelock.LeaderElectionRecord{HolderIdentity: "me"}
		update := func(want ...string) {
			t.Helper()
			b.written = nil
			if err := l.Update(ctx, record); !errors.Is(err, b.err) {
				t.Error(err)
			}
			if strings.Join(b.written, " ") != strings.Join(want, " ") {
				t.Errorf("written %v, want %v", b.written, want)
			}
		}

		held("at first", false)
		b.err = errors.New("somebody was faster")
		if err := l.Create(ctx, record); !errors.Is(err, b.err) {
			t.Error(err)
		}
		held("after a failure", false)
		lost("after a failure", false)
		b.err = nil
		update("me")
		held("as the leader", true)
		lost("as the leader", false)
		time.Sleep(renewInterval - time.Millisecond)
		update()
		time.Sleep(time.Millisecond)
		update("me")
		time.Sleep(LeaseDuration - time.Millisecond)
		held("not renewed for a while", true)
		b.err = errors.New("the API server is away")
		update()
		time.Sleep(time.Millisecond)
		held("not renewed for as long as it lasts", false)
		lost("not renewed for as long as it lasts", true)
		b.err = nil
		update("me")
		held("renewed", true)
		lost("renewed", false)
		record.HolderIdentity = ""
		b.err = errors.New("the API server is away")
		update()
		held("given up, though nobody knows", false)
		lost("given up in time", false)
		record.HolderIdentity = "me"
		b.err = nil
		update("me")
		time.Sleep(RenewDeadline)
		record.HolderIdentity = ""
		update("")
		lost("given up too late", true)
	})
}
