package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxRewritten bounds the bodies that are written anew in many ways, in bytes.
const maxRewritten = 1 << 20

// maxIndented bounds the nesting of what is written with indents, whose length grows with its square.
const maxIndented = 64

// byteOrderMark is what some editors put before UTF-8.
const byteOrderMark = "\xef\xbb\xbf"

// bodyCause finds what was signed in place of the body that was sent, and says how the two differ; it gives "" when nothing that it
// tries fits.
func bodyCause(sent []byte, signed func(body []byte) bool) string {
	for _, v := range byteVariants(sent) {
		if !bytes.Equal(v.body, sent) && signed(v.body) {
			return v.text
		}
	}
	if len(sent) > maxRewritten {
		return ""
	}
	return rewritten(sent, signed)
}

// variant is what may have been signed, and what that says of the body that was sent.
type variant struct {
	body []byte
	text string
}

// byteVariants changes bytes, whatever the body is.
func byteVariants(sent []byte) []variant {
	s := string(sent)
	all := []variant{
		{bytes.TrimSuffix(bytes.TrimSuffix(sent, []byte("\n")), []byte("\r")), "the body you sent has a trailing newline that the signed one has not"},
		{bytes.TrimSpace(sent), "the body you sent has white space around it that the signed one has not"},
		{[]byte(s + "\n"), "the signed body has a trailing newline that the one you sent has not"},
		{[]byte(s + "\r\n"), "the signed body has a trailing newline (CRLF) that the one you sent has not"},
		{[]byte(strings.TrimPrefix(s, byteOrderMark)), "the body you sent begins with a byte order mark that the signed one has not"},
		{[]byte(byteOrderMark + s), "the signed body begins with a byte order mark that the one you sent has not"},
		{[]byte(strings.ReplaceAll(s, "\r\n", "\n")), "the body you sent has CRLF line ends where the signed one has LF"},
		{[]byte(strings.ReplaceAll(s, "\n", "\r\n")), "the body you sent has LF line ends where the signed one has CRLF"},
		{nil, "an empty body was signed, but one was sent"},
		{[]byte("{}"), "the body {} was signed, but another one was sent"},
	}
	if utf8.Valid(sent) {
		if latin, ok := toLatin1(s); ok {
			all = append(all, variant{latin, "the signed body is in ISO-8859-1, the one you sent in UTF-8"})
		}
	} else {
		all = append(all, variant{fromLatin1(sent), "the body you sent is in ISO-8859-1, the signed one in UTF-8"})
	}
	return all
}

func toLatin1(s string) ([]byte, bool) {
	var out []byte
	for _, r := range s {
		if r > 0xff {
			return nil, false
		}
		out = append(out, byte(r))
	}
	return out, true
}

func fromLatin1(b []byte) []byte {
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return []byte(string(runes))
}

// rewritten tries the same JSON as other programs write it: names in order, characters escaped, white space, a line end.
func rewritten(sent []byte, signed func(body []byte) bool) string {
	var compact bytes.Buffer
	trimmed := bytes.TrimPrefix(bytes.TrimSpace(sent), []byte(byteOrderMark))
	if json.Compact(&compact, trimmed) != nil {
		return ""
	}
	white := "there is no white space"
	if bytes.Equal(compact.Bytes(), trimmed) {
		white = "" // nor in the body that was sent
	}
	orders := []variant{{compact.Bytes(), ""}}
	if sorted := inOrder(compact.Bytes()); sorted != nil && !bytes.Equal(sorted, compact.Bytes()) {
		orders = append(orders, variant{sorted, "its names are in alphabetical order"})
	}
	for _, order := range orders {
		for _, text := range escapings(order.body) {
			for _, space := range spacings(text.body, white) {
				for _, end := range []variant{{nil, ""}, {[]byte("\n"), "it ends with a newline"}} {
					if body := slices.Concat(space.body, end.body); signed(body) {
						differences := slices.DeleteFunc([]string{order.text, text.text, space.text, end.text}, func(s string) bool { return s == "" })
						return "the JSON was written again between signing and sending: in the signed body " + strings.Join(differences, ", ")
					}
				}
			}
		}
	}
	return ""
}

// inOrder sorts the names of all objects, or gives nil.
func inOrder(body []byte) []byte {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var v any
	if decoder.Decode(&v) != nil {
		return nil
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(v) != nil {
		return nil
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// escapings writes the strings of compact JSON in other ways.
func escapings(body []byte) []variant {
	all := []variant{{body, ""}}
	add := func(text string, escape func(r rune) bool) {
		if b := escaped(body, escape); !slices.ContainsFunc(all, func(v variant) bool { return bytes.Equal(v.body, b) }) {
			all = append(all, variant{b, text})
		}
	}
	add("characters stand for themselves instead of \\u escapes", func(rune) bool { return false })
	add("characters beyond ASCII are \\u escapes", func(r rune) bool { return r > 0x7e })
	add("<, > and & are \\u escapes", func(r rune) bool { return strings.ContainsRune("<>&\u2028\u2029", r) })
	return all
}

// escaped writes \u for the characters that escape wants so, and themselves for the others that may.
func escaped(body []byte, escape func(r rune) bool) []byte {
	var out bytes.Buffer
	for i := 0; i < len(body); {
		if body[i] != '"' {
			out.WriteByte(body[i])
			i++
			continue
		}
		end := i + 1
		for body[end] != '"' {
			if body[end] == '\\' {
				end++
			}
			end++
		}
		var s string
		if json.Unmarshal(body[i:end+1], &s) != nil {
			return body
		}
		writeString(&out, s, escape)
		i = end + 1
	}
	return out.Bytes()
}

func writeString(out *bytes.Buffer, s string, escape func(r rune) bool) {
	short := map[rune]string{'"': `\"`, '\\': `\\`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}
	out.WriteByte('"')
	for _, r := range s {
		switch {
		case short[r] != "":
			out.WriteString(short[r])
		case r < ' ' || escape(r):
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(out, `\u%04x`, unit)
			}
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
}

// spacings writes compact JSON with the white space of other programs; white is what to say of none.
func spacings(body []byte, white string) []variant {
	all := []variant{{body, white}, {spaced(body), "a space follows each comma and colon, as Python's json.dumps writes it"}}
	if nesting(body) > maxIndented {
		return all
	}
	for _, indent := range []string{"  ", "    ", "\t"} {
		var out bytes.Buffer
		if json.Indent(&out, body, "", indent) == nil {
			all = append(all, variant{out.Bytes(), fmt.Sprintf("lines are indented by %q", indent)})
		}
	}
	return all
}

// nesting is about how deep compact JSON goes: brackets in strings count too.
func nesting(body []byte) int {
	depth, deepest := 0, 0
	for _, c := range body {
		switch c {
		case '[', '{':
			depth++
			deepest = max(deepest, depth)
		case ']', '}':
			depth--
		}
	}
	return deepest
}

// spaced puts a space after each comma and colon outside of strings.
func spaced(body []byte) []byte {
	var out bytes.Buffer
	quoted := false
	for i := 0; i < len(body); i++ {
		out.WriteByte(body[i])
		switch c := body[i]; {
		case quoted && c == '\\':
			i++
			out.WriteByte(body[i])
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == ':'):
			out.WriteByte(' ')
		}
	}
	return out.Bytes()
}
