// Package operand runs the real binary for benchmarks, as one of the operands of an installation: a process of its own, with
// the rights that the installation gives it, against a bare API server and etcd. It is imported by benchmarks only.
package operand

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/api/v1beta2"
	"metallb.io/operator/internal/testenv"
)

// Cluster is an API server with what an installation of an operand finds there.
type Cluster struct {
	// Admin is not subject to priority and fairness.
	Admin kubernetes.Interface
	// Objects is the same for our own kinds too.
	Objects client.Client
	// Dir is removed with the cluster.
	Dir string

	namespace string
	server    *testenv.Server
}

// New starts an API server with a namespace for the configuration.
func New(ctx context.Context, namespace string) (c *Cluster, err error) {
	c = &Cluster{namespace: namespace}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if c.Dir, err = os.MkdirTemp("", "bench-"); err != nil {
		return c, err
	}
	if c.server, err = testenv.Start(); err != nil {
		return c, err
	}
	if c.Admin, err = kubernetes.NewForConfig(binary(c.server.Config())); err != nil {
		return c, err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1beta1.AddToScheme(scheme), v1beta2.AddToScheme(scheme)); err != nil {
		return c, err
	}
	if c.Objects, err = client.New(c.server.Config(), client.Options{Scheme: scheme}); err != nil {
		return c, err
	}
	return c, c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
}

// Close ends the API server.
func (c *Cluster) Close() error {
	var err error
	if c.server != nil {
		err = c.server.Stop()
	}
	return errors.Join(err, os.RemoveAll(c.Dir))
}

// Create creates objects, one after the other.
func (c *Cluster) Create(ctx context.Context, objects ...client.Object) error {
	for _, o := range objects {
		if err := c.Objects.Create(ctx, o); err != nil {
			return fmt.Errorf("preparing the API server: %w", err)
		}
	}
	return nil
}

// binary has a client speak Protocol Buffers, as the operands do, without a limit of its own.
func binary(config *rest.Config) *rest.Config {
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf
	config.QPS = -1
	return config
}

// Identity is who an operand is: a ServiceAccount of the operand's name with the operand's roles.
type Identity struct {
	Config     *rest.Config
	Kubeconfig string // file
}

// Identify makes the ServiceAccount of an operand, binds its roles to it as installations have them, and gets a token.
func (c *Cluster) Identify(ctx context.Context, operand string) (id Identity, err error) {
	objects, err := roles(operand)
	if err != nil {
		return id, err
	}
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: c.namespace, Name: operand}}
	role := func(name string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
	}
	here := metav1.ObjectMeta{Namespace: c.namespace, Name: operand}
	if err := c.Create(ctx, append(objects,
		&corev1.ServiceAccount{ObjectMeta: here},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: operand}, RoleRef: role("metallb-" + operand), Subjects: subjects},
		&rbacv1.RoleBinding{ObjectMeta: here, RoleRef: role("metallb-" + operand + "-local"), Subjects: subjects},
	)...); err != nil {
		return id, err
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(int64(12 * time.Hour / time.Second))}}
	token, err := c.Admin.CoreV1().ServiceAccounts(c.namespace).CreateToken(ctx, operand, request, metav1.CreateOptions{})
	if err != nil {
		return id, fmt.Errorf("asking for a token: %w", err)
	}
	admin := c.server.Config()
	id.Config = binary(&rest.Config{Host: admin.Host, BearerToken: token.Status.Token, TLSClientConfig: rest.TLSClientConfig{CAData: admin.CAData}})
	id.Kubeconfig = filepath.Join(c.Dir, "kubeconfig")
	file := clientcmdapi.NewConfig()
	file.Clusters["bench"] = &clientcmdapi.Cluster{Server: admin.Host, CertificateAuthorityData: admin.CAData}
	file.AuthInfos["bench"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	file.Contexts["bench"] = &clientcmdapi.Context{Cluster: "bench", AuthInfo: "bench"}
	file.CurrentContext = "bench"
	return id, clientcmd.WriteToFile(*file, id.Kubeconfig)
}

// roles reads an operand's roles as installations have them.
func roles(operand string) ([]client.Object, error) {
	root, err := testenv.Root()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(root, "config", "rbac", operand+"_role.yaml"))
	if err != nil {
		return nil, err
	}
	var out []client.Object
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096); ; {
		role := &rbacv1.ClusterRole{}
		if err := decoder.Decode(role); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, err
		}
		if role.Name != "" {
			out = append(out, role)
		}
	}
}
