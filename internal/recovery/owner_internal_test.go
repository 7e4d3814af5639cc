package recovery

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"
	"time"
)

// owned is a file's information as the file system would give it for another owner. Giving a file away for real takes root.
type owned struct{ uid uint32 }

func (owned) Name() string       { return "recovery.key" }
func (owned) Size() int64        { return 100 }
func (owned) Mode() fs.FileMode  { return 0o400 }
func (owned) ModTime() time.Time { return time.Time{} }
func (owned) IsDir() bool        { return false }
func (o owned) Sys() any         { return &syscall.Stat_t{Uid: o.uid} }

func TestAPrivateHalfOfAnotherUserIsRefused(t *testing.T) {
	me := uint32(os.Geteuid())
	for uid, want := range map[uint32]error{0: nil, me: nil, me + 1: ErrOwner, 65534: ErrOwner} {
		if err := checkFile(owned{uid}); !errors.Is(err, want) {
			t.Errorf("a file of user %d, read by %d: %v, want %v", uid, me, err, want)
		}
	}
}
