package condition

import (
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxDepth     = 64
	maxBodyBytes = 1<<28 - 1 // what a node's offset can say
)

type kind uint8

const (
	kindNull kind = iota
	kindTrue
	kindFalse
	kindNumber
	kindString
	kindEscaped // a string with escapes
	kindArray
	kindObject
)

// node is one value, or a member's name, which stands before its value. Nodes are in the order of the text, so that
// a document of n bytes costs at most 4n for them: bodies are the caller's, and may be all brackets.
type node struct {
	a uint32 // kind in the upper 4 bits; below, where it starts, or for containers how many children it has
	b uint32 // where it ends, or for containers the index of the node after it
}

func (n node) kind() kind { return kind(n.a >> 28) }
func (n node) below() int { return int(n.a & maxBodyBytes) }
func newNode(k kind, below, b int) node {
	return node{uint32(k)<<28 | uint32(below), uint32(b)}
}

// document is a parsed body. It is immutable.
type document struct {
	text   string
	nodes  []node
	tables map[int]nameTable // of large objects, by node
}

// parseDocument reads exactly one JSON value (RFC 8259) and refuses what two readers may read differently: text that is
// not UTF-8, names repeated at any depth, lone surrogates, NUL, and more depth or digits than many readers take. Names of one
// object that differ only in case repeat: encoding/json, for one, fills the same field with both, and keeps the last.
func parseDocument(text string) (*document, Reason) {
	if len(text) > maxBodyBytes {
		return nil, ReasonBodyTooLong
	}
	if !utf8.ValidString(text) {
		return nil, ReasonBodyNotJSON
	}
	p := &parser{document: document{text: text, nodes: make([]node, 0, len(text)/6+4)}}
	p.space()
	if !p.value(0) {
		return nil, p.reason
	}
	if p.space(); p.at != len(text) {
		return nil, ReasonBodyNotJSON
	}
	return &p.document, ""
}

type parser struct {
	document
	at      int
	reason  Reason
	scratch nameTable
}

// add grows the nodes at most once, to what the rest of the text can hold at two bytes each: growing step by step would
// cost several times that.
func (p *parser) add(n node) {
	if len(p.nodes) == cap(p.nodes) {
		p.nodes = slices.Grow(p.nodes, (len(p.text)-p.at)/2+maxDepth)
	}
	p.nodes = append(p.nodes, n)
}

func (p *parser) fail(reason Reason) bool {
	p.reason = reason
	return false
}

func (p *parser) space() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// next takes c, and the space after it, if c is next.
func (p *parser) next(c byte) bool {
	if p.at >= len(p.text) || p.text[p.at] != c {
		return false
	}
	p.at++
	p.space()
	return true
}

func (p *parser) value(depth int) bool {
	if p.at >= len(p.text) {
		return p.fail(ReasonBodyNotJSON)
	}
	switch p.text[p.at] {
	case '{':
		return p.object(depth + 1)
	case '[':
		return p.array(depth + 1)
	case '"':
		return p.string()
	case 't':
		return p.literal("true", kindTrue)
	case 'f':
		return p.literal("false", kindFalse)
	case 'n':
		return p.literal("null", kindNull)
	}
	end, ok, bounded := scanNumber(p.text, p.at)
	if !ok {
		return p.fail(ReasonBodyNotJSON)
	}
	if !bounded {
		return p.fail(ReasonBodyNumber)
	}
	p.add(newNode(kindNumber, p.at, end))
	p.at = end
	return true
}

func (p *parser) literal(word string, k kind) bool {
	if !strings.HasPrefix(p.text[p.at:], word) {
		return p.fail(ReasonBodyNotJSON)
	}
	p.add(newNode(k, p.at, p.at+len(word)))
	p.at += len(word)
	return true
}

func (p *parser) array(depth int) bool {
	if depth > maxDepth {
		return p.fail(ReasonBodyTooDeep)
	}
	self, count := p.open(), 0
	if !p.next(']') {
		for {
			if !p.value(depth) {
				return false
			}
			count++
			p.space()
			if p.next(',') {
				continue
			}
			break
		}
		if !p.close(']') {
			return false
		}
	}
	p.nodes[self] = newNode(kindArray, count, len(p.nodes))
	return true
}

func (p *parser) object(depth int) bool {
	if depth > maxDepth {
		return p.fail(ReasonBodyTooDeep)
	}
	self, count := p.open(), 0
	if !p.next('}') {
		for {
			if p.at >= len(p.text) || p.text[p.at] != '"' {
				return p.fail(ReasonBodyNotJSON)
			}
			if !p.string() {
				return false
			}
			p.space()
			if !p.next(':') {
				return p.fail(ReasonBodyNotJSON)
			}
			if !p.value(depth) {
				return false
			}
			count++
			p.space()
			if p.next(',') {
				continue
			}
			break
		}
		if !p.close('}') {
			return false
		}
	}
	p.nodes[self] = newNode(kindObject, count, len(p.nodes))
	if p.repeats(self) {
		return p.fail(ReasonBodyRepeats)
	}
	return true
}

// open takes a bracket and makes its node, which is filled in at the closing one.
func (p *parser) open() int {
	p.at++
	p.space()
	p.add(node{})
	return len(p.nodes) - 1
}

// close takes the closing bracket, but not the space behind it: a value ends where it ends.
func (p *parser) close(c byte) bool {
	if p.at >= len(p.text) || p.text[p.at] != c {
		return p.fail(ReasonBodyNotJSON)
	}
	p.at++
	return true
}

func (p *parser) string() bool {
	start, k := p.at+1, kindString
	for i := start; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '"':
			p.add(newNode(k, start, i))
			p.at = i + 1
			return true
		case c < ' ':
			return p.fail(ReasonBodyNotJSON)
		case c == '\\':
			_, length := unescapeOne(p.text[i:])
			if length == 0 {
				return p.fail(ReasonBodyNotJSON)
			}
			k = kindEscaped
			i += length - 1
		}
	}
	return p.fail(ReasonBodyNotJSON)
}

// unescapeOne reads the escape at the start of s; a length of 0 says that it is none.
func unescapeOne(s string) (r rune, length int) {
	if len(s) < 2 {
		return 0, 0
	}
	switch s[1] {
	case '"', '\\', '/':
		return rune(s[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	}
	unit, ok := codeUnit(s)
	switch {
	case !ok || unit == 0 || 0xDC00 <= unit && unit <= 0xDFFF:
		return 0, 0
	case unit < 0xD800 || unit > 0xDBFF:
		return unit, 6
	}
	low, ok := codeUnit(s[6:])
	if !ok || low < 0xDC00 || low > 0xDFFF {
		return 0, 0
	}
	return 0x10000 + (unit-0xD800)<<10 + (low - 0xDC00), 12
}

func codeUnit(s string) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	// ParseUint also takes a sign or underscores only where asked to, which here is never.
	n, err := strconv.ParseUint(s[2:6], 16, 16)
	return rune(n), err == nil
}

func unescape(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		r, length := unescapeOne(s[i:])
		b.WriteRune(r)
		s = s[i+length:]
	}
}

// stringAt is the string of a node.
func (d *document) stringAt(i int) string {
	n := d.nodes[i]
	s := d.text[n.below():n.b]
	if n.kind() == kindEscaped {
		return unescape(s)
	}
	return s
}

// after is the index of the node behind a value.
func (d *document) after(i int) int {
	if n := d.nodes[i]; n.kind() >= kindArray {
		return int(n.b)
	}
	return i + 1
}

// Objects of more members than these find a name by its hash: while parsing, and for good.
const (
	maxPairwise = 8
	maxScanned  = 64
)

// repeats reports whether an object has a name twice, in the sense of sameName.
func (p *parser) repeats(self int) bool {
	count := p.nodes[self].below()
	if count <= maxPairwise {
		end := p.after(self)
		for i := self + 1; i < end; i = p.after(i + 1) {
			for j := self + 1; j < i; j = p.after(j + 1) {
				if p.sameName(i, j) {
					return true
				}
			}
		}
		return false
	}
	table := p.scratch.emptied(count)
	if count > maxScanned {
		table = newNameTable(count)
		if p.tables == nil {
			p.tables = make(map[int]nameTable)
		}
		p.tables[self] = table
	} else {
		p.scratch = table
	}
	end := p.after(self)
	for i := self + 1; i < end; i = p.after(i + 1) {
		if !table.add(&p.document, i) {
			return true
		}
	}
	return false
}

// named reports whether the name at node i is this one. No escape is longer than six times what it stands for, so that
// looking for a short name never unescapes a long one.
func (d *document) named(i int, name string) bool {
	n := d.nodes[i]
	s := d.text[n.below():n.b]
	if n.kind() == kindString {
		return s == name
	}
	return len(s) > len(name) && len(s) <= 6*len(name) && unescape(s) == name
}

// namedAlike is named but for case, where one text may be three times as long as the other.
func (d *document) namedAlike(i int, name string) bool {
	n := d.nodes[i]
	s := d.text[n.below():n.b]
	if n.kind() == kindString {
		return strings.EqualFold(s, name)
	}
	return len(s) <= 3*6*len(name) && strings.EqualFold(unescape(s), name)
}

// sameName reports whether the names at two nodes are equal but for case, as strings.EqualFold sees it.
func (d *document) sameName(i, j int) bool { return strings.EqualFold(d.stringAt(i), d.stringAt(j)) }

// member finds a member's value by its name; looked is how many names were compared.
func (d *document) member(self int, name string) (value, looked int, ok bool) {
	if table, ok := d.tables[self]; ok {
		i := table.find(d, name)
		return i + 1, 1, i != 0
	}
	end := d.after(self)
	for i := self + 1; i < end; i = d.after(i + 1) {
		looked++
		if d.named(i, name) {
			return i + 1, looked, true
		}
	}
	return 0, looked, false
}

// nameTable holds the nodes of names by their hashes, with 0 for empty: no name is the first node. Its length is a power
// of two.
type nameTable []uint32

// The seed is the process's own, so that nobody can write a body whose names collide.
var nameSeed = maphash.MakeSeed()

func newNameTable(names int) nameTable {
	size := 16
	for size < names*3/2 {
		size *= 2
	}
	return make(nameTable, size)
}

// emptied is an empty table for so many names, in t's memory if it is large enough.
func (t nameTable) emptied(names int) nameTable {
	if names > maxScanned {
		return nil
	}
	if t == nil {
		return newNameTable(maxScanned)
	}
	clear(t)
	return t
}

// hashName is the same for names that are equal but for case.
func hashName(name string) int {
	for i := range len(name) {
		if c := name[i]; c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' {
			var room [64]byte
			return int(maphash.Bytes(nameSeed, appendFolded(room[:0], name)))
		}
	}
	return int(maphash.String(nameSeed, name))
}

// appendFolded appends a text with each letter in one of its cases: for ASCII's the lower one, which most names are in.
func appendFolded(to []byte, text string) []byte {
	for _, r := range text {
		to = utf8.AppendRune(to, foldRune(r))
	}
	return to
}

func foldRune(r rune) rune {
	if r >= utf8.RuneSelf {
		// The letters that are one but for case are a ring, in which only the last one's next is a smaller one.
		for next := unicode.SimpleFold(r); ; next = unicode.SimpleFold(r) {
			if r >= next {
				r = next
				break
			}
			r = next
		}
	}
	if 'A' <= r && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

// add takes the name at a node, unless it has one that is equal but for case.
func (t nameTable) add(d *document, node int) bool {
	name := d.stringAt(node)
	i := hashName(name) & (len(t) - 1)
	for ; t[i] != 0; i = (i + 1) & (len(t) - 1) {
		if d.namedAlike(int(t[i]), name) {
			return false
		}
	}
	t[i] = uint32(node)
	return true
}

// find is the node of exactly this name, or 0.
func (t nameTable) find(d *document, name string) int {
	i := hashName(name) & (len(t) - 1)
	for t[i] != 0 && !d.named(int(t[i]), name) {
		i = (i + 1) & (len(t) - 1)
	}
	return int(t[i])
}
