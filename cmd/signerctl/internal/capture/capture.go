// Package capture reads a request as it went out: a curl command, the text of an HTTP request, or an entry of a HAR file.
//
// It is for `signerctl explain`. It sends nothing, and its errors repeat nothing of what it reads, for that holds secrets.
package capture

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/signerd/signerd/internal/diagnosis"
)

// The forms that a captured request comes in.
const (
	Curl = "curl"
	HTTP = "http"
	HAR  = "har"
)

// Options say how a capture is to be read.
type Options struct {
	// Form is one of the forms above; empty to tell it from the content.
	Form string
	// Entry is which entry of a HAR file is meant, from 1; 0 for the only signed one.
	Entry int
	// ReadFile gives the files that a curl command names by a path within the current folder. Nil refuses them.
	ReadFile func(name string) ([]byte, error)
}

// Captured is what was read.
type Captured struct {
	diagnosis.Request
	// Form is the form it was read in.
	Form string
	// Notes are remarks on how it was read, which repeat no secrets.
	Notes []string
}

// ErrForm says that a content is in none of the forms.
var ErrForm = errors.New("it is neither a curl command, nor an HTTP request, nor a HAR file")

// Read reads one request from content.
func Read(content []byte, o Options) (*Captured, error) {
	form := o.Form
	if form == "" {
		form = formOf(content)
	}
	c := &Captured{Form: form}
	var err error
	switch form {
	case Curl:
		err = c.readCurl(string(content), o)
	case HTTP:
		err = c.readHTTP(content)
	case HAR:
		err = c.readHAR(content, o.Entry)
	default:
		err = ErrForm
	}
	if err == nil && o.Entry != 0 && form != HAR {
		err = errors.New("it has no entries to choose from: that is for HAR files")
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func formOf(content []byte) string {
	start := bytes.TrimLeft(bytes.TrimPrefix(content, []byte("\ufeff")), " \t\r\n")
	line, _, _ := bytes.Cut(start, []byte("\n"))
	words := strings.Fields(string(line[:min(len(line), 64<<10)]))
	switch {
	case bytes.HasPrefix(start, []byte("{")):
		return HAR
	case len(words) > 0 && (words[0] == "curl" || words[0] == "curl.exe"), len(words) > 1 && words[0] == "$" && words[1] == "curl":
		return Curl
	case len(words) == 3 && strings.HasPrefix(words[2], "HTTP/"):
		return HTTP
	}
	return ""
}

// setURL takes a URL apart without changing its target.
func (c *Captured) setURL(text string) error {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		scheme, rest = "http", text // as curl does
	}
	scheme = strings.ToLower(scheme)
	if scheme != "http" && scheme != "https" {
		return errors.New("its URL is neither http nor https")
	}
	rest, _, _ = strings.Cut(rest, "#")
	host, target := rest, ""
	if at := strings.IndexAny(rest, "/?"); at >= 0 {
		host, target = rest[:at], rest[at:]
	}
	if at := strings.LastIndexByte(host, '@'); at >= 0 {
		host = host[at+1:]
	}
	if host == "" {
		return errors.New("its URL has no host")
	}
	if !strings.HasPrefix(target, "/") {
		target = "/" + target
	}
	c.Scheme, c.Host, c.Target = scheme, host, target
	return nil
}

// squeeze takes the dot segments out of the path, as curl and browsers do before they send it.
func (c *Captured) squeeze() {
	path, query, has := strings.Cut(c.Target, "?")
	u, err := url.Parse("http://host" + path)
	if err != nil || !strings.Contains(path, "/.") {
		return
	}
	if path = u.ResolveReference(u).EscapedPath(); has {
		path += "?" + query
	}
	c.Target = path
}

// add adds a header; what is no header's name is refused.
func (c *Captured) add(name, value string) error {
	if c.Header == nil {
		c.Header = make(http.Header)
	}
	if !isToken(name) {
		return errors.New("it holds a header line whose name is not one")
	}
	if strings.EqualFold(name, "Host") {
		c.Host = value
		return nil
	}
	c.Header.Add(name, value)
	return nil
}

// isToken says whether a text can be a header's name or a method (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		letter := s[i]|0x20 >= 'a' && s[i]|0x20 <= 'z'
		if !letter && (s[i] < '0' || s[i] > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}
