package reader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/merkle"
	"github.com/signerd/signerd/audit/segment"
	"github.com/signerd/signerd/internal/checkpoint"
)

// Want is what a log must be, beyond what its own size and root say.
type Want struct {
	// Checkpoints were signed for this log: that of the store of keys, that of the anchor file, one that an outsider kept.
	Checkpoints []Known
	// Verifier opens the checkpoints in the log's files; nil leaves them unread.
	Verifier note.Verifier
	// Live says that the log is being written: records after the size that it has when Verify begins are not looked at.
	Live bool
}

// Known is a checkpoint whose signature was checked, and where it is from, such as "the anchor file".
type Known struct {
	From       string
	Checkpoint checkpoint.Checkpoint
}

// What is the kind of a fault.
type What string

// The kinds of faults.
const (
	// Changed is a line that is not what it was; also two that became one, and one that became two.
	Changed What = "changed"
	// Missing are records that are not there.
	Missing What = "missing"
	// Inserted is a line that does not belong where it is; also one that is there twice.
	Inserted What = "inserted"
	// Reordered is a record that changed places with a later one.
	Reordered What = "reordered"
	// MissingFile is a file that is not there.
	MissingFile What = "missing file"
	// ExtraFile is a file for records that are in another.
	ExtraFile What = "extra file"
	// Compression is a file that cannot be read to its end.
	Compression What = "damaged compression"
	// Rewritten says that lines and stored hashes fit each other, but not what was signed.
	Rewritten What = "rewritten"
	// HashesDamaged says that the lines are what was signed, and the stored hashes are not.
	HashesDamaged What = "damaged hashes"
)

// Fault is what is wrong first.
type Fault struct {
	What What
	// Record is the first that is concerned, and Until the one after the last that may be.
	Record, Until uint64
	// File is where the record is or ought to be; empty where no file is concerned.
	File string
	// Detail says more, in words.
	Detail string
}

// String is the fault in words.
func (f *Fault) String() string {
	out := fmt.Sprintf("record %d", f.Record)
	if f.Until > f.Record+1 {
		out = fmt.Sprintf("records %d to %d", f.Record, f.Until-1)
	}
	out += ": " + string(f.What)
	if f.File != "" {
		out += " (" + f.File + ")"
	}
	if f.Detail != "" {
		out += ": " + f.Detail
	}
	return out
}

// Report is what Verify found.
type Report struct {
	// Tree is the size and root hash that the log was held against.
	Tree tlog.Tree
	// First is the first record that retention kept.
	First uint64
	// Files and Records were read.
	Files   int
	Records uint64
	// Gaps are acknowledged losses; they are no faults.
	Gaps []audit.Range
	// Unknown is the number of stored hashes that are not known, after a loss that was acknowledged.
	Unknown uint64
	// Unchecked are the checkpoints of which nothing can be said, since hashes from before them are not known.
	Unchecked []string
	// Fault is nil for a log that is as it was signed.
	Fault *Fault
}

// errGone says that retention deleted a file that was about to be read.
var errGone = errors.New("a file was deleted by retention meanwhile")

// Verify reads every record and computes the tree anew, and holds it against the stored hashes, the log's size and root, the checkpoints
// wanted and those in the files. What is wrong is in the report; an error says that verifying could not be done, or that ctx ended.
// progress is told now and then how many records were read; nil for no one.
func (s Source) Verify(ctx context.Context, want Want, progress func(done, total uint64)) (Report, error) {
	if progress == nil {
		progress = func(uint64, uint64) {}
	}
	for try := 0; ; try++ {
		report, err := s.verify(ctx, want, progress)
		if !errors.Is(err, errGone) || try == tries {
			return report, err
		}
	}
}

func (s Source) verify(ctx context.Context, want Want, progress func(done, total uint64)) (Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	// In this order: a gap or a deletion is known before the log grows beyond it.
	tree := s.Tree()
	first := min(s.First(), uint64(tree.N))
	v := &verification{
		Source: s, want: want, size: uint64(tree.N), pos: first, progress: progress, solid: first,
		report: Report{Tree: tree, First: first, Gaps: s.Gaps()},
	}
	defer func() {
		cancel()
		v.running.Wait()
	}()
	segments, err := segment.List(s.FS)
	if err != nil {
		return v.report, err
	}
	for len(segments) > 0 && segments[0].First < first {
		segments = segments[1:] // about to be deleted
	}
	if want.Live {
		for len(segments) > 0 && segments[len(segments)-1].First >= v.size {
			segments = segments[:len(segments)-1]
		}
	}
	v.segments = segments
	if err := v.prepare(); err != nil {
		return v.report, err
	}
	if v.fault == nil {
		err = v.files(ctx)
	}
	if v.fault == nil && err == nil {
		v.conclude()
	}
	v.report.Fault = v.fault
	progress(v.report.Records, v.size-first)
	return v.report, err
}

// verification is one run of Verify.
type verification struct {
	Source
	want     Want
	segments []segment.Segment
	size     uint64
	pos      uint64 // the record that comes next
	edge     merkle.Edge
	marks    []mark // by size, those that are still to come
	stored   storedHashes
	report   Report
	progress func(done, total uint64)
	running  sync.WaitGroup // what reads files

	fault     *Fault // certain
	suspicion *Fault // a line and its stored hash differ, and it is open which of them is wrong
	misfit    *mark  // the first that the tree does not fit
	solid     uint64 // the last size that fit a signed mark
}

// mark is what the tree must be at a size.
type mark struct {
	tlog.Tree
	from string
	// signed marks cannot be forged; others are in lines, and only help to find where a change is.
	signed bool
}

// files reads all files.
func (v *verification) files(ctx context.Context) error {
	for file := range v.read(ctx) {
		if err := v.boundary(file.seg); err != nil || v.fault != nil {
			return err
		}
		v.report.Files++
		index := 0
		for batch := range file.leaves {
			for _, leaf := range batch {
				if err := v.leaf(file, index, leaf); err != nil || v.fault != nil {
					return err
				}
				index++
			}
			v.progress(v.report.Records, v.size-v.report.First)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(file.err, errGone) && v.First() > file.seg.First:
			return errGone
		case errors.Is(file.err, errGone):
			v.faulty(MissingFile, v.pos, v.pos+1, file.seg, "it was deleted while the log was verified")
			return nil
		case file.err != nil:
			return v.unreadable(file)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return v.skip(v.size, segment.Segment{}, MissingFile)
}

// unreadable is for a file that cannot be read to its end.
func (v *verification) unreadable(file *reading) error {
	if system := (*fs.PathError)(nil); errors.As(file.err, &system) && !errors.Is(file.err, disk.ErrNoFile) {
		return fmt.Errorf("verifying record %d: %w", v.pos, file.err)
	}
	end := v.size
	if i := file.number + 1; i < len(v.segments) {
		end = min(end, v.segments[i].First)
	}
	first := v.pos
	if first >= end {
		first = file.seg.First // all records could be read; the file as a whole is another
	}
	what := Compression
	if errors.Is(file.err, disk.ErrNoFile) {
		what = MissingFile
	}
	v.faulty(what, first, end, file.seg, file.err.Error())
	return nil
}

// boundary goes to the first record of a file.
func (v *verification) boundary(seg segment.Segment) error {
	switch {
	case seg.First > v.size:
		if err := v.skip(v.size, seg, Missing); err != nil || v.fault != nil {
			return err
		}
		v.faulty(ExtraFile, seg.First, seg.First+1, seg, fmt.Sprintf("the log has %d records", v.size))
		return nil
	case seg.First < v.pos:
		v.faulty(ExtraFile, seg.First, seg.First+1, seg, "its records are in the file before it")
		return nil
	case v.report.Files == 0:
		return v.skip(seg.First, seg, MissingFile)
	}
	return v.skip(seg.First, seg, Missing)
}

// skip goes over records that are not there, up to a size: they are in a gap, or missing.
func (v *verification) skip(until uint64, seg segment.Segment, what What) error {
	if v.pos >= until {
		return nil
	}
	for _, gap := range v.report.Gaps {
		if gap.From <= v.pos && v.pos < gap.Until {
			if err := v.gap(min(gap.Until, until), seg); err != nil {
				return err
			}
			return v.skip(until, seg, what)
		}
	}
	for _, gap := range v.report.Gaps {
		if gap.From > v.pos {
			until = min(until, gap.From)
		}
	}
	if v.First() > v.pos {
		return errGone
	}
	detail := "no file has them"
	if what == Missing && until > v.pos+1 {
		// Nothing says whether a file began here.
		what, detail = MissingFile, "a file is missing, or the file before was cut off"
	}
	v.faulty(what, v.pos, until, segment.Segment{}, detail)
	return nil
}

// gap goes over acknowledged losses by their stored hashes, or by the edge in the file that follows.
func (v *verification) gap(until uint64, seg segment.Segment) error {
	leaves := make([]tlog.Hash, min(until-v.pos, 1024))
	for at := v.pos; at < until; at += uint64(len(leaves)) {
		leaves = leaves[:min(uint64(len(leaves)), until-at)]
		err := v.Hashes.Leaves(int64(at), leaves)
		for _, leaf := range leaves {
			if err != nil || leaf == (tlog.Hash{}) {
				return v.jump(until, seg)
			}
			if err := v.add(leaf); err != nil {
				return err
			}
		}
	}
	return nil
}

// jump goes to a size whose records' hashes are not known.
func (v *verification) jump(until uint64, seg segment.Segment) error {
	edge, err := merkle.ReadEdge(int64(until), v.Hashes)
	if err != nil {
		edge, err = v.edgeIn(seg)
		if err != nil || uint64(edge.Size()) != until {
			return fmt.Errorf("records before %d are lost, and so are their hashes: the tree cannot be computed", until)
		}
	}
	v.edge, v.pos = edge, until
	for len(v.marks) > 0 && uint64(v.marks[0].N) < until {
		if v.marks[0].signed {
			v.report.Unchecked = append(v.report.Unchecked, v.marks[0].from)
		}
		v.marks = v.marks[1:]
	}
	return v.compareMarks()
}

// leaf takes the next line.
func (v *verification) leaf(file *reading, index int, leaf leaf) error {
	if v.pos >= v.size {
		// The unfinished line at the end of a log was never acknowledged.
		if !v.want.Live && !leaf.torn {
			v.faulty(Inserted, v.pos, v.pos+1, file.seg, fmt.Sprintf("the log has %d records", v.size))
		}
		return nil
	}
	v.report.Records++
	stored, known := v.stored.at(tlog.StoredHashIndex(0, int64(v.pos)), v.Hashes)
	switch {
	case v.suspicion != nil:
	case known && leaf.hash != stored || leaf.torn:
		if err := v.place(file, index, leaf, stored); err != nil || v.fault != nil {
			return err
		}
	case leaf.n != v.pos:
		what, until := Rewritten, v.pos+1
		if leaf.n > v.pos && leaf.n != noNumber {
			what, until = Missing, min(leaf.n, v.size)
		}
		v.faulty(what, v.pos, until, file.seg, "the line has another number, and the stored hashes fit it")
		return nil
	}
	return v.add(leaf.hash)
}

// add appends to the tree, and holds what it stores against what is stored.
func (v *verification) add(leaf tlog.Hash) error {
	index := tlog.StoredHashIndex(0, int64(v.pos))
	for level, hash := range v.edge.Append(leaf) {
		stored, known := v.stored.at(index+int64(level), v.Hashes)
		switch {
		case v.stored.short && v.suspicion == nil:
			v.suspicion = &Fault{What: HashesDamaged, Record: v.pos, Until: v.size, File: hashesName, Detail: "the file is too short"}
		case !known:
			v.report.Unknown++
		case stored != hash && v.suspicion == nil:
			v.suspicion = &Fault{
				What: Rewritten, Record: v.pos + 1 - 1<<level, Until: v.pos + 1,
				Detail: "the stored hash over these records is another",
			}
		}
	}
	if v.stored.err != nil {
		return v.stored.err
	}
	v.pos++
	return v.compareMarks()
}

// compareMarks holds the tree against what it must be at this size.
func (v *verification) compareMarks() error {
	signed := false
	for len(v.marks) > 0 && uint64(v.marks[0].N) == v.pos {
		m := v.marks[0]
		v.marks = v.marks[1:]
		switch fits := v.edge.Tree() == m.Tree; {
		case fits:
			signed = signed || m.signed
		case m.signed:
			v.refute(m)
			return nil
		case v.misfit == nil:
			v.misfit = &m
		}
	}
	if signed {
		// All before is as it was signed, whatever a line says of it.
		v.solid, v.misfit = v.pos, nil
	}
	return nil
}

// refute is for a signed size and root that the lines do not have.
func (v *verification) refute(m mark) {
	until := uint64(m.N)
	if v.misfit != nil {
		// What is said in a line narrows down where the change is: before that line, or in it.
		m, until = *v.misfit, uint64(v.misfit.N)+1
	}
	v.faulty(Rewritten, v.solid, max(until, v.solid+1), segment.Segment{}, fmt.Sprintf(
		"lines and stored hashes fit each other, but not %s at %d records; they fit what was signed up to %d records", m.from, m.N, v.solid))
}

// conclude is for a log that was read to its end.
func (v *verification) conclude() {
	if v.suspicion != nil {
		// The lines have the root that was signed.
		v.fault = &Fault{
			What: HashesDamaged, Record: v.suspicion.Record, Until: v.suspicion.Until, File: hashesName,
			Detail: "the lines have the right root, the stored hashes do not fit them",
		}
		return
	}
	for _, m := range v.marks {
		v.faulty(Missing, v.size, uint64(m.N), segment.Segment{}, fmt.Sprintf("%s has %d records, the log has %d", m.from, m.N, v.size))
		return
	}
}

// faulty ends verifying. What was suspected before came first.
func (v *verification) faulty(what What, record, until uint64, seg segment.Segment, detail string) {
	v.fault = v.suspicion
	if v.fault == nil {
		v.fault = &Fault{What: what, Record: record, Until: until, Detail: detail}
	}
	switch {
	case v.fault.File != "":
	case v.fault != v.suspicion && seg != (segment.Segment{}):
		v.fault.File = seg.Name()
	case what != MissingFile:
		v.fault.File = v.fileOf(v.fault.Record)
	}
}

// hashesName is the file of the stored hashes.
const hashesName = "hashes"

// fileOf is the name of the file that has a record.
func (v *verification) fileOf(n uint64) string {
	name := ""
	for _, seg := range v.segments {
		if seg.First <= n {
			name = seg.Name()
		}
	}
	return name
}
