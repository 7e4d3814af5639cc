package rootkey

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"
	"time"
)

// owned is a key file's information as the file system would give it for another owner. Giving a file away for real
// takes root.
type owned struct{ uid uint32 }

func (owned) Name() string       { return "root.key" }
func (owned) Size() int64        { return 65 }
func (owned) Mode() fs.FileMode  { return 0o400 }
func (owned) ModTime() time.Time { return time.Time{} }
func (owned) IsDir() bool        { return false }
func (o owned) Sys() any         { return &syscall.Stat_t{Uid: o.uid} }

func TestAKeyOfAnotherUserIsRefused(t *testing.T) {
	me := uint32(os.Geteuid())
	for uid, want := range map[uint32]error{0: nil, me: nil, me + 1: ErrOwner, 65534: ErrOwner} {
		if err := checkFile("root.key", owned{uid}); !errors.Is(err, want) {
			t.Errorf("a key of user %d, read by %d: %v, want %v", uid, me, err, want)
		}
	}
}

func TestAKeyOfAnotherUserAmongTheCredentialsIsSystemdsBusiness(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(CredentialsDirectory, dir)
	path := dir + "/root.key"
	if err := os.WriteFile(path, nil, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := checkFile(path, owned{uint32(os.Geteuid()) + 1}); err != nil {
		t.Error(err)
	}
}
