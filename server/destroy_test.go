package server_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/signerd/signerd/audit"
	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

const destroyed = adminv1.KeyVersionState_KEY_VERSION_STATE_DESTROYED

// scheduled makes a key whose version 1 is to be destroyed in an hour, and whose version 2 signs.
func (r *rig) scheduled(t *testing.T, name string) {
	t.Helper()
	r.importedTwice(t, name)
	_, err := r.admin.DestroyKeyVersion(as(t, operator), &adminv1.DestroyKeyVersionRequest{Name: name, Version: 1, After: durationpb.New(time.Hour)})
	must(t, err)
}

func (r *rig) wantFirstVersion(t *testing.T, name string, state adminv1.KeyVersionState, at time.Time) {
	t.Helper()
	out, err := r.admin.GetKey(as(t, operator), &adminv1.GetKeyRequest{Name: name})
	must(t, err)
	v := out.GetKey().GetVersions()[0]
	if v.GetState() != state || at.IsZero() != (v.GetDestroyTime() == nil) || !at.IsZero() && !v.GetDestroyTime().AsTime().Equal(at) {
		t.Errorf("version 1 is %v, want %s at %v", v, state, at)
	}
}

func TestADestructionIsShownAndTakenBack(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.scheduled(t, "a")
	r.wantFirstVersion(t, "a", disabled, r.clock.Now().Add(time.Hour))
	_, err := r.admin.RestoreKeyVersion(as(t, operator), &adminv1.RestoreKeyVersionRequest{Name: "a", Version: 1})
	must(t, err)
	r.wantFirstVersion(t, "a", disabled, time.Time{})
	_, err = r.admin.EnableKeyVersion(as(t, operator), &adminv1.EnableKeyVersionRequest{Name: "a", Version: 1})
	must(t, err)
}

func TestSignerdDestroysWhatIsDueOnRecord(t *testing.T) {
	t.Parallel()
	r := start(t, setup{bolt: true})
	r.scheduled(t, "a")
	r.clock.advance(time.Hour - time.Millisecond)
	r.server.DestroyDue(context.Background())
	r.wantFirstVersion(t, "a", disabled, r.clock.Now().Add(time.Millisecond))
	r.clock.advance(time.Millisecond)
	r.server.DestroyDue(context.Background())
	r.wantFirstVersion(t, "a", destroyed, r.clock.Now())
	out, err := r.signNOAH(as(t, operator), "a")
	must(t, err)
	if out.GetKeyVersion() != 2 {
		t.Errorf("version %d signed, want 2", out.GetKeyVersion())
	}
	_, err = r.admin.GetPublicKey(as(t, operator), &adminv1.GetPublicKeyRequest{Name: "a", Version: 1})
	r.refused(t, err, codes.FailedPrecondition, "VERSION_DESTROYED")
	var kinds []string
	for _, record := range r.records(t) {
		if record.Operation == "DestroyKeyVersion" && record.Caller == "" {
			kinds = append(kinds, string(record.Kind))
			if record.Key != "a" || record.Version != 1 || record.Scheme != "noah" || record.Environment != "sandbox" {
				t.Errorf("the record is %+v", record)
			}
		}
	}
	if len(kinds) != 2 || kinds[0] != "intention" || kinds[1] != "call" {
		t.Errorf("on record are %q, want an intention and its result", kinds)
	}
}

func TestWithAnActiveVersionDestroyedRequestsSaySo(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	in := &adminv1.DestroyKeyVersionRequest{Name: "a", Version: 1, After: durationpb.New(time.Hour), Confirm: "a/1/3/1h0m0s"}
	_, err := r.admin.DestroyKeyVersion(as(t, operator), in)
	must(t, err)
	_, err = r.signNOAH(as(t, operator), "a")
	r.refused(t, err, codes.FailedPrecondition, "KEY_DISABLED")
	r.clock.advance(time.Hour)
	r.server.DestroyDue(context.Background())
	_, err = r.signNOAH(as(t, operator), "a")
	r.refused(t, err, codes.FailedPrecondition, "VERSION_DESTROYED")
}

func TestAVersionThatIsRestoredInTheLastMomentIsNotOnRecordAsDestroyed(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.scheduled(t, "a")
	r.clock.advance(time.Hour)
	// Between the look at what is due and the destruction, an operator takes it back.
	r.clock.onceAt(3, func() {
		if _, err := r.keys.RestoreVersion(context.Background(), "a", 1, 0); err != nil {
			t.Error(err)
		}
	})
	r.server.DestroyDue(context.Background())
	r.wantFirstVersion(t, "a", disabled, time.Time{})
	var results []audit.Record
	for _, record := range r.records(t) {
		if record.Operation == "DestroyKeyVersion" && record.Caller == "" && record.Kind == audit.KindCall {
			results = append(results, record)
		}
	}
	if len(results) != 1 || results[0].Code != codes.Aborted.String() || results[0].Reason != "CONFLICT" || results[0].Generation != 0 {
		t.Errorf("on record is %+v, want one result that says CONFLICT", results)
	}
}

func TestAClockThatJumpsAheadDestroysNothing(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedTwice(t, "a")
	_, err := r.admin.DestroyKeyVersion(as(t, operator), &adminv1.DestroyKeyVersionRequest{Name: "a", Version: 1, After: durationpb.New(7 * 24 * time.Hour)})
	must(t, err)
	due := r.clock.Now().Add(7 * 24 * time.Hour)
	warning := func() string {
		out, err := r.system.GetStatus(as(t, operator), &adminv1.GetStatusRequest{})
		must(t, err)
		return out.GetStoreWarning()
	}
	const wrong = 10 * 365 * 24 * time.Hour
	r.clock.advance(wrong)
	r.server.DestroyDue(context.Background())
	r.wantFirstVersion(t, "a", disabled, due)
	if got := warning(); !strings.Contains(got, "the clock is ahead by 87600h0m0s") {
		t.Errorf("the warning is %q", got)
	}
	r.clock.advance(-wrong)
	r.server.DestroyDue(context.Background())
	r.wantFirstVersion(t, "a", disabled, due)
	if got := warning(); got != "" {
		t.Errorf("once the clock is right the warning is %q", got)
	}
}

func TestEveryChangeOfAKeysGenerationIsOnRecord(t *testing.T) {
	t.Parallel()
	r := start(t, setup{bolt: true})
	r.scheduled(t, "a")
	r.clock.advance(time.Hour)
	r.server.DestroyDue(context.Background())
	out, err := r.admin.GetKey(as(t, operator), &adminv1.GetKeyRequest{Name: "a"})
	must(t, err)
	for _, record := range r.records(t) {
		if record.Key == "a" && record.Generation == out.GetKey().GetGeneration() {
			return
		}
	}
	t.Errorf("no record tells of the change to generation %d of the key", out.GetKey().GetGeneration())
}
