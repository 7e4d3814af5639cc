package server_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"google.golang.org/grpc/codes"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/backup"
)

// backedUp is a whole backup, in its pieces.
func (r *rig) backedUp(t testing.TB, by uint32) ([]byte, error) {
	t.Helper()
	stream, err := r.system.Backup(as(t, by), &adminv1.BackupRequest{})
	must(t, err)
	var out bytes.Buffer
	for {
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out.Bytes(), nil
		}
		if err != nil {
			return out.Bytes(), err
		}
		if n := len(piece.GetData()); n == 0 || n > 64<<10 {
			t.Errorf("a piece has %d bytes", n)
		}
		out.Write(piece.GetData())
	}
}

func TestABackupIsWholeAndIsOnRecordBeforeItIsGiven(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	for _, name := range []string{"a", "b", "c"} {
		r.importedNOAH(t, name)
	}
	before := len(r.records(t))
	b, err := r.backedUp(t, operator)
	must(t, err)
	m, seal, err := backup.Read(bytes.NewReader(b), nil)
	must(t, err)
	if m.Keys != 3 || m.Counter != r.keys.StoreState().Counter || !seal.By(r.keys.AuditSigner()) {
		t.Errorf("the backup says %+v", m)
	}
	var kinds []string
	for _, record := range r.records(t)[before:] {
		kinds = append(kinds, string(record.Kind)+" "+record.Operation+" "+record.Code)
	}
	if len(kinds) != 2 || kinds[0] != "intention Backup " || kinds[1] != "call Backup OK" {
		t.Errorf("on record are %q", kinds)
	}
}

func TestNobodyGetsABackupWhomNoRuleAllows(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	b, err := r.backedUp(t, stranger)
	r.refused(t, err, codes.PermissionDenied, "DENIED")
	if len(b) != 0 {
		t.Errorf("%d bytes were given", len(b))
	}
}
