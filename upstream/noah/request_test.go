package noah_test

import (
	"bytes"
	"crypto/sha256"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/upstream/noah"
)

// What JSON cannot say, and so no vector file.
func TestTypedValuesThatNoQueryCanHoldAreRefused(t *testing.T) {
	tests := []struct {
		name    string
		params  map[string]any
		problem string
	}{
		{"not a number", map[string]any{"a": math.NaN()}, "NaN or infinity"},
		{"infinity", map[string]any{"a": math.Inf(1)}, "NaN or infinity"},
		{"minus infinity", map[string]any{"a": math.Inf(-1)}, "NaN or infinity"},
		{"infinity in a list", map[string]any{"a": []any{1.0, math.Inf(1)}}, "NaN or infinity"},
		{"the largest number of all", map[string]any{"a": math.MaxFloat64}, "beyond 2^53-1"},
		{"a value that is not UTF-8", map[string]any{"a": "\xff"}, "not UTF-8"},
		{"a listed value that is not UTF-8", map[string]any{"a": []any{"\xff"}}, "not UTF-8"},
		{"a name that is not UTF-8", map[string]any{"\xff": "a"}, "not UTF-8"},
		{"null", map[string]any{"a": nil}, "null or an object"},
		{"an object", map[string]any{"a": map[string]any{}}, "null or an object"},
		{"an integer of Go's, which no Struct gives", map[string]any{"a": 1}, "null or an object"},
		{"more text than a request target holds", map[string]any{"a": strings.Repeat("x", 16<<10)}, "more than 16384 bytes"},
		{"a list in a list", map[string]any{"a": []any{[]any{}}}, "list within a list"},
		{"both ways at once", map[string]any{"a": "b"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := "/v1"
			if tt.problem == "" {
				path, tt.problem = "/v1?a=b", "wanted one of the two"
			}
			_, err := noah.NewRequest(noah.RequestParams{Method: "GET", Path: path, QueryParams: tt.params})
			checkFieldError(t, err, "query_params", tt.problem)
		})
	}
}

func TestEachFieldSaysWhatIsWrongWithIt(t *testing.T) {
	sum := sha256.Sum256([]byte("x"))
	tests := []struct {
		name           string
		params         noah.RequestParams
		field, problem string
	}{
		{"the method", noah.RequestParams{Method: "", Path: "/"}, "method", "it is empty"},
		{"the path", noah.RequestParams{Method: "GET", Path: "v1"}, "path", "does not start with /"},
		{"an empty pair", noah.RequestParams{Method: "GET", Path: "/?a&&b"}, "path", "empty pair"},
		{"bytes in the query that are not UTF-8", noah.RequestParams{Method: "GET", Path: "/?a=%ff"}, "path", "not UTF-8"},
		{"a short hash", noah.RequestParams{Method: "PUT", Path: "/", BodySHA256: sum[:31]}, "body_sha256", "it has 31 bytes; a SHA-256 has 32"},
		{"a hash beside a body", noah.RequestParams{Method: "PUT", Path: "/", Body: []byte("x"), BodySHA256: sum[:]}, "body_sha256", "beside body"},
		{"a ttl below the bound", noah.RequestParams{Method: "GET", Path: "/", TTL: time.Millisecond}, "ttl", "outside 1 to 900 seconds"},
		{"a ttl above the bound", noah.RequestParams{Method: "GET", Path: "/", TTL: 901 * time.Second}, "ttl", "outside 1 to 900 seconds"},
		{"a ttl in fractions", noah.RequestParams{Method: "GET", Path: "/", TTL: 1500 * time.Millisecond}, "ttl", "not a whole number of seconds"},
		{"the longest negative ttl", noah.RequestParams{Method: "GET", Path: "/", TTL: math.MinInt64}, "ttl", "outside 1 to 900 seconds"},
		{"the longest ttl of all", noah.RequestParams{Method: "GET", Path: "/", TTL: math.MaxInt64}, "ttl", "outside 1 to 900 seconds"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := noah.NewRequest(tt.params)
			checkFieldError(t, err, tt.field, tt.problem)
		})
	}
}

func TestABodyOfAnyBytesIsSigned(t *testing.T) {
	a := newAccount(t, noah.ES256)
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for name, body := range map[string][]byte{
		"every byte":    every,
		"a zero byte":   {0},
		"one line feed": []byte("\n"),
		"a mebibyte":    bytes.Repeat([]byte(`{"a":1} `), 1<<17),
	} {
		headers := a.sign(t, noah.RequestParams{Method: "POST", Path: "/v1", Body: body}, pageTime)
		if err := a.ask(pageTime, "POST", "/v1", body, headers); err != nil {
			t.Errorf("%s: the partner says: %v", name, err)
		}
		sum := sha256.Sum256(body)
		headers = a.sign(t, noah.RequestParams{Method: "POST", Path: "/v1", BodySHA256: sum[:]}, pageTime)
		if err := a.ask(pageTime, "POST", "/v1", body, headers); err != nil {
			t.Errorf("%s, as a hash: the partner says: %v", name, err)
		}
	}
}

// A caller may go on using its slices and maps.
func TestACheckedRequestDoesNotChange(t *testing.T) {
	a := newAccount(t, noah.ES256)
	body, sum := []byte(`{"a":1}`), sha256.Sum256([]byte(`{"a":1}`))
	list := []any{"x"}
	params := map[string]any{"a": list}
	for _, p := range []noah.RequestParams{
		{Method: "PUT", Path: "/v1", QueryParams: params, Body: body},
		{Method: "PUT", Path: "/v1", QueryParams: params, BodySHA256: sum[:]},
	} {
		request, err := noah.NewRequest(p)
		if err != nil {
			t.Fatal(err)
		}
		body[2], sum[0], list[0], params["b"] = 'z', sum[0]+1, "y", "y"
		headers, _, err := a.Sign(request, pageTime)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.ask(pageTime, "PUT", "/v1?a=x", []byte(`{"a":1}`), headers); err != nil {
			t.Errorf("the partner says: %v", err)
		}
		body[2], sum[0], list[0] = 'a', sum[0]-1, "x"
		delete(params, "b")
	}
}

func TestErrorsAboutARequestQuoteNothingOfIt(t *testing.T) {
	const canary = "Canary7Value"
	for _, p := range []noah.RequestParams{
		{Method: canary + " ", Path: "/"},
		{Method: "GET", Path: canary},
		{Method: "GET", Path: "/" + canary + "#"},
		{Method: "GET", Path: "/?" + canary + "=%zz"},
		{Method: "GET", Path: "/?" + canary + "=%ff"},
		{Method: "GET", Path: "/?" + canary + "&&"},
		{Method: "GET", Path: "/?a=" + canary, QueryParams: map[string]any{canary: canary}},
		{Method: "GET", Path: "/", QueryParams: map[string]any{canary: nil}},
		{Method: "GET", Path: "/", QueryParams: map[string]any{canary: []any{canary, []any{canary}}}},
		{Method: "GET", Path: "/", QueryParams: map[string]any{"a": canary + "\xff"}},
		{Method: "GET", Path: "/", QueryParams: map[string]any{canary + "\xff": "a"}},
		{Method: "GET", Path: "/", Body: []byte(canary), BodySHA256: []byte(canary)},
		{Method: "GET", Path: "/", BodySHA256: []byte(canary)},
	} {
		_, err := noah.NewRequest(p)
		if err == nil {
			t.Errorf("%q was accepted", p)
		} else if strings.Contains(strings.ToLower(err.Error()), "canary") {
			t.Errorf("%q quotes the request", err)
		}
	}
}
