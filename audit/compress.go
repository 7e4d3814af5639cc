package audit

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/segment"
)

// errDiffers says that a compressed file is not what it was made of. It is not used.
var errDiffers = errors.New("what was compressed is not what was written")

// compressAll compresses the files that are no longer written to.
func (l *Log) compressAll() error {
	for more := true; more; {
		var err error
		if more, err = l.compressNext(); err != nil {
			return err
		}
	}
	return nil
}

// compressNext compresses one file, and says whether there may be another.
func (l *Log) compressNext() (bool, error) {
	l.shelf.Lock()
	defer l.shelf.Unlock()
	l.mu.Lock()
	fine := l.trouble() == nil
	var next *file
	for i := range max(0, len(l.files)-1) {
		if f := l.files[i]; !f.Compressed && !f.damaged {
			next = &f
			break
		}
	}
	l.mu.Unlock()
	if next == nil || !fine {
		return false, nil
	}
	err := l.compress(*next)
	if errors.Is(err, errDiffers) || errors.Is(err, fs.ErrNotExist) {
		l.alter(next.Segment, func(f *file) { f.damaged = true }) // it is for watch to see what became of it
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("compressing %s: %w", next.Name(), err)
	}
	return true, nil
}

// alter changes what is known of a file, if it is listed.
func (l *Log) alter(s segment.Segment, change func(*file)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.files {
		if l.files[i].Segment == s {
			change(&l.files[i])
		}
	}
}

// compress replaces a file by its compression. At any moment a whole one is there.
func (l *Log) compress(f file) error {
	name := f.Unfinished()
	if err := l.config.FS.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := l.config.FS.Open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	if err := l.squeeze(out, f); err != nil {
		return errors.Join(err, out.Close(), l.config.FS.Remove(name))
	}
	info, err := out.Stat()
	if err = errors.Join(err, out.Close()); err == nil {
		err = l.verify(f, name)
	}
	if err != nil {
		return errors.Join(err, l.config.FS.Remove(name))
	}
	small := segment.Segment{First: f.First, Compressed: true}
	if err := l.config.FS.Rename(name, small.Name()); err != nil {
		return errors.Join(err, l.config.FS.Remove(name))
	}
	if err := l.config.FS.Sync(); err != nil {
		return err
	}
	l.alter(f.Segment, func(f *file) { f.Compressed, f.size, f.info = true, info.Size(), nil })
	return l.config.FS.Remove(f.Name())
}

// squeeze writes the compressed lines durably.
func (l *Log) squeeze(out disk.File, f file) error {
	in, err := l.config.FS.Open(f.Name(), os.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	// Fast: signing needs the processor more.
	zip, err := gzip.NewWriterLevel(io.NewOffsetWriter(out, 0), gzip.BestSpeed)
	if err != nil {
		return err
	}
	part := make([]byte, 64<<10)
	for lines := io.NewSectionReader(in, 0, f.bytes); ; {
		select {
		case <-l.closing:
			return ErrClosed
		default:
		}
		n, err := lines.Read(part)
		if _, err := zip.Write(part[:n]); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := zip.Close(); err != nil {
		return err
	}
	return out.Sync()
}

// verify reads the compressed file back, and holds every line against its stored hash.
func (l *Log) verify(f file, name string) error {
	lines, err := segment.OpenNamed(l.config.FS, name, true, 0)
	if err != nil {
		return err
	}
	defer func() { _ = lines.Close() }()
	l.mu.Lock()
	hashes := l.hashes
	l.mu.Unlock()
	want := make([]tlog.Hash, 0, 1024)
	n := f.First
	for ; ; n++ {
		line, err := lines.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if errors.Is(err, segment.ErrTorn) || errors.Is(err, segment.ErrDamaged) || err == nil && n >= f.until {
			return errDiffers
		}
		if err != nil {
			return err
		}
		if len(want) == 0 {
			want = want[:min(uint64(cap(want)), f.until-n)]
			if err := hashes.Leaves(int64(n), want); err != nil {
				return err
			}
		}
		// A hash that was lost is zero, and says nothing.
		if want[0] != (tlog.Hash{}) && want[0] != tlog.RecordHash(line) {
			return errDiffers
		}
		if want = want[1:]; len(want) == 0 {
			want = make([]tlog.Hash, 0, 1024)
		}
	}
	if n != f.until || lines.Offset() != f.bytes {
		return errDiffers
	}
	return nil
}
