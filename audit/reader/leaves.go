package reader

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/merkle"
	"github.com/signerd/signerd/audit/segment"
	"github.com/signerd/signerd/internal/checkpoint"
)

// leaf is all that verifying needs of a line.
type leaf struct {
	hash tlog.Hash
	n    uint64 // the line's own number; noNumber for a line without one
	torn bool   // the line has no end
}

const noNumber = ^uint64(0)

const (
	batchLeaves = 512
	// readers is how many files are read at once: reading compressed ones is most of the work.
	readers = 2
	// ahead bounds the batches that were read and not yet used, per file.
	ahead = 1024
)

// reading is a file that is being read.
type reading struct {
	seg    segment.Segment
	number int // its place among the files
	leaves chan []leaf
	err    error // set when leaves is closed
}

// read reads all files, two at a time, and gives them in order.
func (v *verification) read(ctx context.Context) <-chan *reading {
	files := make(chan *reading, 1)
	slots := make(chan struct{}, readers)
	v.running.Go(func() {
		defer close(files)
		for i, seg := range v.segments {
			file := &reading{seg: seg, number: i, leaves: make(chan []leaf, ahead)}
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			v.running.Go(func() {
				file.err = file.read(ctx, v.Source)
				close(file.leaves)
				<-slots
			})
			select {
			case files <- file:
			case <-ctx.Done():
				return
			}
		}
	})
	return files
}

func (f *reading) read(ctx context.Context, s Source) (err error) {
	in, err := s.openSegment(f.seg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	for end := false; !end; {
		batch := make([]leaf, 0, batchLeaves)
		for len(batch) < batchLeaves {
			var one leaf
			if one, err = nextLeaf(in); err != nil {
				end = true
				break
			}
			batch = append(batch, one)
			if end = one.torn; end {
				break
			}
		}
		select {
		case f.leaves <- batch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// nextLeaf reads a line. What has no end is the last one.
func nextLeaf(in *segment.Lines) (leaf, error) {
	line, err := in.Next()
	torn := errors.Is(err, segment.ErrTorn)
	if err != nil && !torn {
		return leaf{}, err
	}
	n, ok := audit.Number(line)
	if !ok {
		n = noNumber
	}
	return leaf{tlog.RecordHash(line), n, torn}, nil
}

// openSegment opens a file that may be compressed meanwhile. errGone for one that is not there any more.
func (s Source) openSegment(seg segment.Segment) (*segment.Lines, error) {
	for range tries {
		in, err := segment.Open(s.FS, seg, 0)
		if !errors.Is(err, fs.ErrNotExist) {
			return in, err
		}
		seg.Compressed = !seg.Compressed
	}
	return nil, errGone
}

// storedHashes reads stored hashes in order, many at a time.
type storedHashes struct {
	start int64
	part  []tlog.Hash // zero beyond what there is
	whole int         // how many of part there are
	short bool        // a hash that was asked for is not there
	err   error
}

// at gives a stored hash, and whether it is known.
func (h *storedHashes) at(index int64, hashes *merkle.Hashes) (tlog.Hash, bool) {
	const many = 4096
	if i := index - h.start; i < 0 || i >= int64(len(h.part)) {
		part := make([]tlog.Hash, many)
		n, err := hashes.Stored(index, part)
		if err != nil {
			h.err = err
			return tlog.Hash{}, false
		}
		h.start, h.part, h.whole = index, part, n
	}
	if index-h.start >= int64(h.whole) {
		h.short = true
	}
	hash := h.part[index-h.start]
	return hash, hash != tlog.Hash{}
}

// prepare finds what the tree must be, at which sizes, and begins it with the records that retention deleted.
func (v *verification) prepare() error {
	v.marks = append(v.marks, mark{v.report.Tree, "the log's own size and root", true})
	for _, known := range v.want.Checkpoints {
		v.marks = append(v.marks, mark{known.Checkpoint.Tree, known.From, true})
	}
	for _, seg := range v.segments {
		line, err := v.Source.firstLine(seg)
		if err != nil {
			continue // reading it in its turn says why
		}
		r, err := audit.Parse(line)
		if err != nil || r.File == nil {
			continue
		}
		if edge, err := edgeOf(seg.First, r.File); err == nil {
			v.marks = append(v.marks, mark{edge.Tree(), "the edge in " + seg.Name(), false})
		}
		if v.want.Verifier == nil || r.File.Checkpoint == "" {
			continue
		}
		if c, err := checkpoint.Open([]byte(r.File.Checkpoint), v.want.Verifier); err == nil {
			v.marks = append(v.marks, mark{c.Tree, "the checkpoint in " + seg.Name(), true})
		}
	}
	slices.SortStableFunc(v.marks, func(a, b mark) int { return int(min(1, max(-1, a.N-b.N))) })
	if v.pos == 0 {
		return v.compareMarks()
	}
	before := 0
	for before < len(v.marks) && uint64(v.marks[before].N) < v.pos {
		before++
	}
	old := v.marks[:before]
	v.marks = v.marks[before:]
	edge, err := merkle.ReadEdge(int64(v.pos), v.Hashes)
	if err != nil {
		if len(v.segments) == 0 {
			return err
		}
		if edge, err = v.edgeIn(v.segments[0]); err != nil || uint64(edge.Size()) != v.pos {
			return fmt.Errorf("the hashes of the records before %d are not known: the tree cannot be computed", v.pos)
		}
	}
	v.edge = edge
	if proof, err := tlog.ProveTree(v.report.Tree.N, int64(v.pos), v.Hashes); len(v.segments) > 0 &&
		(err != nil || tlog.CheckTree(proof, v.report.Tree.N, v.report.Tree.Hash, int64(v.pos), edge.Tree().Hash) != nil) {
		// The hashes after these may be the wrong ones. Where it is these, the first line that is kept has them too.
		if other, err := v.edgeIn(v.segments[0]); err == nil && other.Tree() != edge.Tree() && uint64(other.Size()) == v.pos {
			v.edge, v.suspicion = other, v.hashesBefore()
		}
	}
	v.deleted(old)
	return v.compareMarks()
}

// deleted holds checkpoints from before the first record that is kept against the stored hashes.
func (v *verification) deleted(marks []mark) {
	now := v.report.Tree
	for _, m := range marks {
		if m.N == 0 || !m.signed {
			continue
		}
		var root tlog.Hash
		proof, err := tlog.ProveTree(now.N, m.N, v.Hashes)
		if err == nil {
			root, err = tlog.TreeHash(m.N, v.Hashes)
		}
		switch {
		case err != nil:
			v.report.Unchecked = append(v.report.Unchecked, m.from)
		case tlog.CheckTree(proof, now.N, now.Hash, m.N, root) != nil:
			if v.suspicion == nil {
				v.suspicion = v.hashesBefore()
			}
		case root != m.Hash:
			v.faulty(Rewritten, 0, uint64(m.N), segment.Segment{}, fmt.Sprintf("the hashes of these deleted records do not fit %s", m.from))
			return
		}
	}
}

func (v *verification) hashesBefore() *Fault {
	return &Fault{
		What: HashesDamaged, Record: 0, Until: v.pos, File: hashesName,
		Detail: "the hashes of the deleted records do not fit the log's root",
	}
}

// edgeIn is the edge in a file's first record.
func (v *verification) edgeIn(seg segment.Segment) (merkle.Edge, error) {
	line, err := v.Source.firstLine(seg)
	if err != nil {
		return merkle.Edge{}, err
	}
	r, err := audit.Parse(line)
	if err != nil {
		return merkle.Edge{}, err
	}
	if r.File == nil {
		return merkle.Edge{}, fmt.Errorf("%w: %s does not begin with what begins a file", ErrDamaged, seg.Name())
	}
	return edgeOf(seg.First, r.File)
}

func edgeOf(n uint64, f *audit.File) (merkle.Edge, error) {
	hashes := make([]tlog.Hash, 0, len(f.Edge))
	for _, text := range f.Edge {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(raw) != tlog.HashSize {
			return merkle.Edge{}, fmt.Errorf("%w: a hash of an edge is none", ErrDamaged)
		}
		hashes = append(hashes, tlog.Hash(raw))
	}
	return merkle.NewEdge(int64(n), hashes)
}
