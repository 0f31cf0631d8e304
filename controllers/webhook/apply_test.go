package webhook

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"metallb.io/operator/internal/testenv"
)

// kubectl runs kubectl as an administrator.
func (w *world) kubectl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path := filepath.Join(os.Getenv(testenv.AssetsVariable), "kubectl")
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no kubectl beside kube-apiserver")
		}
		t.Skip("there is no kubectl beside kube-apiserver")
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	c := clientcmdapi.NewConfig()
	c.Clusters["it"] = &clientcmdapi.Cluster{Server: w.admin.Host, CertificateAuthorityData: w.admin.CAData}
	c.AuthInfos["it"] = &clientcmdapi.AuthInfo{ClientCertificateData: w.admin.CertData, ClientKeyData: w.admin.KeyData}
	c.Contexts["it"] = &clientcmdapi.Context{Cluster: "it", AuthInfo: "it"}
	c.CurrentContext = "it"
	must(t, clientcmd.WriteToFile(*c, kubeconfig))
	out, err := exec.Command(path, append([]string{"--kubeconfig", kubeconfig, "--cache-dir", t.TempDir()}, args...)...).CombinedOutput()
	return string(out), err
}

// The manifests are applied again, by each way that kubectl has: nothing that the operator has written is taken away, not
// even for a moment, and nobody is in a conflict with it.
func TestApplyingTheManifestsAgainTakesNothingAway(t *testing.T) {
	w := newWorld(t)
	root, err := testenv.Root()
	must(t, err)
	files := []string{"-f", filepath.Join(root, "config", "crd", "bases"), "-f", filepath.Join(root, "config", "webhook", "configuration.yaml"), "-f", filepath.Join(root, "config", "webhook", "secret.yaml")}
	ways := map[string][]string{
		"client-side": append([]string{"apply"}, files...),
		"server-side": append([]string{"apply", "--server-side", "--force-conflicts"}, files...), // over the tests' own CRDs
	}
	for name, args := range ways {
		out, err := w.kubectl(t, args...)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	w.start()
	w.reviewed()
	state := func() string {
		configuration, crd := &admissionregistrationv1.ValidatingWebhookConfiguration{}, &apiextensionsv1.CustomResourceDefinition{}
		must(t, w.Get(t.Context(), types.NamespacedName{Name: Configuration}, configuration))
		must(t, w.Get(t.Context(), types.NamespacedName{Name: ConvertedCRD}, crd))
		// What is taken away and given back counts: as a generation, and as other keys.
		return fmt.Sprintf("configuration %d, CRD %d, Secret %x", configuration.Generation, crd.Generation, sha256.Sum256([]byte(fmt.Sprint(w.secret().Data))))
	}
	ways["server-side"] = append([]string{"apply", "--server-side"}, files...)
	for name, args := range ways {
		before := state()
		out, err := w.kubectl(t, args...)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if after := state(); after != before {
			t.Errorf("%s: %s became %s\n%s", name, before, after, out)
		}
	}
}

// What a person sees.
func TestKubectlPrintsEachError(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.reviewed()
	file := filepath.Join(t.TempDir(), "pool.yaml")
	must(t, os.WriteFile(file, []byte(`{apiVersion: metallb.io/v1beta1, kind: IPAddressPool, metadata: {name: x, namespace: default}, spec: {addresses: [192.0.2.0/28, 192.0.2.8/32, 192.0.2.9-192.0.2.3]}}`), 0o600))
	out, err := w.kubectl(t, "create", "-f", file)
	if err == nil || !strings.Contains(out, `The IPAddressPool "x" is invalid:`) || strings.Count(out, "* spec.addresses[") != 2 {
		t.Errorf("%v\n%s", err, out)
	}
	t.Log(out)
}
