package audit

import (
	"errors"
	"io"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/merkle"
	"github.com/signerd/signerd/audit/segment"
)

// trust is what is known of a line.
type trust int

const (
	unknown trust = iota
	proven
	forged
)

// vouchedFor says whether the line that head read is the record that was vouched for.
func (s *scanner) vouchedFor(n uint64) trust {
	size := s.vouched.edge.Size()
	if s.hashes == nil || n >= uint64(size) {
		return unknown
	}
	proof, err := tlog.ProveRecord(size, int64(n), s.hashes)
	switch {
	case err != nil:
		return unknown
	case tlog.CheckRecord(proof, size, s.vouched.checkpoint.Tree.Hash, int64(n), s.leaf) != nil:
		return forged
	}
	return proven
}

// head reads the first line of a file; nil where it is none.
func (s *scanner) head(seg segment.Segment) (*Record, merkle.Edge, error) {
	s.foreign = false
	lines, err := segment.Open(s.log.config.FS, seg, 0)
	if errors.Is(err, segment.ErrDamaged) || errors.Is(err, disk.ErrNoFile) {
		s.foreign = errors.Is(err, disk.ErrNoFile)
		return nil, merkle.Edge{}, nil
	}
	if err != nil {
		return nil, merkle.Edge{}, err
	}
	defer func() { _ = lines.Close() }()
	line, err := lines.Next()
	switch {
	case errors.Is(err, segment.ErrTorn), errors.Is(err, segment.ErrDamaged), errors.Is(err, io.EOF):
		return nil, merkle.Edge{}, nil
	case err != nil:
		return nil, merkle.Edge{}, err
	}
	r, err := Parse(line)
	if err != nil || r.Kind != KindFile || r.File == nil || r.N != seg.First || r.N > maxRecords {
		return nil, merkle.Edge{}, nil
	}
	if s.foreign = r.File.Origin != s.log.config.Signer.Name(); s.foreign {
		return nil, merkle.Edge{}, nil
	}
	s.leaf = tlog.RecordHash(line)
	edge, err := readEdge(int64(r.N), r.File.Edge)
	if err != nil {
		return nil, merkle.Edge{}, nil
	}
	return &r, edge, nil
}
