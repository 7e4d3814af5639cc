package server_test

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the usual codec
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/server"
)

func TestAFreezeThatCannotBeStoredStopsSigningAllTheSame(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	calls := r.everySigning(t)
	r.store.failing(errors.New("no space left on device"))
	_, err := r.system.Freeze(as(t, administrator), &adminv1.FreezeRequest{Reason: "now"})
	r.refused(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
	if said := status.Convert(err).Message(); !strings.HasPrefix(said, "signing is stopped, but the freeze could not be stored") {
		t.Errorf("the operator is told %q", said)
	}
	stopped := func() {
		t.Helper()
		for _, call := range calls {
			r.refused(t, call(operator), codes.Unavailable, "FROZEN")
		}
	}
	stopped()
	r.healthIs(t, notServing)
	got, err := r.system.GetStatus(as(t, administrator), &adminv1.GetStatusRequest{})
	must(t, err)
	if f := got.GetFreeze(); f.GetReason() != "now" || f.GetAuthor() != "unix:uid=999" || !f.GetTime().AsTime().Equal(r.clock.Now()) {
		t.Errorf("the freeze is %v", f)
	}
	if r.server.Readiness().Reason != server.ReasonFrozen || !strings.Contains(got.GetReason(), "could not be stored, and a restart ends it") {
		t.Errorf("the reason is %q: %q", r.server.Readiness().Reason, got.GetReason())
	}
	// Asked for again, once it can be stored, it is a freeze like any other.
	r.store.commit.Store(nil)
	stopped()
	if again := r.freeze(t, "now"); !again.GetChanged() || !r.keys.View().Freeze().Frozen {
		t.Errorf("freezing again says %v", again)
	}
	if text := r.server.Readiness().Text; text != "all signing is stopped by an operator" {
		t.Errorf("the reason is %q", text)
	}
	stopped()
	r.unfreeze(t)
	for rpc, call := range calls {
		if err := call(operator); err != nil {
			t.Errorf("%s after: %v", rpc, err)
		}
	}
	r.healthIs(t, serving)
}

func TestAFreezeThatWasNotStoredIsEndedLikeAnyOther(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	r.store.failing(errors.New("no space left on device"))
	_, err := r.system.Freeze(as(t, administrator), &adminv1.FreezeRequest{Reason: "now"})
	r.refused(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
	r.store.commit.Store(nil)
	ended := r.unfreeze(t)
	if !ended.GetChanged() || ended.GetEnded().GetReason() != "now" {
		t.Errorf("ending it says %v", ended)
	}
	_, err = r.signNOAH(as(t, operator), "a")
	must(t, err)
	r.healthIs(t, serving)
}

func TestAFreezeThatCannotBeRecordedStopsSigningAllTheSame(t *testing.T) {
	t.Parallel()
	r, b := onBrittleDisk(t, setup{})
	r.importedNOAH(t, "a")
	b.failing(syscall.EIO)
	held := func() *adminv1.FreezeState {
		out, err := r.system.GetStatus(as(t, administrator), &adminv1.GetStatusRequest{})
		must(t, err)
		return out.GetFreeze()
	}
	for range 2 { // the first finds that the disk fails
		_, err := r.system.Freeze(as(t, stranger), &adminv1.FreezeRequest{Reason: "mine"})
		checkRefused(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	}
	if held() != nil {
		t.Error("a stranger stopped signing")
	}
	_, err := r.system.Freeze(as(t, administrator), &adminv1.FreezeRequest{Reason: "now"})
	checkRefused(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	if said := status.Convert(err).Message(); !strings.HasPrefix(said, "signing is stopped, but the freeze could not be recorded") {
		t.Errorf("the operator is told %q", said)
	}
	if r.keys.View().Freeze().Frozen {
		t.Error("it was stored without a record")
	}
	if held().GetReason() != "now" {
		t.Errorf("the freeze is %v", held())
	}
	b.failing(nil)
	for r.server.Readiness().Reason == server.ReasonAudit && t.Context().Err() == nil {
		runtime.Gosched()
	}
	if got := r.server.Readiness().Reason; got != server.ReasonFrozen {
		t.Errorf("with records again the reason is %q", got)
	}
	_, err = r.signNOAH(as(t, operator), "a")
	checkRefused(t, err, codes.Unavailable, "FROZEN")
}

func TestAFreezeBeforeTheKeysAreLoadedHoldsOnceTheyAre(t *testing.T) {
	t.Parallel()
	r := start(t, setup{unopened: true})
	_, err := r.system.Freeze(as(t, administrator), &adminv1.FreezeRequest{Reason: "now"})
	checkRefused(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
	out, err := r.system.GetStatus(as(t, administrator), &adminv1.GetStatusRequest{})
	must(t, err)
	if out.GetFreeze().GetReason() != "now" {
		t.Errorf("the status is %v", out)
	}
	r.server.Open(r.keys, r.audit)
	r.importedNOAH(t, "a")
	_, err = r.signNOAH(as(t, operator), "a")
	r.refused(t, err, codes.Unavailable, "FROZEN")
	r.healthIs(t, notServing)
	r.unfreeze(t)
	_, err = r.signNOAH(as(t, operator), "a")
	must(t, err)
}

// Signing stops before the store has said anything: here it takes its time.
func TestAFreezeStopsSigningBeforeItIsStored(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	committing, goOn := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	hook := func() error {
		if !first.Swap(true) {
			close(committing)
			<-goOn
		}
		return nil
	}
	r.store.commit.Store(&hook)
	frozen := make(chan error, 1)
	go func() {
		_, err := r.system.Freeze(as(t, administrator), &adminv1.FreezeRequest{Reason: "now"})
		frozen <- err
	}()
	<-committing
	_, err := r.signNOAH(as(t, operator), "a")
	r.refused(t, err, codes.Unavailable, "FROZEN")
	close(goOn)
	must(t, <-frozen)
}

func TestAStoreThatAChangeFindsTamperedWithIsServedNoMore(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	list, _, err := r.store.Load(t.Context())
	must(t, err)
	_, err = r.admin.DisableKey(as(t, operator), &adminv1.DisableKeyRequest{Name: "a"})
	must(t, err)
	_, err = r.admin.EnableKey(as(t, operator), &adminv1.EnableKeyRequest{Name: "a"})
	must(t, err)
	// Whoever writes the store puts older records back, while signerd runs.
	now, _, err := r.store.Load(t.Context())
	must(t, err)
	var changes []keystore.Change
	for _, old := range list {
		for _, n := range now {
			if n.Name == old.Name && n.Generation != old.Generation {
				changes = append(changes, keystore.Change{Record: old, Expect: n.Generation})
			}
		}
	}
	_, err = r.store.Store.Commit(t.Context(), changes)
	must(t, err)
	_, err = r.admin.UpdateKey(as(t, operator), &adminv1.UpdateKeyRequest{Name: "a", Labels: map[string]string{"a": "b"}})
	r.refused(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
	_, err = r.signNOAH(as(t, operator), "a")
	r.refused(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
	if got := r.server.Readiness(); got.Reason != server.ReasonStore || got.Text != keystore.ErrRolledBack.Error() {
		t.Errorf("the reason is %q: %q", got.Reason, got.Text)
	}
	// It can be frozen for what comes after all the same.
	_, err = r.system.Freeze(as(t, administrator), &adminv1.FreezeRequest{Reason: "now"})
	r.refused(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
}

// slowCodec is the usual one, for answers that take their time to be encoded.
type slowCodec struct {
	encoding.CodecV2
	began, goOn chan struct{}
	ended       atomic.Bool
}

func (*slowCodec) Name() string { return "slow" }

func (c *slowCodec) Marshal(v any) (mem.BufferSlice, error) {
	if _, ok := v.(*signerdv1.SignNoahRequestResponse); ok {
		close(c.began)
		<-c.goOn
		defer c.ended.Store(true)
	}
	return c.CodecV2.Marshal(v)
}

// A goroutine may be put off at any place for any time. Here it is while it encodes the answer, before gRPC's connection has any of it.
func TestFreezeIsNotAnsweredBeforeEveryAnswerIsWithItsConnection(t *testing.T) {
	codec := &slowCodec{CodecV2: encoding.GetCodecV2("proto"), began: make(chan struct{}), goOn: make(chan struct{})}
	encoding.RegisterCodecV2(codec)
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	signed := make(chan error, 1)
	go func() {
		_, err := r.signer.SignNoahRequest(as(t, operator), &signerdv1.SignNoahRequestRequest{Key: "a", Method: http.MethodGet, Path: "/v1"},
			grpc.CallContentSubtype(codec.Name()))
		signed <- err
	}()
	<-codec.began // signed, on record, and not yet encoded
	moved := make(chan struct{})
	r.keys.OnFreeze(func() { close(moved) })
	frozen := make(chan bool, 1)
	go func() {
		_, err := r.system.Freeze(as(t, administrator), &adminv1.FreezeRequest{Reason: "now"})
		if err != nil {
			t.Error(err)
		}
		frozen <- codec.ended.Load()
	}()
	<-moved // in force
	for range 20 {
		if _, err := r.signNOAH(context.WithoutCancel(as(t, operator)), "a"); status.Code(err) != codes.Unavailable {
			t.Errorf("frozen, and a caller gets %v", err)
		}
	}
	close(codec.goOn)
	must(t, <-signed)
	if !<-frozen {
		t.Error("freeze was answered before the signature was encoded and with its connection")
	}
}
