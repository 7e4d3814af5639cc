package audit_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/internal/checkpoint"
)

func newSigner(t *testing.T, origin string) *checkpoint.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := checkpoint.NewSigner(origin, private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newFile(t *testing.T) (*audit.AnchorFile, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "anchor")
	return audit.NewAnchorFile(path), path
}

func write(t *testing.T, a *audit.AnchorFile, key *checkpoint.Signer, counter uint64) {
	t.Helper()
	if err := a.Write(key, stateAt(counter)); err != nil {
		t.Fatalf("Write: %v", err)
	}
}

func stateAt(counter uint64) checkpoint.Store {
	return checkpoint.Store{Counter: counter, Root: [32]byte{byte(counter), 7}}
}

func wantCheckpoint(t *testing.T, a *audit.AnchorFile, key *checkpoint.Signer, counter uint64, tree tlog.Tree) {
	t.Helper()
	want := checkpoint.Checkpoint{Origin: key.Name(), Tree: tree, Store: stateAt(counter)}
	if got, err := a.Checkpoint(key); err != nil || got != want {
		t.Errorf("the file holds %+v (%v), want %+v", got, err, want)
	}
	if got, err := a.Read(key); err != nil || got != want.Store {
		t.Errorf("Read gives %+v (%v), want %+v", got, err, want.Store)
	}
}

func emptyTree(t *testing.T) tlog.Tree {
	t.Helper()
	hash, err := tlog.TreeHash(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tlog.Tree{Hash: hash}
}

func TestWithoutAFileThereIsNoAnchor(t *testing.T) {
	a, _ := newFile(t)
	key := newSigner(t, "signerd/x")
	if exists, err := a.Exists(); exists || err != nil {
		t.Errorf("Exists: %v, %v, want neither", exists, err)
	}
	if _, err := a.Read(key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read: %v, want fs.ErrNotExist", err)
	}
	if _, err := a.Checkpoint(key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Checkpoint: %v, want fs.ErrNotExist", err)
	}
}

func TestTheFirstAnchorHasTheTreeOfALogWithoutRecords(t *testing.T) {
	a, path := newFile(t)
	key := newSigner(t, "signerd/x")
	write(t, a, key, 1)
	wantCheckpoint(t, a, key, 1, emptyTree(t))
	if exists, err := a.Exists(); !exists || err != nil {
		t.Errorf("Exists: %v, %v, want true", exists, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the mode is %v (%v), want 0600", info.Mode(), err)
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(text), "signerd/x\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nstore 1 ") {
		t.Errorf("the file says %q (%v)", text, err)
	}
}

func TestUntilALogIsAttachedTheTreeInTheFileIsKept(t *testing.T) {
	a, path := newFile(t)
	key := newSigner(t, "signerd/x")
	tree := tlog.Tree{N: 5, Hash: tlog.Hash{1, 2, 3}}
	a.Attach(func() tlog.Tree { return tree })
	write(t, a, key, 1)
	wantCheckpoint(t, a, key, 1, tree)
	// A new process raises the anchor before it has opened the log.
	again := audit.NewAnchorFile(path)
	write(t, again, key, 2)
	wantCheckpoint(t, a, key, 2, tree)
	grown := tlog.Tree{N: 9, Hash: tlog.Hash{4}}
	again.Attach(func() tlog.Tree { return grown })
	write(t, again, key, 2)
	wantCheckpoint(t, a, key, 2, grown)
}

func TestAnAnchorThatIsALinkStaysWhereItLeads(t *testing.T) {
	dir, disk := t.TempDir(), t.TempDir()
	link := filepath.Join(dir, "anchor")
	a, key := audit.NewAnchorFile(link), newSigner(t, "signerd/x")
	if err := os.Symlink(filepath.Join(disk, "anchor"), link); err != nil {
		t.Fatal(err)
	}
	if err := a.Write(key, stateAt(1)); err == nil {
		t.Error("a link to nothing is written: its disk may be missing")
	}
	write(t, audit.NewAnchorFile(filepath.Join(disk, "anchor")), key, 1)
	write(t, a, key, 2)
	wantCheckpoint(t, audit.NewAnchorFile(filepath.Join(disk, "anchor")), key, 2, emptyTree(t))
	wantCheckpoint(t, a, key, 2, emptyTree(t))
	if info, err := os.Lstat(link); err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("the link became %v (%v)", info.Mode(), err)
	}
}

func TestWhatAnotherKeySignedIsNeitherReadNorReplacedByANewProcess(t *testing.T) {
	key := newSigner(t, "signerd/x")
	for what, other := range map[string]*checkpoint.Signer{
		"another key of this name": newSigner(t, "signerd/x"), "another log": newSigner(t, "signerd/y"),
	} {
		a, path := newFile(t)
		write(t, a, other, 3)
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		wantInvalid(t, what, a, key)
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s: the file was replaced (%v)", what, err)
		}
	}
}

// wantInvalid fails unless the file is refused, and Write does not carry on from it.
func wantInvalid(t *testing.T, what string, a *audit.AnchorFile, key *checkpoint.Signer) {
	t.Helper()
	if _, err := a.Read(key); !errors.Is(err, checkpoint.ErrInvalid) {
		t.Errorf("%s: Read: %v, want ErrInvalid", what, err)
	}
	if err := a.Write(key, stateAt(9)); !errors.Is(err, checkpoint.ErrInvalid) {
		t.Errorf("%s: Write: %v, want ErrInvalid", what, err)
	}
	if exists, err := a.Exists(); !exists || err != nil {
		t.Errorf("%s: Exists: %v, %v, want true", what, exists, err)
	}
}

func TestAFileThatIsNoCheckpointIsInvalid(t *testing.T) {
	key := newSigner(t, "signerd/x")
	for what, content := range map[string]string{
		"empty": "", "text": "hello\n", "too large": strings.Repeat("x", checkpoint.MaxBytes+1),
	} {
		a, path := newFile(t)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		wantInvalid(t, what, a, key)
	}
}

func TestAFileThatCannotBeReadIsNeitherMissingNorInvalid(t *testing.T) {
	dir := t.TempDir()
	a := audit.NewAnchorFile(dir)
	key := newSigner(t, "signerd/x")
	for what, err := range map[string]error{
		"Read":  func() error { _, err := a.Read(key); return err }(),
		"Write": a.Write(key, stateAt(1)),
	} {
		if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, checkpoint.ErrInvalid) {
			t.Errorf("%s of a folder: %v, want another error", what, err)
		}
	}
	below := audit.NewAnchorFile(filepath.Join(dir, "missing", "anchor"))
	if err := below.Write(key, stateAt(1)); err == nil {
		t.Error("Write into a missing folder succeeded")
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.NewAnchorFile(filepath.Join(file, "anchor")).Exists(); err == nil {
		t.Error("a path below a file exists or not, without an error")
	}
}

func TestReadersAndWritersAtOnceSeeWholeCheckpoints(t *testing.T) {
	a, _ := newFile(t)
	key := newSigner(t, "signerd/x")
	write(t, a, key, 1)
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for n := range int64(10) {
				a.Attach(func() tlog.Tree { return tlog.Tree{N: n} })
				if err := a.Write(key, stateAt(uint64(i))); err != nil {
					t.Errorf("Write: %v", err)
				}
				if _, err := a.Checkpoint(key); err != nil {
					t.Errorf("Checkpoint: %v", err)
				}
			}
		})
	}
	wg.Wait()
}
