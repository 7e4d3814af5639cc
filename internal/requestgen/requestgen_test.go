package requestgen_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/signerd/signerd/internal/jsonstringify"
	"github.com/signerd/signerd/internal/requestgen"
)

func TestTheSameSeedGivesTheSameRequests(t *testing.T) {
	var first, again, other bytes.Buffer
	for out, seed := range map[*bytes.Buffer]uint64{&first: 1, &again: 1, &other: 2} {
		if err := requestgen.Write(out, seed, 50); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), again.Bytes()) {
		t.Error("one seed gave two files")
	}
	if bytes.Equal(first.Bytes(), other.Bytes()) {
		t.Error("two seeds gave one file")
	}
}

func TestALineIsARequest(t *testing.T) {
	var out bytes.Buffer
	if err := requestgen.Write(&out, 3, 20); err != nil {
		t.Fatal(err)
	}
	g := requestgen.NewPortable(3)
	for line := range bytes.Lines(out.Bytes()) {
		var got requestgen.Request
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatal(err)
		}
		if want := g.Next(); got.Partner != want.Partner || got.Method != want.Method || got.Target != want.Target || !bytes.Equal(got.Body, want.Body) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if !bytes.Contains(line, []byte(`"body_base64":"`)) {
			t.Errorf("a line has no body_base64 that is a string: %.100s", line)
		}
	}
}

func TestRequestsAreOddAndYetAllowed(t *testing.T) {
	seen := make(map[string]bool)
	for _, g := range []*requestgen.Generator{requestgen.New(4), requestgen.NewPortable(4)} {
		for range 3000 {
			r := g.Next()
			if r.Partner == requestgen.Noba && len(r.Body) > 0 {
				if !json.Valid(r.Body) || r.Body[0] != '{' && r.Body[0] != '[' {
					t.Fatalf("a body of Noba's is no JSON object or array: %.200s", r.Body)
				}
				if d := jsonstringify.Differences(r.Body); len(d) > 0 {
					t.Fatalf("JSON.stringify writes otherwise: %v: %.200s", d, r.Body)
				}
			}
			if !strings.HasPrefix(r.Target, "/") || strings.HasPrefix(r.Target, "//") || len(r.Target) > 16<<10 || len(r.Body) > requestgen.MaxBody {
				t.Fatalf("%s %.200s with a body of %d bytes", r.Method, r.Target, len(r.Body))
			}
			if req, err := http.NewRequest(r.Method, "http://host"+r.Target, nil); err != nil || req.URL.RequestURI() != r.Target {
				t.Fatalf("%s %s would go out otherwise: %v", r.Method, r.Target, err)
			}
			seen[r.Partner] = true
			seen["longest"] = seen["longest"] || len(r.Body) == requestgen.MaxBody
			seen["nothing"] = seen["nothing"] || len(r.Body) == 0
			for _, odd := range []string{"%2F", "+", ";", "//", "%20", "==", "%2541", "/../"} {
				seen[odd] = seen[odd] || strings.Contains(r.Target, odd)
			}
			seen["?"] = seen["?"] || strings.HasSuffix(r.Target, "?")
			seen["lower case"] = seen["lower case"] || r.Method == "post"
		}
	}
	for _, want := range []string{"noah", "noba", "longest", "nothing", "%2F", "+", ";", "//", "%20", "%2541", "/../", "?", "lower case"} {
		if !seen[want] {
			t.Errorf("%q never came", want)
		}
	}
}

func TestPortableRequestsAreWhatEveryClientSends(t *testing.T) {
	g := requestgen.NewPortable(5)
	for range 2000 {
		r := g.Next()
		if r.Method != strings.ToUpper(r.Method) || slices.Contains([]string{"GET", "HEAD", "DELETE"}, r.Method) && len(r.Body) > 0 {
			t.Fatalf("%s with a body of %d bytes", r.Method, len(r.Body))
		}
		path, _, _ := strings.Cut(r.Target, "?")
		for segment := range strings.SplitSeq(path, "/") {
			if strings.Trim(strings.ReplaceAll(strings.ToLower(segment), "%2e", "."), ".") == "" && segment != "" {
				t.Fatalf("%s has a dot segment", path)
			}
		}
	}
}
