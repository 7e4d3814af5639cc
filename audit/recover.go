package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/merkle"
	"github.com/signerd/signerd/audit/segment"
	"github.com/signerd/signerd/internal/checkpoint"
)

// unfinished ends the name of a file that will replace another.
const unfinished = ".tmp"

// begin makes the log ready after Open has looked at its folder, before there is a writer.
func (l *Log) begin(found *finding) {
	if err := found.loss(); err != nil {
		l.adopt(found)
		var hashes *merkle.Hashes
		if f, err := l.config.FS.Open(hashesFile, os.O_RDONLY); err == nil {
			hashes = merkle.NewHashes(f) // for whoever wants to see what is missing
		}
		l.mu.Lock()
		l.hashes = hashes
		l.lost = err
		l.outage.begin(err, l.config.Now())
		l.changed()
		l.mu.Unlock()
		l.tell()
		return
	}
	err := l.prepare(found)
	switch {
	case err != nil:
	case found.appendable:
		err = l.commit(newBatch(l.startRecord()))
	default:
		err = l.renew(l.startRecord())
	}
	if err != nil {
		l.fail(err)
		return
	}
	l.writer.ready = true
	l.callChores()
}

// adopt takes over what was found.
func (l *Log) adopt(found *finding) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tip, l.files, l.first, l.gaps = found.tip, found.files, found.vouched.First, found.gaps
	l.signed = []byte(found.vouched.Checkpoint)
	l.synced, l.unsynced = found.tip.edge.Size(), nil
	if found.appendable && len(l.files) > 0 {
		l.files[len(l.files)-1].info = l.writer.info
	}
	l.writer.start = Start{Version: l.config.Version, Uncertain: found.uncertain, TornBytes: found.torn}
	if signature, err := l.config.Signer.Sign(startAfter(found.vouched.checkpoint.Tree)); err == nil { // it gives none
		l.writer.start.Signature = base64.StdEncoding.EncodeToString(signature)
	}
}

// startAfter is what the signature of a start is over. As with acknowledged, it cannot be the text of a checkpoint.
func startAfter(tree tlog.Tree) []byte {
	return fmt.Appendf(nil, "start after\n%d\n%s\n", tree.N, tree.Hash)
}

// signedBy says whether the log itself wrote the start of a process that was given a checkpoint of the tree.
func (s *Start) signedBy(signer *checkpoint.Signer, tree tlog.Tree) bool {
	signature, err := base64.StdEncoding.DecodeString(s.Signature)
	return err == nil && signer.Verify(startAfter(tree), signature)
}

func (l *Log) startRecord() *Record {
	start := l.writer.start
	return &Record{Kind: KindStart, Time: l.config.Now(), Start: &start}
}

// prepare makes a folder ready for writing: it can be done again after an error.
func (l *Log) prepare(found *finding) error {
	for _, name := range found.leftovers {
		if err := l.config.FS.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing what a process before left: %w", err)
		}
	}
	if l.writer.stored == nil {
		f, err := l.config.FS.Open(hashesFile, os.O_RDWR|os.O_CREATE)
		if err != nil {
			return fmt.Errorf("opening the hashes: %w", err)
		}
		l.useHashes(f)
	}
	if err := l.rehash(found); err != nil {
		return err
	}
	if l.writer.file != nil {
		_ = l.writer.file.Close() // of an attempt before
		l.writer.file = nil
	}
	if found.appendable {
		if err := l.takeUp(found); err != nil {
			return fmt.Errorf("going on with the last file: %w", err)
		}
	}
	if err := l.config.FS.Sync(); err != nil {
		return fmt.Errorf("making the names of files durable: %w", err)
	}
	l.adopt(found)
	return nil
}

// useHashes makes an open file that of the stored hashes. Who reads the one before may go on.
func (l *Log) useHashes(f disk.File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hashes != nil {
		l.writer.retired = append(l.writer.retired, l.hashes)
	}
	l.writer.stored, l.hashes = f, merkle.NewHashes(f)
}

// rehash stores the hashes of records after those that were vouched for, durably.
func (l *Log) rehash(found *finding) error {
	edge := found.vouched.edge
	for _, f := range found.files {
		if f.until <= uint64(edge.Size()) {
			continue
		}
		if f.First > uint64(edge.Size()) {
			_, begins, err := (&scanner{log: l}).head(f.Segment)
			if err != nil {
				return err
			}
			edge = begins
			if err := l.hashes.WriteEdge(&edge); err != nil {
				return err
			}
		}
		var failed error
		var stored []tlog.Hash
		from := edge.Size()
		flush := func() bool {
			failed = l.hashes.Write(from, stored)
			from, stored = edge.Size(), stored[:0]
			return failed == nil
		}
		_, err := l.walk(l.root, f.Segment, func(n uint64, line []byte) bool {
			if n >= f.until {
				return false
			}
			if n < uint64(edge.Size()) {
				return true
			}
			stored = append(stored, edge.Append(tlog.RecordHash(line))...)
			return len(stored) < 8192 || flush()
		})
		if err == nil && failed == nil {
			flush()
		}
		if err := errors.Join(err, failed); err != nil {
			return fmt.Errorf("storing hashes again: %w", err)
		}
	}
	if err := l.hashes.Truncate(found.tip.edge.Size()); err != nil {
		return fmt.Errorf("storing hashes again: %w", err)
	}
	if err := l.hashes.Sync(); err != nil {
		return fmt.Errorf("storing hashes again: %w", err)
	}
	return nil
}

// takeUp opens the last file for writing, without what is no line of it. Lines that nobody vouched for are written once more: a sync
// may have failed in the process before, and what is read now need not be on the disk.
func (l *Log) takeUp(found *finding) error {
	name := segment.Segment{First: found.tip.file}.Name()
	f, err := l.config.FS.Open(name, os.O_RDWR)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		err = f.Truncate(found.tip.offset)
	}
	if err == nil {
		from := int64(0)
		if found.vouched.File == found.tip.file {
			from = min(found.vouched.Offset, found.tip.offset)
		}
		err = rewrite(f, from, found.tip.offset)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.writer.file, l.writer.info = f, info
	return nil
}

func rewrite(f disk.File, from, until int64) error {
	part := make([]byte, 1<<20)
	for from < until {
		part = part[:min(int64(len(part)), until-from)]
		n, err := f.ReadAt(part, from)
		if err != nil && (!errors.Is(err, io.EOF) || n < len(part)) {
			return err
		}
		if _, err := f.WriteAt(part, from); err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}
