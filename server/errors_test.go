package server_test

import (
	"context"
	"crypto/elliptic"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/policy"
)

func (r *rig) signNOAH(ctx context.Context, key string) (*signerdv1.SignNoahRequestResponse, error) {
	return r.signer.SignNoahRequest(ctx, &signerdv1.SignNoahRequestRequest{Key: key, Method: "GET", Path: "/v1/things"})
}

func (r *rig) computeNoba(ctx context.Context, key string) (*signerdv1.ComputeNobaSignatureResponse, error) {
	return r.signer.ComputeNobaSignature(ctx, &signerdv1.ComputeNobaSignatureRequest{Key: key, Method: "GET", Path: "/v1/things"})
}

func TestEveryRefusalHasItsCodeAndReason(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	ctx := as(t, operator)
	r.importedNOAH(t, "noah")
	r.importedNoba(t, "noba")
	r.importedNOAH(t, "key-disabled")
	_, err := r.admin.DisableKey(ctx, &adminv1.DisableKeyRequest{Name: "key-disabled"})
	must(t, err)
	r.importedNOAH(t, "version-disabled")
	_, err = r.admin.DisableKeyVersion(ctx, &adminv1.DisableKeyVersionRequest{Name: "version-disabled", Version: 1})
	must(t, err)
	_, err = r.admin.CreateKey(ctx, &adminv1.CreateKeyRequest{Name: "pending", Environment: sandbox})
	must(t, err)
	stale := r.imported(t, "edited", "noah", sandbox, newNOAH(t, elliptic.P256(), sandbox).material()).GetGeneration()
	_, err = r.admin.UpdateKey(ctx, &adminv1.UpdateKeyRequest{Name: "edited", Labels: map[string]string{"a": "b"}})
	must(t, err)

	tests := []struct {
		name   string
		call   func() error
		code   codes.Code
		reason string
	}{
		{"no identity", func() error { _, err := r.signNOAH(t.Context(), "noah"); return err }, codes.Unauthenticated, "NO_IDENTITY"},
		{"not allowed", func() error { _, err := r.signNOAH(as(t, stranger), "noah"); return err }, codes.PermissionDenied, "DENIED"},
		{"no such key", func() error { _, err := r.signNOAH(ctx, "nothing"); return err }, codes.NotFound, "KEY_NOT_FOUND"},
		{"no such key, by generation", func() error {
			_, err := r.admin.EnableKey(ctx, &adminv1.EnableKeyRequest{Name: "nothing", Generation: 7})
			return err
		}, codes.NotFound, "KEY_NOT_FOUND"},
		{"no such version", func() error {
			_, err := r.admin.ActivateKeyVersion(ctx, &adminv1.ActivateKeyVersionRequest{Name: "noah", Version: 2})
			return err
		}, codes.NotFound, "KEY_NOT_FOUND"},
		{"no public key of such a version", func() error {
			_, err := r.admin.GetPublicKey(ctx, &adminv1.GetPublicKeyRequest{Name: "noah", Version: 2})
			return err
		}, codes.NotFound, "KEY_NOT_FOUND"},
		{"a Noba key for NOAH", func() error { _, err := r.signNOAH(ctx, "noba"); return err }, codes.FailedPrecondition, "WRONG_SCHEME"},
		{"a NOAH key for Noba", func() error { _, err := r.computeNoba(ctx, "noah"); return err }, codes.FailedPrecondition, "WRONG_SCHEME"},
		{"the public key of a shared secret", func() error {
			_, err := r.admin.GetPublicKey(ctx, &adminv1.GetPublicKeyRequest{Name: "noba"})
			return err
		}, codes.FailedPrecondition, "WRONG_SCHEME"},
		{"key disabled", func() error { _, err := r.signNOAH(ctx, "key-disabled"); return err }, codes.FailedPrecondition, "KEY_DISABLED"},
		{"version disabled", func() error { _, err := r.signNOAH(ctx, "version-disabled"); return err }, codes.FailedPrecondition, "KEY_DISABLED"},
		{"activating a disabled version", func() error {
			_, err := r.admin.ActivateKeyVersion(ctx, &adminv1.ActivateKeyVersionRequest{Name: "version-disabled", Version: 1})
			return err
		}, codes.FailedPrecondition, "KEY_DISABLED"},
		{"nothing active", func() error { _, err := r.signNOAH(ctx, "pending"); return err }, codes.FailedPrecondition, "NO_ACTIVE_VERSION"},
		{"made twice", func() error {
			_, err := r.admin.CreateKey(ctx, &adminv1.CreateKeyRequest{Name: "noah", Environment: sandbox})
			return err
		}, codes.AlreadyExists, "KEY_EXISTS"},
		{"imported twice", func() error {
			_, err := r.admin.ImportKey(ctx, &adminv1.ImportKeyRequest{Name: "noah", Scheme: "noba", Environment: sandbox, Material: newNoba().material()})
			return err
		}, codes.AlreadyExists, "KEY_EXISTS"},
		{"decided on an older state", func() error {
			_, err := r.admin.DisableKey(ctx, &adminv1.DisableKeyRequest{Name: "edited", Generation: stale})
			return err
		}, codes.Aborted, "CONFLICT"},
		{"decided on a state to come", func() error {
			_, err := r.admin.UpdateKey(ctx, &adminv1.UpdateKeyRequest{Name: "edited", Generation: 1 << 60})
			return err
		}, codes.Aborted, "CONFLICT"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			logged, _ := r.refused(t, tt.call(), tt.code, tt.reason)
			if signs := strings.HasPrefix(logged.Operation, "Sign") || strings.HasPrefix(logged.Operation, "Compute"); signs && logged.KeyVersion != 0 {
				t.Errorf("the log names version %d, which signed nothing", logged.KeyVersion)
			}
		})
	}
}

func TestWithoutKeysOnlyTheStatusIsTold(t *testing.T) {
	t.Parallel()
	r := start(t, setup{unopened: true})
	ctx := as(t, operator)
	_, err := r.signNOAH(ctx, "a")
	r.refused(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
	_, err = r.admin.ImportKey(ctx, &adminv1.ImportKeyRequest{Name: "a", Scheme: "noba", Environment: sandbox, Material: newNoba().material()})
	r.refused(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
	_, err = r.admin.ListKeys(ctx, &adminv1.ListKeysRequest{})
	r.refused(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
	_, err = r.system.GetStatus(ctx, &adminv1.GetStatusRequest{})
	r.refused(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
	state, err := r.system.GetStatus(as(t, administrator), &adminv1.GetStatusRequest{})
	must(t, err)
	if state.GetServing() || state.GetReason() == "" || state.GetKeyCount() != 0 {
		t.Errorf("status %v", state)
	}

	r.server.Open(r.keys, r.audit)
	r.importedNoba(t, "a")
	state, err = r.system.GetStatus(ctx, &adminv1.GetStatusRequest{})
	must(t, err)
	if !state.GetServing() || state.GetReason() != "" || state.GetKeyCount() != 1 || state.GetKeyVersionCount() != 1 ||
		state.GetStoreCounter() != 3 || state.GetVersion() != "v0-test" || !strings.HasPrefix(state.GetGoVersion(), "go") ||
		!strings.HasPrefix(state.GetRootKeyId(), "file:") || !state.GetStartTime().AsTime().Equal(r.clock.Now()) || state.GetDevelopment() {
		t.Errorf("status %v", state)
	}
}

func TestAChangeThatCannotBeWrittenIsNotMade(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	ctx := as(t, operator)
	noba := r.importedNoba(t, "a")
	for _, cause := range []error{errors.New("the disk is on fire"), keystore.ErrStoreClosed} {
		r.store.failing(cause)
		_, err := r.admin.DisableKey(ctx, &adminv1.DisableKeyRequest{Name: "a"})
		logged, _ := r.refused(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
		if !strings.Contains(logged.Cause, cause.Error()) {
			t.Errorf("the log says %q, not that %v", logged.Cause, cause)
		}
		if text := status.Convert(err).Message(); strings.Contains(text, cause.Error()) {
			t.Errorf("the caller was told %q", text)
		}
		out, err := r.computeNoba(ctx, "a")
		must(t, err)
		if out.GetHeaders()["X-Noba-API-Key"] != noba.apiKey {
			t.Error("signing stopped with the disk")
		}
	}
	r.store.failing(nil)
	_, err := r.admin.DisableKey(ctx, &adminv1.DisableKeyRequest{Name: "a"})
	must(t, err)
}

func TestAChangeThatOthersKeepOvertakingIsAConflict(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNoba(t, "a")
	r.store.failing(keystore.ErrConflict)
	_, err := r.admin.DisableKey(as(t, operator), &adminv1.DisableKeyRequest{Name: "a"})
	r.refused(t, err, codes.Aborted, "CONFLICT")
}

func TestAPanicIsInternalAndItsCauseInTheLogAlone(t *testing.T) {
	t.Parallel()
	r := start(t, setup{identify: func(ctx context.Context) (policy.Caller, error) {
		if len(metadata.ValueFromIncomingContext(ctx, "test-panic")) > 0 {
			panic("the moon is full")
		}
		return byHeader(ctx)
	}})
	_, err := r.signNOAH(metadata.AppendToOutgoingContext(as(t, operator), "test-panic", "1"), "a")
	logged, _ := r.refused(t, err, codes.Internal, "INTERNAL")
	if st := status.Convert(err); st.Message() != "internal error" || strings.Contains(st.Proto().String(), "moon") {
		t.Errorf("the caller was told %v", st)
	}
	if !strings.Contains(logged.Cause, "the moon is full") || !strings.Contains(logged.Cause, "errors_test.go") {
		t.Errorf("the log has neither the panic nor where it was: %q", logged.Cause)
	}
	// The next one is served.
	_, err = r.signNOAH(as(t, operator), "a")
	r.refused(t, err, codes.NotFound, "KEY_NOT_FOUND")
}

// patient waits in Identify until the call's context ends, and tells when it got there.
func patient(entered chan<- struct{}) func(context.Context) (policy.Caller, error) {
	return func(ctx context.Context) (policy.Caller, error) {
		entered <- struct{}{}
		<-ctx.Done()
		return policy.Caller{}, ctx.Err()
	}
}

func TestACallerThatGivesUpIsCancelled(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{}, 1)
	r := start(t, setup{identify: patient(entered)})
	ctx, cancel := context.WithCancel(as(t, operator))
	go func() { <-entered; cancel() }()
	_, err := r.signNOAH(ctx, "a")
	if status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	r.endedWith(t, codes.Canceled)
}

func TestACallBeyondItsDeadlineIsEnded(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{}, 1)
	r := start(t, setup{identify: patient(entered)})
	for patience := 20 * time.Millisecond; ; patience *= 2 {
		ctx, cancel := context.WithTimeout(as(t, operator), patience)
		_, err := r.signNOAH(ctx, "a")
		cancel()
		if status.Code(err) != codes.DeadlineExceeded {
			t.Fatalf("got %v", err)
		}
		// On a busy machine the deadline may pass before the server hears of the call.
		select {
		case <-entered:
			r.endedWith(t, codes.DeadlineExceeded, codes.Canceled)
			return
		default:
		}
	}
}

// endedWith waits for the server's side of one call, and looks it up in the log. Which side notices a deadline first is
// open: a client that does cancels the stream.
func (r *rig) endedWith(t *testing.T, want ...codes.Code) {
	t.Helper()
	must(t, r.server.Shutdown(context.Background()))
	for _, l := range r.lines(t) {
		for _, code := range want {
			if l.Code == code.String() && l.Reason == "" && l.Level == "DEBUG" {
				return
			}
		}
	}
	t.Errorf("no %v in the log: %s", want, r.log.String())
}
