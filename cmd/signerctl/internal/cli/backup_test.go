package cli

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/backup"
	"github.com/signerd/signerd/internal/checkpoint"
)

type fakeSystem struct {
	adminv1.UnimplementedSystemServiceServer
	f *fake
}

func (s fakeSystem) Backup(req *adminv1.BackupRequest, stream grpc.ServerStreamingServer[adminv1.BackupResponse]) error {
	return s.f.stream("Backup", stream, req)
}

// testBackup is a backup, and the verifier key of the store that made it.
func testBackup(t *testing.T) (content []byte, verifierKey string) {
	t.Helper()
	id := strings.Repeat("ab", 16)
	signer, err := checkpoint.NewSigner("signerd/"+id, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	m := backup.Manifest{StoreID: id, Counter: 9, Root: strings.Repeat("cd", 32), Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Version: "1.2.3", RootKeyID: "file:00"}
	records := []backup.Record{{Name: "head", Generation: 9, Sealed: make([]byte, 100)}, {Name: "key/a", Generation: 3, Sealed: make([]byte, 200)}}
	if _, err := backup.Write(&b, m, records, signer.Sign); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), signer.VerifierKey()
}

// pieces sends a backup in pieces of n bytes.
func pieces(content []byte, n int) []proto.Message {
	var out []proto.Message
	for len(content) > 0 {
		k := min(n, len(content))
		out = append(out, &adminv1.BackupResponse{Data: content[:k]})
		content = content[k:]
	}
	return out
}

const backupShown = `Keys:      1
Records:   2, 300 bytes
Store:     abababababababababababababababab, at change 9
Taken:     2026-01-02T03:04:05Z by signerd 1.2.3
Root key:  file:00
`

func TestBackupWritesAFileThatIsWhole(t *testing.T) {
	content, key := testBackup(t)
	f := serveStreams(t, nil, streams{"Backup": parts(pieces(content, 77)...)})
	path := filepath.Join(t.TempDir(), "keys.backup")
	f.run(t, "", "backup", path).want(t, 0, backupShown, keepHint)
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("the file is not what signerd sent (%v)", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v (%v)", info.Mode(), err)
	}
	f.run(t, "", "backup", path).want(t, 1, "", "signerctl: taking a backup: file already exists\nhint: give another FILE, or --force to replace it\n")
	f.run(t, "", "backup", path, "--force").want(t, 0, backupShown, keepHint)
	f.run(t, "", "backup", "-").want(t, 0, string(content), backupShown)
	run(t, "", "backup", "verify", path).want(t, 0, backupShown, "")
	run(t, key+"\n", "backup", "verify", path, "--verifier-key", "-").want(t, 0, backupShown, "")
	f.wantRequests(t, &adminv1.BackupRequest{}, &adminv1.BackupRequest{}, &adminv1.BackupRequest{})
}

func TestABackupTakesTheNameOfFilesAlone(t *testing.T) {
	content, _ := testBackup(t)
	f := serveStreams(t, nil, streams{"Backup": parts(pieces(content, 77)...)})
	dir := t.TempDir()
	pipe, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.Symlink(writeFile(t, "x"), link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, link, dir} {
		before, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		f.run(t, "", "backup", path, "--force").want(t, 1, "", "signerctl: taking a backup: it is not a regular file\nhint: give another FILE; --force replaces files alone\n")
		if after, err := os.Lstat(path); err != nil || after.Mode() != before.Mode() {
			t.Errorf("%s was replaced (%v)", path, err)
		}
	}
	f.wantRequests(t)
}

func TestABackupThatDidNotArriveWholeLeavesNoFile(t *testing.T) {
	content, _ := testBackup(t)
	changed := bytes.Clone(content)
	changed[len(changed)/2] ^= 1
	for name, answer := range map[string]func(grpc.ServerStream, proto.Message) error{
		"cut":     parts(pieces(content[:len(content)-1], 100)...),
		"changed": parts(pieces(changed, 100)...),
		"empty":   parts(),
		"more":    parts(append(pieces(content, 100), &adminv1.BackupResponse{Data: []byte("x")})...),
		"broken off": func(stream grpc.ServerStream, req proto.Message) error {
			if err := parts(pieces(content[:200], 100)...)(stream, req); err != nil {
				return err
			}
			return status.Error(codes.Unavailable, "the store is gone")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := serveStreams(t, nil, streams{"Backup": answer})
			dir := t.TempDir()
			path := filepath.Join(dir, "keys.backup")
			if err := os.WriteFile(path, []byte("the one before"), 0o600); err != nil {
				t.Fatal(err)
			}
			if r := f.run(t, "", "backup", path, "--force"); r.code != 1 || r.stdout != "" || !strings.Contains(r.stderr, "signerctl: taking a backup: ") {
				t.Errorf("exit status %d, stdout %q, stderr %q", r.code, r.stdout, r.stderr)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != "the one before" {
				t.Errorf("the file before was replaced by %q (%v)", got, err)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
				t.Errorf("the folder has %v (%v)", entries, err)
			}
		})
	}
}

func TestVerifyRefusesWhatIsNoWholeBackupOfTheStore(t *testing.T) {
	content, _ := testBackup(t)
	other, err := checkpoint.NewSigner("signerd/"+strings.Repeat("ab", 16), ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	const what = "signerctl: verifying the backup: "
	run(t, "", "backup", "verify", writeFile(t, string(content[:len(content)-1]))).
		want(t, 1, "", what+"the backup is damaged or was cut short: it ends too early\n")
	run(t, "", "backup", "verify", writeFile(t, "something else")).want(t, 1, "", what+"it is not a backup that this signerd can read\n")
	run(t, other.VerifierKey(), "backup", "verify", writeFile(t, string(content)), "--verifier-key", "-").
		want(t, 1, "", what+errOtherSigner.Error()+"\n")
	if r := run(t, "", "backup", "verify", writeFile(t, string(content)), "-o", "json"); r.code != 0 || !strings.Contains(r.stdout, `"root_key_id": "file:00"`) {
		t.Errorf("as JSON: exit status %d, %s%s", r.code, r.stdout, r.stderr)
	}
}
