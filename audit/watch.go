package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/merkle"
	"github.com/signerd/signerd/audit/segment"
)

// watch looks, once a second, whether the folder can be written and all files are there. On a disk that hangs it hangs alone.
func (l *Log) watch() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.look()
		case <-l.closing:
			return
		}
	}
}

// look makes the log unavailable if something is not as it must be.
func (l *Log) look() {
	l.mu.Lock()
	epoch, fine := l.epoch, l.lost == nil && l.failure == nil && l.hashes != nil
	l.mu.Unlock()
	if !fine {
		return // the writer knows, and is at work
	}
	err := l.config.FS.Writable()
	var gone []string
	if err == nil {
		gone, err = l.absent()
	}
	if len(gone) > 0 {
		err = &lossError{strings.Join(gone, ", ")}
	}
	l.mu.Lock()
	same := l.epoch == epoch
	l.mu.Unlock()
	if err != nil && same {
		l.fail(err)
	}
}

// absent names the files that are gone or shorter than they were.
func (l *Log) absent() (gone []string, err error) {
	l.mu.Lock()
	files, hashes, size := slices.Clone(l.files), l.writer.stored, l.tip.edge.Size()
	l.mu.Unlock()
	for _, f := range files {
		what, err := l.compare(f)
		if err != nil {
			return nil, err
		}
		// Files that are compressed or deleted by the log itself are taken off the list first.
		if what != "" && l.listed(f.Segment) {
			gone = append(gone, what)
		}
	}
	ours, err := hashes.Stat()
	if err != nil {
		return nil, fmt.Errorf("looking after the hashes: %w", err)
	}
	now, err := l.config.FS.Stat(hashesFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		gone = append(gone, hashesFile+" is gone")
	case err != nil:
		return nil, fmt.Errorf("looking after the hashes: %w", err)
	case !disk.SameFile(ours, now):
		gone = append(gone, hashesFile+" is another file now")
	case now.Size() < merkle.Size(size):
		gone = append(gone, hashesFile+" was cut short")
	}
	return gone, nil
}

func (l *Log) compare(f file) (string, error) {
	info, err := l.config.FS.Stat(f.Name())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f.Name() + " is gone", nil
	case err != nil:
		return "", fmt.Errorf("looking after files: %w", err)
	case info.Size() < f.size:
		return f.Name() + " was cut short", nil
	case f.info != nil && !disk.SameFile(info, f.info):
		return f.Name() + " is another file now", nil
	}
	return "", nil
}

func (l *Log) listed(s segment.Segment) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.files, func(f file) bool { return f.Segment == s })
}
