package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/signerd/signerd/audit/segment"
)

// ErrLine says that a line is none that this log's records are written as.
var ErrLine = errors.New("it is no line of an audit log")

// Parse reads a line, without its newline. It takes only what a Record has, each name once and spelt exactly, beginning with n and kind;
// everything else is ErrLine.
func Parse(line []byte) (Record, error) {
	var r Record
	if len(line) >= segment.MaxLineBytes {
		return Record{}, fmt.Errorf("%w: it has %d bytes", ErrLine, len(line))
	}
	n, ok := Number(line)
	if !ok {
		return Record{}, fmt.Errorf("%w: it does not begin with a number", ErrLine)
	}
	if !utf8.Valid(line) {
		return Record{}, fmt.Errorf("%w: it is not UTF-8", ErrLine)
	}
	in := json.NewDecoder(bytes.NewReader(line))
	in.DisallowUnknownFields()
	if err := in.Decode(&r); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrLine, err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return Record{}, fmt.Errorf("%w: something follows it", ErrLine)
	}
	names := nameScan{rest: line}
	if err := names.value(0, false); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrLine, err)
	}
	if r.N != n || r.Kind == "" {
		return Record{}, fmt.Errorf("%w: it has no kind", ErrLine)
	}
	return r, nil
}

// lead begins every line.
const lead = `{"n":`

// Number reads the number that a line begins with, and nothing else of it.
func Number(line []byte) (uint64, bool) {
	if len(line) < len(lead) || string(line[:len(lead)]) != lead {
		return 0, false
	}
	var n uint64
	for i, c := range line[len(lead):] {
		switch {
		case c == ',' && i > 0:
			return n, true
		case c < '0' || c > '9' || i == 1 && n == 0:
			return 0, false
		case n > (math.MaxUint64-uint64(c-'0'))/10:
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return 0, false
}

// nameScan goes over a text that is known to be JSON, and looks at the names in its objects: encoding/json takes a name twice, and in
// capitals too.
type nameScan struct{ rest []byte }

// value passes over one value. In an object that is free, names are anyone's.
func (s *nameScan) value(depth int, free bool) error {
	switch s.next() {
	case '{':
		return s.object(depth, free)
	case '[':
		for s.take(); s.next() != ']'; s.comma() {
			if err := s.value(depth+1, free); err != nil {
				return err
			}
		}
		s.take()
	case '"':
		s.text()
	default:
		end := bytes.IndexAny(s.rest, ",]} \t\r\n")
		if end < 0 {
			end = len(s.rest)
		}
		s.rest = s.rest[end:]
	}
	return nil
}

func (s *nameScan) object(depth int, free bool) error {
	var few [40][]byte
	seen := few[:0]
	for s.take(); s.next() != '}'; s.comma() {
		name := s.text()
		if bytes.IndexByte(name, '\\') >= 0 {
			var spelt string
			if err := json.Unmarshal(name, &spelt); err != nil {
				return err
			}
			name = []byte(spelt)
		} else {
			name = name[1 : len(name)-1]
		}
		if !free && bytes.ContainsFunc(name, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
			return fmt.Errorf("the name %q is unknown", name)
		}
		if slices.ContainsFunc(seen, func(other []byte) bool { return bytes.Equal(other, name) }) {
			return fmt.Errorf("the name %q is there twice", name)
		}
		seen = append(seen, name)
		if s.next() == ':' {
			s.take()
		}
		inner := depth == 0 && (string(name) == "query_values" || string(name) == "headers")
		if err := s.value(depth+1, inner); err != nil {
			return err
		}
	}
	s.take()
	return nil
}

// next passes over white space, and gives the byte after it.
func (s *nameScan) next() byte {
	s.rest = bytes.TrimLeft(s.rest, " \t\r\n")
	if len(s.rest) == 0 {
		return 0
	}
	return s.rest[0]
}

func (s *nameScan) take() { s.rest = s.rest[1:] }

func (s *nameScan) comma() {
	if s.next() == ',' {
		s.take()
	}
}

// text passes over a text, and gives it with its quotes.
func (s *nameScan) text() []byte {
	s.next()
	end := 1
	for ; s.rest[end] != '"'; end++ {
		if s.rest[end] == '\\' {
			end++
		}
	}
	out := s.rest[:end+1]
	s.rest = s.rest[end+1:]
	return out
}
