package audit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"

	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/segment"
)

// walked is how far a file could be read.
type walked struct {
	until  uint64
	offset int64
	clean  bool // it ends there
}

// walk reads the lines of a file as long as they have the numbers that they must have, and fit.
func (l *Log) walk(ctx context.Context, seg segment.Segment, fits func(n uint64, line []byte) bool) (walked, error) {
	w := walked{until: seg.First}
	lines, err := segment.Open(l.config.FS, seg, 0)
	if errors.Is(err, segment.ErrDamaged) || errors.Is(err, disk.ErrNoFile) {
		return w, nil
	}
	if err != nil {
		return w, err
	}
	defer func() { _ = lines.Close() }()
	var prefix []byte
	for {
		line, err := lines.Next()
		switch {
		case errors.Is(err, io.EOF):
			w.clean = true
			return w, nil
		case errors.Is(err, segment.ErrTorn), errors.Is(err, segment.ErrDamaged):
			return w, nil
		case err != nil:
			return w, err
		}
		prefix = append(strconv.AppendUint(append(prefix[:0], lineStart...), w.until, 10), `,"kind":"`...)
		if !bytes.HasPrefix(line, prefix) || line[len(line)-1] != '}' || !fits(w.until, line) {
			return w, nil
		}
		w.until++
		w.offset = lines.Offset()
		if w.until%4096 == 0 && ctx.Err() != nil {
			return w, ctx.Err()
		}
	}
}
