package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/certtest"
)

func TestSIGHUPAppliesAGoodConfigurationWholeAndRefusesABadOneWhole(t *testing.T) {
	in := install(t)
	logged, stop := in.serve(t)
	defer stop()
	logged(`"msg":"serving"`)
	conn, err := grpc.NewClient("unix://"+filepath.Join(in.dir, "admin.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	defer func() { _ = conn.Close() }()
	hears := func(want codes.Code) {
		t.Helper()
		if _, err := adminv1.NewSystemServiceClient(conn).GetStatus(t.Context(), &adminv1.GetStatusRequest{}); status.Code(err) != want {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	hears(codes.PermissionDenied)
	administrator := fmt.Sprintf("administrators: [unix:uid=%d]", os.Geteuid())
	for _, tt := range []struct {
		name, tls string
		more      []string
		says      string
		want      codes.Code
	}{
		{"an administrator", "", []string{administrator}, "configuration is in force", codes.OK},
		{"the administrator is gone, and a field is unknown", "", []string{"bogus: 1"}, "signerd.yaml:8: field bogus is unknown", codes.OK},
		{"the administrator is gone, and a change needs a restart", "", []string{"limits: {max_message_bytes: 8192}", "reflection: true"},
			"a change of reflection, limits.max_message_bytes needs a restart", codes.OK},
		{"the administrator is gone, and a TLS file is missing", ", crls: [absent.crl]", nil, "absent.crl", codes.OK},
		{"the administrator is gone", "", nil, "configuration is in force", codes.PermissionDenied},
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
	for _, conn := range []error{sign(t, open), sign(t, beside)} {
		if status.Code(conn) != codes.PermissionDenied {
			t.Fatalf("before, a client hears %v", conn)
		}
	}
	in.configure(t, fmt.Sprintf(", refused_serials: ['%X']", refused.Leaf.SerialNumber))
	hangUp(t)
	logged("configuration is in force")
	if err := sign(t, open); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the refused client hears %v", err)
	}
	if records := in.records(t); !strings.Contains(records, `"reason":"NO_IDENTITY"`) {
		t.Errorf("on record are %s", records)
	}
	if err := sign(t, beside); status.Code(err) != codes.PermissionDenied {
		t.Errorf("the other client hears %v", err)
	}
}

// records is the text of the audit log.
func (in *installation) records(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(in.dir, "audit", "records-*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no file of records: %v", err)
	}
	var out strings.Builder
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	return out.String()
}
