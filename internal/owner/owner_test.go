package owner_test

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/owner"
)

// file is a file's information as the file system would give it for another owner. Giving a file away for real takes root.
type file struct {
	mode fs.FileMode
	uid  uint32
}

func (file) Name() string        { return "file" }
func (file) Size() int64         { return 1 }
func (f file) Mode() fs.FileMode { return f.mode }
func (file) ModTime() time.Time  { return time.Time{} }
func (f file) IsDir() bool       { return f.mode.IsDir() }
func (f file) Sys() any          { return &syscall.Stat_t{Uid: f.uid} }

func TestOnlyThisUserAndRootMayChangeAFile(t *testing.T) {
	me := uint32(os.Geteuid())
	for _, tt := range []struct {
		name string
		file file
		want error
	}{
		{"a file of this user", file{0o600, me}, nil},
		{"one that all may read", file{0o644, me}, nil},
		{"one of root", file{0o640, 0}, nil},
		{"one of another user", file{0o600, me + 1}, owner.ErrOthers},
		{"one that its group may write", file{0o660, me}, owner.ErrOthers},
		{"one that all may write", file{0o606, 0}, owner.ErrOthers},
		{"a sticky file, which means nothing", file{fs.ModeSticky | 0o666, me}, owner.ErrOthers},
		{"a folder of this user", file{fs.ModeDir | 0o755, me}, nil},
		{"one of another user", file{fs.ModeDir | 0o755, me + 1}, owner.ErrOthers},
		{"one that its group may write", file{fs.ModeDir | 0o775, me}, owner.ErrOthers},
		{"one that all may write", file{fs.ModeDir | 0o777, me}, owner.ErrOthers},
		{"one as /tmp", file{fs.ModeDir | fs.ModeSticky | 0o777, 0}, nil},
		{"one as /tmp, of another user", file{fs.ModeDir | fs.ModeSticky | 0o777, me + 1}, owner.ErrOthers},
	} {
		if err := owner.Alone(tt.file); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}
