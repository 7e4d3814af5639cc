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
	inode    uint64
}

// ReloadIfChanged is Reload if any file was replaced or written since the last look.
func (s *Source) ReloadIfChanged() (changed bool, err error) {
	s.reload.Lock()
	defer s.reload.Unlock()
	stamps := s.look()
	if sameStamps(stamps, s.stamps) {
		return false, nil
	}
	return true, s.read()
}

func (s *Source) paths() []string {
	return append([]string{s.files.Certificate, s.files.Key, s.files.ClientCA}, s.files.CRLs...)
}

func (s *Source) look() map[string]stamp {
	out := make(map[string]stamp)
	for _, path := range s.paths() {
		if info, err := os.Stat(path); err == nil {
			out[path] = stamp{info.ModTime(), info.Size(), inode(info)}
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

// Watch looks at the files every interval until done is closed, and tells of each reading that was tried.
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

// inode tells a file from the one that replaced it.
func inode(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ino
	}
	return 0
}
