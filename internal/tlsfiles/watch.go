package tlsfiles

import (
	"io/fs"
	"os"
	"syscall"
	"time"
)

// stamp tells whether a file changed.
type stamp struct {
	modified time.Time
	size     int64
	inode    uint64           // tells a file from the one that replaced it
	changed  syscall.Timespec // of the inode: mode and owner, and writing that sets modified back
}

// ReloadIfChanged is Reload if any file was replaced or written since the last look, or if the last reading failed: what it
// failed for may be gone without a trace in the files. The same error is told of once.
func (s *Source) ReloadIfChanged() (changed bool, err error) {
	s.reload.Lock()
	defer s.reload.Unlock()
	failed := s.failed
	if failed == "" && sameStamps(s.look(), s.stamps) {
		return false, nil
	}
	if err := s.read(); err != nil {
		if err.Error() == failed {
			return false, nil
		}
		return true, err
	}
	return true, nil
}

func (s *Source) paths() []string {
	return append([]string{s.files.Certificate, s.files.Key, s.files.ClientCA}, s.files.CRLs...)
}

func (s *Source) look() map[string]stamp {
	out := make(map[string]stamp)
	for _, path := range s.paths() {
		if info, err := os.Stat(path); err == nil {
			out[path] = stampOf(info)
		}
	}
	return out
}

func sameStamps(a, b map[string]stamp) bool {
	if len(a) != len(b) {
		return false
	}
	for path, s := range a {
		if b[path] != s {
			return false
		}
	}
	return true
}

// Watch looks at the files every interval until done is closed, and tells of what ReloadIfChanged does.
func (s *Source) Watch(done <-chan struct{}, interval time.Duration, tell func(error)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			if changed, err := s.ReloadIfChanged(); changed {
				tell(err)
			}
		}
	}
}

func stampOf(info fs.FileInfo) stamp {
	out := stamp{modified: info.ModTime(), size: info.Size()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		out.inode, out.changed = stat.Ino, stat.Ctim
	}
	return out
}
