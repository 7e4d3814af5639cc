package server_test

import (
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/server"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noon"
)

// wantLastUse fails unless an operator is told that a version was last used then; the zero time for never.
func (r *rig) wantLastUse(t *testing.T, what, key string, version uint32, want time.Time) {
	t.Helper()
	out, err := r.admin.GetKey(as(t, operator), &adminv1.GetKeyRequest{Name: key})
	must(t, err)
	got := out.GetKey().GetVersions()[version-1].GetLastUseTime()
	if (got == nil) != want.IsZero() || got != nil && !got.AsTime().Equal(want) {
		t.Errorf("%s: version %d of %s was last used at %v, want %v", what, version, key, got.AsTime(), want)
	}
}

// second is the time as uses are noted.
func (r *rig) second() time.Time { return r.clock.Now().Truncate(time.Second) }

func TestWhatIsHandedOutIsALastUseOfItsVersion(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedTwice(t, "noah")
	r.importedNoba(t, "noba")
	r.importedNoon(t, "noon")
	r.clock.advance(time.Hour)
	for key, sign := range map[string]func() error{
		"noah": func() error { _, err := r.signNOAH(as(t, operator), "noah"); return err },
		"noba": func() error { _, err := r.computeNoba(as(t, operator), "noba"); return err },
		"noon": func() error { _, err := r.session(t, "noon", ""); return err },
	} {
		version := r.keys.Lookup(key).Active
		r.wantLastUse(t, "before", key, version, time.Time{})
		for range 2 {
			must(t, sign())
			r.wantLastUse(t, "after", key, version, r.second())
			r.clock.advance(time.Minute)
		}
	}
	r.wantLastUse(t, "while the other signed", "noah", 1, time.Time{})
}

func TestWhatIsRefusedIsNoUse(t *testing.T) {
	t.Parallel()
	r, disk := onBrittleDisk(t, setup{})
	r.importedNOAH(t, "noah")
	sign := func(uid uint32) error { _, err := r.signNOAH(as(t, uid), "noah"); return err }
	r.refused(t, sign(stranger), codes.PermissionDenied, "DENIED")
	_, err := r.computeNoba(as(t, operator), "noah")
	r.refused(t, err, codes.FailedPrecondition, "WRONG_SCHEME")
	_, err = r.signer.SignNoahRequest(as(t, operator), &signerdv1.SignNoahRequestRequest{Key: "noah", Method: "GET", Path: "no path"})
	r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST")
	r.freeze(t, "a test")
	r.refused(t, sign(operator), codes.Unavailable, "FROZEN")
	r.unfreeze(t)
	disk.failing(syscall.EIO)
	r.refused(t, sign(operator), codes.Unavailable, "AUDIT_UNAVAILABLE")
	disk.failing(nil)
	r.untilServing(t)
	_, err = r.admin.GetPublicKey(as(t, operator), &adminv1.GetPublicKeyRequest{Name: "noah", Version: 1})
	must(t, err)
	_, err = r.verifies(t, operator, "noah", "", "e30.e30.AAAA")
	must(t, err)
	r.wantLastUse(t, "after refusals", "noah", 1, time.Time{})
}

func TestTheStatusCountsEnabledVersionsThatWereNotUsedForNinetyDays(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	began := r.second()
	r.importedTwice(t, "a")
	want := func(unused uint32) {
		t.Helper()
		told, err := r.system.GetStatus(as(t, operator), &adminv1.GetStatusRequest{})
		must(t, err)
		key, err := r.admin.GetKey(as(t, operator), &adminv1.GetKeyRequest{Name: "a"})
		must(t, err)
		if told.GetUnusedVersionCount() != unused || !told.GetUsesKnownSince().AsTime().Equal(began) || !key.GetUsesKnownSince().AsTime().Equal(began) {
			t.Errorf("%d versions are unused, uses being known since %v and %v; want %d, %v", told.GetUnusedVersionCount(),
				told.GetUsesKnownSince().AsTime(), key.GetUsesKnownSince().AsTime(), unused, began)
		}
	}
	want(0)
	r.clock.advance(90 * 24 * time.Hour)
	want(2)
	_, err := r.signNOAH(as(t, operator), "a")
	must(t, err)
	want(1)
}

func TestLastUsesAreStoredWhenSignerdStops(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNoba(t, "a")
	r.clock.advance(time.Minute)
	_, err := r.computeNoba(as(t, operator), "a")
	must(t, err)
	used := r.second()
	wantStored(t, r.reopened(t), time.Time{})
	must(t, r.server.Shutdown(t.Context()))
	r.server.Close()
	wantStored(t, r.reopened(t), used)
	if strings.Contains(r.log.String(), "last used") {
		t.Error("the log complains of last uses")
	}
}

// reopened is a second keystore over the same store, as the next start would have it.
func (r *rig) reopened(t *testing.T) *keystore.Keystore {
	t.Helper()
	return reopen(t, r.store, r.anchor, r.clock.Now)
}

func reopen(t *testing.T, store keystore.Store, anchor keystore.Anchor, now func() time.Time) *keystore.Keystore {
	t.Helper()
	root, err := rootKey()
	must(t, err)
	keys, err := keystore.Open(t.Context(), keystore.Config{Store: store, Anchor: anchor, RootKey: root,
		Schemes: server.Schemes(noon.Destinations{LoopbackHTTP: true}), Compile: server.CompilePolicy, Now: now})
	must(t, err)
	return keys
}

func wantStored(t *testing.T, keys *keystore.Keystore, want time.Time) {
	t.Helper()
	if v, _ := keys.Lookup("a").Version(1); !v.LastUsed().Equal(want) {
		t.Errorf("it is stored that version 1 was last used at %v, want %v", v.LastUsed(), want)
	}
}

func TestLastUsesAreStoredEveryHourAndSignerdGoesOnWhenTheyCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, anchor, clock, log := shortDir(t), &memoryAnchor{}, newClock(), &logBuffer{}
		store := &hookedStore{Store: openStore(t, dir, false)}
		keys := openKeys(t, store, anchor, clock)
		material := make(upstream.Material)
		for part, b := range newNoba().material() {
			material[part] = secret.New(b)
		}
		_, _, err := keys.Import(t.Context(), "test", keystore.NewKey{Name: "a", Scheme: "noba", Environment: "sandbox"}, material)
		must(t, err)
		bounds, err := policy.NewBounds(nil, nil, server.Always())
		must(t, err)
		s, err := server.New(server.Config{Bounds: bounds, Log: slog.New(slog.NewJSONHandler(log, nil)), Now: clock.Now})
		must(t, err)
		s.Open(keys, openLog(t, filepath.Join(dir, "audit"), nil, keys, s.AuditChanged, clock.Now))
		used := func() time.Time {
			clock.advance(time.Minute)
			keys.Lookup("a").MarkUsed(1, clock.Now())
			return clock.Now().Truncate(time.Second)
		}
		first := used()
		time.Sleep(time.Hour - 1)
		synctest.Wait()
		wantStored(t, reopen(t, store, anchor, clock.Now), time.Time{})
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		wantStored(t, reopen(t, store, anchor, clock.Now), first)

		second := used()
		store.failing(syscall.EIO)
		time.Sleep(time.Hour)
		synctest.Wait()
		if !strings.Contains(log.String(), "when keys were last used is not stored") {
			t.Errorf("the log does not say that they could not be stored:\n%s", log.String())
		}
		store.failing(nil)
		time.Sleep(time.Hour)
		synctest.Wait()
		wantStored(t, reopen(t, store, anchor, clock.Now), second)
		must(t, s.Shutdown(t.Context()))
		s.Close()
	})
}

func TestLastUsesThatAreLostAreSaidAndStopNothing(t *testing.T) {
	t.Parallel()
	r := start(t, setup{unopened: true})
	must(t, r.keys.KeepUsage(t.Context()))
	records, _, err := r.store.Load(t.Context())
	must(t, err)
	for _, record := range records {
		if record.Name == "usage" {
			damaged := keystore.Record{Name: record.Name, Generation: record.Generation, Sealed: record.Sealed[1:]}
			_, err := r.store.Commit(t.Context(), []keystore.Change{{Record: damaged, Expect: record.Generation}})
			must(t, err)
		}
	}
	r.server.Open(r.reopened(t), r.audit)
	if log := r.log.String(); !strings.Contains(log, "when keys were last used was lost") || !strings.Contains(log, `record \"usage\"`) {
		t.Errorf("the log does not say that last uses were lost:\n%s", log)
	}
	r.importedNOAH(t, "a")
	_, err = r.signNOAH(as(t, operator), "a")
	must(t, err)
	r.wantLastUse(t, "begun anew", "a", 1, r.second())
}
