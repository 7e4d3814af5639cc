package policyfile_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/signerd/signerd/cmd/signerctl/internal/policyfile"
)

// FuzzParse takes anything for a document: what is accepted reads back the same once it is written, what is not has faults
// within the text.
func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := policyfile.Parse(text)
		if err != nil {
			var faults policyfile.Faults
			if !errors.As(err, &faults) || len(faults) == 0 || d != nil {
				t.Fatalf("got %v, %v", d, err)
			}
			for _, fault := range faults {
				// A text that ends in the middle of something is at fault on the line after it.
				if lines := len(lineEnd.FindAll(text, -1)) + 2; fault.Line < 0 || fault.Line > lines || fault.Problem == "" {
					t.Errorf("fault %+v in a text of %d lines", fault, lines)
				}
			}
			return
		}
		generation := uint64(0)
		if d.Generation != nil {
			generation = *d.Generation
		}
		written, err := policyfile.Format(d.Policy, generation)
		if err != nil {
			t.Fatal(err)
		}
		again, err := policyfile.Parse(written)
		if err != nil {
			t.Fatalf("%v\n%s", err, written)
		}
		if !proto.Equal(d.Policy, again.Policy) || *again.Generation != generation {
			t.Errorf("%v became %v", d.Policy, again.Policy)
		}
	})
}

// lineEnd is any of YAML's.
var lineEnd = regexp.MustCompile("\r\n|[\r\n\u0085\u2028\u2029]")

// FuzzFault takes anything for the name of a field.
func FuzzFault(f *testing.F) {
	d, err := policyfile.Parse([]byte(everything))
	if err != nil {
		f.Fatal(err)
	}
	lines := strings.Count(everything, "\n")
	f.Fuzz(func(t *testing.T, field, description string) {
		if got := d.Fault(field, description); got.Line < 1 || got.Line > lines || got.Problem != description {
			t.Errorf("got %+v", got)
		}
	})
}

// Without seeds a fuzz target finds nothing in the ordinary test run, and nobody notices.
func TestEveryFuzzTargetHasSeeds(t *testing.T) {
	source, err := os.ReadFile("fuzz_test.go")
	if err != nil {
		t.Fatal(err)
	}
	targets := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`).FindAllStringSubmatch(string(source), -1)
	for _, match := range targets {
		if seeds, err := os.ReadDir(filepath.Join("testdata", "fuzz", match[1])); err != nil || len(seeds) == 0 {
			t.Errorf("%s has no seeds: %v", match[1], err)
		}
	}
	if len(targets) < 2 {
		t.Errorf("found %d fuzz targets, want 2 or more", len(targets))
	}
}

// Seeds that are all refused at once explore nothing.
func TestSomeSeedsAreAccepted(t *testing.T) {
	files, err := filepath.Glob("testdata/fuzz/FuzzParse/*")
	if err != nil {
		t.Fatal(err)
	}
	accepted := 0
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, quoted, ok := bytes.Cut(b, []byte("[]byte("))
		if !ok {
			t.Fatalf("%s is no seed", file)
		}
		text, err := strconv.Unquote(strings.TrimSuffix(strings.TrimSpace(string(quoted)), ")"))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if _, err := policyfile.Parse([]byte(text)); err == nil {
			accepted++
		}
	}
	if accepted < 5 || accepted == len(files) {
		t.Errorf("%d of %d seeds are accepted", accepted, len(files))
	}
}
