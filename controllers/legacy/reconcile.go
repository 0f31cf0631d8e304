package legacy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/controllers/configuration"
	"metallb.io/operator/internal/config"
	"metallb.io/operator/internal/legacy"
)

const (
	// again is the pause before what was refused is tried again: what it depends on may be put right elsewhere.
	again = 15 * time.Second
	// recheck is the pause after which the Secrets are looked at again; they cannot be watched.
	recheck = 10 * time.Minute
)

// Reconcile brings the resources in step with the ConfigMap.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	cm := &corev1.ConfigMap{}
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: configMap}, cm)
	if apierrors.IsNotFound(err) {
		// The garbage collector removes what the ConfigMap owned, or has made it nobody's (kubectl delete --cascade=orphan).
		r.forget()
		return ctrl.Result{}, r.State.Clear(ctx, v1beta1.ConditionLegacyConfigMapValid)
	}
	if err != nil || !cm.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, err
	}
	have, err := r.read(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := r.release(ctx, have); err != nil {
		return ctrl.Result{}, err
	}
	text := []byte(cm.Data[legacy.DataKey])
	if !legacy.Recognise(text) && !have.of(cm.UID) {
		if len(text) > 0 {
			r.leftAlone(ctx, cm)
		}
		return ctrl.Result{}, r.State.Clear(ctx, v1beta1.ConditionLegacyConfigMapValid)
	}
	return r.follow(ctx, cm, text, have)
}

// follow makes the resources what the text says, if there is no error in it.
func (r *Reconciler) follow(ctx context.Context, cm *corev1.ConfigMap, text []byte, have inventory) (ctrl.Result, error) {
	res, problems := legacy.Read(text, legacy.Options{Namespace: r.Namespace})
	if problems.Failed() {
		return ctrl.Result{}, r.report(ctx, cm, problems)
	}
	var names []string
	for i := range res.Secrets {
		names = append(names, res.Secrets[i].Name)
	}
	if err := r.readSecrets(ctx, have, names); err != nil {
		return ctrl.Result{}, err
	}
	first := !have.of(cm.UID)
	changes, conflicts := plan(have, res, cm)
	made, refused, err := r.apply(ctx, changes)
	if first {
		r.converted(cm, made)
	}
	if err != nil { // what was refused is told when the rest has been tried
		return ctrl.Result{}, err
	}
	if again, err := r.untangle(ctx, refused, have, res); again || err != nil {
		return ctrl.Result{RequeueAfter: time.Millisecond}, err
	}
	for _, f := range refused {
		conflicts = append(conflicts, f.explain(res)...)
	}
	result := ctrl.Result{}
	if len(res.Secrets) > 0 {
		result.RequeueAfter = recheck
	}
	if len(conflicts) > 0 {
		result.RequeueAfter = again
	}
	return result, r.report(ctx, cm, append(problems, conflicts...))
}

// release gives up what a user has taken over by removing the label, so that it does not go with the ConfigMap. With a
// peer goes the Secret with its password.
func (r *Reconciler) release(ctx context.Context, have inventory) error {
	var errs []error
	free := func(key id, o client.Object) {
		out := o.DeepCopyObject().(client.Object)
		out.SetOwnerReferences(withoutConfigMap(o))
		delete(out.GetLabels(), Label)
		delete(out.GetAnnotations(), Annotation)
		if err := r.Client.Update(ctx, out, client.FieldOwner(FieldOwner)); err != nil {
			errs = append(errs, fmt.Errorf("giving up %s %s: %w", key.kind, key.name, err))
			return
		}
		have[key] = out
		ctrl.LoggerFrom(ctx).Info("a user has taken over a resource", "kind", key.kind, "name", key.name)
	}
	for key, o := range have {
		if !owned(o) || labelled(o) {
			continue
		}
		free(key, o)
		secret := id{"Secret", legacy.PasswordSecret(key.name)}
		if s := have[secret]; key.kind == "BGPPeer" && s != nil && owned(s) {
			free(secret, s)
		}
	}
	return errors.Join(errs...)
}

// report tells what is wrong, in the ConfigurationState and once as an event.
func (r *Reconciler) report(ctx context.Context, cm *corev1.ConfigMap, problems legacy.Problems) error {
	wrong, odd := problems.Of(config.Error), problems.Of(config.Warning)
	r.say(cm, reasonInvalid, wrong)
	r.say(cm, reasonWarning, odd)
	return r.State.Set(ctx, v1beta1.ConditionLegacyConfigMapValid, configuration.Outcome{Errors: prefixed(wrong), Warnings: prefixed(odd)})
}

func prefixed(texts []string) []string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = "ConfigMap " + configMap + ": " + t
	}
	return out
}

// longestEvent is what the API takes as the message of an event, in bytes.
const longestEvent = 1024

// say records a Warning event, unless it was the last one for that reason.
func (r *Reconciler) say(cm *corev1.ConfigMap, reason string, texts []string) {
	message := ""
	for i, t := range texts {
		more := fmt.Sprintf("\nand %d more, see ConfigurationState %s", len(texts)-i, configuration.ControllerState)
		if len(message)+len(t)+len(more)+1 > longestEvent {
			if message == "" {
				message = strings.ToValidUTF8(t[:longestEvent-len(more)], "")
			}
			message += more
			break
		}
		message = strings.TrimPrefix(message+"\n"+t, "\n")
	}
	if r.once(reason, message) && message != "" {
		r.Recorder.Event(cm, corev1.EventTypeWarning, reason, message)
	}
}

// once says whether this differs from what was last said.
func (r *Reconciler) once(reason, message string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.said == nil {
		r.said = map[string]string{}
	}
	if r.said[reason] == message {
		return false
	}
	r.said[reason] = message
	return true
}

func (r *Reconciler) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = nil
}

// converted tells the first time what was made.
func (r *Reconciler) converted(cm *corev1.ConfigMap, changes []change) {
	made := summary(changes)
	if made == "" { // a ConfigMap that was restored finds its resources there
		return
	}
	message := fmt.Sprintf("Made of this ConfigMap: %s (label %s=%s). They follow its changes. To write them yourself from now on: kubectl get configmap %s -n %s -o yaml | kubectl metallb convert -f -",
		made, Label, configMap, configMap, r.Namespace)
	r.Recorder.Event(cm, corev1.EventTypeNormal, reasonConverted, message)
}

// leftAlone notes once that the ConfigMap is something else.
func (r *Reconciler) leftAlone(ctx context.Context, cm *corev1.ConfigMap) {
	if r.once("", string(cm.UID)) {
		ctrl.LoggerFrom(ctx).Info("the ConfigMap is not a configuration of old and is left alone", "configMap", cm.Name)
	}
}
