package config

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"metallb.io/operator/api/v1beta1"
)

func TestReservations(t *testing.T) {
	at := func(hour int) *metav1.Time {
		return &metav1.Time{Time: time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC)}
	}
	app := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	pool := v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: v1beta1.IPAddressPoolSpec{
		Addresses: []string{"192.0.2.0/24"},
		Reservations: []v1beta1.Reservation{
			{Addresses: []string{"192.0.2.1"}, Namespace: "shop", ServiceName: "web", ExpiresAt: at(2)},
			{Addresses: []string{"192.0.2.2", "192.0.2.3"}, Namespace: "shop", ServiceSelector: app, ExpiresAt: at(4)},
			{Addresses: []string{"192.0.2.4"}, Namespace: "shop"},
			{Addresses: []string{"192.0.2.5"}, Namespace: "shop", ServiceName: "web", ServiceSelector: app},
			{Addresses: []string{"192.0.2.1"}, Namespace: "bank", ExpiresAt: at(3)},
		},
	}}
	services := []struct {
		namespace, name string
		labels          labels.Set
	}{{"shop", "web", nil}, {"shop", "other", labels.Set{"app": "web"}}, {"shop", "third", nil}, {"bank", "web", labels.Set{"app": "web"}}}
	for _, tt := range []struct {
		now  time.Time
		want map[string]string // reserved address: for whom, and who of the above that is
		next *metav1.Time
	}{
		{time.Time{}, map[string]string{"192.0.2.1": "Service shop/web: shop/web", "192.0.2.2": "Services of namespace shop with labels app=web: shop/other",
			"192.0.2.3": "Services of namespace shop with labels app=web: shop/other", "192.0.2.4": "Services of namespace shop: shop/web shop/other shop/third", "192.0.2.5": "Service shop/web:"}, at(2)},
		{at(2).Time, map[string]string{"192.0.2.1": "Services of namespace bank: bank/web", "192.0.2.2": "Services of namespace shop with labels app=web: shop/other",
			"192.0.2.3": "Services of namespace shop with labels app=web: shop/other", "192.0.2.4": "Services of namespace shop: shop/web shop/other shop/third", "192.0.2.5": "Service shop/web:"}, at(3)},
		{at(4).Time, map[string]string{"192.0.2.4": "Services of namespace shop: shop/web shop/other shop/third", "192.0.2.5": "Service shop/web:"}, nil},
	} {
		cfg, problems := Compile(Input{IPAddressPools: []v1beta1.IPAddressPool{pool}, Now: tt.now})
		got := map[string]string{}
		for i := range cfg.Pools[0].Reservations {
			r := &cfg.Pools[0].Reservations[i]
			text := r.For() + ":"
			for _, s := range services {
				if r.Includes(s.namespace, s.name, s.labels) {
					text += " " + s.namespace + "/" + s.name
				}
			}
			for _, addr := range r.Addresses {
				got[addr.String()] = text
			}
		}
		for addr, want := range tt.want {
			if got[addr] != want {
				t.Errorf("at %s %s is for %q, want %q", tt.now, addr, got[addr], want)
			}
		}
		if len(got) != len(tt.want) {
			t.Errorf("at %s reserved is %v", tt.now, got)
		}
		if next := cfg.NextExpiry(); tt.next == nil && !next.IsZero() || tt.next != nil && !next.Equal(tt.next.Time) {
			t.Errorf("at %s the next to expire is that of %s", tt.now, next)
		}
		over := 0
		for _, p := range problems {
			for _, e := range p.Errors {
				if strings.HasSuffix(e.Field, "expiresAt") {
					over++
				}
			}
		}
		if wantOver := map[bool]int{true: 0, false: tt.now.Hour() - 1}[tt.now.IsZero()]; over != wantOver {
			t.Errorf("at %s %d are said to be over, want %d: %v", tt.now, over, wantOver, problems)
		}
	}
}
