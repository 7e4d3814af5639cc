package server_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/server"
)

const (
	serving    = healthpb.HealthCheckResponse_SERVING
	notServing = healthpb.HealthCheckResponse_NOT_SERVING
)

// serviceNames are what health is asked about; "" is the process.
func serviceNames() []string {
	names := []string{""}
	seen := make(map[string]bool)
	for _, rpc := range server.RPCs() {
		if service := string(rpc.Parent().FullName()); !seen[service] {
			seen[service] = true
			names = append(names, service)
		}
	}
	return names
}

// healthIs asks without an identity: health needs none.
func (r *rig) healthIs(t *testing.T, want healthpb.HealthCheckResponse_ServingStatus) {
	t.Helper()
	for _, name := range serviceNames() {
		out, err := healthpb.NewHealthClient(r.conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: name})
		if err != nil || out.GetStatus() != want {
			t.Errorf("service %q: %v, %v; want %v", name, out.GetStatus(), err, want)
		}
	}
}

func TestHealthSaysWhetherKeysAreServed(t *testing.T) {
	t.Parallel()
	r := start(t, setup{unopened: true})
	r.healthIs(t, notServing)
	_, err := r.signNOAH(as(t, operator), "a")
	r.refused(t, err, codes.Unavailable, "STORE_UNAVAILABLE")

	r.server.Open(r.keys, r.audit)
	r.healthIs(t, serving)
	r.importedNOAH(t, "a")
	_, err = r.signNOAH(as(t, operator), "a")
	must(t, err)

	r.server.CloseKeys(errors.New("the disk is on fire"))
	r.healthIs(t, notServing)
	_, err = r.signNOAH(as(t, operator), "a")
	r.refused(t, err, codes.Unavailable, "STORE_UNAVAILABLE")

	r.server.Open(r.keys, r.audit)
	r.healthIs(t, serving)
	_, err = r.signNOAH(as(t, operator), "a")
	must(t, err)

	_, err = healthpb.NewHealthClient(r.conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: "signerd.v9.Nothing"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("a service that there is not: %v", err)
	}
}

func TestStatusAndLogSayWhyNothingIsServed(t *testing.T) {
	t.Parallel()
	r := start(t, setup{unopened: true})
	is := func(reason server.Reason, text string) {
		t.Helper()
		out, err := r.system.GetStatus(as(t, administrator), &adminv1.GetStatusRequest{})
		must(t, err)
		if out.GetServing() != (reason == "") || out.GetReason() != text {
			t.Errorf("status says %v", out)
		}
		if got := r.server.Readiness(); got.Reason != reason || got.Text != text {
			t.Errorf("readiness is %+v", got)
		}
		if want := fmt.Sprintf(`"reason":%q,"text":%q`, reason, text); !strings.Contains(r.log.String(), want) {
			t.Errorf("the log never says %s", want)
		}
	}
	is(server.ReasonStarting, "the keys are not loaded yet")
	r.server.RootKeyAway(keystore.ErrRootKeyUnavailable)
	is(server.ReasonRootKey, keystore.ErrRootKeyUnavailable.Error())
	for _, tt := range []struct {
		cause error
		text  string
	}{
		{keystore.ErrRolledBack, keystore.ErrRolledBack.Error()},
		{fmt.Errorf("record %q: %w", "key/secretly-named", keystore.ErrDamaged), keystore.ErrDamaged.Error()},
		{errors.New("something new about secretly-named"), "the store can no longer be vouched for"},
	} {
		r.server.Open(r.keys, r.audit)
		r.server.RootKeyAway(keystore.ErrRootKeyUnavailable) // which stops nothing that is loaded
		is("", "")
		r.server.CloseKeys(tt.cause)
		is(server.ReasonStore, tt.text)
	}
}

func TestHealthChecksAreNotLogged(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.healthIs(t, serving)
	if calls := r.lines(t); len(calls) > 0 {
		t.Errorf("the log has %+v", calls)
	}
}

// watch opens a health watch and reads its first answer.
func (r *rig) watch(t *testing.T, service string, want healthpb.HealthCheckResponse_ServingStatus) healthpb.Health_WatchClient {
	t.Helper()
	w, err := healthpb.NewHealthClient(r.conn).Watch(t.Context(), &healthpb.HealthCheckRequest{Service: service})
	must(t, err)
	wants(t, w, want)
	return w
}

func wants(t *testing.T, w healthpb.Health_WatchClient, want healthpb.HealthCheckResponse_ServingStatus) {
	t.Helper()
	out, err := w.Recv()
	must(t, err)
	if out.GetStatus() != want {
		t.Errorf("the watch says %v, want %v", out.GetStatus(), want)
	}
}

func TestAHealthWatchHearsOfEveryChange(t *testing.T) {
	t.Parallel()
	r := start(t, setup{unopened: true})
	for _, name := range serviceNames() {
		w := r.watch(t, name, notServing)
		r.server.Open(r.keys, r.audit)
		wants(t, w, serving)
		r.server.CloseKeys(keystore.ErrUnavailable)
		wants(t, w, notServing)
	}
}

func TestAHealthWatchDoesNotHoldUpShutdown(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	var watches []healthpb.Health_WatchClient
	for _, name := range serviceNames() {
		watches = append(watches, r.watch(t, name, serving))
	}
	must(t, r.server.Shutdown(context.Background()))
	for _, w := range watches {
		last := serving
		for {
			out, err := w.Recv()
			if err != nil {
				break
			}
			last = out.GetStatus()
		}
		if last != notServing {
			t.Errorf("the last that a watch heard is %v", last)
		}
	}
	r.server.Open(r.keys, r.audit) // too late
	if got := r.server.Readiness().Reason; got != server.ReasonStopping {
		t.Errorf("after the end, the reason is %q", got)
	}
}
