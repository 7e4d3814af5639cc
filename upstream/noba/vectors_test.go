package noba_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/interop"
	"github.com/signerd/signerd/upstream/noba"
)

// vectorFile is one file of testdata/vectors. The schema is closed: a field that is not here fails the test.
type vectorFile struct {
	// Source says where the expectations come from.
	Source  string   `json:"source"`
	Vectors []vector `json:"vectors"`
}

// vector is a request and what becomes of it: either a signature, or an error in a field.
type vector struct {
	Name      string        `json:"name"`
	APIKey    string        `json:"api_key"`
	Secret    string        `json:"secret"`
	Request   vectorRequest `json:"request"`
	NowMillis int64         `json:"now_millis"`
	Signature string        `json:"signature"`
	// Error is the field that a *FieldError names.
	Error string `json:"error"`
}

type vectorRequest struct {
	Method          string `json:"method"`
	Path            string `json:"path"`
	Body            string `json:"body"`
	TimestampMillis *int64 `json:"timestamp_millis"`
}

// readVectors reads every file, and fails where a file or the folder could pass a test by being empty.
func readVectors(t *testing.T) []vector {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "vectors", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("there are no vectors")
	}
	var all []vector
	names := make(map[string]bool)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		read, err := parseVectors(text)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, v := range read {
			if names[v.Name] {
				t.Fatalf("%s: the name %q is taken", file, v.Name)
			}
			names[v.Name] = true
		}
		all = append(all, read...)
	}
	return all
}

func parseVectors(text []byte) ([]vector, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var file vectorFile
	if err := decoder.Decode(&file); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows the JSON")
	}
	if file.Source == "" || len(file.Vectors) == 0 {
		return nil, fmt.Errorf("it has no source or no vectors")
	}
	for _, v := range file.Vectors {
		if v.Name == "" || v.APIKey == "" || v.Secret == "" || v.NowMillis == 0 || (v.Signature == "") == (v.Error == "") {
			return nil, fmt.Errorf("%q: wanted a name, an API key, a secret, a time, and either a signature or an error", v.Name)
		}
	}
	return file.Vectors, nil
}

func (v vector) now() time.Time { return time.UnixMilli(v.NowMillis) }

func (v vector) params() noba.RequestParams {
	return noba.RequestParams{
		Method: v.Request.Method, Path: v.Request.Path, Body: []byte(v.Request.Body), TimestampMillis: v.Request.TimestampMillis,
	}
}

func (v vector) timestamp() int64 {
	if v.Request.TimestampMillis != nil {
		return *v.Request.TimestampMillis
	}
	return v.NowMillis
}

func TestVectors(t *testing.T) {
	for _, v := range readVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			request, err := noba.NewRequest(v.params(), v.now())
			if v.Error != "" {
				checkFieldError(t, err, v.Error, "")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			headers := newCredential(t, v.APIKey, v.Secret).Sign(request, v.now())
			if got := headers["X-Noba-Signature"]; got != v.Signature {
				t.Errorf("got the signature %s, want %s", got, v.Signature)
			}
			if got := headers["X-Noba-API-Key"]; got != v.APIKey {
				t.Errorf("got the API key %q", got)
			}
			if got, want := headers["X-Noba-Timestamp"], strconv.FormatInt(v.timestamp(), 10); got != want {
				t.Errorf("got the timestamp %q, want %q", got, want)
			}
			if len(headers) != 3 {
				t.Errorf("got %d headers", len(headers))
			}
			if err := ask(v.now(), v.APIKey, v.Secret, v.Request.Method, v.Request.Path, []byte(v.Request.Body), headers); err != nil {
				t.Errorf("the partner says: %v", err)
			}
		})
	}
}

// scriptLine is what internal/interop/noba.js reads.
type scriptLine struct {
	Timestamp int64   `json:"timestamp"`
	APIKey    string  `json:"apiKey"`
	Secret    string  `json:"secret"`
	Method    string  `json:"method"`
	Path      string  `json:"path"`
	Body      *string `json:"body"`
}

func newScriptLine(t *testing.T, timestamp int64, apiKey, shared, method, target string, body []byte) string {
	t.Helper()
	path, _, _ := strings.Cut(target, "?")
	line := scriptLine{timestamp, apiKey, shared, strings.ToUpper(method), path, nil}
	if len(body) > 0 {
		encoded := base64.StdEncoding.EncodeToString(body)
		line.Body = &encoded
	}
	text, err := json.Marshal(line)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The files say where their signatures come from; this holds them to it, and adds what no file should carry.
func TestTheScriptOfNobasPageGivesTheSameSignatures(t *testing.T) {
	var names, lines, want []string
	for _, v := range readVectors(t) {
		if v.Error != "" {
			continue
		}
		names = append(names, v.Name)
		want = append(want, v.Signature)
		lines = append(lines, newScriptLine(t, v.timestamp(), v.APIKey, v.Secret, v.Request.Method, v.Request.Path, []byte(v.Request.Body)))
	}
	text := []byte(`{"text":"` + strings.Repeat("Größe ✓ ", 87_000) + `"}`)
	mebibyte := append(text, bytes.Repeat([]byte("\n"), 1<<20-len(text))...)
	manyTokens := []byte("[" + strings.Repeat("[],", 1<<18) + "{}]")
	const target = "/v1/transactions?a=1"
	for _, body := range [][]byte{mebibyte, manyTokens} {
		request, err := noba.NewRequest(noba.RequestParams{Method: "POST", Path: target, Body: body}, testTime)
		if err != nil {
			t.Fatal(err)
		}
		headers := newCredential(t, testKey, testSecret).Sign(request, testTime)
		if err := ask(testTime, testKey, testSecret, "POST", target, body, headers); err != nil {
			t.Errorf("a body of %d bytes: the partner says: %v", len(body), err)
		}
		names = append(names, fmt.Sprintf("a body of %d bytes", len(body)))
		want = append(want, headers[noba.HeaderSignature])
		lines = append(lines, newScriptLine(t, testTime.UnixMilli(), testKey, testSecret, "POST", target, body))
	}
	for i, line := range interop.Node(t, "noba.js", lines) {
		var got string
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		if got != want[i] {
			t.Errorf("%s: the script gives %s, want %s", names[i], got, want[i])
		}
	}
}

func TestTheVectorSchemaIsClosed(t *testing.T) {
	const good = `{"name":"a","api_key":"k","secret":"s","request":{"method":"GET","path":"/"},"now_millis":1,"error":"path"}`
	tests := []struct{ name, text string }{
		{"an unknown field of the file", `{"source":"s","vectors":[` + good + `],"more":1}`},
		{"an unknown field of a vector", `{"source":"s","vectors":[` + strings.Replace(good, "{", `{"more":1,`, 1) + `]}`},
		{"an unknown field of a request", `{"source":"s","vectors":[` + strings.Replace(good, `"path":`, `"target":`, 1) + `]}`},
		{"no vectors", `{"source":"s","vectors":[]}`},
		{"no source", `{"vectors":[` + good + `]}`},
		{"no name", `{"source":"s","vectors":[` + strings.Replace(good, `"name":"a",`, "", 1) + `]}`},
		{"no expectation", `{"source":"s","vectors":[` + strings.Replace(good, `,"error":"path"`, "", 1) + `]}`},
		{"two expectations", `{"source":"s","vectors":[` + strings.Replace(good, `"error"`, `"signature":"x","error"`, 1) + `]}`},
		{"something after the end", `{"source":"s","vectors":[` + good + `]} {}`},
		{"nothing", ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := parseVectors([]byte(tt.text)); err == nil {
				t.Error("it was read")
			}
		})
	}
	if _, err := parseVectors([]byte(`{"source":"s","vectors":[` + good + `]}`)); err != nil {
		t.Error(err)
	}
}
