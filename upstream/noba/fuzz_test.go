package noba_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/partners"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noba"
)

func FuzzNewRequest(f *testing.F) {
	c := newCredential(f, testKey, testSecret)
	f.Fuzz(func(t *testing.T, method, target string, body []byte, timestamp, clock int64) {
		now := time.UnixMilli(1_000_000_000_000 + int64(uint64(clock)%9_000_000_000_000))
		request, err := noba.NewRequest(noba.RequestParams{Method: method, Path: target, Body: body, TimestampMillis: &timestamp}, now)
		if err != nil {
			var fieldErr *upstream.FieldError
			if !errors.As(err, &fieldErr) {
				t.Fatalf("got %v", err)
			}
			return
		}
		headers := c.Sign(request, now)
		if err := ask(now, testKey, testSecret, method, target, body, headers); err != nil {
			t.Errorf("%s %q: the partner says: %v", method, target, err)
		}
		// A verifier that compares with JSON.stringify accepts exactly what carries no warning.
		strict := partners.NewNoba(func() time.Time { return now })
		strict.Strict = true
		strict.Register(testKey, []byte(testSecret), true)
		header := make(http.Header)
		for name, value := range headers {
			header.Set(name, value)
		}
		err = strict.Check(partners.Request{Method: method, Target: target, Header: header, Body: body})
		if warnings := request.Warnings(); (len(warnings) > 0) != (err != nil) {
			t.Errorf("%q: the warnings are %q, and a strict verifier says %v", body, warnings, err)
		}
	})
}

// Without seeds a fuzz target finds nothing in the ordinary test run, and nobody notices.
func TestEveryFuzzTargetHasSeeds(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	targets := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`).FindAllStringSubmatch(string(source), -1) {
			targets++
			if seeds, err := os.ReadDir(filepath.Join("testdata", "fuzz", match[1])); err != nil || len(seeds) == 0 {
				t.Errorf("%s has no seeds in testdata/fuzz/%s: %v", match[1], match[1], err)
			}
		}
	}
	if targets == 0 {
		t.Error("no fuzz target was found")
	}
}
