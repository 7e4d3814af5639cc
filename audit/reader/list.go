package reader

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/segment"
)

// Filter is which records List gives: those that fit all of it. Zero fields fit every record.
type Filter struct {
	// Since and Until bound the records' times; Until itself is not within.
	Since, Until time.Time
	// First and End bound the records' numbers; End itself is not within, and 0 is no end.
	First, End             uint64
	Caller, Key, Operation string
	// Denied are the records of calls that were not answered with OK.
	Denied bool
	// HeaderSHA256 is in hexadecimal: records of calls that handed out a header with such a value.
	HeaderSHA256 string
	// Last gives only so many, the last ones that fit, or fewer if they have more than 32 MiB.
	Last int
	// Place is as in Span.
	Place *Place
}

// List gives the records that fit, in order. A line is good until yield returns. Errors are those of Scan.
func (s Source) List(ctx context.Context, f Filter, yield func(Line) error) error {
	f.HeaderSHA256 = strings.ToLower(f.HeaderSHA256)
	needles := f.needles()
	span := Span{From: f.First, Until: f.End, Since: f.Since, Before: f.Until, Place: f.Place}
	if f.Last > 0 {
		return s.last(ctx, f, needles, span, yield)
	}
	return s.Scan(ctx, span, func(line []byte, n uint64) error {
		if !f.fits(line, needles) {
			return nil
		}
		return yield(Line{n, line})
	})
}

// lastBytes bounds what is kept of the records that List gives the last of.
const lastBytes = 32 << 20

// last goes from file to file backwards until there are enough records.
func (s Source) last(ctx context.Context, f Filter, needles [][]byte, span Span, yield func(Line) error) error {
	segments, err := segment.List(s.FS)
	if err != nil {
		return err
	}
	var found []Line
	var damage error
	total := 0
	for i := len(segments) - 1; i >= 0 && len(found) < f.Last && total < lastBytes; i-- {
		part := span
		part.From = max(span.From, segments[i].First)
		if i+1 < len(segments) && (span.Until == 0 || span.Until > segments[i+1].First) {
			part.Until = segments[i+1].First
		}
		if part.Until != 0 && part.From >= part.Until {
			continue
		}
		var here []Line
		size := 0
		err := s.Scan(ctx, part, func(line []byte, n uint64) error {
			if f.fits(line, needles) {
				here = append(here, Line{n, slices.Clone(line)})
				size += len(line)
				for len(here) > f.Last || size > lastBytes {
					size -= len(here[0].Text)
					here[0].Text = nil
					here = here[1:]
				}
			}
			return nil
		})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			damage = err
		}
		found, total = append(here, found...), total+size
	}
	for _, line := range found[max(0, len(found)-f.Last):] {
		if err := yield(line); err != nil {
			return err
		}
	}
	return damage
}

// needles are texts that every line of a record that fits has.
func (f Filter) needles() [][]byte {
	var out [][]byte
	for _, c := range []struct{ name, value string }{{"caller", f.Caller}, {"key", f.Key}, {"operation", f.Operation}} {
		if c.value != "" {
			out = append(out, pair(c.name, c.value))
		}
	}
	if f.HeaderSHA256 != "" {
		out = append(out, []byte(`:"`+f.HeaderSHA256+`"`))
	}
	if f.Denied {
		out = append(out, []byte(`,"code":"`))
	}
	return out
}

// pair is a name and a text as lines have them.
func pair(name, value string) []byte {
	var out bytes.Buffer
	out.WriteString(`,"` + name + `":`)
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		panic(err) // a text has an encoding
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

var answeredOK = []byte(`,"code":"OK"`)

func (f Filter) fits(line []byte, needles [][]byte) bool {
	for _, needle := range needles {
		if !bytes.Contains(line, needle) {
			return false
		}
	}
	// Nothing else in a line is spelt so: a query's values are lists, and headers' are hashes.
	if f.Denied && bytes.Contains(line, answeredOK) {
		return false
	}
	if len(needles) == 0 {
		return true
	}
	r, err := audit.Parse(line)
	if err != nil {
		return true // nobody wrote such a line; whoever looks should see it
	}
	if f.HeaderSHA256 != "" && !hasValue(r.Headers, f.HeaderSHA256) {
		return false
	}
	return (f.Caller == "" || r.Caller == f.Caller) && (f.Key == "" || r.Key == f.Key) &&
		(f.Operation == "" || r.Operation == f.Operation) && (!f.Denied || r.Code != "" && r.Code != "OK")
}

func hasValue(m map[string]string, value string) bool {
	for _, v := range m {
		if v == value {
			return true
		}
	}
	return false
}

// lineTime is the time in a line, as it is written; empty where there is none.
func lineTime(line []byte) string {
	const name = `,"time":"`
	i := bytes.Index(line, []byte(name))
	if i < 0 || len(line) < i+len(name)+len(timeFormat) {
		return ""
	}
	i += len(name)
	return string(line[i : i+len(timeFormat)])
}

// around is how far from the time in its record_id a record is looked for before it is looked for everywhere.
const around = time.Hour

// Get gives all records with a record_id, in order: of a call that changed something these are its intention and its result. ErrNotFound
// if there are none. Errors are those of Scan.
func (s Source) Get(ctx context.Context, recordID string) ([]Line, error) {
	needle := pair("record_id", recordID)
	var out []Line
	look := func(span Span) error {
		return s.Scan(ctx, span, func(line []byte, n uint64) error {
			if bytes.Contains(line, needle) {
				if r, err := audit.Parse(line); err != nil || r.ID == recordID {
					out = append(out, Line{n, slices.Clone(line)})
				}
			}
			return nil
		})
	}
	if at, ok := timeOf(recordID); ok {
		if err := look(Span{Since: at.Add(-around), Before: at.Add(around)}); err != nil && (len(out) == 0 || !errors.Is(err, ErrDamaged)) {
			return out, err
		}
	}
	switch {
	case len(out) == 0:
		if err := look(Span{}); err != nil {
			return out, err
		}
	case onlyIntended(out):
		// It may have gone on for days, as a call does that follows the log.
		if err := look(Span{From: out[len(out)-1].N + 1}); err != nil {
			return out, err
		}
	}
	if len(out) == 0 {
		return nil, ErrNotFound
	}
	return out, nil
}

func onlyIntended(lines []Line) bool {
	return !slices.ContainsFunc(lines, func(line Line) bool {
		r, err := audit.Parse(line.Text)
		return err != nil || r.Kind != audit.KindIntention
	})
}

// timeOf is the time in a UUID of version 7.
func timeOf(id string) (time.Time, bool) {
	if len(id) != 36 || id[8] != '-' || id[13] != '-' || id[14] != '7' {
		return time.Time{}, false
	}
	raw, err := hex.DecodeString(id[:8] + id[9:13])
	if err != nil {
		return time.Time{}, false
	}
	var ms int64
	for _, b := range raw {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms), true
}
