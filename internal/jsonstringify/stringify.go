// Package jsonstringify tells how a JSON text differs from what JavaScript writes for the same value.
//
// A partner's server that checks a signature against JSON.stringify of the body it has parsed accepts a body only when
// both are the same bytes. The package warns of the others; no signature depends on it.
package jsonstringify

import (
	"bytes"
	"hash/maphash"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// A kind is one kind of difference. Differences names them in this order.
type kind int

const (
	whiteSpace kind = iota
	escapes
	numbers
	repeatedNames
	nameOrder
	kinds
)

var texts = [kinds]string{
	whiteSpace:    "the body has white space outside its strings; JSON.stringify writes none",
	escapes:       "the body escapes characters in its strings in another way than JSON.stringify does",
	numbers:       "the body has numbers written in another way than JSON.stringify writes them",
	repeatedNames: "the body repeats a name within one object; JSON.stringify writes each name once",
	nameOrder:     "the body has whole-number names in another place than JSON.stringify puts them: first, in ascending order",
}

// Differences tells why body is not, byte for byte, what JavaScript's JSON.stringify(JSON.parse(body)) gives: one line
// for each kind of reason, in a fixed order, quoting nothing of the body. It returns nil exactly when the bytes are the
// same, and for an empty body.
//
// body must be valid JSON in valid UTF-8. For other bytes the answer means nothing, but there is always one: no input
// makes Differences panic. Its time and memory are linear in the body's length.
func Differences(body []byte) []string {
	s := scanner{body: body, seed: maphash.MakeSeed()}
	s.scan()
	var lines []string
	for k, found := range s.found {
		if found {
			lines = append(lines, texts[k])
		}
	}
	return lines
}

// A scanner goes over a JSON text once. Since the text is valid, a look at each token and at the names of each open
// object is enough: when no token differs, no name repeats and the names are in order, the bytes are the same.
type scanner struct {
	body  []byte
	found [kinds]bool
	open  []container // the arrays and objects around the current token, outermost first

	// names holds the names of all open objects, innermost last, as the bytes between their quotes with the escapes
	// undone. Those without an escape are parts of body, the others of unescaped.
	names     [][]byte
	unescaped []byte

	// table is the hash table of repeats, kept for its memory. The random seed keeps a body from choosing collisions.
	table []uint32
	seed  maphash.Seed
}

// A container is an array or an object whose end has not come yet.
type container struct {
	object     bool
	expectName bool  // the next string is a name
	plainName  bool  // a name that is no array index has come
	lastIndex  int64 // the largest array index among its names so far
	firstName  int   // where its names begin in scanner.names
}

func (s *scanner) scan() {
	for i := 0; i < len(s.body); {
		switch c := s.body[i]; c {
		case ' ', '\t', '\n', '\r':
			s.found[whiteSpace] = true
			i++
		case '{', '[':
			s.open = append(s.open, container{
				object:     c == '{',
				expectName: c == '{',
				firstName:  len(s.names),
			})
			i++
		case '}', ']':
			s.closeContainer()
			i++
		case ',':
			if top := s.top(); top != nil {
				top.expectName = top.object
			}
			i++
		case '"':
			i = s.scanString(i)
		case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
			i = s.scanNumber(i)
		default: // a colon, or a letter of true, false and null
			i++
		}
	}
}

// top returns the innermost open container, or nil outside of all.
func (s *scanner) top() *container {
	if len(s.open) == 0 {
		return nil
	}
	return &s.open[len(s.open)-1]
}

// closeContainer ends the innermost open container.
func (s *scanner) closeContainer() {
	top := s.top()
	if top == nil {
		return
	}
	names := s.names[top.firstName:]
	if !s.found[repeatedNames] && s.repeats(names) {
		s.found[repeatedNames] = true
	}
	s.names = s.names[:top.firstName]
	s.open = s.open[:len(s.open)-1]
}

// scanNumber looks at the number that starts at i and returns where it ends.
func (s *scanner) scanNumber(i int) int {
	start := i
	for i < len(s.body) && isNumberByte(s.body[i]) {
		i++
	}
	if !s.found[numbers] && !sameNumber(s.body[start:i]) {
		s.found[numbers] = true
	}
	return i
}

// scanString looks at the string whose opening quote is at i and returns where it ends.
func (s *scanner) scanString(i int) int {
	i++
	start, escaped := i, false
	for i < len(s.body) && s.body[i] != '"' {
		if s.body[i] != '\\' {
			i++
			continue
		}
		escaped = true
		_, n, same := decodeEscape(s.body[i:])
		if !same {
			s.found[escapes] = true
		}
		i += n
	}
	if top := s.top(); top != nil && top.expectName {
		top.expectName = false
		s.addName(top, s.body[start:i], escaped)
	}
	return i + 1
}

// addName takes note of one name of the object top.
func (s *scanner) addName(top *container, name []byte, escaped bool) {
	if escaped {
		name = s.unescape(name)
	}
	switch index, ok := arrayIndex(name); {
	case !ok:
		top.plainName = true
	case top.plainName || index < top.lastIndex:
		s.found[nameOrder] = true
	default:
		top.lastIndex = index
	}
	if !s.found[repeatedNames] { // one is enough
		s.names = append(s.names, name)
	}
}

// unescape returns the characters of a string. A lone surrogate, which UTF-8 has no form for, gets the three bytes it
// would have if it were a character, so that two names are the same in JavaScript exactly when their bytes are.
func (s *scanner) unescape(b []byte) []byte {
	start := len(s.unescaped)
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\\')
		if i < 0 {
			s.unescaped = append(s.unescaped, b...)
			break
		}
		s.unescaped = append(s.unescaped, b[:i]...)
		r, n, _ := decodeEscape(b[i:])
		if utf16.IsSurrogate(r) {
			s.unescaped = append(s.unescaped, 0xE0|byte(r>>12), 0x80|byte(r>>6)&0x3F, 0x80|byte(r)&0x3F)
		} else {
			s.unescaped = utf8.AppendRune(s.unescaped, r)
		}
		b = b[i+n:]
	}
	// Should more appends move the slice, what is here stays as it is.
	return s.unescaped[start:len(s.unescaped):len(s.unescaped)]
}

// repeats reports whether two of names are the same.
func (s *scanner) repeats(names [][]byte) bool {
	if len(names) < 2 {
		return false
	}
	size := 4
	for size < 2*len(names) {
		size *= 2
	}
	if size > len(s.table) {
		s.table = make([]uint32, size)
	}
	table := s.table[:size]
	clear(table)
	for i, name := range names {
		slot := maphash.Bytes(s.seed, name) & uint64(size-1)
		for table[slot] != 0 {
			if bytes.Equal(names[table[slot]-1], name) {
				return true
			}
			slot = (slot + 1) & uint64(size-1)
		}
		table[slot] = uint32(i + 1)
	}
	return false
}

// arrayIndex returns the number that name is the decimal form of, when it is one of 0 to 2^32-2. JavaScript puts
// properties with such names before all others, in ascending order.
func arrayIndex(name []byte) (int64, bool) {
	if len(name) == 0 || len(name) > len("4294967294") || name[0] == '0' && len(name) > 1 {
		return 0, false
	}
	var index int64
	for _, c := range name {
		if c < '0' || c > '9' {
			return 0, false
		}
		index = 10*index + int64(c-'0')
	}
	return index, index < math.MaxUint32
}

// decodeEscape reads the escape that b starts with: the character it stands for, its length, and whether
// JSON.stringify writes that character so. Two escapes that form a surrogate pair are read as one; a surrogate without
// its partner is returned as it is.
func decodeEscape(b []byte) (r rune, n int, same bool) {
	if len(b) < 2 {
		return utf8.RuneError, len(b), false
	}
	switch b[1] {
	case '"', '\\':
		return rune(b[1]), 2, true
	case 'b':
		return '\b', 2, true
	case 'f':
		return '\f', 2, true
	case 'n':
		return '\n', 2, true
	case 'r':
		return '\r', 2, true
	case 't':
		return '\t', 2, true
	case 'u':
		r, lower, ok := codeUnit(b)
		if !ok {
			return utf8.RuneError, 2, false
		}
		if !utf16.IsSurrogate(r) {
			return r, 6, lower && r < ' ' && !hasShortEscape(r)
		}
		if next, _, ok := codeUnit(b[6:]); ok {
			if pair := utf16.DecodeRune(r, next); pair != utf8.RuneError {
				return pair, 12, false
			}
		}
		return r, 6, lower
	default: // the solidus
		return rune(b[1]), 2, false
	}
}

// codeUnit reads the escape of four hexadecimal digits that b starts with, if it does, and whether these are in lower case.
func codeUnit(b []byte) (r rune, lower, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false, false
	}
	lower = true
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
			lower = false
		default:
			return 0, false, false
		}
		r = r<<4 | rune(c)
	}
	return r, lower, true
}

func hasShortEscape(r rune) bool {
	return r == '\b' || r == '\t' || r == '\n' || r == '\f' || r == '\r'
}

func isNumberByte(c byte) bool {
	return '0' <= c && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
}

// maxNumber is the length of the longest number that JavaScript writes, its sign left out: "0.00000" and 17 digits.
const maxNumber = len("0.00000") + 17

// sameNumber reports whether JavaScript writes the number of this literal with the same bytes.
func sameNumber(literal []byte) bool {
	if string(literal) == "-0" {
		return false
	}
	literal = bytes.TrimPrefix(literal, []byte("-"))
	if len(literal) > maxNumber {
		return false
	}
	if isShortInteger(literal) {
		return true
	}
	var buf [maxNumber + 1]byte // strconv may write one digit more than is kept
	if n, ok := estimateSubnormal(literal); ok {
		for n, end := max(n, 4)-3, n+3; n <= end; n++ {
			if bytes.Equal(appendNumber(buf[:0], math.Float64frombits(n)), literal) {
				return true
			}
		}
		return false
	}
	f, err := strconv.ParseFloat(string(literal), 64)
	if err != nil { // beyond all numbers; JSON.parse makes it Infinity, which is written as null
		return false
	}
	return bytes.Equal(appendNumber(buf[:0], f), literal)
}

// isShortInteger reports whether the literal is an integer of at most 15 digits. Every such number is exact.
func isShortInteger(literal []byte) bool {
	if len(literal) > 15 {
		return false
	}
	for _, c := range literal {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// estimateSubnormal returns how often the smallest number, 2^-1074, goes into the number of the literal, wrong by less
// than three, if that number is subnormal and the literal ends with an exponent as it does in JavaScript.
//
// strconv takes 10 µs to parse a subnormal number, which makes seconds of a large body full of them. To write the few
// numbers around an estimate takes a small part of that, and when the literal is what JavaScript writes for any number
// at all, it is so for one of these.
func estimateSubnormal(literal []byte) (n uint64, ok bool) {
	exponent := len(literal) - len("e-3dd")
	if exponent < 0 || string(literal[exponent:exponent+3]) != "e-3" {
		return 0, false
	}
	var buf [maxNumber]byte
	larger := append(buf[:0], literal...)
	larger[exponent+2] = '0' // by a factor of 1e300
	f, err := strconv.ParseFloat(string(larger), 64)
	if err != nil {
		return 0, false
	}
	// The roundings of f, of the constant and of their product add up to less than two.
	f *= 0x1p1074 / 1e300
	return uint64(f), f < 1<<52
}

// appendNumber appends a positive f, or zero, as ECMAScript's Number::toString writes it.
func appendNumber(b []byte, f float64) []byte {
	if f == 0 || 1e-6 <= f && f < 1e21 {
		return strconv.AppendFloat(b, f, 'f', -1, 64)
	}
	b = strconv.AppendFloat(b, f, 'e', -1, 64)
	// strconv gives an exponent at least two digits, ECMAScript no more than it needs: 1e-7, not 1e-07.
	if n := len(b); b[n-3] == '-' && b[n-2] == '0' {
		b[n-2] = b[n-1]
		b = b[:n-1]
	}
	return b
}
