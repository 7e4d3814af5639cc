package main

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/signerd/signerd/internal/certtest"
)

// granting lets the test's client sign; the key is absent, so that it then hears NOT_FOUND.
const granting = "grants: [{callers: ['spiffe://example.org/orders'], keys: [a], operations: [SignNoahRequest]}]"

func TestSIGHUPAppliesAGoodConfigurationWholeAndRefusesABadOneWhole(t *testing.T) {
	in := install(t)
	logged, stop := in.serve(t)
	defer stop()
	logged(`"msg":"serving"`)
	conn := in.connect(t, in.client(t))
	hears := func(want codes.Code) {
		t.Helper()
		if err := sign(t, conn); status.Code(err) != want {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	hears(codes.PermissionDenied)
	for _, tt := range []struct {
		name, tls string
		more      []string
		says      string
		want      codes.Code
	}{
		{"a grant", "", []string{granting}, "configuration is in force", codes.NotFound},
		{"the grant is gone, and a field is unknown", "", []string{"bogus: 1"}, "signerd.yaml:7: field bogus is unknown", codes.NotFound},
		{"the grant is gone, and a change needs a restart", "", []string{"limits: {max_message_bytes: 8192}", "reflection: true"},
			"a change of reflection, limits.max_message_bytes needs a restart", codes.NotFound},
		{"the grant is gone, and a TLS file is missing", ", crls: [absent.crl]", nil, "absent.crl", codes.NotFound},
		{"the grant is gone", "", nil, "configuration is in force", codes.PermissionDenied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in.configure(t, tt.tls, tt.more...)
			hangUp(t)
			line := logged("configuration is")
			if !strings.Contains(line, tt.says) {
				t.Errorf("the log says %s", line)
			}
			hears(tt.want)
		})
	}
}

func TestARefusedSerialCountsOnTheNextRequestOfAnOpenConnection(t *testing.T) {
	in := install(t)
	logged, stop := in.serve(t)
	defer stop()
	logged(`"msg":"serving"`)
	roots := in.client(t)
	with := func(p certtest.Pair) *tls.Config {
		c := roots.Clone()
		c.Certificates = []tls.Certificate{p.TLS(t)}
		return c
	}
	refused, other := in.clients.Client(t, "spiffe://example.org/orders"), in.clients.Client(t, "spiffe://example.org/orders")
	open, beside := in.connect(t, with(refused)), in.connect(t, with(other))
	in.configure(t, "", granting)
	hangUp(t)
	logged("configuration is in force")
	for _, conn := range []error{sign(t, open), sign(t, beside)} {
		if status.Code(conn) != codes.NotFound {
			t.Fatalf("before, a client hears %v", conn)
		}
	}
	in.configure(t, fmt.Sprintf(", refused_serials: ['%X']", refused.Leaf.SerialNumber), granting)
	hangUp(t)
	logged("configuration is in force")
	if err := sign(t, open); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the refused client hears %v", err)
	}
	logged(`"reason":"NO_IDENTITY"`)
	if err := sign(t, beside); status.Code(err) != codes.NotFound {
		t.Errorf("the other client hears %v", err)
	}
}
