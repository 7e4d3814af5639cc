// Package requestgen makes random requests to NOAH and Noba that signerd must sign and the partners must accept, for tests of clients: methods, odd paths and
// queries, bodies from nothing to 1 MiB. What the API refuses is never made. The same seed gives the same requests.
package requestgen

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
)

// Partners, as they stand in a Request.
const (
	NOAH = "noah"
	Noba = "noba"
)

// MaxBody is the longest body in bytes.
const MaxBody = 1 << 20

// Request is one request. As JSON it is a line of what Write writes.
type Request struct {
	Partner string `json:"partner"`
	Method  string `json:"method"`
	Target  string `json:"target"`
	Body    []byte `json:"body_base64"`
}

// Generator makes requests. It is not safe for concurrent use.
type Generator struct {
	rand *rand.Rand
	// portable leaves out what clients of other languages do not send or change: methods of one's own or in lower case, bodies of GET, HEAD and
	// DELETE, and dot segments.
	portable bool
}

// New makes a generator of everything that HTTP allows.
func New(seed uint64) *Generator { return &Generator{rand: rand.New(rand.NewPCG(seed, 1))} }

// NewPortable makes a generator of what HTTP clients of other languages send as well.
func NewPortable(seed uint64) *Generator {
	return &Generator{rand: rand.New(rand.NewPCG(seed, 2)), portable: true}
}

// Write writes n portable requests as JSON, one a line: {"partner":"noah","method":"POST","target":"/v1/x?a=b","body_base64":"e30="}.
func Write(w io.Writer, seed uint64, n int) error {
	out := bufio.NewWriter(w)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	g := NewPortable(seed)
	for range n {
		if err := lines.Encode(g.Next()); err != nil {
			return fmt.Errorf("writing requests: %w", err)
		}
	}
	return out.Flush()
}

// Next makes a request.
func (g *Generator) Next() Request {
	r := Request{Partner: NOAH, Method: g.method(), Target: g.path() + g.query()}
	if g.oneIn(2) {
		r.Partner = Noba
	}
	r.Body = []byte{}
	if g.portable && (r.Method == "GET" || r.Method == "HEAD" || r.Method == "DELETE") || g.oneIn(8) {
		return r
	}
	size := g.size()
	if r.Partner == Noba || g.oneIn(3) {
		r.Body = g.json(size)
		return r
	}
	r.Body = make([]byte, size)
	for i := range r.Body {
		r.Body[i] = byte(g.rand.Uint32())
	}
	return r
}

func (g *Generator) oneIn(n int) bool { return g.rand.IntN(n) == 0 }

// size is short as a rule, now and then anything up to MaxBody, and sometimes exactly that.
func (g *Generator) size() int {
	switch g.rand.IntN(400) {
	case 0:
		return MaxBody
	case 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12:
		return 1 + g.rand.IntN(1<<(10+g.rand.IntN(11)))
	}
	return 1 + g.rand.IntN(1<<g.rand.IntN(13))
}

const tokenCharacters = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func (g *Generator) method() string {
	usual := []string{"GET", "POST", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
	if g.portable || !g.oneIn(5) {
		return pick(g, usual)
	}
	if g.oneIn(2) {
		return strings.ToLower(pick(g, usual))
	}
	// The first character keeps it apart from CONNECT and from what HTTP/2 begins with.
	return "X" + g.text(g.rand.IntN(20), tokenCharacters)
}

func (g *Generator) path() string {
	var path strings.Builder
	for range 1 + g.rand.IntN(6) {
		path.WriteByte('/')
		switch {
		case path.Len() > 1 && g.oneIn(12): // an empty segment
		case !g.portable && g.oneIn(20):
			path.WriteString(pick(g, []string{".", "..", "%2e%2E"}))
		default:
			path.WriteString(g.segment())
		}
	}
	if g.oneIn(6) && path.Len() > 1 {
		path.WriteByte('/')
	}
	return path.String()
}

// segment holds what RFC 3986 allows there. It begins with a letter, so that it is neither empty nor dots.
func (g *Generator) segment() string {
	var s strings.Builder
	s.WriteByte("abcdefXYZ"[g.rand.IntN(9)])
	for range g.rand.IntN(8) {
		switch g.rand.IntN(6) {
		case 0:
			s.WriteString(g.escape())
		case 1:
			s.WriteString(pick(g, []string{"%2F", "%2f", "%20", "%25", "%3F", "%3b", "%2B", "%41", "%7E", "%00"}))
		case 2:
			s.WriteString(g.text(1, "-._~!$&'()*+,;=:@"))
		default:
			s.WriteString(g.text(1+g.rand.IntN(6), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"))
		}
	}
	return s.String()
}

// escape is a character beyond ASCII in UTF-8, percent-escaped in upper or lower case.
func (g *Generator) escape() string {
	format := pick(g, []string{"%%%02X", "%%%02x"})
	var s strings.Builder
	for _, b := range []byte(pick(g, []string{"é", "ü", "✓", "😀", "ß", "\u2028", "日本", "\ufeff"})) {
		fmt.Fprintf(&s, format, b)
	}
	return s.String()
}

func (g *Generator) query() string {
	switch g.rand.IntN(6) {
	case 0, 1:
		return ""
	case 2:
		if !g.portable && g.oneIn(3) {
			return "?" // no query, and yet on the wire
		}
	}
	var pairs []string
	for range 1 + g.rand.IntN(5) {
		name, value := g.word(), g.word()
		if len(pairs) > 0 && g.oneIn(4) { // a name again
			name, _, _ = strings.Cut(pairs[0], "=")
		}
		pair := name + "=" + value
		if name != "" && g.oneIn(8) {
			pair = name
		}
		pairs = append(pairs, pair)
	}
	return "?" + strings.Join(pairs, "&")
}

// word is a name or a value of a query, perhaps empty: visible characters but those that divide it, and escapes that are UTF-8.
func (g *Generator) word() string {
	var s strings.Builder
	for range g.rand.IntN(5) {
		switch g.rand.IntN(5) {
		case 0:
			s.WriteString(g.escape())
		case 1:
			s.WriteString(pick(g, []string{"%20", "+", "%2B", "%26", "%3D", "%25", "%2541", "%00", "%0A", "%22", "%3C"}))
		case 2:
			s.WriteString(g.text(1, "!$'()*,-./:;?@_~[]{}|\\^`\"<>"))
		default:
			s.WriteString(g.text(1+g.rand.IntN(8), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"))
		}
	}
	return s.String()
}

func (g *Generator) text(n int, of string) string {
	s := make([]byte, n)
	for i := range s {
		s[i] = of[g.rand.IntN(len(of))]
	}
	return string(s)
}

func pick[T any](g *Generator, of []T) T { return of[g.rand.IntN(len(of))] }
