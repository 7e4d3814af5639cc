package reader

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit"
)

// Proof says that a record is in the log.
type Proof struct {
	Line  Line
	Tree  tlog.Tree
	Proof tlog.RecordProof
}

// Prove gives a record and the proof that it is in a tree, such as that of the newest checkpoint; the zero tree is what the log holds
// now. It is checked before it is returned. ErrNotFound for records that the tree does not have, that retention deleted or whose
// loss was acknowledged; ErrDamaged if the record is not the one that the tree has.
func (s Source) Prove(n uint64, tree tlog.Tree) (Proof, error) {
	if tree == (tlog.Tree{}) {
		tree = s.Tree()
	}
	if tree.N > s.Tree().N || n >= uint64(tree.N) {
		return Proof{}, fmt.Errorf("proving record %d: %w", n, ErrNotFound)
	}
	line, err := s.line(n)
	if err != nil {
		return Proof{}, fmt.Errorf("proving record %d: %w", n, err)
	}
	p, err := tlog.ProveRecord(tree.N, int64(n), s.Hashes)
	if err != nil {
		return Proof{}, fmt.Errorf("proving record %d: %w", n, err)
	}
	if err := tlog.CheckRecord(p, tree.N, tree.Hash, int64(n), tlog.RecordHash(line)); err != nil {
		return Proof{}, fmt.Errorf("proving record %d: %w: it is not in the tree of %d records: %w", n, ErrDamaged, tree.N, err)
	}
	return Proof{Line{n, line}, tree, p}, nil
}

// ProveSince gives the proof that a tree continues an older one; the zero tree is what the log holds now. It is checked before it is
// returned. ErrNotFound if the log never was so large; ErrDamaged if the older tree is not a part of the newer one.
func (s Source) ProveSince(old, tree tlog.Tree) (tlog.TreeProof, error) {
	if tree == (tlog.Tree{}) {
		tree = s.Tree()
	}
	if old.N < 1 || old.N > tree.N || tree.N > s.Tree().N {
		return nil, fmt.Errorf("proving that the log continues that of %d records: %w", old.N, ErrNotFound)
	}
	p, err := tlog.ProveTree(tree.N, old.N, s.Hashes)
	if err != nil {
		return nil, fmt.Errorf("proving that the log continues that of %d records: %w", old.N, err)
	}
	if err := tlog.CheckTree(p, tree.N, tree.Hash, old.N, old.Hash); err != nil {
		return nil, fmt.Errorf("proving that the log continues that of %d records: %w: %w", old.N, ErrDamaged, err)
	}
	return p, nil
}

// line reads one record.
func (s Source) line(n uint64) ([]byte, error) {
	if n < s.First() {
		return nil, ErrNotFound
	}
	in, seg, _, err := s.open(n)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if seg.First > n {
		return nil, ErrNotFound
	}
	for at := seg.First; ; at++ {
		line, err := in.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil, ErrNotFound
		case err != nil:
			return nil, fmt.Errorf("%w: record %d in %s: %w", ErrDamaged, at, seg.Name(), err)
		case at < n:
			continue
		}
		number, ok := audit.Number(line)
		if !ok || number != n {
			return nil, fmt.Errorf("%w: the line for record %d in %s is another", ErrDamaged, n, seg.Name())
		}
		return slices.Clone(line), nil
	}
}
