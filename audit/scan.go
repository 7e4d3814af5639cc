package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/merkle"
	"github.com/signerd/signerd/audit/segment"
)

// maxRecords is more than any log has, and so few that the length of its hashes is a number.
const maxRecords = 1 << 50

// finding is what a look at a whole folder found. Making it changes nothing.
type finding struct {
	vouched vouched
	files   []file
	// tip is where to go on. Its file can be written to if appendable.
	tip        tip
	appendable bool
	uncertain  uint64
	torn       int64
	// missing is not acknowledged; gaps are.
	missing, gaps []Range
	// unfit files are none of this log's; leftovers are of no use any more.
	unfit, leftovers []string
	// hashesLost says that not all stored hashes are there that must be.
	hashesLost bool
	// why says in words what is missing.
	why []string
}

func (f *finding) loss() error {
	if len(f.missing) == 0 && len(f.why) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrMissing, strings.Join(append(f.why, rangeTexts(f.missing)...), ", "))
}

func rangeTexts(ranges []Range) []string {
	var out []string
	for _, r := range ranges {
		out = append(out, fmt.Sprintf("records %d to %d", r.From, r.Until-1))
	}
	return out
}

// scanner is one look at a folder.
type scanner struct {
	log *Log
	finding
	ctx    context.Context
	hashes *merkle.Hashes // nil where they are not there
	edge   merkle.Edge    // of the records up to pos
	pos    uint64
	walked bool // the last file was read as a whole
	// leaf is the hash of the line that head read; foreign says that it begins a file of another log.
	leaf    tlog.Hash
	foreign bool
	// begun says that a process began after the one that ended in order; strange that there are records of none.
	begun, strange bool
	// anchored says that the tree had the anchor's size at one time; fits that it was the anchor's tree then.
	anchored, fits bool
}

// scan finds out what the folder holds of what it must hold.
func (l *Log) scan(ctx context.Context) (*finding, error) {
	s := &scanner{log: l, ctx: ctx}
	var err error
	if s.vouched, err = readState(l.config.State, l.config.Signer); err != nil {
		return nil, err
	}
	names, err := l.config.FS.List()
	if err != nil {
		return nil, fmt.Errorf("reading the folder of the audit log: %w", err)
	}
	segments, err := segment.List(l.config.FS)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if segment.IsUnfinished(name) || name == hashesFile+unfinished {
			s.leftovers = append(s.leftovers, name)
		}
	}
	for _, seg := range segments {
		if both := (segment.Segment{First: seg.First, Compressed: true}); !seg.Compressed && slices.Contains(names, both.Name()) {
			s.leftovers = append(s.leftovers, both.Name())
		}
	}
	f, err := l.config.FS.Open(hashesFile, os.O_RDONLY)
	switch {
	case err == nil:
		s.hashes = merkle.NewHashes(f)
		defer func() { _ = f.Close() }()
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, disk.ErrNoFile):
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	if err := s.checkHashes(); err != nil {
		return nil, err
	}
	s.pos, s.gaps = s.vouched.First, s.vouched.Gaps
	for i, seg := range segments {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := s.take(seg, i == len(segments)-1); err != nil {
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
	}
	if err := s.finish(); err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	return &s.finding, nil
}

// checkHashes sees whether the stored hashes go as far as was vouched for.
func (s *scanner) checkHashes() error {
	n := s.vouched.edge.Size()
	if n == 0 {
		return nil // they are all computed again
	}
	if s.hashes != nil {
		info, err := s.log.config.FS.Stat(hashesFile)
		if err != nil {
			return fmt.Errorf("reading the audit log: %w", err)
		}
		edge, err := merkle.ReadEdge(n, s.hashes)
		switch {
		case err == nil && info.Size() >= merkle.Size(n) && edge.Tree() == s.vouched.checkpoint.Tree:
			return nil
		case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, merkle.ErrUnknownHash):
			return err
		}
	}
	s.hashesLost = true
	s.why = append(s.why, "the file "+hashesFile+" is gone, or not what it was")
	return nil
}

// take looks at the next file.
func (s *scanner) take(seg segment.Segment, last bool) error {
	if seg.First < s.vouched.First {
		s.leftovers = append(s.leftovers, seg.Name())
		return nil
	}
	info, err := s.log.config.FS.Stat(seg.Name())
	if err != nil {
		return err
	}
	head, edge, err := s.head(seg)
	if err != nil {
		return err
	}
	if head == nil {
		if last && !seg.Compressed && s.foreign {
			s.reject(seg) // another log's: it is not ours to remove
			return nil
		}
		if last && !seg.Compressed && seg.First >= s.promised() {
			// It was begun, and nothing in it was acknowledged.
			s.leftovers = append(s.leftovers, seg.Name())
			s.torn += info.Size()
			return nil
		}
		s.reject(seg)
		return nil
	}
	fits := s.vouchedFor(seg.First)
	if fits == forged {
		head.File.Previous = nil // it says nothing of the file before
	}
	if err := s.link(seg, head.File); err != nil {
		return err
	}
	f := file{Segment: seg, size: info.Size()}
	if fits == proven {
		f.started = head.Time // what nobody vouches for must not make retention delete what is not old
	}
	if s.pos > seg.First || seg.First > s.vouched.File && seg.First < uint64(s.vouched.edge.Size()) {
		s.reject(seg)
		return nil
	}
	if seg.First < s.vouched.File {
		if s.pos < seg.First {
			s.missing = append(s.missing, Range{s.pos, seg.First})
		}
		s.files, s.pos, s.walked = append(s.files, f), seg.First, false
		return nil
	}
	return s.read(f, edge, last)
}

// promised is how many records there must be.
func (s *scanner) promised() uint64 {
	return uint64(max(s.vouched.edge.Size(), s.log.config.Anchor.Tree.N))
}

func (s *scanner) reject(seg segment.Segment) {
	s.unfit = append(s.unfit, seg.Name())
	s.why = append(s.why, seg.Name()+" is not what it was")
}

// link finds out where the file before ends, by what this one says of it, or by reading it.
func (s *scanner) link(seg segment.Segment, head *File) error {
	if len(s.files) == 0 || s.walked {
		return nil
	}
	before := &s.files[len(s.files)-1]
	if p := head.Previous; p != nil && p.First == before.First && p.Until <= seg.First {
		whole, err := s.whole(before, p.Bytes)
		if err != nil {
			return err
		}
		if whole {
			before.until, before.bytes, s.pos = p.Until, p.Bytes, p.Until
			return nil
		}
	}
	return s.count(before)
}

// whole says whether a file has so many bytes of lines, without reading them: a compressed file ends with that number.
func (s *scanner) whole(f *file, lines int64) (bool, error) {
	if !f.Compressed {
		return f.size >= lines, nil
	}
	if f.size < 4 {
		return false, nil
	}
	in, err := s.log.config.FS.Open(f.Name(), os.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer func() { _ = in.Close() }()
	var n [4]byte
	if _, err := in.ReadAt(n[:], f.size-int64(len(n))); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return uint32(n[0])|uint32(n[1])<<8|uint32(n[2])<<16|uint32(n[3])<<24 == uint32(lines), nil
}

// count reads a file to find out how many records it has.
func (s *scanner) count(f *file) error {
	leaf := leaves{hashes: s.hashes, size: s.vouched.edge.Size()}
	w, err := s.log.walk(s.ctx, f.Segment, leaf.fits)
	if err != nil {
		return err
	}
	f.until, f.bytes, f.damaged, s.pos = w.until, w.offset, true, w.until
	return nil
}

// leaves holds lines against the stored hashes of records that were vouched for. Where they are not known, any line fits.
type leaves struct {
	hashes *merkle.Hashes
	size   int64
}

func (l leaves) fits(n uint64, line []byte) bool {
	var want [1]tlog.Hash
	if l.hashes == nil || int64(n) >= l.size || l.hashes.Leaves(int64(n), want[:]) != nil || want[0] == (tlog.Hash{}) {
		return true
	}
	return want[0] == tlog.RecordHash(line)
}

// read reads a whole file that may have records after those that were vouched for.
func (s *scanner) read(f file, edge merkle.Edge, last bool) error {
	if s.pos < f.First {
		s.missing = append(s.missing, Range{s.pos, f.First})
	}
	if !s.continues(edge) {
		s.reject(f.Segment)
		return nil
	}
	before := edge
	n, anchor, bad := s.vouched.edge.Size(), s.log.config.Anchor.Tree, false
	var acknowledged []Range
	w, err := s.log.walk(s.ctx, f.Segment, func(number uint64, line []byte) bool {
		if int64(number) >= n {
			r, err := Parse(line)
			if err != nil || r.N != number {
				return false
			}
			switch {
			case !s.vouched.Closed || s.begun || r.Kind == KindFile:
			case r.Kind == KindStart && r.Start != nil && r.Start.signedBy(s.log.config.Signer, s.vouched.checkpoint.Tree):
				s.begun = true
			case !s.strange:
				s.strange = true
				s.why = append(s.why, fmt.Sprintf("record %d was not written by signerd, which had stopped", number))
			}
			if r.Kind == KindAcknowledgement && r.Acknowledgement != nil && r.Acknowledgement.signedBy(s.log.config.Signer, &before) {
				acknowledged = append(acknowledged, r.Acknowledgement.Missing...)
			}
		}
		edge.Append(tlog.RecordHash(line))
		switch size := edge.Size(); {
		case size == n:
			bad = edge.Tree() != s.vouched.checkpoint.Tree
		case size == anchor.N:
			s.anchored, s.fits = true, edge.Tree() == anchor
		}
		return !bad
	})
	if err != nil {
		return err
	}
	f.until, f.bytes, f.damaged = w.until, w.offset, !w.clean
	if bad {
		if s.hashesLost {
			s.reject(f.Segment)
			return nil
		}
		s.why = append(s.why, f.Name()+" is not what it was")
		s.files = append(s.files, f)
		s.walked = true
		return s.count(&s.files[len(s.files)-1])
	}
	if last && !f.Compressed {
		f.damaged = false
		s.torn += f.size - f.bytes
	}
	s.gaps = union(append(append([]Range(nil), s.gaps...), acknowledged...)...)
	s.files, s.edge, s.pos, s.walked = append(s.files, f), edge, f.until, true
	return nil
}

// continues says whether a file that begins with the edge can follow what was found. Where records between are gone, the stored hashes
// say, if they are there.
func (s *scanner) continues(edge merkle.Edge) bool {
	from := s.edge
	if n := s.vouched.edge.Size(); edge.Size() >= n && from.Size() < n {
		from = s.vouched.edge
	}
	if from.Size() == 0 && edge.Size() > 0 && edge.Size() < s.vouched.edge.Size() {
		return true // the file that was written to at the checkpoint: its end will tell
	}
	for from.Size() < edge.Size() {
		var leaf [1]tlog.Hash
		if s.hashes == nil || s.hashes.Leaves(from.Size(), leaf[:]) != nil || leaf[0] == (tlog.Hash{}) {
			return true
		}
		from.Append(leaf[0])
	}
	return from.Tree() == edge.Tree()
}

// finish says what is missing in all.
func (s *scanner) finish() error {
	if len(s.files) > 0 && !s.walked {
		if err := s.count(&s.files[len(s.files)-1]); err != nil {
			return err
		}
	}
	// A file whose beginning nobody vouches for began before the next one, or now.
	started := s.log.config.Now()
	for i := len(s.files) - 1; i >= 0; i-- {
		if s.files[i].started.IsZero() {
			s.files[i].started = started
		}
		started = s.files[i].started
	}
	s.tip.edge = s.edge
	if s.edge.Size() < s.vouched.edge.Size() {
		s.tip.edge = s.vouched.edge
	}
	if err := s.checkAnchor(); err != nil {
		return err
	}
	if end := max(s.promised(), uint64(s.tip.edge.Size())); s.pos < end {
		s.missing = append(s.missing, Range{s.pos, end})
	}
	s.missing = without(union(s.missing...), s.gaps)
	if n := s.promised(); uint64(s.tip.edge.Size()) > n {
		s.uncertain = uint64(s.tip.edge.Size()) - n
	}
	if len(s.files) > 0 {
		last := s.files[len(s.files)-1]
		s.tip.file, s.tip.offset = last.First, last.bytes
		s.appendable = !last.Compressed && !last.damaged && int64(last.until) == s.tip.edge.Size() && s.loss() == nil
	}
	return nil
}

// checkAnchor sees whether the tree is one that follows the anchor.
func (s *scanner) checkAnchor() error {
	anchor := s.log.config.Anchor
	n := s.vouched.edge.Size()
	fits := true
	switch {
	case anchor.Origin == "" && anchor.Tree.N == 0:
	case anchor.Origin != s.log.config.Signer.Name():
		fits = false
	case anchor.Tree.N == 0:
	case anchor.Tree.N == n:
		fits = anchor.Tree == s.vouched.checkpoint.Tree
	case anchor.Tree.N < n && s.hashesLost: // it cannot be known, and what is newer is vouched for
	case s.anchored:
		fits = s.fits
	case s.hashes == nil:
	default:
		edge, err := merkle.ReadEdge(anchor.Tree.N, s.hashes)
		known := err == nil
		if err != nil && !errors.Is(err, merkle.ErrUnknownHash) && !errors.Is(err, io.EOF) {
			return err
		}
		if known && anchor.Tree.N <= s.tip.edge.Size() {
			fits = edge.Tree() == anchor.Tree
		} else if known && edge.Tree() == anchor.Tree {
			s.tip.edge = edge // its records are gone, but the tree goes on
		}
	}
	if !fits {
		s.why = append(s.why, fmt.Sprintf("it is not the log of which the anchor has %d records", anchor.Tree.N))
		if anchor.Tree.N > n && anchor.Origin == s.log.config.Signer.Name() {
			s.missing = append(s.missing, Range{uint64(n), uint64(anchor.Tree.N)})
		}
	}
	return nil
}
