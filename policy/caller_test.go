package policy_test

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/signerd/signerd/policy"
)

func TestACallerHasOneSpelling(t *testing.T) {
	tests := []struct {
		name, in string
		problem  string
	}{
		{"root", "unix:uid=0", ""},
		{"a user", "unix:uid=1000", ""},
		{"the id before nobody", "unix:uid=65533", ""},
		{"the id after nobody", "unix:uid=65535", ""},
		{"the largest id", "unix:uid=4294967294", ""},
		{"nobody", "unix:uid=65534", "uid 65534 is nobody"},
		{"no peer", "unix:uid=4294967295", "uid 4294967295 is nobody"},
		{"too large an id", "unix:uid=4294967296", "numeric user id"},
		{"an id that wraps to a user", "unix:uid=4294968296", "numeric user id"},
		{"an id beyond 64 bits", "unix:uid=18446744073709552616", "numeric user id"},
		{"a leading zero", "unix:uid=01000", "numeric user id"},
		{"two zeros", "unix:uid=00", "numeric user id"},
		{"a plus sign", "unix:uid=+1000", "numeric user id"},
		{"minus zero", "unix:uid=-0", "numeric user id"},
		{"a negative id", "unix:uid=-1", "numeric user id"},
		{"hexadecimal", "unix:uid=0x3e8", "numeric user id"},
		{"underscores", "unix:uid=1_000", "numeric user id"},
		{"an exponent", "unix:uid=1e3", "numeric user id"},
		{"a user's name", "unix:uid=root", "numeric user id"},
		{"digits of another script", "unix:uid=\u0661\u0660", "numeric user id"},
		{"a space before", " unix:uid=1000", "numeric user id"},
		{"a space after", "unix:uid=1000 ", "numeric user id"},
		{"a space inside", "unix:uid= 1000", "numeric user id"},
		{"a line end", "unix:uid=1000\n", "numeric user id"},
		{"no id", "unix:uid=", "numeric user id"},
		{"no prefix", "1000", "numeric user id"},
		{"upper case", "UNIX:uid=1000", "numeric user id"},
		{"another attribute", "unix:gid=1000", "numeric user id"},
		{"two ids", "unix:uid=1000,unix:uid=1001", "numeric user id"},
		{"the star", "*", "numeric user id"},
		{"an id and the star", "unix:uid=*", "numeric user id"},
		{"nothing", "", "numeric user id"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := policy.ParseCaller(tt.in)
			if tt.problem == "" {
				if err != nil || c.String() != tt.in {
					t.Errorf("got %q, %v", c, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.problem) {
				t.Errorf("got %v, want %q", err, tt.problem)
			}
			if c != (policy.Caller{}) {
				t.Errorf("the caller %q came with the error", c)
			}
		})
	}
}

func TestTheKernelsNobodyIsNoCaller(t *testing.T) {
	for _, uid := range []uint32{policy.OverflowUID, math.MaxUint32} {
		if c, err := policy.UnixCaller(uid); err == nil || c != (policy.Caller{}) {
			t.Errorf("%d: got %q", uid, c)
		}
	}
}

func TestACallerOfTheKernelIsTheOneThatGrantsName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		uid := rapid.Uint32().Draw(t, "uid")
		c, err := policy.UnixCaller(uid)
		if err != nil {
			if uid != policy.OverflowUID && uid != math.MaxUint32 {
				t.Fatal(err)
			}
			return
		}
		if parsed, err := policy.ParseCaller(c.String()); err != nil || parsed != c {
			t.Fatalf("%q is read as %q, %v", c, parsed, err)
		}
	})
}
