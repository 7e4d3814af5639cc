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
		{"a SPIFFE ID", "spiffe://example.org/orders", ""},
		{"a SPIFFE ID with every character", "spiffe://a-b_c.9/Orders/v1.2/x_y-z", ""},
		{"the longest SPIFFE ID", "spiffe://d/" + strings.Repeat("a", 2037), ""},
		{"too long a SPIFFE ID", "spiffe://d/" + strings.Repeat("a", 2038), "SPIFFE ID"},
		{"the longest trust domain", "spiffe://" + strings.Repeat("a", 255) + "/a", ""},
		{"too long a trust domain", "spiffe://" + strings.Repeat("a", 256) + "/a", "SPIFFE ID"},
		{"a trust domain alone", "spiffe://example.org", "SPIFFE ID"},
		{"an empty path", "spiffe://example.org/", "SPIFFE ID"},
		{"no trust domain", "spiffe:///orders", "SPIFFE ID"},
		{"a slash at the end", "spiffe://example.org/orders/", "SPIFFE ID"},
		{"an empty segment", "spiffe://example.org//orders", "SPIFFE ID"},
		{"a dot for a segment", "spiffe://example.org/./orders", "SPIFFE ID"},
		{"two dots for a segment", "spiffe://example.org/../orders", "SPIFFE ID"},
		{"an upper-case trust domain", "spiffe://Example.org/orders", "SPIFFE ID"},
		{"a port", "spiffe://example.org:443/orders", "SPIFFE ID"},
		{"a user", "spiffe://me@example.org/orders", "SPIFFE ID"},
		{"a query", "spiffe://example.org/orders?a=b", "SPIFFE ID"},
		{"a fragment", "spiffe://example.org/orders#a", "SPIFFE ID"},
		{"a percent-encoded segment", "spiffe://example.org/%6frders", "SPIFFE ID"},
		{"a SPIFFE ID with a star", "spiffe://example.org/*", "SPIFFE ID"},
		{"a SPIFFE ID with a line end", "spiffe://example.org/orders\n", "SPIFFE ID"},
		{"an upper-case scheme", "SPIFFE://example.org/orders", "numeric user id"},
		{"another scheme", "https://example.org/orders", "numeric user id"},
		{"a host", "dns:orders.internal", ""},
		{"a host without a dot", "dns:orders", ""},
		{"a host with a hyphen, an underscore and digits", "dns:a-1_b.example2", ""},
		{"the longest host", "dns:" + strings.Repeat("a.", 126) + "a", ""},
		{"too long a host", "dns:" + strings.Repeat("a.", 126) + "aa", "host name"},
		{"too long a label", "dns:" + strings.Repeat("a", 64), "host name"},
		{"no host", "dns:", "host name"},
		{"a wildcard", "dns:*.internal", "host name"},
		{"a wildcard inside", "dns:orders.*", "host name"},
		{"an upper-case host", "dns:Orders.internal", "host name"},
		{"a dot at the end", "dns:orders.internal.", "host name"},
		{"a dot at the start", "dns:.internal", "host name"},
		{"a hyphen at a label's start", "dns:-orders.internal", "host name"},
		{"a hyphen at a label's end", "dns:orders-.internal", "host name"},
		{"an IP address", "dns:192.0.2.1", "host name"},
		{"an IPv6 address", "dns:2001:db8::1", "host name"},
		{"a letter that lower case makes ASCII", "dns:\u212Aeys.internal", "host name"},
		{"a host with a zero byte", "dns:orders.internal\x00.example.org", "host name"},
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

func TestAHostIsOneCallerInEveryCase(t *testing.T) {
	got, err := policy.DNSCaller("Orders.INTERNAL")
	if err != nil || got.String() != "dns:orders.internal" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := policy.DNSCaller("\u212Aeys.internal"); err == nil {
		t.Errorf("a letter that only looks like k became %q", got)
	}
}

func TestACallerOfACertificateIsTheOneThatGrantsName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[A-Za-z0-9._-]{1,8}(/[A-Za-z0-9.]{1,4})?`).Draw(t, "name")
		for _, of := range []func(string) (policy.Caller, error){
			func(s string) (policy.Caller, error) { return policy.SPIFFECaller("spiffe://" + s) }, policy.DNSCaller,
		} {
			c, err := of(name)
			if err != nil {
				continue
			}
			if parsed, err := policy.ParseCaller(c.String()); err != nil || parsed != c {
				t.Fatalf("%q is read as %q, %v", c, parsed, err)
			}
		}
	})
}
