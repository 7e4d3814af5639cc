package merkle

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit/disk"
)

// Hashes is a file with the hash of every record and of every complete subtree, in tlog's order of storing, 32 bytes each. It is
// never shortened by retention, so that proofs reach back to records that are deleted. It implements tlog.HashReader, and is safe
// for one writer and any number of readers of what was written before. Of nil, which is a file that is not there, no hash is known.
type Hashes struct{ file disk.File }

// NewHashes gives the hashes in an open file.
func NewHashes(f disk.File) *Hashes { return &Hashes{f} }

// ErrUnknownHash says that a hash was never stored here: the file was lost once, and begun anew.
var ErrUnknownHash = errors.New("the hash is not known any more")

// ReadHashes implements tlog.HashReader.
func (h *Hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	if h == nil && len(indexes) > 0 {
		return nil, ErrUnknownHash
	}
	for i, index := range indexes {
		if _, err := h.file.ReadAt(out[i][:], index*tlog.HashSize); err != nil {
			return nil, fmt.Errorf("reading hash %d: %w", index, err)
		}
		if out[i] == (tlog.Hash{}) {
			return nil, fmt.Errorf("reading hash %d: %w", index, ErrUnknownHash)
		}
	}
	return out, nil
}

// Write stores what Edge.Append gave, for records from n on.
func (h *Hashes) Write(n int64, stored []tlog.Hash) error {
	text := make([]byte, 0, len(stored)*tlog.HashSize)
	for _, hash := range stored {
		text = append(text, hash[:]...)
	}
	if _, err := h.file.WriteAt(text, tlog.StoredHashCount(n)*tlog.HashSize); err != nil {
		return fmt.Errorf("writing hashes: %w", err)
	}
	return nil
}

// Leaves fills out with the hashes of the records from n on; it is for reading many in a row. A hash that is not known is zero.
func (h *Hashes) Leaves(n int64, out []tlog.Hash) error {
	if len(out) == 0 {
		return nil
	}
	if h == nil {
		return ErrUnknownHash
	}
	start := tlog.StoredHashIndex(0, n)
	text := make([]byte, (tlog.StoredHashIndex(0, n+int64(len(out))-1)+1-start)*tlog.HashSize)
	if _, err := h.file.ReadAt(text, start*tlog.HashSize); err != nil {
		return fmt.Errorf("reading the hashes of records from %d on: %w", n, err)
	}
	for i := range out {
		at := (tlog.StoredHashIndex(0, n+int64(i)) - start) * tlog.HashSize
		out[i] = tlog.Hash(text[at : at+tlog.HashSize])
	}
	return nil
}

// Truncate drops what was stored for records from n on.
func (h *Hashes) Truncate(n int64) error {
	return h.file.Truncate(tlog.StoredHashCount(n) * tlog.HashSize)
}

// Sync makes what was written durable.
func (h *Hashes) Sync() error { return h.file.Sync() }

// Close closes the file.
func (h *Hashes) Close() error { return h.file.Close() }

// WriteEdge stores the hashes of an edge at their places, so that a file that lacks what came before can be appended to.
func (h *Hashes) WriteEdge(e *Edge) error {
	hashes := e.Hashes()
	for level := len(e.level) - 1; level >= 0; level-- {
		if e.n>>level&1 == 0 {
			continue
		}
		if _, err := h.file.WriteAt(hashes[0][:], tlog.StoredHashIndex(level, e.n>>level-1)*tlog.HashSize); err != nil {
			return fmt.Errorf("writing the edge of %d records: %w", e.n, err)
		}
		hashes = hashes[1:]
	}
	return nil
}

// Size is the length in bytes of a file for n records.
func Size(n int64) int64 { return tlog.StoredHashCount(n) * tlog.HashSize }
