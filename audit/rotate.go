package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/segment"
)

// file is one of the log's files.
type file struct {
	segment.Segment
	// until is one more than the number of its last record.
	until uint64
	// bytes is the length of its lines, size that on the disk, at least.
	bytes, size int64
	started     time.Time
	// info is that of the file that was opened for writing; nil of all but the current one.
	info fs.FileInfo
	// damaged files are not compressed: they would not be the same after.
	damaged bool
}

// full says whether the current file is to be left before the next record.
func (l *Log) full() bool {
	return l.writer.file != nil && l.tip.offset >= l.config.MaxFileBytes || l.old()
}

// old says whether the current file has records of longer ago than a file may last.
func (l *Log) old() bool {
	if len(l.files) == 0 || l.writer.file == nil {
		return false
	}
	last := l.files[len(l.files)-1]
	return last.until > last.First+1 && l.config.Now().Sub(last.started) >= l.config.MaxFileAge
}

// renew leaves the current file and begins another with some records, durably. After an error the current file is still what it was.
func (l *Log) renew(records ...*Record) error {
	next := tip{edge: l.tip.edge, file: uint64(l.tip.edge.Size())}
	started := file{Segment: segment.Segment{First: next.file}, started: l.config.Now()}
	head := &Record{Kind: KindFile, Time: started.started, File: &File{Origin: l.config.Signer.Name(), Edge: edgeTexts(&next.edge)}}
	l.mu.Lock()
	head.File.Checkpoint = string(l.signed)
	if len(l.files) > 0 {
		last := l.files[len(l.files)-1]
		head.File.Previous = &Previous{First: last.First, Until: last.until, Bytes: last.bytes}
	}
	l.mu.Unlock()

	name := started.Name()
	// What an attempt before left holds nothing that was acknowledged.
	if err := l.config.FS.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing an unfinished file: %w", err)
	}
	f, err := l.config.FS.Open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return fmt.Errorf("beginning a file: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return l.discard(f, name, fmt.Errorf("beginning a file: %w", err))
	}
	started.info = info
	b := newBatch(append([]*Record{head}, records...)...)
	l.writer.text = l.writer.text[:0]
	stored := l.compose(&next.edge, b)
	next.offset = int64(len(l.writer.text))
	// The name is durable before anything in the file is acknowledged.
	if err := l.config.FS.Sync(); err != nil {
		return l.discard(f, name, fmt.Errorf("making a file's name durable: %w", err))
	}
	if err := l.store(f, info, name, 0, stored); err != nil {
		return l.discard(f, name, err)
	}
	if l.writer.file != nil {
		_ = l.writer.file.Close() // all in it is synced
	}
	l.writer.file, l.writer.info = f, info
	l.publish(b, next, stored, &started)
	l.callChores()
	return nil
}

// discard removes a file that could not be begun, so that nobody finds records in it that are not acknowledged. What cannot be removed
// now is removed by the next attempt.
func (l *Log) discard(f disk.File, name string, err error) error {
	return errors.Join(err, f.Close(), l.config.FS.Remove(name))
}

// callChores has files be compressed and deleted.
func (l *Log) callChores() {
	select {
	case l.chores <- struct{}{}:
	default:
	}
}
