package capture_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signerd/signerd/cmd/signerctl/internal/capture"
	"github.com/signerd/signerd/internal/diagnosis"
)

func files(t *testing.T, content map[string]string) func(string) ([]byte, error) {
	t.Helper()
	return func(name string) ([]byte, error) {
		text, ok := content[name]
		if !ok {
			return nil, errors.New("it is not there")
		}
		return []byte(text), nil
	}
}

const form = "application/x-www-form-urlencoded"

func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func get(target string) diagnosis.Request {
	return diagnosis.Request{Method: "GET", Target: target, Scheme: "https", Host: "h"}
}

func post(contentType, body string) diagnosis.Request {
	return diagnosis.Request{Method: "POST", Target: "/p", Scheme: "https", Host: "h", Header: headers("Content-Type", contentType), Body: []byte(body)}
}

func TestCurlCommandsAreReadAsAShellAndCurlDo(t *testing.T) {
	for _, tt := range []struct {
		name, command string
		want          diagnosis.Request
	}{
		{"a URL", "curl https://h/p?a=1", get("/p?a=1")},
		{"a prompt", "$ curl https://h/p\n", get("/p")},
		{"no path", "curl 'https://h?a=1#fragment'", get("/?a=1")},
		{"credentials and port", "curl https://u:p@h:8443/p", diagnosis.Request{Method: "GET", Target: "/p", Scheme: "https", Host: "h:8443"}},
		{"no scheme", "curl h/p", diagnosis.Request{Method: "GET", Target: "/p", Scheme: "http", Host: "h"}},
		{"--url", "curl --url https://h/p -s", get("/p")},
		{"an & in no quotes", "curl https://h/p?a=1&b=2", get("/p?a=1")},
		{"a pipe", "curl https://h/p 2>/dev/null | jq .", get("/p")},
		{"a comment", "curl https://h/p # -d x", get("/p")},
		{"dots", "curl https://h/a/../p", get("/p")},
		{"dots as they are", "curl --path-as-is https://h/a/../p", get("/a/../p")},
		{"a variable as the base", `curl "$BASE"'/p?a=1'`, diagnosis.Request{Method: "GET", Target: "/p?a=1"}},
		{"a variable, and a dollar sign", `curl "${BASE}"'/p$x'`, diagnosis.Request{Method: "GET", Target: "/p$x"}},
		{"-G", "curl -G https://h/p -d a=1 --data-urlencode 'b=c d&e'", get("/p?a=1&b=c%20d%26e")},
		{"-I", "curl -I https://h/p", diagnosis.Request{Method: "HEAD", Target: "/p", Scheme: "https", Host: "h"}},
		{"-X joined", "curl -sSXPUT https://h/p", diagnosis.Request{Method: "PUT", Target: "/p", Scheme: "https", Host: "h"}},
		{"headers", "curl https://h/p -H 'A: 1' -H'B:2' -H 'C;' -H 'A: 3' -H 'Host: other' -H 'Gone:'",
			diagnosis.Request{Method: "GET", Target: "/p", Scheme: "https", Host: "other", Header: headers("A", "1", "B", "2", "C", "", "A", "3")}},
		{"-d twice", "curl https://h/p -d a=1 -d b=2", post(form, "a=1&b=2")},
		{"newlines in place are sent", "curl https://h/p -d 'a\n'", post(form, "a\n")},
		{"--json", `curl https://h/p --json '{"a":' --json '1}'`, post("application/json", `{"a":1}`)},
		{"--data-raw with an at", "curl https://h/p --data-raw @x", post(form, "@x")},
		{"--data-binary of a file", "curl https://h/p --data-binary @f", post(form, "{\n\xff}\n")},
		{"flags with values", "curl --max-time 5 -o out -A agent --cacert ca --retry 3 https://h/p --compressed -kL --http1.1", get("/p")},
		{"as Chrome copies", "curl 'https://h/p' \\\n  -H 'content-type: application/json' \\\n  --data-raw $'{\"n\":\"Zo\\u00eb \\ud83d\\ude00 it\\'s\\\\n\\x41\\101\"}' \\\n  --compressed",
			post("application/json", `{"n":"Zoë 😀 it's\nAA"}`)},
		{"as Firefox copies", "curl 'https://h/p' -X POST -H 'Content-Type: application/json' --data-raw '{\"a\":\"'\\''\"}'", post("application/json", `{"a":"'"}`)},
		{"double quotes", `curl "https://h/p" -d "{\"a\":\"\$1 \\n\"}"`, post(form, `{"a":"$1 \n"}`)},
		{"a circumflex", `curl https://h/p -d '{"a":"^"}'`, post(form, `{"a":"^"}`)},
		{"line ends of Windows", "curl https://h/p \\\r\n -d a\r\n", post(form, "a")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := capture.Read([]byte(tt.command), capture.Options{ReadFile: files(t, map[string]string{"f": "{\n\xff}\n"})})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, c.Request); diff != "" || c.Form != capture.Curl {
				t.Errorf("form %s (-want +got):\n%s", c.Form, diff)
			}
		})
	}
}

func TestCurlReadsAFileWithoutItsLineEnds(t *testing.T) {
	c, err := capture.Read([]byte("curl https://h/p -d @f"), capture.Options{ReadFile: files(t, map[string]string{"f": "{\r\n\xff\x00}\n"})})
	if err != nil || string(c.Body) != "{\xff}" || string(c.File) != "{\r\n\xff\x00}\n" {
		t.Errorf("got %q of %q (%v)", c.Body, c.File, err)
	}
}

func TestRawRequestsAreReadWithTheirBodiesToTheByte(t *testing.T) {
	want := diagnosis.Request{Method: "POST", Target: "/p?a=1", Host: "h", Header: headers("A", "1", "A", "2"), Body: []byte("{}\r\n")}
	for name, content := range map[string]string{
		"CRLF": "POST /p?a=1 HTTP/1.1\r\nHost: h\r\nA: 1\r\na:2 \r\n\r\n{}\r\n",
		"LF":   "\nPOST /p?a=1 HTTP/2\n:authority: h\nHost: h\nA: 1\na:2 \n\n{}\r\n",
	} {
		c, err := capture.Read([]byte(content), capture.Options{})
		if err != nil {
			t.Fatal(name, err)
		}
		if diff := cmp.Diff(want, c.Request); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for content, body := range map[string]string{
		"POST / HTTP/1.1\nContent-Length: 2\n\n{}\n":                          "{}",
		"POST / HTTP/1.1\nTransfer-Encoding: chunked\n\n2\r\n{}\r\n0\r\n\r\n": "{}",
		"GET / HTTP/1.1\nHost: h":                                             "",
	} {
		if c, err := capture.Read([]byte(content), capture.Options{}); err != nil || string(c.Body) != body {
			t.Errorf("%q: %v", content, err)
		}
	}
	c, err := capture.Read([]byte("GET http://proxied/p HTTP/1.1\nDate: Wed, 21 Oct 2026 07:28:00 GMT\n\n"), capture.Options{})
	if err != nil || c.Host != "proxied" || c.Target != "/p" || !c.Sent.Equal(time.Date(2026, 10, 21, 7, 28, 0, 0, time.UTC)) {
		t.Errorf("got %+v, %v", c, err)
	}
}

const signedEntry = `{"startedDateTime":"2026-10-21T07:28:00.5Z","request":{"method":"POST","url":"https://h/p?a=%20","headers":[{"name":":path","value":"/p"},{"name":"api-signature","value":"t"}],"postData":{"text":"Zo\u00eb"}},"response":{"status":200}}`

func har(entries ...string) string {
	return `{"log":{"version":"1.2","entries":[` + strings.Join(entries, ",") + `]}}`
}

func TestTheSignedEntryOfAHARFileIsChosen(t *testing.T) {
	const other = `{"request":{"method":"GET","url":"https://other/","headers":[]}}`
	refused := strings.NewReplacer("https://h/", "https://refused/", "200", "401").Replace(signedEntry)
	for _, tt := range []struct {
		content string
		entry   int
		host    string
	}{
		{har(signedEntry), 0, "h"}, {har(other, signedEntry), 0, "h"}, {har(other), 0, "other"},
		{har(signedEntry, refused, signedEntry), 0, "refused"}, {har(signedEntry, other, signedEntry), 2, "other"},
	} {
		c, err := capture.Read([]byte(tt.content), capture.Options{Entry: tt.entry})
		if err != nil || c.Host != tt.host || c.Form != capture.HAR {
			t.Errorf("got %+v, %v; want the host %s", c, err, tt.host)
		}
	}
	c, err := capture.Read([]byte("\ufeff"+har(signedEntry)), capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := diagnosis.Request{Method: "POST", Target: "/p?a=%20", Scheme: "https", Host: "h", Header: headers("Api-Signature", "t"), Body: []byte("Zoë"), Sent: time.Date(2026, 10, 21, 7, 28, 0, 5e8, time.UTC)}
	if diff := cmp.Diff(want, c.Request); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	encoded := strings.Replace(signedEntry, `"text":"Zo\u00eb"`, `"encoding":"base64","text":"`+base64.StdEncoding.EncodeToString([]byte("\xff\n"))+`"`, 1)
	if c, err := capture.Read([]byte(har(encoded)), capture.Options{}); err != nil || string(c.Body) != "\xff\n" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestWhatCannotBeToldIsRefusedWithoutBeingRepeated(t *testing.T) {
	const secret = "SECRET"
	for _, tt := range []struct{ content, form, says string }{
		{"hello " + secret, "", "neither a curl command"},
		{secret, capture.Curl, "does not begin with curl"},
		{"curl", "", "has no URL"},
		{"curl https://h/ 'SECRET", "", "not closed"},
		{`curl https://h/ "SECRET`, "", "not closed"},
		{"curl https://h/ $'SECRET", "", "not closed"},
		{"curl https://h/ -H \"X: $(cat SECRET)\"", "", "a command in the command"},
		{"curl https://h/ -H \"X: `cat SECRET`\"", "", "a command in the command"},
		{`curl https://h/ -H "X: $SECRET"`, "", "--header holds a variable"},
		{`curl "$BASE/$SECRET"`, "", "holds a variable"},
		{`curl https://h/ -d "${SECRET:-x}"`, "", "not ${NAME}"},
		{"curl https://h/ https://SECRET/", "", "more than one URL"},
		{"curl https://h/ --secret-flag SECRET", "", "--secret-flag is not known"},
		{"curl https://h/ --sec=SECRET", "", "a flag that is not known"},
		{"curl https://h/ -@SECRET", "", "a short flag that is not known"},
		{"curl https://h/ -d", "", "--data has no value"},
		{"curl https://h/ -F a=SECRET", "", "boundary"},
		{"curl https://h/ -d @/SECRET", "", "not within this folder"},
		{"curl https://h/ -d @SECRET", "", "reading the file"},
		{"curl https://h/ -H @SECRET", "", "--header reads a file"},
		{"curl https://h/ --data-urlencode a@SECRET", "", "reads a file"},
		{"curl https://h/{a,b}/SECRET", "", "several URLs"},
		{"curl 'https://h/ SECRET'", "", "white space"},
		{"curl ftp://h/SECRET", "", "neither http nor https"},
		{"curl https:///SECRET", "", "no host"},
		{"curl https://h/ -H 'SE CRET: x'", "", "whose name is not one"},
		{"curl https://h/ -X 'SE CRET'", "", "method is not one"},
		{"curl ^\"https://h/SECRET^\"", "", "Windows"},
		{"curl https://h/SECRET ^\r\n -d x", "", "Windows"},
		{"SECRET", capture.HTTP, "METHOD TARGET HTTP/1.1"},
		{"GET SECRET HTTP/1.1\n\n", "", "does not begin with /"},
		{"GET / HTTP/1.1\nSECRET\n\n", "", "among the headers that is none"},
		{"GET / HTTP/1.1\nContent-Length: SECRET\n\n", "", "not a number"},
		{"GET / HTTP/1.1\nContent-Length: 9\n\nSECRET", "", "9, and 6 bytes"},
		{`{"SECRET"`, "", "not a HAR file"},
		{`{"log":{"entries":"SECRET"}}`, "", "not a HAR file"},
		{`{"log":{}}`, "", "with entries"},
		{har(signedEntry, signedEntry), "", "2 signed requests"},
		{har(`{}`, `{}`), "", "none of its 2 requests"},
		{har(strings.Replace(signedEntry, `"text":"Zo\u00eb"`, `"encoding":"base64","text":"SECRET!"`, 1)), "", "is said to be base64"},
		{har(strings.Replace(signedEntry, `"text":"Zo\u00eb"`, `"params":[{"name":"SECRET"}]`, 1)), "", "parameters alone"},
		{har(strings.Replace(signedEntry, `"POST"`, `"SE CRET"`, 1)), "", "method is not one"},
	} {
		_, err := capture.Read([]byte(tt.content), capture.Options{Form: tt.form, ReadFile: files(t, nil)})
		if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: got %v, want %q", tt.content, err, tt.says)
		}
	}
	for _, entry := range []int{-1, 2} {
		if _, err := capture.Read([]byte(har(signedEntry)), capture.Options{Entry: entry}); err == nil {
			t.Errorf("entry %d was found", entry)
		}
	}
}
