package server_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/signerd/signerd/audit"
	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/server"
)

func (r *rig) replayed(t *testing.T, rules ...*adminv1.PolicyRule) *adminv1.ReplayPolicyResult {
	t.Helper()
	stream, err := r.policy.ReplayPolicy(as(t, operator), &adminv1.ReplayPolicyRequest{Policy: &adminv1.Policy{Rules: rules}, Since: timestamppb.New(time.Unix(0, 0))})
	must(t, err)
	var result *adminv1.ReplayPolicyResult
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return result
		}
		must(t, err)
		result = part.GetResult()
	}
}

func theSame(name string, effect adminv1.PolicyEffect, operations ...string) *adminv1.PolicyRule {
	return &adminv1.PolicyRule{Name: name, Effect: effect, Callers: []string{"unix:uid=1000"}, Keys: []string{"*"}, Operations: operations}
}

// What was cut off a path may be what a rule decides by.
func TestAReplayCannotTellOfAPathThatWasCut(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "shop")
	_, err := r.signer.SignNoahRequest(as(t, operator), &signerdv1.SignNoahRequestRequest{Key: "shop", Method: "GET", Path: "/v1/" + strings.Repeat("x", 5000) + "/secret"})
	must(t, err)
	deny := theSame("no-secrets", adminv1.PolicyEffect_POLICY_EFFECT_DENY, "SignNoahRequest")
	deny.Paths = []string{"/v1/*/secret"}
	got := r.replayed(t, theSame("rest", adminv1.PolicyEffect_POLICY_EFFECT_ALLOW, "*"), deny)
	for _, c := range got.GetCalls() {
		if c.GetOperation() == "SignNoahRequest" && c.GetEffect() == adminv1.PolicyEffect_POLICY_EFFECT_UNSPECIFIED {
			return
		}
	}
	t.Errorf("of a path that is not on record as a whole it is said: %v", got)
}

// Whoever may not set the policy may be refused for labels, which are not on record.
func TestAReplayCannotTellOfLabelsThatThePolicyReads(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "shop")
	labelled := theSame("labelled", adminv1.PolicyEffect_POLICY_EFFECT_ALLOW, "GetKey")
	labelled.Labels = map[string]string{"team": "a"}
	got := r.replayed(t, theSame("import", adminv1.PolicyEffect_POLICY_EFFECT_ALLOW, "ImportKey"), labelled)
	for _, c := range got.GetCalls() {
		if c.GetOperation() == "ImportKey" && c.GetEffect() == adminv1.PolicyEffect_POLICY_EFFECT_UNSPECIFIED {
			return
		}
	}
	t.Errorf("of a key whose labels are not on record it is said: %v", got)
}

// A caller that is refused because the disk fails is not to blame, and is counted once.
func TestRefusalsForWantOfARecordAreNotTheCallers(t *testing.T) {
	t.Parallel()
	r, b := onBrittleDisk(t, setup{limits: server.Limits{MaxRefusals: 3, RefusalsPerSecond: 0.001}})
	r.importedNOAH(t, "shop")
	b.failing(syscall.EIO)
	for range 20 {
		_, err := r.signNOAH(as(t, operator), "shop")
		r.refused(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	}
	b.failing(nil)
	r.untilServing(t)
	if _, err := r.signNOAH(as(t, operator), "shop"); err != nil {
		t.Errorf("after the outage: %v", status.Convert(err).Message())
	}
	for _, record := range r.records(t) {
		if record.Kind == audit.KindOutage && record.Outage.Calls != 20 {
			t.Errorf("the outage is said to have refused %d calls, not 20", record.Outage.Calls)
		}
	}
}

// Changes of keys, checkpoints, failures of the disk and status at once: nothing waits for itself.
func TestNothingWaitsForItself(t *testing.T) {
	t.Parallel()
	r, b := onBrittleDisk(t, setup{limits: server.Limits{MaxRefusals: 1 << 30}})
	r.importedNOAH(t, "shop")
	ctx, cancel := context.WithCancel(as(t, operator))
	defer cancel()
	var all sync.WaitGroup
	busy := func(do func()) {
		all.Go(func() {
			for ctx.Err() == nil {
				do()
			}
		})
	}
	var signed atomic.Int64
	for range 8 {
		busy(func() {
			if _, err := r.signNOAH(ctx, "shop"); err == nil {
				signed.Add(1)
			}
		})
	}
	busy(func() { _, _ = r.admin.DisableKey(ctx, &adminv1.DisableKeyRequest{Name: "shop"}) })
	busy(func() { _, _ = r.admin.EnableKey(ctx, &adminv1.EnableKeyRequest{Name: "shop"}) })
	busy(func() { _, _ = r.system.GetStatus(ctx, &adminv1.GetStatusRequest{}) })
	busy(func() { _, _ = r.reader.GetCheckpoint(ctx, &adminv1.GetCheckpointRequest{}) })
	busy(func() { _ = r.listing(t, &adminv1.ListRecordsRequest{Last: 5}, func([]*adminv1.AuditRecord) {}) })
	for range 10 {
		b.failing(syscall.EIO)
		for r.audit.Err() == nil {
			_, _ = r.signNOAH(ctx, "shop") // whose record fails
		}
		b.failing(nil)
		for r.audit.Err() != nil {
			_, _ = r.system.GetStatus(ctx, &adminv1.GetStatusRequest{})
		}
	}
	cancel()
	all.Wait()
	r.untilServing(t)
	_, err := r.admin.EnableKey(as(t, operator), &adminv1.EnableKeyRequest{Name: "shop"})
	must(t, err)
	if signed.Load() == 0 {
		t.Error("nothing was signed")
	}
}

// Whoever follows the log may do so as long as it is allowed, not for ever.
func TestFollowingEndsWhenItIsNotAllowedAnyMore(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	ctx, cancel := context.WithCancel(as(t, operator))
	defer cancel()
	stream, err := r.reader.ListRecords(ctx, &adminv1.ListRecordsRequest{Follow: true})
	must(t, err)
	_, err = stream.Recv()
	must(t, err)
	r.setPolicy(t, everything(t, stranger))
	var calling sync.WaitGroup
	calling.Go(func() {
		for ctx.Err() == nil {
			_, _ = r.signNOAH(ctx, "none") // a record for the follower
		}
	})
	for err == nil {
		_, err = stream.Recv()
	}
	cancel()
	calling.Wait()
	r.refused(t, err, codes.PermissionDenied, "DENIED")
}
