package audit

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/merkle"
	"github.com/signerd/signerd/internal/checkpoint"
)

// aside ends the name of a file that was found not to be the log's, after it was acknowledged. It is left to the operator.
const aside = ".unfit"

// Acknowledge records an operator's word that records are missing, and which; after that records can be written again, and the numbers
// go on after those that are missing. r has who says so, its ID and Acknowledgement.Note. Only while Err is ErrMissing, otherwise
// ErrNothingMissing. After another error Err is what it was, and Acknowledge can be tried again; after ctx's error it may have happened
// or may yet. What could not be kept of it is told by CheckpointErr: the record itself is enough for the next process.
func (l *Log) Acknowledge(ctx context.Context, r Record) (missing []Range, err error) {
	ended := l.do(ctx, func() {
		missing, err = l.acknowledge(r)
	})
	if ended != nil {
		return nil, fmt.Errorf("acknowledging that records are missing: %w", ended)
	}
	if err != nil {
		return nil, err
	}
	_, _ = l.Checkpoint(ctx)
	return missing, nil
}

// acknowledge is Acknowledge in the writer.
func (l *Log) acknowledge(r Record) ([]Range, error) {
	l.mu.Lock()
	lost, epoch := l.lost, l.epoch
	l.mu.Unlock()
	if lost == nil {
		return nil, ErrNothingMissing
	}
	l.shelf.Lock()
	defer l.shelf.Unlock()
	missing, undo, err := l.makeGood()
	if err != nil {
		return nil, fmt.Errorf("%w: finding out which: %w", ErrMissing, err)
	}
	if r.Time.IsZero() {
		r.Time = l.config.Now()
	}
	var note string
	if r.Acknowledgement != nil {
		note = r.Acknowledgement.Note
	}
	signature, err := l.config.Signer.Sign(acknowledged(&l.tip.edge, missing))
	if err != nil {
		undo()
		return nil, fmt.Errorf("%w: signing the acknowledgement: %w", ErrMissing, err)
	}
	r.Kind, r.Acknowledgement = KindAcknowledgement, &Acknowledgement{Note: note, Missing: missing, Signature: base64.StdEncoding.EncodeToString(signature)}
	if err := l.resume(epoch, &r); err != nil {
		undo()
		return nil, fmt.Errorf("%w: recording the acknowledgement: %w", ErrMissing, err)
	}
	return missing, nil
}

// acknowledged is what the signature of an acknowledgement is over; before is the tree that its file follows. It cannot be the text of a
// checkpoint, which begins with the log's origin.
func acknowledged(before *merkle.Edge, missing []Range) []byte {
	tree := before.Tree()
	text := fmt.Appendf(nil, "acknowledgement of missing records\n%d\n%s\n", tree.N, tree.Hash)
	for _, r := range missing[:min(len(missing), maxRanges)] {
		text = fmt.Appendf(text, "%d %d\n", r.From, r.Until)
	}
	return text
}

// signedBy says whether the log itself wrote an acknowledgement, in a file that follows the tree.
func (a *Acknowledgement) signedBy(signer *checkpoint.Signer, before *merkle.Edge) bool {
	signature, err := base64.StdEncoding.DecodeString(a.Signature)
	return err == nil && signer.Verify(acknowledged(before, a.Missing), signature)
}

// makeGood finds what is missing, and makes the log ready to go on without it. Nothing of it is final before undo is forgotten.
func (l *Log) makeGood() (missing []Range, undo func(), err error) {
	if l.writer.ready {
		return l.takeStock()
	}
	found, err := l.scan(l.root)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range found.unfit {
		if err := l.putAside(name); err != nil {
			return nil, nil, err
		}
	}
	if found.hashesLost {
		if err := l.mendHashes(&found.tip.edge); err != nil {
			return nil, nil, err
		}
	}
	if err := l.cutTorn(found); err != nil {
		return nil, nil, err
	}
	found.appendable = false
	if err := l.prepare(found); err != nil {
		return nil, nil, err
	}
	known := l.gaps
	l.addGaps(found.missing)
	return found.missing, func() { l.setFiles(found.files, known) }, nil
}

// putAside renames a file, but to no name that another one was given before: they may be all that is left.
func (l *Log) putAside(name string) error {
	to := name + aside
	for i := 2; ; i++ {
		_, err := l.config.FS.Stat(to)
		if errors.Is(err, fs.ErrNotExist) {
			return l.config.FS.Rename(name, to)
		}
		if err != nil {
			return err
		}
		to = fmt.Sprintf("%s%s%d", name, aside, i)
	}
}

func (l *Log) setFiles(files []file, gaps []Range) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files, l.gaps = files, gaps
}

// addGaps notes missing records. Numbers that will be given once more are none.
func (l *Log) addGaps(missing []Range) {
	l.mu.Lock()
	defer l.mu.Unlock()
	gaps := append(slices.Clone(l.gaps), missing...)
	for i := range gaps {
		gaps[i].Until = min(gaps[i].Until, uint64(l.tip.edge.Size()))
	}
	for _, f := range l.files {
		gaps = without(union(gaps...), []Range{{f.First, f.until}})
	}
	l.gaps = union(gaps...)
}

// takeStock is makeGood while the log runs.
func (l *Log) takeStock() (missing []Range, undo func(), err error) {
	l.mu.Lock()
	before, known := l.files, l.gaps
	l.mu.Unlock()
	var files []file
	for i, f := range before {
		what, err := l.compare(f)
		if err != nil {
			return nil, nil, err
		}
		current := i == len(before)-1
		if !current && what == "" {
			files = append(files, f)
			continue
		}
		found, err := l.recount(f)
		if err != nil {
			return nil, nil, err
		}
		missing = append(missing, Range{found.until, f.until})
		if found.until > f.First {
			files = append(files, found)
		} else if err := l.putAside(f.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
		if current && l.writer.file != nil {
			if err := l.cut(f, found); err != nil {
				return nil, nil, err
			}
		}
	}
	if err := l.mendIfLost(); err != nil {
		return nil, nil, err
	}
	file := l.writer.file
	l.writer.file = nil // done with
	err = l.restore()
	l.writer.file = file
	if err != nil {
		return nil, nil, err
	}
	missing = union(missing...)
	l.setFiles(files, known)
	l.addGaps(missing)
	return missing, func() { l.setFiles(before, known) }, nil
}

// recount reads what is left of a file, as far as it is what the log wrote.
func (l *Log) recount(f file) (file, error) {
	info, err := l.config.FS.Stat(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		f.until = f.First
		return f, nil
	}
	if err != nil {
		return f, err
	}
	leaf := leaves{hashes: l.hashes, size: l.tip.edge.Size()}
	w, err := l.walk(l.root, f.Segment, func(n uint64, line []byte) bool { return n < f.until && leaf.fits(n, line) })
	if err != nil {
		return f, err
	}
	f.until, f.bytes, f.size, f.damaged, f.info = w.until, w.offset, min(info.Size(), f.size), w.until < f.until, nil
	if !f.Compressed {
		f.size = f.bytes // what is none of its lines may be cut off
	}
	return f, nil
}

// cut takes off the current file what is none of the log's lines, such as zeros after it was cut short, if it still has its name.
func (l *Log) cut(f, found file) error {
	info, err := l.config.FS.Stat(f.Name())
	if errors.Is(err, fs.ErrNotExist) || err == nil && !disk.SameFile(info, l.writer.info) {
		return nil
	}
	if err == nil {
		err = l.writer.file.Truncate(found.bytes)
	}
	if err == nil {
		err = l.writer.file.Sync()
	}
	return err
}

// cutTorn takes off the last file what is no line of it.
func (l *Log) cutTorn(found *finding) error {
	last := len(found.files) - 1
	if found.torn == 0 || last < 0 || found.files[last].Compressed || found.files[last].damaged {
		return nil
	}
	f, err := l.config.FS.Open(found.files[last].Name(), os.O_RDWR)
	if err != nil {
		return err
	}
	if err = f.Truncate(found.files[last].bytes); err == nil {
		err = f.Sync()
	}
	found.files[last].size = found.files[last].bytes
	return errors.Join(err, f.Close())
}

// mendIfLost makes the file of hashes anew if it is not what it was.
func (l *Log) mendIfLost() error {
	ours, err := l.writer.stored.Stat()
	if err != nil {
		return err
	}
	now, err := l.config.FS.Stat(hashesFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && disk.SameFile(ours, now) && now.Size() >= merkle.Size(l.tip.edge.Size()) {
		return nil
	}
	return l.mendHashes(&l.tip.edge)
}

// mendHashes makes a new file of hashes that goes on from the edge. What is left of the one before is copied; what is lost is zero.
func (l *Log) mendHashes(edge *merkle.Edge) error {
	name := hashesFile + unfinished
	if err := l.config.FS.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	before := l.writer.stored
	if before == nil {
		f, err := l.config.FS.Open(hashesFile, os.O_RDONLY)
		switch {
		case err == nil:
			defer func() { _ = f.Close() }()
			before = f
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	f, err := l.config.FS.Open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	size := merkle.Size(edge.Size())
	if err = f.Truncate(size); err == nil && before != nil {
		err = copyHashes(f, before, size)
	}
	if err == nil {
		err = merkle.NewHashes(f).WriteEdge(edge)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = l.config.FS.Rename(name, hashesFile)
	}
	if err == nil {
		err = l.config.FS.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("making the hashes anew: %w", err), f.Close())
	}
	l.useHashes(f)
	return nil
}

func copyHashes(to, from disk.File, size int64) error {
	part := make([]byte, 1<<20)
	for at := int64(0); at < size; {
		n, err := from.ReadAt(part[:min(int64(len(part)), size-at)], at)
		ended := errors.Is(err, io.EOF)
		if err != nil && !ended {
			return err
		}
		if _, err := to.WriteAt(part[:n-n%tlog.HashSize], at); err != nil {
			return err
		}
		if ended {
			return nil
		}
		at += int64(n)
	}
	return nil
}
