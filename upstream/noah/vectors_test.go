package noah_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/signerd/signerd/upstream/noah"
)

// vectorFile is one file of testdata/vectors. The schema is closed: a field that is not here fails the test.
type vectorFile struct {
	// Source says where the expectations come from.
	Source  string   `json:"source"`
	Vectors []vector `json:"vectors"`
}

// vector is a request and what becomes of it: either claims, or an error in a field.
type vector struct {
	Name    string        `json:"name"`
	Request vectorRequest `json:"request"`
	// Now is the time of signing in seconds; absent for errors.
	Now int64 `json:"now"`
	// Claims is the payload; its numbers are compared as text.
	Claims json.RawMessage `json:"claims"`
	// Error is the field that a *FieldError names.
	Error string `json:"error"`
	// Sent is what goes to the partner, where it is not the request's own path and body.
	Sent *sent `json:"sent"`
	// NoPartner says why the local partner cannot be asked.
	NoPartner string `json:"no_partner"`
}

type vectorRequest struct {
	Method      string         `json:"method"`
	Path        string         `json:"path"`
	QueryParams map[string]any `json:"query_params"`
	Body        string         `json:"body"`
	// BodySHA256 is in hexadecimal.
	BodySHA256 string `json:"body_sha256"`
	// TTL is as Go writes a duration; absent means that the caller gave none.
	TTL string `json:"ttl"`
}

type sent struct {
	Target string `json:"target"`
	Body   string `json:"body"`
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
		switch {
		case v.Name == "":
			return nil, fmt.Errorf("a vector has no name")
		case (v.Claims == nil) == (v.Error == ""):
			return nil, fmt.Errorf("%q: wanted either claims or an error", v.Name)
		case (v.Claims == nil) != (v.Now == 0):
			return nil, fmt.Errorf("%q: now belongs to claims", v.Name)
		case v.Error != "" && (v.Sent != nil || v.NoPartner != ""):
			return nil, fmt.Errorf("%q: an error is not sent", v.Name)
		case v.Sent != nil && v.NoPartner != "":
			return nil, fmt.Errorf("%q: sent or no_partner, not both", v.Name)
		}
	}
	return file.Vectors, nil
}

// params is the request as the package takes it.
func (v vector) params(t *testing.T) noah.RequestParams {
	t.Helper()
	p := noah.RequestParams{Method: v.Request.Method, Path: v.Request.Path, QueryParams: v.Request.QueryParams, Body: []byte(v.Request.Body)}
	var err error
	if p.BodySHA256, err = hex.DecodeString(v.Request.BodySHA256); err != nil {
		t.Fatal(err)
	}
	if v.Request.TTL != "" {
		if p.TTL, err = time.ParseDuration(v.Request.TTL); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func TestVectors(t *testing.T) {
	accounts := []*account{newAccount(t, noah.ES384), newAccount(t, noah.ES256)}
	for _, v := range readVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			if v.Error != "" {
				_, err := noah.NewRequest(v.params(t))
				checkFieldError(t, err, v.Error, "")
				return
			}
			for _, a := range accounts {
				headers := a.sign(t, v.params(t), time.Unix(v.Now, 0))
				if got, want := sorted(t, segment(t, headers[noah.HeaderSignature], 1)), sorted(t, v.Claims); got != want {
					t.Errorf("%s: got\n%s, want\n%s", a.Algorithm(), got, want)
				}
				if v.NoPartner != "" {
					continue
				}
				if err := a.ask(time.Unix(v.Now, 0), v.Request.Method, v.target(), v.body(), headers); err != nil {
					t.Errorf("%s: the partner says: %v", a.Algorithm(), err)
				}
			}
		})
	}
}

func (v vector) target() string {
	if v.Sent != nil {
		return v.Sent.Target
	}
	return v.Request.Path
}

func (v vector) body() []byte {
	if v.Sent != nil {
		return []byte(v.Sent.Body)
	}
	return []byte(v.Request.Body)
}

func TestTheVectorSchemaIsClosed(t *testing.T) {
	const good = `{"name":"a","request":{"method":"GET","path":"/"},"now":1,"claims":{}}`
	tests := []struct{ name, text string }{
		{"an unknown field of the file", `{"source":"s","vectors":[` + good + `],"more":1}`},
		{"an unknown field of a vector", `{"source":"s","vectors":[{"name":"a","request":{},"now":1,"claims":{},"more":1}]}`},
		{"an unknown field of a request", `{"source":"s","vectors":[{"name":"a","request":{"verb":"GET"},"now":1,"claims":{}}]}`},
		{"an unknown field of what is sent", `{"source":"s","vectors":[{"name":"a","request":{},"now":1,"claims":{},"sent":{"path":"/"}}]}`},
		{"no vectors", `{"source":"s","vectors":[]}`},
		{"no source", `{"vectors":[` + good + `]}`},
		{"no name", `{"source":"s","vectors":[{"request":{},"now":1,"claims":{}}]}`},
		{"no expectation", `{"source":"s","vectors":[{"name":"a","request":{},"now":1}]}`},
		{"two expectations", `{"source":"s","vectors":[{"name":"a","request":{},"now":1,"claims":{},"error":"path"}]}`},
		{"claims without a time", `{"source":"s","vectors":[{"name":"a","request":{},"claims":{}}]}`},
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
