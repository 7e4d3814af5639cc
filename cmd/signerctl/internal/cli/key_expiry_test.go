package cli

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

func TestKeyExpiry(t *testing.T) {
	k := ordersKey()
	day := timestamppb.New(time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC))
	k.Versions[0].ExpireTime = day
	f := serve(t, answers{"UpdateKeyVersion": give(&adminv1.UpdateKeyVersionResponse{Key: k}), "GetKey": give(&adminv1.GetKeyResponse{Key: k})})
	f.run(t, "", "key", "expiry", "orders", "--version", "1", "--at", "2027-01-31").want(t, 0, "Version 1 of key orders expires at 2027-01-31T00:00:00Z (generation 7).\n", "")
	f.run(t, "", "key", "expiry", "orders", "--version", "1", "--at", "2027-01-31T01:00:00+01:00", "--generation", "6").want(t, 0,
		"Version 1 of key orders expires at 2027-01-31T00:00:00Z (generation 7).\n", "")
	f.run(t, "", "key", "expiry", "orders", "--version", "2", "--none").want(t, 0, "Version 2 of key orders has no expiry date (generation 7).\n", "")
	f.wantRequests(t, &adminv1.UpdateKeyVersionRequest{Name: "orders", Version: 1, ExpireTime: day},
		&adminv1.UpdateKeyVersionRequest{Name: "orders", Version: 1, ExpireTime: day, Generation: 6}, &adminv1.UpdateKeyVersionRequest{Name: "orders", Version: 2})
	shown := f.run(t, "", "key", "show", "orders")
	if !strings.Contains(shown.stdout, "1        ENABLED, expires at 2027-01-31T00:00:00Z  ES384") {
		t.Errorf("key show does not tell when it expires:\n%s", shown.stdout)
	}
}

func TestKeyShowSaysHowFarItIsKnownThatAVersionWasNotUsed(t *testing.T) {
	k := ordersKey()
	f := serve(t, answers{"GetKey": give(&adminv1.GetKeyResponse{Key: k, UsesKnownSince: timestamppb.New(made.AsTime().Add(time.Hour))})})
	if shown := f.run(t, "", "key", "show", "orders").stdout; !strings.Contains(shown, "unix:uid=1000  not since 2026-11-22T09:30:00Z  ab12") {
		t.Errorf("key show does not tell it:\n%s", shown)
	}
}

func TestStatusTellsOfVersionsThatNobodyUses(t *testing.T) {
	f := serve(t, answers{"GetStatus": give(&adminv1.GetStatusResponse{UnusedVersionCount: 2, UsesKnownSince: made})})
	if out := f.run(t, "", "status").stdout; !strings.Contains(out, "Unused:         2 enabled versions not used for 90 days; uses are known since 2026-11-22T08:30:00Z\n") {
		t.Errorf("the status is\n%s", out)
	}
}

func TestStatusTellsWhatComesToAnEnd(t *testing.T) {
	f := serve(t, answers{"GetStatus": give(&adminv1.GetStatusResponse{ScheduledDestructionCount: 2, NextDestroyTime: made, ExpiringVersionCount: 1, ExpiredVersionCount: 3})})
	out := f.run(t, "", "status").stdout
	for _, line := range []string{"To be destroyed:  2 versions, the next at 2026-11-22T08:30:00Z\n", "Expiring:         1 version within 30 days, 3 versions already\n"} {
		if !strings.Contains(out, line) {
			t.Errorf("the status is\n%swithout %q", out, line)
		}
	}
}
