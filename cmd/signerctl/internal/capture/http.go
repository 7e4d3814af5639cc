package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
)

// maxHeaderBytes bounds what stands before the body.
const maxHeaderBytes = 1 << 20

// readHTTP reads the text of an HTTP/1.1 request, with lines that end in CRLF or LF. The body is what Content-Length says, or
// without it all that follows.
func (c *Captured) readHTTP(content []byte) error {
	rest := bytes.TrimLeft(content, "\r\n")
	head := rest
	next := func() (string, bool) {
		line, after, ok := bytes.Cut(rest, []byte("\n"))
		rest = after
		return string(bytes.TrimSuffix(line, []byte("\r"))), ok
	}
	line, _ := next()
	words := strings.Split(line, " ")
	if len(words) != 3 || !isToken(words[0]) || !strings.HasPrefix(words[2], "HTTP/") {
		return errors.New("its first line is not of the form METHOD TARGET HTTP/1.1")
	}
	c.Method, c.Target = words[0], words[1]
	for more := true; more; {
		if line, more = next(); line == "" {
			break
		}
		if len(head)-len(rest) > maxHeaderBytes {
			return fmt.Errorf("its headers have more than %d KiB; is there an empty line before the body?", maxHeaderBytes>>10)
		}
		if strings.HasPrefix(line, ":") {
			continue // HTTP/2 shows method and target as headers too
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return errors.New("it holds a line among the headers that is none; is there an empty line before the body?")
		}
		if err := c.add(name, strings.Trim(value, " \t")); err != nil {
			return err
		}
	}
	if !strings.HasPrefix(c.Target, "/") {
		host := c.Host
		if err := c.setURL(c.Target); err != nil || !strings.Contains(words[1], "://") {
			return errors.New("its target does not begin with /")
		}
		if host != "" {
			c.Host = host
		}
	}
	if when, err := http.ParseTime(c.Header.Get("Date")); err == nil {
		c.Sent = when
	}
	return c.readHTTPBody(rest)
}

func (c *Captured) readHTTPBody(rest []byte) error {
	if strings.EqualFold(c.Header.Get("Transfer-Encoding"), "chunked") {
		body, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(rest)))
		if err == nil {
			c.Body = body
			return nil
		}
		c.Notes = append(c.Notes, "Transfer-Encoding says chunked, and the body is not; it is taken as it stands")
	} else if length := c.Header.Get("Content-Length"); length != "" {
		n, err := strconv.ParseUint(length, 10, 62)
		switch {
		case err != nil:
			return errors.New("its Content-Length is not a number")
		case n > uint64(len(rest)):
			return fmt.Errorf("its Content-Length is %d, and %d bytes of body follow: is it cut off, or are its line ends changed?", n, len(rest))
		case n < uint64(len(rest)):
			c.Notes = append(c.Notes, fmt.Sprintf("Content-Length is %d; the %d bytes that follow the body are not part of the request", n, uint64(len(rest))-n))
			rest = rest[:n]
		}
	}
	c.Body = rest
	return nil
}
