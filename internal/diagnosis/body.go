package diagnosis

import (
	"bytes"
	"iter"
	"unicode/utf16"
	"unicode/utf8"
)

// bodyVariant is a body that may have been signed in place of the one that was sent.
type bodyVariant struct {
	Finding
	body []byte
}

// found says what a variant means that turned out to be what was signed. How JSON differs is looked at only then.
func (v bodyVariant) found(sent []byte) Finding {
	if v.Cause == BodyRewritten {
		return rewritten(sent, v.body)
	}
	return v.Finding
}

const (
	adviceBytes = "sign the bytes that go out: make the body once, have it signed, and send that very buffer"
	adviceJSON  = "a library wrote the JSON again after it was signed: make the text once and send it as bytes (requests: data=, not json=; axios and fetch: a string)"
)

var byteOrderMark = []byte("\ufeff")

// maxMadeBytes bounds the bodies that are made for one request, together: of a large body not every form is tried, which would take minutes.
const maxMadeBytes = 256 << 20

// bodyVariants are the usual other bodies, likely ones first; some come more than once. They are made one by one, for bodies may be large.
func bodyVariants(r Request) iter.Seq[bodyVariant] {
	return func(yield func(bodyVariant) bool) {
		made := 0
		for _, variants := range []iter.Seq[bodyVariant]{plainVariants(r), jsonVariants(r.Body)} {
			for v := range variants {
				if made += len(v.body); made > maxMadeBytes || !bytes.Equal(v.body, r.Body) && !yield(v) {
					return
				}
			}
		}
	}
}

// plainVariants need no understanding of the body.
func plainVariants(r Request) iter.Seq[bodyVariant] {
	sent := r.Body
	return func(yield func(bodyVariant) bool) {
		add := func(cause Cause, text string, body []byte) bool {
			return yield(bodyVariant{Finding{cause, "body: " + text, adviceBytes}, body})
		}
		if len(sent) == 0 {
			_ = add(BodyEmpty, "{} was signed, and no body was sent", []byte("{}")) &&
				add(BodyEmpty, `"null" was signed, and no body was sent`, []byte("null")) &&
				add(BodyNewline, "a line end was signed, and no body was sent", []byte("\n")) &&
				add(BodyEmpty, `"" was signed as two quotation marks, and no body was sent`, []byte(`""`))
			return
		}
		const signedHasNot = " that the signed one has not"
		_ = add(BodyNewline, "the body you sent has a trailing newline"+signedHasNot, bytes.TrimSuffix(sent, []byte("\n"))) &&
			add(BodyNewline, "the body you sent has trailing newlines"+signedHasNot, bytes.TrimRight(sent, "\r\n")) &&
			add(BodyNewline, "the signed body has a trailing newline that the one you sent has not", append(bytes.Clone(sent), '\n')) &&
			add(BodyCRLF, "the signed body has a trailing CRLF that the one you sent has not", append(bytes.Clone(sent), "\r\n"...)) &&
			(r.File == nil || yield(bodyVariant{Finding{BodyStripped, "body: the file was signed with its line ends, and curl's -d sends it without them",
				"use --data-binary @FILE in place of -d @FILE"}, r.File})) &&
			add(BodyCRLF, "the body you sent has CRLF line ends, and the signed one LF", bytes.ReplaceAll(sent, []byte("\r\n"), []byte("\n"))) &&
			add(BodyCRLF, "the signed body has CRLF line ends, and the one you sent LF", bytes.ReplaceAll(bytes.ReplaceAll(sent, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))) &&
			add(BodyMark, "the body you sent begins with a byte order mark"+signedHasNot, bytes.TrimPrefix(sent, byteOrderMark)) &&
			add(BodyMark, "the signed body begins with a byte order mark that the one you sent has not", append(bytes.Clone(byteOrderMark), sent...)) &&
			charsets(sent, add) &&
			add(BodySpaces, "the body you sent has white space around it"+signedHasNot, bytes.TrimSpace(sent)) &&
			add(BodyUnsigned, "the body was not signed: no body was, or an empty one", nil) &&
			add(BodyUnsigned, "{} was signed in place of the body", []byte("{}"))
	}
}

// charsets adds the same text in other character sets.
func charsets(sent []byte, add func(Cause, string, []byte) bool) bool {
	if !utf8.Valid(sent) {
		return add(BodyCharset, "the body was signed in UTF-8, and sent in Windows-1252 or ISO 8859-1", fromWindows(sent))
	}
	if isASCII(sent) {
		return add(BodyCharset, "the body was signed in UTF-16, and sent in UTF-8", toUTF16(sent))
	}
	narrow, ok := toWindows(sent)
	text := "the body was signed in Windows-1252 or ISO 8859-1, and sent in UTF-8"
	if utf8.Valid(narrow) {
		text = "the body was put into UTF-8 twice before it was sent"
	}
	return (!ok || add(BodyCharset, text, narrow)) &&
		add(BodyCharset, "the body was put into UTF-8 twice before it was signed", fromWindows(sent)) &&
		add(BodyCharset, "the body was signed with ? for what is not ASCII", withQuestionMarks(sent)) &&
		add(BodyCharset, "the body was signed in UTF-16, and sent in UTF-8", toUTF16(sent))
}

// windows1252 are the characters of the bytes 0x80 to 0x9f; the others are those of ISO 8859-1, which have the code points of Unicode.
var windows1252 = []rune("€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ")

func fromWindows(b []byte) []byte {
	var out []byte
	for _, c := range b {
		r := rune(c)
		if c >= 0x80 && c < 0xa0 {
			r = windows1252[c-0x80]
		}
		out = utf8.AppendRune(out, r)
	}
	return out
}

func toWindows(text []byte) ([]byte, bool) {
	out := make([]byte, 0, len(text))
next:
	for _, r := range string(text) {
		if r < 0x80 || r >= 0xa0 && r <= 0xff {
			out = append(out, byte(r))
			continue
		}
		for i, w := range windows1252 {
			if r == w {
				out = append(out, byte(0x80+i))
				continue next
			}
		}
		return nil, false
	}
	return out, true
}

func toUTF16(text []byte) []byte {
	out := make([]byte, 0, 2*len(text))
	for _, u := range utf16.Encode([]rune(string(text))) {
		out = append(out, byte(u), byte(u>>8))
	}
	return out
}

func withQuestionMarks(text []byte) []byte {
	var out []byte
	for _, r := range string(text) {
		if r >= 0x80 {
			r = '?'
		}
		out = append(out, byte(r))
	}
	return out
}

func isASCII(b []byte) bool { return bytes.IndexFunc(b, func(r rune) bool { return r >= 0x80 }) < 0 }
