package noon_test

import (
	"bytes"
	"cmp"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noon"
)

// knownErrors are all that may be said of a credential file; none holds a part of it.
var knownErrors = regexp.MustCompile(`^(it is not the JSON credential file that Noon's console downloads` +
	`|it starts with a byte order mark, which an editor added; wanted UTF-8 without one` +
	`|it has a name twice, or one of key_id, private_key and project_code in another case` +
	`|it has no (key_id|private_key|project_code); wanted the JSON credential file that Noon's console downloads` +
	`|its key_id or project_code is too long or holds a control character` +
	`|(its private_key (holds no whole PEM block|is encrypted|is not an RSA private key|is a damaged RSA key|is an RSA key of [0-9]+ bits)` +
	`|something follows the PEM block in its private_key|the (RSA )?PRIVATE KEY block in its private_key is damaged)` +
	`; wanted an unencrypted RSA private key of 2048 bits or more in PEM)$`)

// FuzzImport takes credential files in which @KEY@ stands for a good key: seeds hold none, and stay small.
func FuzzImport(f *testing.F) {
	key := strings.ReplaceAll(pkcs8(f, rsaKey()), "\n", `\n`)
	// Shells of keys that hold none, put together here so that no file looks like a key to those who search for keys.
	for _, shell := range [][3]string{
		{"RSA PRIVATE KEY", "", `\n`}, {"PRIVATE KEY", `MAA=`, `\n`}, {"ENCRYPTED PRIVATE KEY", `MAA=`, `\n`}, {"RSA PRIVATE KEY", `MAA=`, `\\n`},
		{"RSA PRIVATE KEY", `MAA=`, `\nx`},
	} {
		kind, content, end := shell[0], shell[1], strings.TrimSuffix(shell[2], "x")
		text := "-----BEGIN " + kind + "-----" + end + content + end + "-----END " + kind + "-----" + shell[2]
		f.Add([]byte(`{"key_id": "k", "private_key": "` + text + `", "project_code": "P"}`))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if bytes.Count(file, []byte("@KEY@")) == 1 {
			file = bytes.Replace(file, []byte("@KEY@"), []byte(key), 1)
		}
		m, _, err := importFile(file)
		if err != nil {
			var fieldErr *upstream.FieldError
			if m != nil || !errors.As(err, &fieldErr) {
				t.Fatalf("got %v", err)
			}
			// CheckParts has its own words for an empty part.
			if len(file) > 0 && !knownErrors.MatchString(fieldErr.Problem) {
				t.Errorf("%q may quote the input", err)
			}
			return
		}
		again, notes, err := noon.Scheme{}.Import(upstream.Prod, m)
		if err != nil || len(notes) != 0 || !again[upstream.PartCredentials].Equal(m[upstream.PartCredentials]) {
			t.Errorf("canonical material does not import as itself: %v", err)
		}
		if c, err := (noon.Scheme{}).Open(m); err != nil || c.Prove() != nil {
			t.Errorf("what was imported cannot be used: %v", err)
		}
	})
}

// FuzzSessionCookies takes Set-Cookie lines, one a line.
func FuzzSessionCookies(f *testing.F) {
	const host = "noon-api-gateway.noon.partners"
	f.Fuzz(func(t *testing.T, lines string) {
		cookies, err := noon.SessionCookies(http.Header{"Set-Cookie": strings.Split(lines, "\n")}, host, cookieNow)
		if err != nil {
			if cookies != nil {
				t.Errorf("cookies with %v", err)
			}
			return
		}
		if len(cookies) == 0 || len(cookies) > 32 {
			t.Fatalf("%d cookies", len(cookies))
		}
		for i, c := range cookies {
			if c.Name == "" || c.Raw != "" || strings.ContainsAny(c.Name+c.Value+c.Path, "\r\n\x00;") ||
				strings.ContainsFunc(c.Name+c.Value+c.Path, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("cookie %q=%q", c.Name, c.Value)
			}
			if c.Domain != "" && c.Domain != host && !strings.HasSuffix(host, "."+c.Domain) {
				t.Errorf("a cookie of %q", c.Domain)
			}
			if !c.Expires.IsZero() && !c.Expires.After(cookieNow) {
				t.Errorf("a cookie that ended at %v", c.Expires)
			}
			for _, other := range cookies[:i] {
				if other.Name == c.Name && cmp.Or(other.Domain, host) == cmp.Or(c.Domain, host) && other.Path == c.Path {
					t.Errorf("cookie %q is there twice", c.Name)
				}
			}
		}
	})
}

// Without seeds a fuzz target finds nothing in the ordinary test run, and nobody notices.
func TestEveryFuzzTargetHasSeeds(t *testing.T) {
	for _, target := range fuzzTargets(t) {
		if seeds, err := os.ReadDir(filepath.Join("testdata", "fuzz", target)); err != nil || len(seeds) == 0 {
			t.Errorf("%s has no seeds in testdata/fuzz: %v", target, err)
		}
	}
}

func fuzzTargets(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`).FindAllStringSubmatch(string(source), -1) {
			targets = append(targets, match[1])
		}
	}
	if len(targets) == 0 {
		t.Fatal("no fuzz target was found")
	}
	return targets
}
