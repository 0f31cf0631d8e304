package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const host = "metallb-webhook-service.metallb-system.svc"

var (
	epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	hosts = []string{host}
	life  = Lifetimes{Authority: 300 * time.Hour, Serving: 60 * time.Hour}
)

// made is what a Secret holds whose authority and serving certificate were made at these times.
func made(t *testing.T, authority, serving time.Time, l Lifetimes) material {
	t.Helper()
	cert, key, err := newAuthority(authority, l.Authority)
	if err != nil {
		t.Fatal(err)
	}
	m := material{}.withAuthority(cert, key, nil, authority)
	leaf, leafKey, err := newServing(cert, key, hosts, serving, l.Serving)
	if err != nil {
		t.Fatal(err)
	}
	return m.withServing(leaf, leafKey)
}

// rotated is the material with a newer authority in front.
func rotated(t *testing.T, m material, at time.Time) material {
	t.Helper()
	cert, key, err := newAuthority(at, life.Authority)
	if err != nil {
		t.Fatal(err)
	}
	return m.withAuthority(cert, key, nil, at)
}

func TestDecide(t *testing.T) {
	fresh := made(t, epoch, epoch, life)
	keyless := fresh
	keyless.key = nil
	unserved := fresh
	unserved.serving = nil
	twice := rotated(t, made(t, epoch, epoch.Add(190*time.Hour), life), epoch.Add(200*time.Hour)) // it ends after 250 hours
	long := made(t, epoch, epoch, Lifetimes{Authority: 1000 * time.Hour, Serving: 60 * time.Hour})
	longLeaf := made(t, epoch, epoch, Lifetimes{Authority: 300 * time.Hour, Serving: 200 * time.Hour})
	hour := func(n float64) time.Time { return epoch.Add(time.Duration(n * float64(time.Hour))) }
	never := time.Time{}
	for name, c := range map[string]struct {
		m           material
		placed, now time.Time
		want        step
		after       time.Time // to look again; zero: not looked at
	}{
		"nothing at all":                                           {material{}, never, epoch, makeAuthority, epoch},
		"the authority's key is lost":                              {keyless, epoch, epoch, makeAuthority, epoch},
		"no serving certificate":                                   {unserved, never, epoch, makeServing, epoch},
		"all is fresh":                                             {fresh, epoch, epoch, keep, due(fresh.serving.Leaf, life.Serving, epoch)},
		"all is fresh, nobody has been told":                       {fresh, never, epoch, keep, due(fresh.serving.Leaf, life.Serving, epoch)},
		"the certificate is due":                                   {fresh, epoch, hour(45), makeServing, hour(45)},
		"it is due, but nobody has been told":                      {fresh, never, hour(45), keep, never},
		"it is due, but told just now":                             {fresh, hour(45), hour(45), keep, hour(45).Add(life.settle())},
		"the authority is due":                                     {made(t, epoch, hour(190), life), epoch, hour(200.1), makeAuthority, hour(200.1)},
		"a new authority is told":                                  {twice, hour(200), hour(200), keep, hour(200).Add(life.settle())},
		"a new authority is known":                                 {twice, hour(200), hour(200).Add(life.settle()), makeServing, hour(200).Add(life.settle())},
		"a new authority is told, and what is presented ends soon": {twice, hour(250).Add(-time.Minute), hour(250).Add(-time.Minute), keep, hour(250).Add(-30 * time.Second)},
		"half of what was left of it is over":                      {twice, hour(250).Add(-time.Minute), hour(250).Add(-30 * time.Second), makeServing, hour(250).Add(-30 * time.Second)},
		"a new authority cannot be told":                           {twice, never, hour(200), keep, never},
		"the old authority is over":                                {withServing(t, twice, hour(299)), epoch, hour(300), dropExpired, hour(300)},
		"the lifetime was made shorter":                            {long, epoch, epoch, makeAuthority, epoch},
		"the certificate's was made shorter":                       {longLeaf, epoch, hour(1), makeServing, hour(1)},
	} {
		t.Run(name, func(t *testing.T) {
			got, after := decide(c.m, c.placed, life, c.now)
			if got != c.want || !c.after.IsZero() && !after.Equal(c.after) {
				t.Errorf("got %d and %s, want %d and %s", got, after, c.want, c.after)
			}
		})
	}
}

func withServing(t *testing.T, m material, at time.Time) material {
	t.Helper()
	cert, key, err := newServing(m.authorities[0], m.key, hosts, at, life.Serving)
	if err != nil {
		t.Fatal(err)
	}
	return m.withServing(cert, key)
}

func TestOldAuthoritiesAreKeptAsLongAsNeeded(t *testing.T) {
	m := made(t, epoch, epoch, life)
	m = rotated(t, m, epoch.Add(200*time.Hour))
	if len(m.authorities) != 2 {
		t.Fatalf("%d authorities after the new one was made", len(m.authorities))
	}
	if m = withServing(t, m, epoch.Add(201*time.Hour)); len(m.authorities) != 2 {
		t.Fatalf("%d authorities when the first certificate of the new one is presented: a replica may still present the old one", len(m.authorities))
	}
	if m = withServing(t, m, epoch.Add(240*time.Hour)); len(m.authorities) != 1 {
		t.Fatalf("%d authorities after that certificate was replaced too", len(m.authorities))
	}
	for range 2 * mostAuthorities {
		m = rotated(t, m, epoch.Add(241*time.Hour))
	}
	if len(m.authorities) != mostAuthorities {
		t.Errorf("%d authorities", len(m.authorities))
	}
}

func TestParse(t *testing.T) {
	good, err := made(t, epoch, epoch, life).data()
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := made(t, epoch, epoch, life).data()
	if err != nil {
		t.Fatal(err)
	}
	with := func(key string, value []byte) map[string][]byte {
		out := maps.Clone(good)
		out[key] = value
		return out
	}
	type usable struct {
		authorities  int
		key, serving bool
	}
	for name, c := range map[string]struct {
		data  map[string][]byte
		hosts []string
		now   time.Time
		want  usable
	}{
		"as it was made":               {good, hosts, epoch, usable{1, true, true}},
		"nothing":                      {nil, hosts, epoch, usable{}},
		"garbage for authorities":      {with(AuthoritiesKey, []byte("x")), hosts, epoch, usable{}},
		"text before the authorities":  {with(AuthoritiesKey, append([]byte("x\n"), good[AuthoritiesKey]...)), hosts, epoch, usable{1, true, true}},
		"another's authority":          {with(AuthoritiesKey, foreign[AuthoritiesKey]), hosts, epoch, usable{1, false, false}},
		"a certificate as authority":   {with(AuthoritiesKey, good[corev1.TLSCertKey]), hosts, epoch, usable{}},
		"another's authority's key":    {with(AuthorityKeyKey, foreign[AuthorityKeyKey]), hosts, epoch, usable{1, false, true}},
		"no authority's key":           {with(AuthorityKeyKey, nil), hosts, epoch, usable{1, false, true}},
		"another's certificate":        {with(corev1.TLSCertKey, foreign[corev1.TLSCertKey]), hosts, epoch, usable{1, true, false}},
		"another's key":                {with(corev1.TLSPrivateKeyKey, foreign[corev1.TLSPrivateKeyKey]), hosts, epoch, usable{1, true, false}},
		"garbage for a certificate":    {with(corev1.TLSCertKey, []byte("x")), hosts, epoch, usable{1, true, false}},
		"made for another name":        {good, []string{"other.metallb-system.svc"}, epoch, usable{1, true, false}},
		"the certificate is over":      {good, hosts, epoch.Add(61 * time.Hour), usable{1, true, false}},
		"the authority is over":        {good, hosts, epoch.Add(301 * time.Hour), usable{1, false, false}},
		"the clock was set back a day": {good, hosts, epoch.Add(-24 * time.Hour), usable{1, false, false}},
	} {
		t.Run(name, func(t *testing.T) {
			m := parse(c.data, c.hosts, c.now)
			if got := (usable{len(m.authorities), m.key != nil, m.serving != nil}); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// A client of Go accepts what is made, with the time of a clock that is a little slow.
func TestWhatIsMadeIsAccepted(t *testing.T) {
	now := time.Now()
	m := made(t, now, now, DefaultLifetimes)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(m.bundle()) {
		t.Fatal("the bundle is no PEM")
	}
	for _, slow := range []time.Duration{0, 59 * time.Minute} {
		_, err := m.serving.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: host, CurrentTime: now.Add(-slow)})
		if err != nil {
			t.Errorf("%s slow: %v", slow, err)
		}
	}
	data, err := m.data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey]); err != nil {
		t.Error(err)
	}
	if n := m.authorities[0].NotAfter.Sub(now).Round(time.Hour); n != DefaultLifetimes.Authority {
		t.Errorf("the authority lives for %s", n)
	}
}
