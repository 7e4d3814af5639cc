package noba

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
)

// reading is what a string to sign says: a request without its query, with {} for no body.
type reading struct {
	timestamp          string
	method, path, body string
}

// earliest and latest are the clocks of these tests in milliseconds: the years 2001 to 2286, in which a time has 13 digits.
const (
	earliest = 1_000_000_300_000
	latest   = 9_999_999_699_999
)

// stringOf is the string to sign of a request, and what it should be read as; ok is false when p is refused.
func stringOf(p RequestParams, apiKey string, now time.Time) (s string, r reading, ok bool) {
	request, err := NewRequest(p, now)
	if err != nil {
		return "", reading{}, false
	}
	millis := now.UnixMilli()
	if p.TimestampMillis != nil {
		millis = *p.TimestampMillis
	}
	path, _, _ := strings.Cut(p.Path, "?")
	r = reading{strconv.FormatInt(millis, 10), strings.ToUpper(p.Method), path, string(p.Body)}
	if len(p.Body) == 0 {
		r.body = "{}"
	}
	return string(bytes.Join(request.stringToSign(r.timestamp, []byte(apiKey)), nil)), r, true
}

// readings are all accepted requests with the string to sign s, whatever the clock: every way to cut s in four is
// offered to NewRequest. So one request stands for all pairs of requests that it belongs to.
func readings(s, apiKey string) []reading {
	var found []reading
	for i := 1; i <= min(len(s), 20); i++ {
		millis, err := strconv.ParseInt(s[:i], 10, 64)
		if err != nil || strconv.FormatInt(millis, 10) != s[:i] {
			continue
		}
		now := time.UnixMilli(min(max(millis, earliest), latest))
		rest, ok := strings.CutPrefix(s[i:], apiKey)
		if !ok {
			continue
		}
		for j := 1; j < len(rest); j++ {
			if method, err := upstream.ParseMethod(rest[:j]); err != nil || method != rest[:j] {
				continue
			}
			for k := j + 1; k < len(rest); k++ {
				target, err := upstream.ParseTarget(rest[j:k])
				if err != nil || target.Path() != rest[j:k] {
					continue
				}
				p := RequestParams{Method: rest[:j], Path: rest[j:k], Body: []byte(rest[k:]), TimestampMillis: &millis}
				if again, r, ok := stringOf(p, apiKey, now); ok && again == s {
					found = append(found, r)
				}
			}
		}
	}
	return found
}

func checkOneReading(t rapid.TB, p RequestParams, apiKey string, now time.Time) {
	s, want, ok := stringOf(p, apiKey, now)
	if !ok {
		return
	}
	if found := readings(s, apiKey); len(found) != 1 || found[0] != want {
		t.Fatalf("%q is the string to sign of %q, and reads as %q", s, want, found)
	}
}

func FuzzStringToSignIsUnambiguous(f *testing.F) {
	f.Fuzz(func(t *testing.T, apiKey, method, path, body string, timestamp, clock int64) {
		if len(apiKey)+len(method)+len(path)+len(body) > 300 {
			return // the ways to cut grow with the square
		}
		key, _, err := upstream.ImportAPIKey(secret.Copy([]byte(apiKey)))
		if err != nil {
			return
		}
		now := time.UnixMilli(earliest + int64(uint64(clock)%(latest-earliest+1)))
		p := RequestParams{Method: method, Path: path, Body: []byte(body)}
		checkOneReading(t, p, string(key.Reveal()), now)
		p.TimestampMillis = &timestamp
		checkOneReading(t, p, string(key.Reveal()), now)
	})
}

// requests draws requests from so few pieces that two of them often differ only in where one part ends.
func requests(now time.Time) *rapid.Generator[RequestParams] {
	return rapid.Custom(func(t *rapid.T) RequestParams {
		p := RequestParams{
			Method: rapid.StringOfN(rapid.SampledFrom([]rune("1Ag!")), 1, 4, -1).Draw(t, "method"),
			Path:   "/" + rapid.StringOfN(rapid.SampledFrom([]rune("1Ag!/:?&,")), 0, 5, -1).Draw(t, "path"),
			Body:   []byte(rapid.SampledFrom([]string{"", "{}", "[]", " {}", "[{}]", "{}\n", "11", `{"1":[]}`, `["/A{}"]`, `["?"]`, "\n[\n]"}).Draw(t, "body")),
		}
		switch rapid.IntRange(0, 3).Draw(t, "timestamp") {
		case 1:
			p.TimestampMillis = new(int64)
		case 2:
			millis := now.UnixMilli() + rapid.Int64Range(-1, 1).Draw(t, "millis")
			p.TimestampMillis = &millis
		}
		return p
	})
}

func TestAStringToSignHasOneReading(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		apiKey := rapid.StringOfN(rapid.SampledFrom([]rune("01A/{")), 1, 3, -1).Draw(t, "apiKey")
		now := time.UnixMilli(rapid.SampledFrom([]int64{earliest, 1111111111111, 1719820231000, latest}).Draw(t, "now"))
		checkOneReading(t, requests(now).Draw(t, "request"), apiKey, now)
	})
}

func TestTwoRequestsNeverShareAStringToSign(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		apiKey := rapid.StringOfN(rapid.SampledFrom([]rune("01A/{")), 1, 3, -1).Draw(t, "apiKey")
		now := time.UnixMilli(1111111111111)
		seen := make(map[string]reading)
		for _, p := range rapid.SliceOfN(requests(now), 2, 40).Draw(t, "requests") {
			s, r, ok := stringOf(p, apiKey, now)
			if !ok {
				continue
			}
			if other, again := seen[s]; again && other != r {
				t.Fatalf("%q is the string to sign of %q and of %q", s, r, other)
			}
			seen[s] = r
		}
	})
}

// The one pair that the partner cannot tell apart either, and neither does signerd.
func TestNoBodyAndTheEmptyObjectShareAStringToSign(t *testing.T) {
	now := time.UnixMilli(earliest)
	without, _, _ := stringOf(RequestParams{Method: "GET", Path: "/"}, "k", now)
	with, _, ok := stringOf(RequestParams{Method: "GET", Path: "/", Body: []byte("{}")}, "k", now)
	if !ok || without != with {
		t.Errorf("got %q and %q", without, with)
	}
}
