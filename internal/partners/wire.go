package partners

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// MaxBody is the largest request body in bytes that ServeHTTP of either partner
// reads; a longer one is answered with 413. Check has no such limit.
const MaxBody = 8 << 20

// Request is a request as the partner sees it on the wire.
type Request struct {
	// Method is the HTTP method as sent.
	Method string
	// Target is the request target in origin form: the path, and the query if
	// there is one, byte for byte. It starts with '/'.
	Target string
	// Header holds the header fields. Names are compared without regard to
	// case, so a map that was filled by hand needs no canonical names.
	Header http.Header
	// Body holds the exact body bytes. Empty and nil are both no body.
	Body []byte
}

// line is what a request line says: the method in upper case, and the target
// cut at its first '?'.
type line struct {
	method, path, query string
}

// readLine reads the request line. It refuses what HTTP does not allow there, so
// that nothing below has to wonder which of two readings was signed.
func (r Request) readLine() (line, error) {
	if r.Method == "" {
		return line{}, errors.New("the request has no method")
	}
	for i := 0; i < len(r.Method); i++ {
		if c := r.Method[i]; !isAlphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return line{}, fmt.Errorf("the request method %q is not an HTTP token", r.Method)
		}
	}
	if !strings.HasPrefix(r.Target, "/") {
		return line{}, fmt.Errorf("the request target %q does not start with a slash", r.Target)
	}
	path, query, _ := strings.Cut(r.Target, "?")
	if err := pathCharacters(path); err != nil {
		return line{}, err
	}
	for i := 0; i < len(query); i++ {
		if c := query[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return line{}, fmt.Errorf("the request query has the byte %#02x, which must be percent-escaped", c)
		}
	}
	return line{method: strings.ToUpper(r.Method), path: path, query: query}, nil
}

// pathCharacters checks that a path holds what RFC 3986 allows there.
func pathCharacters(path string) error {
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c == '%':
			if !isEscape(path[i:]) {
				return errors.New("the request path has a broken percent-escape")
			}
		case c == '#':
			return errors.New("the request path has a fragment, which is never sent to a server")
		case !isAlphanumeric(c) && strings.IndexByte("/-._~!$&'()*+,;=:@", c) < 0:
			return fmt.Errorf("the request path has the byte %#02x, which must be percent-escaped", c)
		}
	}
	return nil
}

// isEscape says whether s starts with a percent sign and two hexadecimal digits.
func isEscape(s string) bool {
	return len(s) >= 3 && s[0] == '%' && unhex(s[1]) >= 0 && unhex(s[2]) >= 0
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// unhex returns the value of a hexadecimal digit of either case, or -1.
func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// isLowerHex says whether s is n lower-case hexadecimal digits.
func isLowerHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := 0; i < n; i++ {
		if unhex(s[i]) < 0 || ('A' <= s[i] && s[i] <= 'F') {
			return false
		}
	}
	return true
}

// onlyHeader returns the value of a header field that must be there once.
func onlyHeader(h http.Header, name string) (string, error) {
	var values []string
	for k, v := range h {
		if strings.EqualFold(k, name) {
			values = append(values, v...)
		}
	}
	switch {
	case len(values) == 0:
		return "", fmt.Errorf("the %s header is missing", name)
	case len(values) > 1:
		return "", fmt.Errorf("the %s header is there %d times, it must be there once", name, len(values))
	case values[0] == "":
		return "", fmt.Errorf("the %s header is empty", name)
	}
	return values[0], nil
}

// bodyCause guesses why a digest over the body does not match: it tries the
// usual differences between the bytes signed and the bytes sent, and returns an
// end for the reason, empty when none of them fits.
func bodyCause(body []byte, matches func([]byte) bool) string {
	type guess struct {
		body []byte
		text string
	}
	var guesses []guess
	if cut, ok := bytes.CutSuffix(body, []byte("\n")); ok {
		guesses = append(guesses, guess{cut, "; it fits the body without its trailing newline"})
		if cut, ok = bytes.CutSuffix(cut, []byte("\r")); ok {
			guesses = append(guesses, guess{cut, "; it fits the body without its trailing newline"})
		}
	}
	guesses = append(guesses, guess{append(bytes.Clone(body), '\n'), "; it fits the body with one trailing newline more"})
	var compact bytes.Buffer
	if json.Compact(&compact, body) == nil {
		guesses = append(guesses, guess{compact.Bytes(), "; it fits the compact form of the body, without the white space that was sent"})
	}
	if v, err := parseJSON(body); err == nil {
		guesses = append(guesses, guess{v.stringify(nil), "; it fits JSON.stringify of the body, not the bytes that were sent"})
	}
	for _, g := range guesses {
		if matches(g.body) {
			return g.text
		}
	}
	return ""
}

// answer is the body of every HTTP answer.
type answer struct {
	Accepted bool   `json:"accepted"`
	Partner  string `json:"partner"`
	Method   string `json:"method,omitempty"`
	Target   string `json:"target,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// serve reads the request, has it checked and answers 200, or 401 with the reason.
func serve(w http.ResponseWriter, r *http.Request, partner string, check func(Request) error) {
	var body []byte
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			reply(w, http.StatusRequestEntityTooLarge, answer{Partner: partner, Reason: fmt.Sprintf("the body is longer than %d bytes", tooLarge.Limit)})
			return
		}
		if err != nil {
			reply(w, http.StatusBadRequest, answer{Partner: partner, Reason: "the body could not be read to its end"})
			return
		}
	}
	// RequestURI, not URL: net/http has already decoded the latter.
	if err := check(Request{Method: r.Method, Target: r.RequestURI, Header: r.Header, Body: body}); err != nil {
		reply(w, http.StatusUnauthorized, answer{Partner: partner, Reason: err.Error()})
		return
	}
	reply(w, http.StatusOK, answer{Accepted: true, Partner: partner, Method: r.Method, Target: r.RequestURI})
}

func reply(w http.ResponseWriter, status int, a answer) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The client may have gone; nobody is left to tell.
	_ = json.NewEncoder(w).Encode(a)
}
