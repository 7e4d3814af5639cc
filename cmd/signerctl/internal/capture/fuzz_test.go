package capture_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/signerd/signerd/cmd/signerctl/internal/capture"
)

// read fails the test where what was read could not have gone out.
func read(t *testing.T, content []byte, form string) {
	c, err := capture.Read(content, capture.Options{Form: form, ReadFile: func(string) ([]byte, error) { return nil, errors.New("no") }})
	if err != nil {
		return
	}
	if c.Form != form || c.Method == "" || !strings.HasPrefix(c.Target, "/") {
		t.Errorf("read the method %q and the target %q", c.Method, c.Target)
	}
	for name := range c.Header {
		if name == "" || strings.ContainsAny(name, "\r\n :") {
			t.Errorf("read the header %q", name)
		}
	}
}

func FuzzCurl(f *testing.F) {
	for _, seed := range []string{
		"curl 'https://h/p?a=1' \\\n -H 'A: 1' --data-raw $'{\"a\":\"\\u00eb\\x41\\n\"}' --compressed",
		`curl -sXPUT "https://h/$X" -d @f -d "a\"b"`, "curl -G https://h -d a --data-urlencode b=c", "curl $B/a/../b 2>&1 | x", "$ curl ${B}/ #c", "curl h -H 'A;' -H 'B:' \\",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) { read(t, content, capture.Curl) })
}

func FuzzHTTP(f *testing.F) {
	f.Add([]byte("POST /p?a=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"))
	f.Add([]byte("GET http://h/p HTTP/1.1\nTransfer-Encoding: chunked\n\n2\r\n{}\r\n0\r\n\r\n"))
	f.Add([]byte("GET / HTTP/2\n:path: /\nDate: Wed, 21 Oct 2026 07:28:00 GMT"))
	f.Fuzz(func(t *testing.T, content []byte) { read(t, content, capture.HTTP) })
}

func FuzzHAR(f *testing.F) {
	f.Add([]byte(har(signedEntry)))
	f.Add([]byte(har(`{"request":{"method":"GET","url":"https://h"}}`, signedEntry)))
	f.Add([]byte(har(strings.Replace(signedEntry, `"text":"Zo\u00eb"`, `"encoding":"base64","text":"e30="`, 1))))
	f.Fuzz(func(t *testing.T, content []byte) { read(t, content, capture.HAR) })
}
