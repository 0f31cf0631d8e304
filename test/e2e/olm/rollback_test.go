package olm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"metallb.io/operator/test/e2e/product"
)

// soonDegraded is within which time of taking up the rollout the operator says that it stands still. In an upgrade OLM starts
// the operator a second time, which then counts from there.
const soonDegraded = time.Minute

// breaks has OLM install a version whose speakers are never ready. OLM is content, for the operator is well; the MetalLB resource
// is not, and says why and where. One node is as far as it gets, and there, too, the speaker of before serves on.
func (l *life) breaks(t *testing.T, broken, before version) {
	t.Helper()
	start := time.Now()
	lossless := l.traffic(t)
	l.offer(t, broken, before.csv)
	_, err := l.conditions.Wait(product.Within(t, patience), broken.csv, "False", "RollingOut", start)
	product.Must(t, err)
	message := degraded(t, l.OLM, "RolloutStuck")
	found := time.Now()
	_, err = l.conditions.Wait(product.Within(t, patience), broken.csv, "True", "RolloutStuck", start)
	product.Must(t, err)
	if took := found.Sub(l.conditions.Latest(broken.csv, "RollingOut")); took > soonDegraded {
		t.Errorf("Degraded %s after the operator took up the rollout, which is later than %s", took, soonDegraded)
	}
	stillSucceeded(t, l.history, broken.csv, settled)

	runs(t, l.OLM, broken, broken)
	serving := map[string]bool{}
	for _, p := range operands(t, l.OLM) {
		switch component := p.Labels["component"]; {
		case component == "speaker" && image(p) == before.image && ready(p):
			serving[p.Spec.NodeName] = true
		case component == "speaker" && image(p) == broken.image && !ready(p):
			t.Logf("Degraded %s after pod %s was made on %s: %s", found.Sub(p.CreationTimestamp.Time).Round(time.Second), p.Name, p.Spec.NodeName, message)
			if !strings.Contains(message, p.Spec.NodeName+" NotReady") {
				t.Errorf("that does not name %s and why", p.Spec.NodeName)
			}
		case component == "controller" && image(p) == broken.image && ready(p):
		default:
			t.Errorf("what is pod %s on %s, ready: %t, image %s?", p.Name, p.Spec.NodeName, ready(p), image(p))
		}
	}
	if len(serving) != len(l.Nodes()) {
		t.Errorf("the speakers of before are ready on %v only", serving)
	}
	lossless("while a version whose speakers do not come up was rolled out")
	l.show(t, "get", "csv", "-n", operatorNamespace)
	l.show(t, "get", "metallb", "-n", metallbNamespace, "-o", "wide")
	t.Logf("what OLM did:\n%sand knew:\n%s", lines(l.history.Since(start)), l.conditions.Since(start))
}

// rollback does what docs/olm.md says, word for word. The MetalLB resource and what runs for it live on meanwhile.
func (l *life) rollback(t *testing.T, from, to version) {
	t.Helper()
	start := time.Now()
	lossless := l.traffic(t)
	admission := l.admissionOutage(t)
	out, err := l.shell(product.Within(t, 2*patience), documented(t, "BAD="), "BAD="+from.csv, "GOOD="+to.csv)
	product.Must(t, err)
	t.Logf("%s\nthe commands took %s", out, since(start))
	succeeded, err := l.history.WaitPhase(product.Within(t, patience), to.csv, "Succeeded", 0)
	product.Must(t, err)
	rolledOut(t, l.OLM, to)
	t.Logf("%s Succeeded again after %s, controller and speakers are of it after %s", to.csv, succeeded.Sub(start).Round(100*time.Millisecond), since(start))
	_, err = l.conditions.Wait(product.Within(t, patience), to.csv, "True", "AsExpected", start)
	product.Must(t, err)
	lossless("during the way back")
	t.Logf("admission: %s", admission())
	l.show(t, "get", "metallb", "-n", metallbNamespace, "-o", "wide")
	l.show(t, "get", "installplan", "-n", operatorNamespace)
	t.Logf("what OLM did:\n%sand knew:\n%s", lines(l.history.Since(start)), l.conditions.Since(start))
}

// documented is the block of commands in docs/olm.md whose first line begins so. Lines that set variables are left out.
func documented(t *testing.T, first string) string {
	t.Helper()
	text, err := os.ReadFile(projectDir(t, "docs/olm.md"))
	product.Must(t, err)
	_, after, found := strings.Cut(string(text), "\n```sh\n"+first)
	block, _, ends := strings.Cut(first+after, "\n```\n")
	if !found || !ends {
		t.Fatalf("docs/olm.md has no commands that begin with %s", first)
	}
	lines := slices.DeleteFunc(strings.Split(block, "\n"), func(line string) bool {
		return strings.HasPrefix(line, "BAD=") || strings.HasPrefix(line, "GOOD=")
	})
	return strings.Join(lines, "\n")
}

// shell runs commands as a person would who has kubectl, and returns what they print.
func (l *life) shell(ctx context.Context, script string, variables ...string) (string, error) {
	kubectl := l.KubectlCommand(ctx)
	cmd := exec.CommandContext(ctx, "sh", "-euc", script)
	cmd.Env = append(kubectl.Env, append(variables, "PATH="+filepath.Dir(kubectl.Path)+string(os.PathListSeparator)+os.Getenv("PATH"))...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w:\n%s\n%s", err, script, out)
	}
	return string(out), err
}

// show logs what kubectl prints.
func (l *life) show(t *testing.T, args ...string) {
	t.Helper()
	out, err := l.Kubectl(product.Within(t, patience), args...)
	product.Must(t, err)
	t.Logf("kubectl %s\n%s", strings.Join(args, " "), out)
}
