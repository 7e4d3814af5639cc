// Package merkle is the tree over an audit log's lines: RFC 6962 hashes as golang.org/x/mod/sumdb/tlog computes and stores them.
//
// It is for audit, which appends, and for audit/reader, which proves. It knows nothing of what lines say.
package merkle

import (
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// Edge is all that must be known of a tree to append to it and to compute its root: the hash of each largest complete subtree.
// It is a value; a copy is another edge. The zero value is that of the empty tree.
type Edge struct {
	n     int64
	level [63]tlog.Hash // the subtree of 1<<i records, where bit i of n is set
}

// NewEdge makes the edge of a tree of n records from its hashes, the largest subtree first.
func NewEdge(n int64, hashes []tlog.Hash) (Edge, error) {
	if n < 0 || bits.OnesCount64(uint64(n)) != len(hashes) {
		return Edge{}, fmt.Errorf("a tree of %d records has not %d hashes at its edge", n, len(hashes))
	}
	e := Edge{n: n}
	for level := len(e.level) - 1; level >= 0; level-- {
		if n>>level&1 == 1 {
			e.level[level], hashes = hashes[0], hashes[1:]
		}
	}
	return e, nil
}

// ReadEdge reads the edge of the first n records from stored hashes.
func ReadEdge(n int64, r tlog.HashReader) (Edge, error) {
	var indexes []int64
	for level := len(Edge{}.level) - 1; level >= 0; level-- {
		if n>>level&1 == 1 {
			indexes = append(indexes, tlog.StoredHashIndex(level, n>>level-1))
		}
	}
	hashes, err := r.ReadHashes(indexes)
	if err != nil {
		return Edge{}, fmt.Errorf("reading the edge of %d records: %w", n, err)
	}
	return NewEdge(n, hashes)
}

// Append adds a record by its hash, and gives the hashes that a Hashes file stores for it.
func (e *Edge) Append(record tlog.Hash) []tlog.Hash {
	stored := make([]tlog.Hash, 0, 1+bits.TrailingZeros64(^uint64(e.n)))
	stored = append(stored, record)
	level := 0
	for ; e.n>>level&1 == 1; level++ {
		record = tlog.NodeHash(e.level[level], record)
		stored = append(stored, record)
	}
	e.level[level] = record
	e.n++
	return stored
}

// Size is the number of records.
func (e *Edge) Size() int64 { return e.n }

// Hashes are the hashes of the edge, the largest subtree first.
func (e *Edge) Hashes() []tlog.Hash {
	var out []tlog.Hash
	for level := len(e.level) - 1; level >= 0; level-- {
		if e.n>>level&1 == 1 {
			out = append(out, e.level[level])
		}
	}
	return out
}

// Tree is the size and the root hash.
func (e *Edge) Tree() tlog.Tree {
	root, err := tlog.TreeHash(e.n, tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			level, _ := tlog.SplitStoredHashIndex(index)
			out[i] = e.level[level]
		}
		return out, nil
	}))
	if err != nil {
		panic(err) // the reader above gives none
	}
	return tlog.Tree{N: e.n, Hash: root}
}
