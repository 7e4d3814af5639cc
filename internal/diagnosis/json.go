package diagnosis

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// maxRewritten bounds the bodies that are written again in other ways, in bytes.
	maxRewritten = 2 << 20
	// maxPermuted bounds the names whose every order is tried: 720 orders.
	maxPermuted = 6
	// maxWritten bounds a body that is written again: a deep one is much longer with indents.
	maxWritten = 16 << 20
	// maxDepth bounds how deep a body may be nested to be written again.
	maxDepth = 100
)

// value is a JSON value whose names keep their order.
type value struct {
	kind    byte   // '{', '[', '"', '0' for a number, 'l' for true, false and null
	text    string // of strings, decoded; of the others, as written
	names   []string
	members []value
}

// parseJSON reads one JSON value.
func parseJSON(text []byte) (value, bool) {
	if len(text) > maxRewritten || !utf8.Valid(text) {
		return value{}, false
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := readValue(d, 0)
	if err != nil {
		return value{}, false
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return value{}, false
	}
	return v, true
}

func readValue(d *json.Decoder, depth int) (value, error) {
	if depth > maxDepth {
		return value{}, errors.New("too deep")
	}
	token, err := d.Token()
	if err != nil {
		return value{}, err
	}
	switch t := token.(type) {
	case string:
		return value{kind: '"', text: t}, nil
	case json.Number:
		return value{kind: '0', text: t.String()}, nil
	case json.Delim:
		v := value{kind: byte(t)}
		for d.More() {
			if t == '{' {
				name, err := d.Token()
				if err != nil {
					return value{}, err
				}
				v.names = append(v.names, name.(string))
			}
			member, err := readValue(d, depth+1)
			if err != nil {
				return value{}, err
			}
			v.members = append(v.members, member)
		}
		_, err := d.Token()
		return v, err
	}
	text, err := json.Marshal(token)
	return value{kind: 'l', text: string(text)}, err
}

// sorted is v with the names of every object in order.
func (v value) sorted() value {
	out := value{kind: v.kind, text: v.text}
	order := make([]int, len(v.members))
	for i := range order {
		order[i] = i
	}
	if v.kind == '{' {
		slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(v.names[a], v.names[b]) })
	}
	return v.inOrder(order, out, value.sorted)
}

func (v value) inOrder(order []int, out value, each func(value) value) value {
	for _, i := range order {
		if v.kind == '{' {
			out.names = append(out.names, v.names[i])
		}
		out.members = append(out.members, each(v.members[i]))
	}
	return out
}

// style is how a library writes JSON.
type style struct {
	item, colon, indent string
	ascii, upper        bool   // \u for what is not ASCII, with upper-case digits
	also                string // what more is written as \u00xx
	slash               bool   // \/ for a slash
	numbers             bool   // as JavaScript writes them
}

// layouts are where libraries put white space.
var layouts = []style{
	{item: ",", colon: ":"},
	{item: ", ", colon: ": "}, // Python
	{item: ",", colon: ": ", indent: "  "},
	{item: ",", colon: ": ", indent: "    "},
	{item: ",", colon: ": ", indent: "\t"},
	{item: ",", colon: ": "}, // Ruby and others
}

// escapings are what libraries escape.
var escapings = []style{
	{},
	{ascii: true},              // Python
	{also: "<>&\u2028\u2029"},  // Go
	{slash: true, ascii: true}, // PHP
	{slash: true},              // PHP, JSON_UNESCAPED_UNICODE
	{ascii: true, upper: true, also: "<>&'+\"`"}, // .NET
}

func (s style) write(b *strings.Builder, v value, line string) {
	switch v.kind {
	case '"':
		s.quote(b, v.text)
		return
	case '0':
		b.WriteString(s.number(v.text))
		return
	case 'l':
		b.WriteString(v.text)
		return
	}
	if b.Len() > maxWritten {
		return
	}
	inner := line
	if s.indent != "" {
		inner += s.indent
	}
	b.WriteByte(v.kind)
	for i, member := range v.members {
		if b.Len() > maxWritten {
			return
		}
		if i > 0 {
			b.WriteString(s.item)
		}
		if s.indent != "" {
			b.WriteString("\n" + inner)
		}
		if v.kind == '{' {
			s.quote(b, v.names[i])
			b.WriteString(s.colon)
		}
		s.write(b, member, inner)
	}
	if s.indent != "" && len(v.members) > 0 {
		b.WriteString("\n" + line)
	}
	b.WriteByte(v.kind + 2) // the closing bracket in ASCII
}

func (s style) quote(b *strings.Builder, text string) {
	unit := func(u uint16) {
		hex := fmt.Sprintf("%04x", u)
		if s.upper {
			hex = strings.ToUpper(hex)
		}
		b.WriteString(`\u` + hex)
	}
	b.WriteByte('"')
	for _, r := range text {
		short := strings.IndexRune("\b\f\n\r\t", r)
		switch {
		case s.also != "" && strings.ContainsRune(s.also, r):
			unit(uint16(r))
		case short >= 0:
			b.WriteString(`\` + "bfnrt"[short:short+1])
		case r == '"' || r == '\\' || r == '/' && s.slash:
			b.WriteString(`\` + string(r))
		case r < ' ':
			unit(uint16(r))
		case r >= 0x80 && s.ascii:
			for _, u := range utf16.Encode([]rune{r}) {
				unit(u)
			}
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

// number writes one as JavaScript does; encoding/json follows it but for negative zero.
func (s style) number(text string) string {
	if !s.numbers {
		return text
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return text
	}
	if f == 0 {
		return "0"
	}
	out, err := json.Marshal(f)
	if err != nil {
		return text
	}
	return string(out)
}

func (s style) text(v value) []byte {
	var b strings.Builder
	s.write(&b, v, "")
	return []byte(b.String())
}

// jsonVariants are the same JSON as libraries write it.
func jsonVariants(sent []byte) iter.Seq[bodyVariant] {
	return func(yield func(bodyVariant) bool) {
		v, ok := parseJSON(bytes.TrimPrefix(sent, byteOrderMark))
		if !ok {
			return
		}
		cut := 0
		give := func(body []byte) bool {
			if len(body) > maxWritten {
				cut += len(body)
				return cut <= maxMadeBytes
			}
			return yield(bodyVariant{Finding{BodyRewritten, textRewritten, adviceJSON}, body})
		}
		alike := v.sorted()
		for _, escaping := range escapings {
			for _, layout := range layouts {
				for _, order := range []value{v, alike} {
					s := escaping
					s.item, s.colon, s.indent = layout.item, layout.colon, layout.indent
					if !give(s.text(order)) {
						return
					}
				}
			}
		}
		for _, layout := range layouts {
			s := layout
			s.numbers = true
			if !give(s.text(v)) || !give(s.text(alike)) {
				return
			}
			// Printed, or written by Go's encoder, which ends with a newline.
			for _, escaping := range escapings[:3] {
				s := escaping
				s.item, s.colon, s.indent = layout.item, layout.colon, layout.indent
				if !give(append(s.text(v), '\n')) || !give(append(s.text(alike), '\n')) {
					return
				}
			}
		}
		permutations(v, func(p value) bool { return give(layouts[0].text(p)) && give(layouts[1].text(p)) })
	}
}

// permutations gives v with its own names in every order, until give says no.
func permutations(v value, give func(value) bool) {
	if v.kind != '{' || len(v.members) > maxPermuted {
		return
	}
	order := make([]int, len(v.members))
	for i := range order {
		order[i] = i
	}
	var from func(k int) bool
	from = func(k int) bool {
		if k == len(order) {
			return give(v.inOrder(order, value{kind: v.kind}, func(m value) value { return m }))
		}
		for i := k; i < len(order); i++ {
			order[k], order[i] = order[i], order[k]
			if !from(k + 1) {
				return false
			}
			order[k], order[i] = order[i], order[k]
		}
		return true
	}
	from(0)
}

const textRewritten = "body: the body is the same JSON as the signed one, written in another way"

// rewritten says in what a body differs from the same JSON written otherwise.
func rewritten(sent, signed []byte) Finding {
	a, b := aspectsOf(sent), aspectsOf(signed)
	var ways []string
	cause := BodyRewritten
	differ := func(c Cause, way string) {
		ways = append(ways, way)
		if cause = c; len(ways) > 1 {
			cause = BodyRewritten
		}
	}
	switch {
	case a.space > b.space:
		differ(BodySpaces, "the one you sent has white space that the signed one has not")
	case a.space < b.space:
		differ(BodySpaces, "the signed one has white space that the one you sent has not")
	}
	if a.order != b.order {
		differ(BodyOrder, "names are in another order")
	}
	if a.escapes != b.escapes {
		differ(BodyEscapes, `characters are escaped in another way (\u00eb against ë, \/ against /)`)
	}
	if a.numbers != b.numbers {
		differ(BodyNumbers, "numbers are written in another way (1.0 against 1)")
	}
	if len(ways) == 0 {
		cause, ways = BodySpaces, []string{"white space is in other places"}
	}
	return Finding{cause, textRewritten + ": " + strings.Join(ways, "; "), adviceJSON}
}

// aspects are what of a JSON text depends on who wrote it.
type aspects struct {
	space                   int
	order, escapes, numbers string
}

func aspectsOf(text []byte) aspects {
	var compact bytes.Buffer
	if json.Compact(&compact, bytes.TrimPrefix(text, byteOrderMark)) != nil {
		return aspects{}
	}
	v, ok := parseJSON(compact.Bytes())
	if !ok {
		return aspects{}
	}
	a := aspects{space: len(text) - compact.Len(), order: string(style{item: ",", colon: ":", numbers: true}.text(v))}
	strung, numbers := tokens(compact.String())
	a.escapes, a.numbers = strings.Join(strung, "\n"), strings.Join(numbers, "\n")
	return a
}

// tokens are the strings and the numbers of a compact JSON text as they are written, each in order of their bytes.
func tokens(text string) (strung, numbers []string) {
	for i := 0; i < len(text); {
		start := i
		switch c := text[i]; {
		case c == '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			i++
			strung = append(strung, text[start:i])
		case c == '-' || c >= '0' && c <= '9':
			for i < len(text) && strings.IndexByte("+-.eE0123456789", text[i]) >= 0 {
				i++
			}
			numbers = append(numbers, text[start:i])
		default:
			i++
		}
	}
	slices.Sort(strung)
	slices.Sort(numbers)
	return strung, numbers
}
