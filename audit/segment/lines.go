package segment

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/signerd/signerd/audit/disk"
)

// ErrTorn says that a file ends within a line, or that a line is longer than any that was written. Next gives what there is of it.
var ErrTorn = errors.New("the line has no end")

// ErrDamaged says that a compressed file can be read no further: it was cut short or changed.
var ErrDamaged = errors.New("the compressed file is damaged")

// Lines reads the lines of one file in order. It is not safe for concurrent use.
type Lines struct {
	file   disk.File
	raw    *source
	in     *bufio.Reader
	offset int64
}

// source remembers the error of the file itself, which is another thing than damage of what the file holds.
type source struct {
	in  io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// Open opens a file for reading from an offset at which a line begins; compressed files are read from 0 only. Close it. ErrDamaged
// for a compressed file without a beginning.
func Open(fs disk.FS, s Segment, offset int64) (*Lines, error) {
	return OpenNamed(fs, s.Name(), s.Compressed, offset)
}

// OpenNamed is Open for a file that does not have its name yet.
func OpenNamed(fs disk.FS, name string, compressed bool, offset int64) (*Lines, error) {
	f, err := fs.Open(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	raw := &source{in: io.NewSectionReader(f, offset, math.MaxInt64-offset)}
	var in io.Reader = raw
	if compressed {
		if in, err = gzip.NewReader(bufio.NewReaderSize(in, MaxLineBytes)); err != nil {
			if raw.err == nil {
				err = fmt.Errorf("%w: %w", ErrDamaged, err)
			}
			return nil, errors.Join(fmt.Errorf("reading %s: %w", name, err), f.Close())
		}
	}
	return &Lines{file: f, raw: raw, in: bufio.NewReaderSize(in, 4*MaxLineBytes), offset: offset}, nil
}

// Next gives the next line without its newline, good until the call after. io.EOF after the last whole line; ErrTorn for the rest of a
// file that does not end in a newline, of which it gives at most MaxLineBytes; ErrDamaged; or the error of reading the file.
func (l *Lines) Next() ([]byte, error) {
	line, err := l.in.ReadSlice('\n')
	switch {
	case err == nil && len(line) <= MaxLineBytes:
		l.offset += int64(len(line))
		return line[:len(line)-1], nil
	case err == nil || errors.Is(err, bufio.ErrBufferFull):
		return line[:MaxLineBytes], ErrTorn
	case errors.Is(err, io.EOF) && len(line) > 0:
		return line[:min(len(line), MaxLineBytes)], ErrTorn
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case l.raw.err != nil:
		return nil, l.raw.err
	}
	return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
}

// Offset is where the next line begins in the uncompressed text.
func (l *Lines) Offset() int64 { return l.offset }

// Close closes the file.
func (l *Lines) Close() error { return l.file.Close() }
