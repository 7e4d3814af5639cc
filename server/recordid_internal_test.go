package server

import (
	"encoding/hex"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestARecordIDIsAUUIDOfVersion7(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	now := time.UnixMilli(0x0123456789ab)
	seen := make(map[string]bool)
	for range 1000 {
		id := newRecordID(now)
		if !form.MatchString(id) {
			t.Fatalf("%q", id)
		}
		if !strings.HasPrefix(id, "01234567-89ab-7") {
			t.Fatalf("%q does not start with its time", id)
		}
		seen[id] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d of 1000 are different", len(seen))
	}
	// Random bits stand everywhere but in time, version and variant.
	var or, and [16]byte
	for i := range and {
		and[i] = 0xff
	}
	for id := range seen {
		b, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			or[i] |= b[i]
			and[i] &= b[i]
		}
	}
	for i, want := range []byte{0x0f, 0xff, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff} {
		if got := or[6+i] &^ and[6+i]; got != want {
			t.Errorf("byte %d: bits %08b vary, want %08b", 6+i, got, want)
		}
	}
}
