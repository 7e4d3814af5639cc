package partners

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// kind is the kind of a JSON value.
type kind string

const (
	kindObject kind = "an object"
	kindArray  kind = "an array"
	kindString kind = "a string"
	kindNumber kind = "a number"
	kindBool   kind = "a boolean"
	kindNull   kind = "null"
)

// value is one JSON value with everything that encoding/json throws away:
// the text of numbers, the order of names, and names that are there twice.
type value struct {
	kind    kind
	text    string   // string: its decoded text; number, boolean, null: its literal
	members []member // object, in the order sent
	items   []value  // array
}

// member is one name and its value in an object. The name is decoded.
type member struct {
	name  string
	value value
}

// parseJSON reads one JSON text. Lone surrogate escapes are kept: they decode
// to the three bytes that UTF-8 would use if it allowed them, and so a decoded
// text is valid UTF-8 exactly when it held none.
func parseJSON(data []byte) (value, error) {
	if !utf8.Valid(data) {
		return value{}, errors.New("is not valid UTF-8")
	}
	// Valid also bounds the depth (10,000), and so the recursion below.
	if !json.Valid(data) {
		return value{}, errors.New("is not valid JSON")
	}
	r := reader{data: string(data)}
	return r.value(), nil
}

// parseStrictObject reads a JSON object whose meaning no two readers can
// disagree on: no name twice at any depth and no lone surrogates.
func parseStrictObject(data []byte) (value, error) {
	v, err := parseJSON(data)
	if err != nil {
		return value{}, err
	}
	if v.kind != kindObject {
		return value{}, fmt.Errorf("is %s, not a JSON object", v.kind)
	}
	return v, v.unambiguous()
}

func (v value) unambiguous() error {
	if v.kind == kindString && !utf8.ValidString(v.text) {
		return errors.New("has a lone surrogate escape in a string")
	}
	for _, item := range v.items {
		if err := item.unambiguous(); err != nil {
			return err
		}
	}
	seen := make(map[string]bool, len(v.members))
	for _, m := range v.members {
		if !utf8.ValidString(m.name) {
			return errors.New("has a lone surrogate escape in a name")
		}
		if seen[m.name] {
			return fmt.Errorf("has the name %q twice in one object", m.name)
		}
		seen[m.name] = true
		if err := m.value.unambiguous(); err != nil {
			return err
		}
	}
	return nil
}

// member returns the value of a name in an object; the first, if there are more.
func (v value) member(name string) (value, bool) {
	for _, m := range v.members {
		if m.name == name {
			return m.value, true
		}
	}
	return value{}, false
}

// reader walks over a text that json.Valid has accepted.
type reader struct {
	data string
	pos  int
}

func (r *reader) space() {
	for r.pos < len(r.data) && strings.IndexByte(" \t\r\n", r.data[r.pos]) >= 0 {
		r.pos++
	}
}

func (r *reader) value() value {
	r.space()
	switch c := r.data[r.pos]; c {
	case '{':
		v := value{kind: kindObject}
		for !r.closed('}') {
			name := r.string()
			r.space()
			r.pos++ // the colon
			v.members = append(v.members, member{name, r.value()})
		}
		return v
	case '[':
		v := value{kind: kindArray}
		for !r.closed(']') {
			v.items = append(v.items, r.value())
		}
		return v
	case '"':
		return value{kind: kindString, text: r.string()}
	default:
		start := r.pos
		for r.pos < len(r.data) && strings.IndexByte(" \t\r\n,]}", r.data[r.pos]) < 0 {
			r.pos++
		}
		k := kindNumber
		switch c {
		case 't', 'f':
			k = kindBool
		case 'n':
			k = kindNull
		}
		return value{kind: k, text: r.data[start:r.pos]}
	}
}

// closed steps over the opening bracket or a comma and says false when a value
// or a name follows, or steps over the closing bracket and says true.
func (r *reader) closed(bracket byte) bool {
	r.space()
	if r.data[r.pos] != bracket {
		r.pos++
		r.space()
		if r.data[r.pos] != bracket {
			return false
		}
	}
	r.pos++
	return true
}

func (r *reader) string() string {
	r.pos++ // the opening quote
	var out []byte
	for {
		c := r.data[r.pos]
		r.pos++
		switch c {
		case '"':
			return string(out)
		case '\\':
			e := r.data[r.pos]
			r.pos++
			if e == 'u' {
				out = r.unicodeEscape(out)
			} else if i := strings.IndexByte("bfnrt", e); i >= 0 {
				out = append(out, "\b\f\n\r\t"[i])
			} else {
				out = append(out, e)
			}
		default:
			out = append(out, c)
		}
	}
}

// unicodeEscape decodes what follows `\u`, and the second half of a pair if
// there is one.
func (r *reader) unicodeEscape(out []byte) []byte {
	u := r.hex4(r.pos)
	r.pos += 4
	if !utf16.IsSurrogate(u) {
		return utf8.AppendRune(out, u)
	}
	if strings.HasPrefix(r.data[r.pos:], `\u`) {
		if p := utf16.DecodeRune(u, r.hex4(r.pos+2)); p != utf8.RuneError {
			r.pos += 6
			return utf8.AppendRune(out, p)
		}
	}
	return append(out, 0xe0|byte(u>>12), 0x80|byte(u>>6)&0x3f, 0x80|byte(u)&0x3f)
}

func (r *reader) hex4(at int) rune {
	var u rune
	for _, c := range []byte(r.data[at : at+4]) {
		u = u<<4 | rune(unhex(c))
	}
	return u
}

// stringify appends what ECMAScript's JSON.stringify(JSON.parse(text)) gives:
// no white space, integer-like names first in ascending order, of a repeated
// name the first place and the last value, doubles in their shortest form.
func (v value) stringify(out []byte) []byte {
	switch v.kind {
	case kindObject:
		out = append(out, '{')
		for i, m := range ecmaOrder(v.members) {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(ecmaQuote(out, m.name), ':')
			out = m.value.stringify(out)
		}
		return append(out, '}')
	case kindArray:
		out = append(out, '[')
		for i, item := range v.items {
			if i > 0 {
				out = append(out, ',')
			}
			out = item.stringify(out)
		}
		return append(out, ']')
	case kindString:
		return ecmaQuote(out, v.text)
	case kindNumber:
		return ecmaNumber(out, v.text)
	}
	return append(out, v.text...)
}

// ecmaOrder is the order of an ECMAScript object's own properties.
func ecmaOrder(members []member) []member {
	at := make(map[string]int, len(members))
	var indexes, names []member
	for _, m := range members {
		list := &names
		if _, ok := arrayIndex(m.name); ok {
			list = &indexes
		}
		if i, again := at[m.name]; again {
			(*list)[i].value = m.value
			continue
		}
		at[m.name] = len(*list)
		*list = append(*list, m)
	}
	slices.SortFunc(indexes, func(a, b member) int {
		x, _ := arrayIndex(a.name)
		y, _ := arrayIndex(b.name)
		return cmp.Compare(x, y)
	})
	return append(indexes, names...)
}

// arrayIndex reads a name that ECMAScript calls an array index: a canonical
// number below 2^32-1.
func arrayIndex(name string) (uint32, bool) {
	n, err := strconv.ParseUint(name, 10, 32)
	if err != nil || n == math.MaxUint32 || strconv.FormatUint(n, 10) != name {
		return 0, false
	}
	return uint32(n), true
}

func ecmaQuote(out []byte, s string) []byte {
	out = append(out, '"')
	for i := 0; i < len(s); {
		c := s[i]
		size := 1
		if j := strings.IndexByte("\b\f\n\r\t\"\\", c); j >= 0 {
			out = append(out, '\\', `bfnrt"\`[j])
		} else if c < 0x20 {
			out = fmt.Appendf(out, `\u%04x`, c)
		} else if c < utf8.RuneSelf {
			out = append(out, c)
		} else if r, n := utf8.DecodeRuneInString(s[i:]); n > 1 {
			out, size = utf8.AppendRune(out, r), n
		} else { // a lone surrogate, see parseJSON
			u := rune(c&0x0f)<<12 | rune(s[i+1]&0x3f)<<6 | rune(s[i+2]&0x3f)
			out, size = fmt.Appendf(out, `\u%04x`, u), 3
		}
		i += size
	}
	return append(out, '"')
}

func ecmaNumber(out []byte, literal string) []byte {
	f, err := strconv.ParseFloat(literal, 64)
	switch a := math.Abs(f); {
	case err != nil: // too large: Infinity, which JSON cannot say
		return append(out, "null"...)
	case a == 0: // -0 as well
		return append(out, '0')
	case a >= 1e-6 && a < 1e21:
		return strconv.AppendFloat(out, f, 'f', -1, 64)
	}
	s := strconv.FormatFloat(f, 'e', -1, 64)
	return append(out, strings.Replace(s, "e-0", "e-", 1)...)
}
