package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/bench"
	"metallb.io/operator/bench/operand"
	"metallb.io/operator/internal/l2"
)

const (
	services = 1000
	patience = 15 * time.Minute
)

// memory measures a speaker: first without any Service, then with as many as are to be.
func memory(ctx context.Context, o options, samples bench.Samples) (err error) {
	if _, err := os.Stat(o.binary); err != nil {
		return fmt.Errorf("%w: make build first, or name it with -binary", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := operand.New(ctx, operand.System)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	id, err := c.Identify(ctx, "speaker")
	if err != nil {
		return err
	}
	here := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: operand.System, Name: name} }
	if err := c.InstallSpeaker(ctx,
		&v1beta1.IPAddressPool{ObjectMeta: here("pool"), Spec: v1beta1.IPAddressPoolSpec{Addresses: []string{operand.Pool}}},
		&v1beta1.L2Advertisement{ObjectMeta: here("all")},
	); err != nil {
		return err
	}
	_, unplug, err := operand.Plug()
	if err != nil {
		return err
	}
	defer unplug()
	dir := cmp.Or(o.keep, c.Dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	p, err := c.StartSpeaker(id, o.binary, dir, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	return compare(ctx, c, p, samples)
}

// compare takes the samples.
func compare(ctx context.Context, c *operand.Cluster, p *operand.Process, samples bench.Samples) error {
	if err := p.Ready(ctx); err != nil {
		return err
	}
	idle, err := rest(ctx, p)
	if err != nil {
		return err
	}
	for i := range services {
		svc, err := c.CreateService(ctx, i)
		if err != nil {
			return err
		}
		if _, err := c.SetAddresses(ctx, svc, operand.Address(i)); err != nil {
			return err
		}
	}
	if err := operand.Until(ctx, "all are announced", func() (bool, error) {
		var list v1beta1.ServiceL2StatusList
		err := c.Objects.List(ctx, &list, client.InNamespace(operand.System))
		return len(list.Items) == services, err
	}); err != nil {
		return fmt.Errorf("%w; the speaker's log ends with:\n%s", err, p.Tail())
	}
	if err := pause(ctx, l2.Claim[len(l2.Claim)-1]); err != nil {
		return err
	}
	full, err := rest(ctx, p)
	if err != nil {
		return err
	}
	fmt.Printf("speaker: RSS %.1f MiB idle (peak %.1f), %.1f MiB with %d addresses (peak %.1f)\n", idle.RSS, idle.Peak, full.RSS, services, full.Peak)
	samples.Add(bench.SpeakerIdleRSS, 0, idle.RSS)
	samples.Add(bench.SpeakerRSS, 0, full.RSS)
	return nil
}

// rest waits until the speaker has nothing to do and says what it has used.
func rest(ctx context.Context, p *operand.Process) (operand.Usage, error) {
	if err := p.Quiet(ctx); err != nil {
		return operand.Usage{}, err
	}
	return p.Usage()
}
