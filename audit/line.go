package audit

import (
	"iter"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/signerd/signerd/audit/segment"
	"github.com/signerd/signerd/internal/checkpoint"
)

// The bounds of what is in a line, in bytes as the line spells them, so that texts made of characters that JSON escapes cannot make
// lines long. What is longer is cut between characters, and the line says so.
const (
	pathBytes   = 4096
	namesBytes  = 4096 // all names of a query
	valuesBytes = 16384
	textBytes   = 2048 // a text that callers or operators choose
	wordBytes   = 256  // a text that signerd chooses
	listBytes   = 4096 // all texts of a list of rules
	headerBytes = 8192 // all names and hashes of headers
	maxNames    = 64
	maxListed   = 64
	maxHeaders  = 32
	maxRanges   = 128
	maxFiles    = 256
	maxEdge     = 64

	// timeFormat is RFC 3339 with microseconds, so that times in lines sort as texts do.
	timeFormat = "2006-01-02T15:04:05.000000Z"

	// maxTail is what is left of a line after the longest `{"n":N` and the newline.
	maxTail = segment.MaxLineBytes - len(`{"n":18446744073709551615`) - 1
)

// appendTail appends all of the line that comes after `{"n":N`, without a newline: `,"kind":…}`. With the number before it and a newline
// after it, it is never longer than segment.MaxLineBytes. It is what encoding/json would write, with what steers terminals escaped, <, > and & as they are, U+FFFD itself
// for bytes that are not UTF-8, and times to the microsecond.
func (r *Record) appendTail(dst []byte) []byte {
	start := len(dst)
	for shift := 0; ; shift++ {
		e := encoder{out: dst[:start], shift: shift}
		e.record(r)
		// The bounds keep every record that signerd makes short enough. One with all parts of all kinds is cut more.
		if len(e.out)-start <= maxTail {
			return e.out
		}
		dst = e.out
	}
}

// encoder writes one line.
type encoder struct {
	out   []byte
	shift int  // every bound is divided by 1<<shift
	cut   bool // something was
}

func (e *encoder) record(r *Record) {
	e.raw(`,"kind":`)
	e.text(string(r.Kind), wordBytes)
	e.raw(`,"record_id":`)
	e.text(r.ID, wordBytes)
	e.raw(`,"time":`)
	e.time(r.Time)
	e.optional(`,"caller":`, r.Caller, textBytes)
	e.optional(`,"identified_by":`, r.IdentifiedBy, wordBytes)
	e.optional(`,"certificate":`, r.Certificate, textBytes)
	e.optional(`,"operation":`, r.Operation, wordBytes)
	e.optional(`,"scheme":`, r.Scheme, wordBytes)
	e.optional(`,"key":`, r.Key, textBytes)
	e.count(`,"version":`, uint64(r.Version))
	e.optional(`,"environment":`, r.Environment, wordBytes)
	e.count(`,"generation":`, r.Generation)
	e.optional(`,"method":`, r.Method, wordBytes)
	e.optional(`,"path":`, r.Path, pathBytes)
	e.list(`,"query_names":`, r.QueryNames, maxNames, namesBytes)
	e.values(r.QueryValues)
	e.optional(`,"body_sha256":`, r.BodySHA256, wordBytes)
	e.signed(`,"body_bytes":`, r.BodyBytes)
	mark := len(e.out)
	e.optional(`,"decision":`, r.Decision, wordBytes)
	e.optional(`,"rule":`, r.Rule, textBytes)
	e.count(`,"policy":`, r.Policy)
	e.list(`,"shadow":`, r.Shadow, maxListed, listBytes)
	e.list(`,"unevaluated":`, r.Unevaluated, maxListed, listBytes)
	e.signed(`,"unevaluated_count":`, int64(r.UnevaluatedCount))
	e.optional(`,"needs":`, r.Needs, textBytes)
	e.optional(`,"note":`, r.Note, textBytes)
	e.optional(`,"code":`, r.Code, wordBytes)
	e.optional(`,"reason":`, r.Reason, wordBytes)
	e.headers(r.Headers)
	e.signed(`,"micros":`, r.Micros)
	e.parts(r)
	e.raw(`}`)
	if r.Cut || e.cut {
		e.out = slices.Insert(e.out, mark, []byte(`,"cut":true`)...)
	}
}

// parts writes what only some kinds of records have.
func (e *encoder) parts(r *Record) {
	if p := r.Excess; p != nil {
		e.raw(`,"excess":{"calls":`)
		e.out = strconv.AppendUint(e.out, p.Calls, 10)
		e.raw(`,"from":`)
		e.time(p.From)
		e.raw(`,"until":`)
		e.time(p.Until)
		e.raw(`}`)
	}
	if p := r.File; p != nil {
		e.raw(`,"file":{"origin":`)
		e.text(p.Origin, textBytes)
		e.raw(`,"edge":`)
		e.array(p.Edge, maxEdge, maxEdge*64)
		// A part of a checkpoint is worth nothing.
		if fits := encodedLen(p.Checkpoint) <= checkpoint.MaxBytes>>e.shift; fits {
			e.optional(`,"checkpoint":`, p.Checkpoint, checkpoint.MaxBytes)
		} else {
			e.cut = true
		}
		if before := p.Previous; before != nil {
			e.raw(`,"previous":{"first":`)
			e.out = strconv.AppendUint(e.out, before.First, 10)
			e.raw(`,"until":`)
			e.out = strconv.AppendUint(e.out, before.Until, 10)
			e.raw(`,"bytes":`)
			e.out = strconv.AppendInt(e.out, before.Bytes, 10)
			e.raw(`}`)
		}
		e.raw(`}`)
	}
	if p := r.Start; p != nil {
		e.raw(`,"start":{"version":`)
		e.text(p.Version, textBytes)
		e.count(`,"uncertain":`, p.Uncertain)
		e.signed(`,"torn_bytes":`, p.TornBytes)
		e.optional(`,"signature":`, p.Signature, wordBytes)
		e.raw(`}`)
	}
	if p := r.Outage; p != nil {
		e.raw(`,"outage":{"from":`)
		e.time(p.From)
		e.raw(`,"calls":`)
		e.out = strconv.AppendUint(e.out, p.Calls, 10)
		e.raw(`,"cause":`)
		e.text(p.Cause, textBytes)
		if p.Late != nil {
			e.raw(`,"late":`)
			e.span(*p.Late)
		}
		e.raw(`}`)
	}
	if p := r.Acknowledgement; p != nil {
		e.raw(`,"acknowledgement":{"note":`)
		e.text(p.Note, textBytes)
		e.raw(`,"missing":`)
		e.spans(p.Missing)
		e.optional(`,"signature":`, p.Signature, wordBytes)
		e.raw(`}`)
	}
	if p := r.Retention; p != nil {
		e.raw(`,"retention":{"first":`)
		e.out = strconv.AppendUint(e.out, p.First, 10)
		e.raw(`,"files":`)
		e.array(p.Files, maxFiles, maxFiles*64)
		e.raw(`}`)
	}
}

func (e *encoder) raw(s string) { e.out = append(e.out, s...) }

// time writes a time. Years that RFC 3339 cannot spell become the zero time: the line must be readable.
func (e *encoder) time(t time.Time) {
	t = t.UTC()
	if year := t.Year(); year < 0 || year > 9999 {
		t = time.Time{}
	}
	e.out = append(e.out, '"')
	e.out = t.AppendFormat(e.out, timeFormat)
	e.out = append(e.out, '"')
}

func (e *encoder) optional(name, s string, limit int) {
	if s != "" {
		e.raw(name)
		e.text(s, limit)
	}
}

func (e *encoder) count(name string, n uint64) {
	if n != 0 {
		e.raw(name)
		e.out = strconv.AppendUint(e.out, n, 10)
	}
}

func (e *encoder) signed(name string, n int64) {
	if n != 0 {
		e.raw(name)
		e.out = strconv.AppendInt(e.out, n, 10)
	}
}

// text writes a text of at most limit bytes, and gives how many of them it took.
func (e *encoder) text(s string, limit int) int {
	limit >>= e.shift
	e.out = append(e.out, '"')
	start := len(e.out)
	var whole bool
	e.out, whole = appendEscaped(e.out, s, limit)
	took := len(e.out) - start
	e.out = append(e.out, '"')
	e.cut = e.cut || !whole
	return took
}

// list writes a list that is not there when it is empty.
func (e *encoder) list(name string, texts []string, most, limit int) {
	if len(texts) > 0 {
		e.raw(name)
		e.array(texts, most, limit)
	}
}

// array writes at most so many texts, of limit bytes in total. A list is cut at its end.
func (e *encoder) array(texts []string, most, limit int) {
	if texts == nil {
		e.raw(`null`)
		return
	}
	e.raw(`[`)
	for i, s := range texts {
		if i >= most>>e.shift || limit <= 0 {
			e.cut = true
			break
		}
		e.comma(i)
		limit -= e.text(s, min(limit, textBytes)) << e.shift
	}
	e.raw(`]`)
}

func (e *encoder) comma(i int) {
	if i > 0 {
		e.raw(`,`)
	}
}

func (e *encoder) values(values map[string][]string) {
	if len(values) == 0 {
		return
	}
	e.raw(`,"query_values":{`)
	limit, written := valuesBytes, 0
	for key, again := range e.names(maps.Keys(values)) {
		if again || written >= maxNames>>e.shift || !e.fits(key, limit) {
			e.cut, limit = true, 0
			continue
		}
		e.comma(written)
		written++
		limit -= e.text(key, textBytes) << e.shift
		e.raw(`:`)
		before := len(e.out)
		e.array(values[key], maxNames, max(limit, 0))
		limit -= (len(e.out) - before) << e.shift
	}
	e.raw(`}`)
}

func (e *encoder) headers(headers map[string]string) {
	if len(headers) == 0 {
		return
	}
	e.raw(`,"headers":{`)
	limit, written := headerBytes, 0
	for key, again := range e.names(maps.Keys(headers)) {
		if again || written >= maxHeaders>>e.shift || !e.fits(key, limit) {
			e.cut, limit = true, 0
			continue
		}
		e.comma(written)
		written++
		limit -= e.text(key, textBytes) << e.shift
		e.raw(`:`)
		limit -= e.text(headers[key], wordBytes) << e.shift
	}
	e.raw(`}`)
}

// fits says whether there is room for a name: one that is cut for want of room could be the same as another.
func (e *encoder) fits(name string, limit int) bool {
	limit >>= e.shift
	return min(len(name), textBytes)*6 < limit || min(encodedLen(name), textBytes) < limit
}

// names gives names in order, and of each whether the line has that name already: two may be the same once they are cut, or once bytes
// that are not UTF-8 are replaced.
func (e *encoder) names(all iter.Seq[string]) iter.Seq2[string, bool] {
	return func(yield func(string, bool) bool) {
		var few [16]string
		keys := slices.AppendSeq(few[:0], all)
		slices.Sort(keys)
		limit := textBytes >> e.shift
		alike := slices.ContainsFunc(keys, func(key string) bool { return len(key)*6 > limit || !utf8.ValidString(key) })
		var seen map[string]bool
		if alike {
			seen = make(map[string]bool)
		}
		for _, key := range keys {
			again := false
			if alike {
				spelt, _ := appendEscaped(nil, key, limit)
				again = seen[string(spelt)]
				seen[string(spelt)] = true
			}
			if !yield(key, again) {
				return
			}
		}
	}
}

func (e *encoder) span(r Range) {
	e.raw(`{"from":`)
	e.out = strconv.AppendUint(e.out, r.From, 10)
	e.raw(`,"until":`)
	e.out = strconv.AppendUint(e.out, r.Until, 10)
	e.raw(`}`)
}

func (e *encoder) spans(ranges []Range) {
	if ranges == nil {
		e.raw(`null`)
		return
	}
	e.raw(`[`)
	for i, r := range ranges {
		if i >= maxRanges>>e.shift {
			e.cut = true
			break
		}
		e.comma(i)
		e.span(r)
	}
	e.raw(`]`)
}

// plain are the bytes that JSON's texts have as they are.
var plain = func() (out [utf8.RuneSelf]bool) {
	for i := range out {
		out[i] = i >= ' ' && i != '"' && i != '\\' && i != 0x7f
	}
	return out
}()

const hexDigits = "0123456789abcdef"

// steers says whether a character beyond ASCII ends lines or steers terminals, the ways of writing included: callers choose names of
// query parameters, and lines are printed as they are.
func steers(r rune) bool {
	return r < 0xa0 || r == 0x61c || r == 0x200e || r == 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// appendEscaped appends as much of s as fits into limit bytes, and says whether that was all of it. It escapes as encoding/json does, and
// what steers too; a byte that is not UTF-8 becomes U+FFFD.
func appendEscaped(dst []byte, s string, limit int) ([]byte, bool) {
	end := len(dst) + limit
	// Nearly every text needs no escape.
	run := 0
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if plain[c] {
				i++
				continue
			}
		} else if r, size := utf8.DecodeRuneInString(s[i:]); !(r == utf8.RuneError && size == 1) && !steers(r) {
			i += size
			continue
		}
		var whole bool
		if dst, whole = appendWhole(dst, s[run:i], end); !whole {
			return dst, false
		}
		var spelt [6]byte
		escape, size := escapeFirst(spelt[:0], s[i:])
		if len(dst)+len(escape) > end {
			return dst, false
		}
		dst = append(dst, escape...)
		i += size
		run = i
	}
	return appendWhole(dst, s[run:], end)
}

// appendWhole appends as many characters of s as fit.
func appendWhole(dst []byte, s string, end int) ([]byte, bool) {
	room := end - len(dst)
	if len(s) <= room {
		return append(dst, s...), true
	}
	for room > 0 && !utf8.RuneStart(s[room]) {
		room--
	}
	return append(dst, s[:max(room, 0)]...), false
}

// escapeFirst spells the first character of s, which needs it, and gives its size.
func escapeFirst(dst []byte, s string) ([]byte, int) {
	switch c := s[0]; {
	case c == '"' || c == '\\':
		return append(dst, '\\', c), 1
	case c == '\b':
		return append(dst, `\b`...), 1
	case c == '\f':
		return append(dst, `\f`...), 1
	case c == '\n':
		return append(dst, `\n`...), 1
	case c == '\r':
		return append(dst, `\r`...), 1
	case c == '\t':
		return append(dst, `\t`...), 1
	case c < utf8.RuneSelf:
		return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15]), 1
	}
	r, size := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError {
		return append(dst, "\ufffd"...), size
	}
	return append(dst, '\\', 'u', hexDigits[r>>12], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15]), size
}

func encodedLen(s string) int {
	const unbounded = 1 << 40
	out, _ := appendEscaped(nil, s, unbounded)
	return len(out)
}
