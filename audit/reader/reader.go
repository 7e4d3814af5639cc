// Package reader finds, lists, verifies and proves the records of an audit log, also while the log is being written.
//
// It is for server, which answers the calls about the log, and for cmd/signerd, which verifies one that nobody writes. It writes nothing,
// and knows nothing of who may read.
package reader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/merkle"
	"github.com/signerd/signerd/audit/segment"
)

var (
	// ErrNotFound says that no record is the one asked for.
	ErrNotFound = errors.New("there is no such record")
	// ErrDamaged says that records could not be read, or are not those that belong where they are; Verify says which.
	ErrDamaged = errors.New("the audit log is damaged")
)

// Source is a log to read. Its methods are safe for concurrent use, if its functions are.
type Source struct {
	FS disk.FS
	// Tree is the durable size and the root hash. Records beyond it are not shown.
	Tree func() tlog.Tree
	// Hashes are the stored hashes.
	Hashes *merkle.Hashes
	// Gaps are the records whose loss was acknowledged, in order.
	Gaps func() []audit.Range
	// First is the first record that retention kept.
	First func() uint64
}

// Line is one record as it is written, without its newline.
type Line struct {
	N    uint64
	Text []byte
}

// Span is which records Scan reads. The zero value is all of them.
type Span struct {
	// From is the first record, Until the one after the last; 0 for no end.
	From, Until uint64
	// Since and Before bound the records' times; Before itself is not within. Zero times bound nothing.
	Since, Before time.Time
	// Place is where the Scan before ended; this one begins there, if it can, and says where it ended. Nil for whoever scans once.
	Place *Place
}

// Place is where a Scan ended, in a file that may yet grow: who follows a log does not read the file again from its beginning.
type Place struct {
	file, next uint64
	offset     int64
}

const (
	// timeFormat is how lines give times; they sort as texts do.
	timeFormat = "2006-01-02T15:04:05.000000Z"
	// late is how long after a call came in its record may be written, at the very most.
	late = 10 * time.Minute
	// tries is how often a file that is renamed or deleted just then is looked for again.
	tries = 10
)

// Scan gives the records of a span in order to yield, whose error ends it; a line is good until yield returns. Files may be compressed
// or deleted by the log meanwhile. What cannot be read is passed over, and is ErrDamaged once all else was given.
func (s Source) Scan(ctx context.Context, span Span, yield func(line []byte, n uint64) error) error {
	size := uint64(s.Tree().N)
	if span.Until == 0 || span.Until > size {
		span.Until = size
	}
	next := max(span.From, s.First())
	if !span.Since.IsZero() {
		first, err := s.fileAt(span.Since)
		if err != nil {
			return err
		}
		next = max(next, first)
	}
	var damage error
	for next < span.Until {
		in, seg, end, begin, err := s.openAt(next, span.Place)
		if errors.Is(err, ErrNotFound) {
			break
		}
		if err == nil {
			var stop bool
			stop, err = scanFile(ctx, in, seg, begin, end, next, span, yield)
			err = errors.Join(err, in.Close())
			if stop {
				return errors.Join(damage, err)
			}
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			return err
		}
		if damage == nil {
			damage = err
		}
		next = max(end, seg.First+1)
	}
	return damage
}

// scanFile gives one file's records from next on, where in is at record begin. It stops when nothing after this file is wanted.
func scanFile(ctx context.Context, in *segment.Lines, seg segment.Segment, begin, end, next uint64, span Span, yield func([]byte, uint64) error) (bool, error) {
	var since, before string
	if !span.Since.IsZero() {
		since = span.Since.UTC().Format(timeFormat)
	}
	if !span.Before.IsZero() {
		before = span.Before.UTC().Format(timeFormat)
	}
	var damage error
	n := begin
	for lines := 0; n < min(end, span.Until); lines++ {
		if lines%1024 == 0 && ctx.Err() != nil {
			return true, ctx.Err()
		}
		line, err := in.Next()
		if errors.Is(err, io.EOF) {
			break // what is missing here is in a gap, or Verify says it
		}
		if err != nil {
			return false, fmt.Errorf("%w: record %d in %s: %w", ErrDamaged, n, seg.Name(), err)
		}
		number, ok := audit.Number(line)
		if !ok || number != n {
			if damage == nil {
				damage = fmt.Errorf("%w: the line for record %d in %s is another", ErrDamaged, n, seg.Name())
			}
			switch {
			case !ok:
				n++
				continue
			case number < n || number >= min(end, span.Until):
				continue
			}
			n = number
		}
		if n++; n <= next {
			continue
		}
		if since != "" || before != "" {
			at := lineTime(line)
			if lines == 0 && before != "" && at >= span.Before.Add(late).UTC().Format(timeFormat) {
				return false, damage // not the end: the clock may have been set back since
			}
			if since != "" && at < since || before != "" && at >= before {
				continue
			}
		}
		if err := yield(line, n-1); err != nil {
			return true, err
		}
	}
	if span.Place != nil && damage == nil && !seg.Compressed {
		*span.Place = Place{seg.First, n, in.Offset()}
	}
	return false, damage
}

// open opens the file that has record n, or else the next one, and gives the first record of the file after it.
func (s Source) open(n uint64) (*segment.Lines, segment.Segment, uint64, error) {
	in, seg, end, _, err := s.openAt(n, nil)
	return in, seg, end, err
}

// openAt is open at a place, if it is before record n in the same file; begin is the record that the lines begin with.
func (s Source) openAt(n uint64, place *Place) (in *segment.Lines, seg segment.Segment, end, begin uint64, err error) {
	var last error
	for range tries {
		segments, err := segment.List(s.FS)
		if err != nil {
			return nil, segment.Segment{}, 0, 0, err
		}
		i, found := slices.BinarySearchFunc(segments, n, func(seg segment.Segment, n uint64) int {
			switch {
			case seg.First < n:
				return -1
			case seg.First > n:
				return 1
			}
			return 0
		})
		if !found && i > 0 {
			i--
		}
		if i == len(segments) {
			return nil, segment.Segment{}, 0, 0, ErrNotFound
		}
		end = ^uint64(0)
		if i+1 < len(segments) {
			end = segments[i+1].First
		}
		begin, offset := segments[i].First, int64(0)
		if place != nil && !segments[i].Compressed && place.file == begin && place.next <= n {
			begin, offset = place.next, place.offset
		}
		in, err := segment.Open(s.FS, segments[i], offset)
		switch {
		case err == nil:
			return in, segments[i], end, begin, nil
		case !errors.Is(err, fs.ErrNotExist):
			return nil, segments[i], end, 0, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		last = err
	}
	return nil, segment.Segment{}, 0, 0, fmt.Errorf("opening the file of record %d: %w", n, last)
}

// fileAt gives the first record of the first file that may have records since a time: the next file began then or later.
func (s Source) fileAt(since time.Time) (uint64, error) {
	segments, err := segment.List(s.FS)
	if err != nil {
		return 0, err
	}
	text := since.UTC().Format(timeFormat)
	for i, seg := range segments {
		if i+1 == len(segments) {
			return seg.First, nil
		}
		// A first line that cannot be read says nothing of when the file before it ended.
		line, err := s.firstLine(segments[i+1])
		if err != nil || lineTime(line) >= text {
			return seg.First, nil
		}
	}
	return 0, nil
}

func (s Source) firstLine(seg segment.Segment) ([]byte, error) {
	in, err := segment.Open(s.FS, seg, 0)
	if errors.Is(err, fs.ErrNotExist) {
		seg.Compressed = !seg.Compressed
		in, err = segment.Open(s.FS, seg, 0)
	}
	if err != nil {
		return nil, err
	}
	line, err := in.Next()
	return slices.Clone(line), errors.Join(err, in.Close())
}
