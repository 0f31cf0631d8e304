package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// api speaks to the API server in JSON, with all rights.
type api struct {
	server string
	client *http.Client
}

func (c *Cluster) newAPI() (*api, error) {
	certificate, err := tls.LoadX509KeyPair(c.dir.pki("admin.crt"), c.dir.pki("admin.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(c.dir.pki("ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	// No proxy of this host's, and no connection that outlives a test.
	transport := &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}}}
	return &api{"https://" + c.plan.apiServer().String(), &http.Client{Transport: transport, Timeout: 10 * time.Second}}, nil
}

// apiError is an answer that is not a success.
type apiError struct {
	code    int
	message string
}

func (e *apiError) Error() string { return fmt.Sprintf("API server: %d: %s", e.code, e.message) }

// do makes a request and decodes the answer into into, unless that is nil.
func (a *api) do(ctx context.Context, method, path, body string, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, a.server+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		request.Header.Set("Content-Type", "application/merge-patch+json")
	}
	response, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return &apiError{response.StatusCode, string(bytes.TrimSpace(b))}
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(b, into)
}

// putNode makes a Node object, or gives one that its kubelet made first its Pod ranges.
func (a *api) putNode(ctx context.Context, name, object string) error {
	err := a.do(ctx, http.MethodPost, "/api/v1/nodes", object, nil)
	var refused *apiError
	if errors.As(err, &refused) && refused.code == http.StatusConflict {
		err = a.do(ctx, http.MethodPatch, "/api/v1/nodes/"+name, object, nil)
	}
	if err != nil {
		return fmt.Errorf("make node %s: %w", name, err)
	}
	return nil
}

// readyNodes says of each node whether its condition Ready is True.
func (a *api) readyNodes(ctx context.Context) (map[string]bool, error) {
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				Conditions []struct{ Type, Status string }
			}
		}
	}
	if err := a.do(ctx, http.MethodGet, "/api/v1/nodes", "", &list); err != nil {
		return nil, err
	}
	ready := map[string]bool{}
	for _, node := range list.Items {
		for _, condition := range node.Status.Conditions {
			if condition.Type == "Ready" {
				ready[node.Metadata.Name] = condition.Status == "True"
			}
		}
	}
	return ready, nil
}

// poll calls check every interval until it succeeds. When ctx ends first the error is check's last.
func poll(ctx context.Context, interval time.Duration, what string, check func() error) error {
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", what, ctx.Err(), err)
		case <-time.After(interval):
		}
	}
}

// WaitNode waits until a node's condition Ready is True, or until it is not.
func (c *Cluster) WaitNode(ctx context.Context, node string, ready bool) error {
	a, err := c.newAPI()
	if err != nil {
		return err
	}
	return poll(ctx, 100*time.Millisecond, fmt.Sprintf("%s to be ready=%t", node, ready), func() error {
		nodes, err := a.readyNodes(ctx)
		if err != nil {
			return err
		}
		if nodes[node] != ready {
			return fmt.Errorf("it is ready=%t", nodes[node])
		}
		return nil
	})
}
