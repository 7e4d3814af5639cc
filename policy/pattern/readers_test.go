package pattern_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	gopath "path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/signerd/signerd/policy/pattern"
)

// goReadings is where programs in Go take a path that patterns can read, decoded. A slash at the end, which some drop,
// is as in canonical.
func goReadings(t testing.TB, raw, canonical string) map[string]string {
	t.Helper()
	base := &url.URL{Scheme: "https", Host: "example.org", Path: "/x/y/"}
	reference, err := url.Parse(raw)
	if err != nil || reference.Host != "" {
		t.Fatalf("%q: net/url reads %v, %v", raw, reference, err)
	}
	joined, err := url.JoinPath("https://example.org", raw)
	if err != nil {
		t.Fatalf("%q: net/url does not join it: %v", raw, err)
	}
	joinedURL, err := url.Parse(joined)
	if err != nil {
		t.Fatalf("%q: net/url joins it to %q: %v", raw, joined, err)
	}
	cleanRaw, err := url.PathUnescape(gopath.Clean(raw))
	if err != nil {
		t.Fatalf("%q: not to be decoded once it is clean: %v", raw, err)
	}
	readings := map[string]string{
		"net/url":                  reference.Path,
		"net/url resolves":         base.ResolveReference(reference).Path,
		"net/url joins":            joinedURL.Path,
		"path.Clean":               cleanRaw,
		"path.Clean, once decoded": gopath.Clean(canonical),
		"path/filepath, decoded":   filepath.ToSlash(filepath.Clean(filepath.FromSlash(canonical))),
	}
	if strings.HasSuffix(canonical, "/") && canonical != "/" {
		for _, cleaner := range []string{"path.Clean", "path.Clean, once decoded", "path/filepath, decoded"} {
			readings[cleaner] += "/"
		}
	}
	return readings
}

// foldersRouter is a router of the standard library whose routes are named after what they should serve.
func foldersRouter() *http.ServeMux {
	mux := http.NewServeMux()
	for _, route := range []string{"/", "/a/{one}", "/a/{rest...}"} {
		mux.Handle(route, http.NotFoundHandler())
	}
	return mux
}

func FuzzReadersInGo(f *testing.F) {
	inA, underA := path(f, "/a/*"), path(f, "/a/**")
	router := foldersRouter()
	f.Fuzz(func(t *testing.T, raw string) {
		target := pattern.NewTarget(raw)
		canonical, ok := target.Canonical()
		if !ok {
			return
		}
		for reader, got := range goReadings(t, raw, canonical) {
			if got != canonical {
				t.Errorf("%q: %s reads %q, not %q", raw, reader, got, canonical)
			}
			if underA.Allows(target) && !strings.HasPrefix(got, "/a/") {
				t.Errorf("%q: %s leaves the folder for %q", raw, reader, got)
			}
		}
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		var err error
		if request.URL, err = url.ParseRequestURI(raw); err != nil {
			t.Fatalf("%q: net/url refuses it: %v", raw, err)
		}
		_, route := router.Handler(request)
		if inA.Allows(target) && route != "/a/{one}" {
			t.Errorf("%q: the standard library's router takes it to %q", raw, route)
		}
		if underA.Allows(target) && !strings.HasPrefix(route, "/a/") {
			t.Errorf("%q: the standard library's router takes it to %q", raw, route)
		}
	})
}

// pieces are what paths are made of that somebody reads in an unexpected way.
var pieces = []string{
	"/", "a", "b", "..", ".", "%2e", "%2E%2e", "%2f", "%2F", "%5c", `\`, ";", "%3b", "%25", "%252e", "%00", "%0A", "%09", "%20", "%3F", "%23",
	"+", "*", "%2A", "~", ":", "@", "%61", "A", "%C3%A9", "%ff", "%EF%BC%8F", "%EF%BB%BF",
}

// wirePaths are all ways to put a few pieces behind a few beginnings, and the seeds.
func wirePaths(t *testing.T) []string {
	t.Helper()
	paths := seeds(t, "FuzzReadersInGo")
	for _, start := range []string{"/a/", "/a", "/b/../a/", "/v1/checkout/sell", "/v1/checkout/"} {
		for _, one := range pieces {
			paths = append(paths, start+one)
			for _, two := range pieces {
				paths = append(paths, start+one+two)
				for _, three := range []string{"/", "a", "..", "/..", "/../b", "%2e", "sell", "SELL/", "/b"} {
					paths = append(paths, start+one+two+three)
				}
			}
		}
	}
	return paths
}

// seeds reads the corpus of a fuzz target that takes one string.
func seeds(t *testing.T, target string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "fuzz", target, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no seeds: %v", target, err)
	}
	var texts []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		quoted := strings.TrimSuffix(strings.TrimPrefix(string(data), "go test fuzz v1\nstring("), ")\n")
		text, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		// JSON, in which paths go to other programs, holds UTF-8 only; what is not ASCII is ambiguous anyway.
		if !strings.ContainsFunc(text, func(r rune) bool { return r >= 0x80 }) {
			texts = append(texts, text)
		}
	}
	return texts
}

// reading is what readers.js says of one path; what a reader refuses is not there.
type reading struct {
	Paths  map[string]string // decoded, by reader
	Routes map[string]string // by router and route: the parameter, decoded
}

// read asks Node about paths. Without Node the test is skipped; with CI=true it fails.
func read(t *testing.T, paths []string) []reading {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal("node is not installed, and CI must not skip this test")
	} else if err != nil {
		t.Skip("node is not installed")
	}
	// Read here, so that go test's cache knows of it.
	script, err := os.ReadFile(filepath.Join("testdata", "readers.js"))
	if err != nil {
		t.Fatal(err)
	}
	input, err := json.Marshal(paths)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), node, "-e", string(script))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // no NODE_OPTIONS
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, &stderr)
	}
	var readings []reading
	if err := json.Unmarshal(output, &readings); err != nil || len(readings) != len(paths) {
		t.Fatalf("%d readings of %d paths: %v", len(readings), len(paths), err)
	}
	return readings
}

func TestReadersInJavaScript(t *testing.T) {
	paths := wirePaths(t)
	readings := read(t, paths)
	t.Run("stay in the folder that a pattern allows", func(t *testing.T) { checkAllowed(t, paths, readings) })
	t.Run("take no path for a denied one that is not denied too", func(t *testing.T) { checkDenied(t, paths, readings) })
}

func checkAllowed(t *testing.T, paths []string, readings []reading) {
	inA, underA, compared := path(t, "/a/*"), path(t, "/a/**"), 0
	for i, raw := range paths {
		target := pattern.NewTarget(raw)
		canonical, ok := target.Canonical()
		if !ok {
			continue
		}
		if len(readings[i].Paths) == 0 {
			t.Errorf("%q: nobody reads it", raw)
		}
		for reader, got := range readings[i].Paths {
			if got != canonical {
				t.Errorf("%q: %s reads %q, not %q", raw, reader, got, canonical)
			}
		}
		if !underA.Allows(target) {
			continue
		}
		below := strings.TrimPrefix(canonical, "/a/")
		for _, express := range []string{"Express 4", "Express 5"} {
			one, hasOne := readings[i].Routes[express+" /a/:one"]
			all, hasAll := readings[i].Routes[express+" /a/*rest"]
			// A route's own segments are compared with the path as sent: an escaped one finds no route.
			if inA.Allows(target) && (hasOne && one != below || !hasOne && strings.HasPrefix(raw, "/a/")) {
				t.Errorf("%q: %s takes it to %q of /a/:one, not to %q", raw, express, one, below)
			}
			if hasAll && strings.TrimSuffix(all, "/") != strings.TrimSuffix(below, "/") || !hasAll && strings.HasPrefix(raw, "/a/") {
				t.Errorf("%q: %s takes it to %q of /a/*rest, not to %q", raw, express, all, below)
			}
			compared++
		}
		for route := range readings[i].Routes {
			if !strings.Contains(route, " /a/") {
				t.Errorf("%q: %s takes it", raw, route)
			}
		}
	}
	if compared < 100 {
		t.Errorf("%d answers of routers were compared; that proves little", compared)
	}
}

// checkDenied goes the other way round: whatever some reader takes for a denied path is denied like that path.
func checkDenied(t *testing.T, paths []string, readings []reading) {
	const text = "/v1/checkout/sell"
	denied, taken := path(t, text), 0
	for i, raw := range paths {
		var readers []string
		for reader, got := range readings[i].Paths {
			if strings.EqualFold(strings.TrimRight(got, "/"), text) {
				readers = append(readers, reader)
			}
		}
		for _, express := range []string{"Express 4 ", "Express 5 "} {
			if _, has := readings[i].Routes[express+text]; has {
				readers = append(readers, express)
			}
		}
		if len(readers) == 0 {
			continue
		}
		taken++
		if !denied.Denies(pattern.NewTarget(raw)) {
			slices.Sort(readers)
			t.Errorf("%q is not denied, and is what %q take for the denied path", raw, readers)
		}
	}
	if taken < 100 {
		t.Errorf("%d paths were taken for the denied one; that proves little", taken)
	}
}
