// Package owner tells whether other users of the host can change a file.
//
// It is for whoever opens files that must be signerd's own: cmd/signerd.
package owner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// ErrOthers says that users other than this process' own and root can change a file, or can put another one in its place.
var ErrOthers = errors.New("it can be changed by other users")

// Alone refuses a file that its group or others may write, or that belongs to another user than this process' own and root: ErrOthers.
// A folder with the sticky bit, as /tmp has it, may be written by others: they cannot replace what is not theirs.
func Alone(info fs.FileInfo) error {
	if perm := info.Mode().Perm(); perm&0o022 != 0 && (!info.IsDir() || info.Mode()&fs.ModeSticky == 0) {
		return fmt.Errorf("%w: it has mode %04o", ErrOthers, perm)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: it belongs to user %d", ErrOthers, stat.Uid)
	}
	return nil
}
