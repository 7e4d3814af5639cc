package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	// connections are open to each server over each transport; callers share them evenly, so one caller has one, eight
	// have one each, and 64 have eight on each.
	connections = 8
	// warmUp is how long callers call before anything is counted.
	warmUp = 100 * time.Millisecond
)

// target is a server under load.
type target struct {
	pid   int
	conns map[string][]*grpc.ClientConn // by transport
}

// connect opens the connections to a server that listens on a Unix socket and on a TCP address.
func connect(pid int, socket, address string, client *tls.Config) (*target, error) {
	t := &target{pid: pid, conns: make(map[string][]*grpc.ClientConn)}
	for _, way := range []struct {
		transport, address string
		creds              credentials.TransportCredentials
	}{
		{overUnix, "unix://" + socket, insecure.NewCredentials()},
		{overMTLS, "passthrough:///" + address, credentials.NewTLS(client)},
	} {
		for range connections {
			conn, err := grpc.NewClient(way.address, grpc.WithTransportCredentials(way.creds), grpc.WithNoProxy())
			if err != nil {
				return nil, errors.Join(err, t.close())
			}
			t.conns[way.transport] = append(t.conns[way.transport], conn)
		}
	}
	return t, nil
}

func (t *target) close() error {
	var errs []error
	for _, conns := range t.conns {
		for _, conn := range conns {
			errs = append(errs, conn.Close())
		}
	}
	return errors.Join(errs...)
}

// checkAll sends the operation over every connection and lets check look at each answer.
func (t *target) checkAll(ctx context.Context, op operation, check func(answer) error) error {
	for transport, conns := range t.conns {
		for _, conn := range conns {
			got := op.answer()
			if err := conn.Invoke(ctx, op.method, op.request, got); err != nil {
				return fmt.Errorf("%s over %s: %w", op.name, transport, err)
			}
			if err := check(got); err != nil {
				return fmt.Errorf("%s over %s: wrong answer: %w", op.name, transport, err)
			}
		}
	}
	return nil
}

// load is what callers share while they call.
type load struct {
	counting atomic.Bool // what is answered now is counted
	heard    atomic.Bool // something was counted, or failed
	stop     atomic.Bool
}

// caller sends one request after the other.
type caller struct {
	took []time.Duration // of those that were counted
	err  error
}

func (c *caller) call(ctx context.Context, conn *grpc.ClientConn, op operation, l *load) {
	into := op.answer()
	for !l.stop.Load() {
		began := time.Now()
		if err := conn.Invoke(ctx, op.method, op.request, into); err != nil {
			c.err = err
			l.heard.Store(true)
			return
		}
		if l.counting.Load() {
			if c.took = append(c.took, time.Since(began)); len(c.took) == 1 {
				l.heard.Store(true)
			}
		}
	}
}

// measureLoad has callers call for a while, and says what that cost the server.
func measureLoad(ctx context.Context, t *target, op operation, transport string, callers int, window time.Duration) (sample, error) {
	runtime.GC() // of earlier callers' notes, while nobody is watching
	conns := t.conns[transport]
	all := make([]caller, callers)
	var l load
	var calling sync.WaitGroup
	for i := range all {
		calling.Go(func() { all[i].call(ctx, conns[i%len(conns)], op, &l) })
	}
	time.Sleep(warmUp)
	l.counting.Store(true)
	began := time.Now()
	before, err := cpuTime(t.pid)
	time.Sleep(window)
	for !l.heard.Load() { // a short window on a machine that stalls
		time.Sleep(glance)
	}
	after, errAfter := cpuTime(t.pid)
	elapsed := time.Since(began)
	l.counting.Store(false)
	l.stop.Store(true)
	calling.Wait()

	err = errors.Join(err, errAfter)
	var took []time.Duration
	for _, c := range all {
		if c.err != nil && ctx.Err() != nil {
			return sample{}, context.Cause(ctx)
		}
		if err == nil {
			err = c.err // one is enough; the others will say the same
		}
		took = append(took, c.took...)
	}
	if err != nil {
		return sample{}, err
	}
	slices.Sort(took)
	return sample{
		cpu: (after - before) / time.Duration(len(took)), perSecond: float64(len(took)) / elapsed.Seconds(),
		p50: percentile(took, 50), p99: percentile(took, 99),
	}, nil
}

// socketIn is where a server listens in its folder.
func socketIn(dir, name string) string { return filepath.Join(dir, name+".sock") }
