package main

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
	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/testenv"
)

const (
	system = "metallb-system" // namespace of the configuration
	apps   = "apps"           // namespace of the Services
	// poolRange is what the controller gives from.
	poolRange = "10.64.0.0/16"
)

// cluster is an API server with what an installation of the controller finds there.
type cluster struct {
	server *testenv.Server
	// admin is not subject to priority and fairness; it makes and deletes Services.
	admin kubernetes.Interface
	// floor has the controller's own identity.
	floor      kubernetes.Interface
	kubeconfig string // of the controller's identity
	dir        string
}

func newCluster(ctx context.Context) (c *cluster, err error) {
	c = &cluster{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.dir, err = os.MkdirTemp("", "bench-addresses-"); err != nil {
		return c, err
	}
	if c.server, err = testenv.Start(); err != nil {
		return c, err
	}
	if c.admin, err = kubernetes.NewForConfig(binary(c.server.Config())); err != nil {
		return c, err
	}
	if err := c.install(ctx); err != nil {
		return c, fmt.Errorf("preparing the API server: %w", err)
	}
	return c, c.identify(ctx)
}

func (c *cluster) close() error {
	var err error
	if c.server != nil {
		err = c.server.Stop()
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

// binary has a client speak Protocol Buffers, as the controller does.
func binary(config *rest.Config) *rest.Config {
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf
	config.QPS = -1
	return config
}

// install makes namespaces, roles and one pool.
func (c *cluster) install(ctx context.Context) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1beta1.AddToScheme(scheme), v1beta2.AddToScheme(scheme)); err != nil {
		return err
	}
	k, err := client.New(c.server.Config(), client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	objects, err := roles()
	if err != nil {
		return err
	}
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: system, Name: "controller"}}
	role := func(name string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
	}
	here := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: system, Name: name} }
	objects = append(objects,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: system}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: apps}},
		&corev1.ServiceAccount{ObjectMeta: here("controller")},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "controller"}, RoleRef: role("metallb-controller"), Subjects: subjects},
		&rbacv1.RoleBinding{ObjectMeta: here("controller"), RoleRef: role("metallb-controller-local"), Subjects: subjects},
		&v1beta1.IPAddressPool{ObjectMeta: here("pool"), Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{poolRange}}},
		&v1beta1.L2Advertisement{ObjectMeta: here("all")},
	)
	for _, o := range objects {
		if err := k.Create(ctx, o); err != nil {
			return err
		}
	}
	// An API server that has just begun reads a kind's objects from etcd when it is asked for them for the first time. That is
	// no controller's doing, and clusters have long been asked. Meanwhile it tells who asks to come back after a second.
	_, err = configuration.Load(ctx, k, system)
	return errors.Join(err, k.List(ctx, &v1beta1.ConfigurationStateList{}), k.List(ctx, &v1beta1.ServiceL2StatusList{}))
}

// roles reads the controller's roles as installations have them.
func roles() ([]client.Object, error) {
	root, err := testenv.Root()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(root, "config", "rbac", "controller_role.yaml"))
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

// identify gets a token of the controller's ServiceAccount and writes a kubeconfig with it.
func (c *cluster) identify(ctx context.Context) error {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(int64(12 * time.Hour / time.Second))}}
	token, err := c.admin.CoreV1().ServiceAccounts(system).CreateToken(ctx, "controller", request, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("asking for a token: %w", err)
	}
	admin := c.server.Config()
	identity := &rest.Config{Host: admin.Host, BearerToken: token.Status.Token, TLSClientConfig: rest.TLSClientConfig{CAData: admin.CAData}}
	if c.floor, err = kubernetes.NewForConfig(binary(identity)); err != nil {
		return err
	}
	file := clientcmdapi.NewConfig()
	file.Clusters["bench"] = &clientcmdapi.Cluster{Server: admin.Host, CertificateAuthorityData: admin.CAData}
	file.AuthInfos["bench"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	file.Contexts["bench"] = &clientcmdapi.Context{Cluster: "bench", AuthInfo: "bench"}
	file.CurrentContext = "bench"
	c.kubeconfig = filepath.Join(c.dir, "kubeconfig")
	return clientcmd.WriteToFile(*file, c.kubeconfig)
}
