package metallb

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"metallb.io/operator/internal/render"
	"metallb.io/operator/internal/rollout"
	"metallb.io/operator/internal/scrape"
)

// token returns one of a ServiceAccount that is made for it.
func (c *cluster) token(t *testing.T, namespace, name string) string {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	request := &authenticationv1.TokenRequest{}
	if err := c.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	if err := c.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// Operator, controller and speaker have the rights to find out who asks, and only who is bound to the role that is shipped
// for it gets an answer, over TLS.
func TestOnlyWhoMayReadMetricsGetsThem(t *testing.T) {
	c := newCluster(t)
	c.start(t)
	m := c.create(t, c.newNamespace(t), rollout.Name)
	c.installed(t, m)
	reader, stranger := c.token(t, m.Namespace, "prometheus"), c.token(t, m.Namespace, "stranger")
	if err := c.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "metrics-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "metallb-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: m.Namespace, Name: "prometheus"}},
	}); err != nil {
		t.Fatal(err)
	}
	for name, as := range map[string]rest.ImpersonationConfig{
		"operator":        serviceAccount(operatorNamespace, "metallb-operator"),
		render.Controller: serviceAccount(m.Namespace, render.Controller),
		render.Speaker:    serviceAccount(m.Namespace, render.Speaker),
	} {
		config := rest.CopyConfig(c.admin)
		config.Impersonate = as
		address := serveMetrics(t, config)
		scraper := &http.Client{Timeout: soon, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}} //nolint:gosec // it signs itself
		for token, want := range map[string]int{"": 401, "forged": 401, stranger: 403, reader: 200} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/metrics", nil)
			if err != nil {
				t.Fatal(err)
			}
			if token != "" {
				request.Header.Set("Authorization", "Bearer "+token)
			}
			var answer *http.Response
			eventually(t, func() (err error) {
				answer, err = scraper.Do(request)
				return err
			})
			_ = answer.Body.Close()
			if answer.StatusCode != want {
				t.Errorf("%s, a token of %d bytes: status %d, want %d", name, len(token), answer.StatusCode, want)
			}
		}
		if answer, err := http.Get("http://" + address + "/metrics"); err == nil { //nolint:noctx // it is over at once
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				t.Errorf("%s gives its metrics without TLS", name)
			}
		}
	}
}

// serveMetrics serves with the rights of the configuration until the test ends, and returns where.
func serveMetrics(t *testing.T, config *rest.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is over at once
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	server, err := metricsserver.NewServer(metricsserver.Options{BindAddress: address, SecureServing: true, FilterProvider: scrape.Filter}, config, client)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		client.CloseIdleConnections()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(soon):
			t.Error("metrics are still served")
		}
	})
	return address
}
