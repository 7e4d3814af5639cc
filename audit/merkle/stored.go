package merkle

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"
)

// Stored fills out with the stored hashes from index on, and gives how many there are: fewer than asked for at the end of the file. It is
// for reading all of them; a hash that is not known is zero.
func (h *Hashes) Stored(index int64, out []tlog.Hash) (int, error) {
	if h == nil {
		return 0, nil
	}
	text := make([]byte, len(out)*tlog.HashSize)
	n, err := h.file.ReadAt(text, index*tlog.HashSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("reading hashes from %d on: %w", index, err)
	}
	n /= tlog.HashSize
	for i := range out[:n] {
		out[i] = tlog.Hash(text[i*tlog.HashSize:])
	}
	return n, nil
}
