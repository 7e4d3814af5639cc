package noba_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/upstream/noba"
)

func TestABodyIsEmptyOrAJSONObjectOrArrayInUTF8(t *testing.T) {
	const notJSON, notUTF8 = "it is not a JSON object or array; wanted one, or no body", "it is not UTF-8"
	tests := []struct{ name, body, problem string }{
		{"no body", "", ""},
		{"an object", `{"a":1}`, ""},
		{"an array", `[]`, ""},
		{"an object after white space", " \t\r\n{}", ""},
		{"white space after an array", "[]\r\n\t ", ""},
		{"text beyond ASCII", `{"ü":"😀"}`, ""},
		{"a lone surrogate as an escape is JSON", `["\ud83d"]`, ""},
		{"deep nesting", strings.Repeat("[", 1000) + strings.Repeat("]", 1000), ""},
		{"nesting without end", strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000), notJSON},
		{"white space alone", " ", notJSON},
		{"a string", `"{}"`, notJSON},
		{"a number", "0", notJSON},
		{"a negative number", "-1", notJSON},
		{"true", "true", notJSON},
		{"null", "null", notJSON},
		{"text", "hello {}", notJSON},
		{"a comment", "/*a*/{}", notJSON},
		{"a comma at the end", "[1,]", notJSON},
		{"no end", "[", notJSON},
		{"something after the end", "{} x", notJSON},
		{"two values", "[][]", notJSON},
		{"one value a line", "{}\n{}", notJSON},
		{"a control character in a string", "[\"\n\"]", notJSON},
		{"a zero byte after the end", "{}\x00", notJSON},
		{"a vertical tab before the start", "\v{}", notJSON},
		{"a byte order mark", "\ufeff{}", notJSON},
		{"a space that is not JSON's", "\u2003{}", notJSON},
		{"NaN", "[NaN]", notJSON},
		{"a leading zero", "[01]", notJSON},
		{"a byte that is not UTF-8", "[\"\xff\"]", notUTF8},
		{"half a character", "[\"\xc3\"]", notUTF8},
		{"a surrogate in UTF-8's manner", "[\"\xed\xa0\x80\"]", notUTF8},
		{"UTF-16", "{\x00}\x00\xff", notUTF8},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			request, err := noba.NewRequest(noba.RequestParams{Method: "POST", Path: "/v1", Body: []byte(tt.body)}, testTime)
			if tt.problem != "" {
				checkFieldError(t, err, "body", tt.problem)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			headers := newCredential(t, testKey, testSecret).Sign(request, testTime)
			if err := ask(testTime, testKey, testSecret, "POST", "/v1", []byte(tt.body), headers); err != nil {
				t.Errorf("the partner says: %v", err)
			}
		})
	}
}

func TestATimestampIsNearTheClockOrZero(t *testing.T) {
	const millis = 1719820231000
	tests := []struct {
		name      string
		timestamp int64
		// past is how far the clock is beyond the full millisecond.
		past    time.Duration
		allowed bool
	}{
		{"now", millis, 0, true},
		{"a millisecond ago", millis - 1, 0, true},
		{"five minutes ago", millis - 300_000, 0, true},
		{"five minutes and a part of a millisecond ago", millis - 300_000, 999 * time.Microsecond, true},
		{"five minutes and a millisecond ago", millis - 300_001, 0, false},
		{"in five minutes", millis + 300_000, 0, true},
		{"in five minutes and a millisecond", millis + 300_001, 0, false},
		{"in five minutes and a part of a millisecond", millis + 300_001, 999 * time.Microsecond, false},
		{"the testing value", 0, 0, true},
		{"beside the testing value", 1, 0, false},
		{"before the testing value", -1, 0, false},
		{"in seconds", millis / 1000, 0, false},
		{"in nanoseconds", millis * 1_000_000, 0, false},
		{"the least", math.MinInt64, 0, false},
		{"the greatest", math.MaxInt64, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := time.UnixMilli(millis).Add(tt.past)
			request, err := noba.NewRequest(noba.RequestParams{Method: "GET", Path: "/v1", TimestampMillis: &tt.timestamp}, now)
			if !tt.allowed {
				checkFieldError(t, err, "timestamp_millis", "more than 5 minutes from signerd's clock")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if request.Testing() != (tt.timestamp == 0) {
				t.Errorf("testing is %v", request.Testing())
			}
			headers := newCredential(t, testKey, testSecret).Sign(request, now)
			if err := ask(now, testKey, testSecret, "GET", "/v1", nil, headers); err != nil {
				t.Errorf("the partner says: %v", err)
			}
		})
	}
}

func TestARequestWithoutATimestampIsSignedNow(t *testing.T) {
	request, err := noba.NewRequest(noba.RequestParams{Method: "GET", Path: "/v1"}, testTime)
	if err != nil {
		t.Fatal(err)
	}
	if request.Testing() {
		t.Error("it is a testing request")
	}
	later := testTime.Add(time.Hour + 999*time.Microsecond).In(time.FixedZone("elsewhere", -3*3600))
	if got := newCredential(t, testKey, testSecret).Sign(request, later)[noba.HeaderTimestamp]; got != "1719823831000" {
		t.Errorf("got the timestamp %s", got)
	}
}

// What was checked must be what is signed: whether a key may use the testing value is asked in between.
func TestATimestampCannotBeChangedOnceItIsChecked(t *testing.T) {
	timestamp := testTime.UnixMilli()
	request, err := noba.NewRequest(noba.RequestParams{Method: "GET", Path: "/v1", TimestampMillis: &timestamp}, testTime)
	if err != nil {
		t.Fatal(err)
	}
	timestamp = 0
	if got := newCredential(t, testKey, testSecret).Sign(request, testTime)[noba.HeaderTimestamp]; request.Testing() || got != "1719820231000" {
		t.Errorf("it is signed for %s", got)
	}
}

func TestABodyThatAVerifierMayReadInAnotherFormIsSignedWithAWarning(t *testing.T) {
	for body, warned := range map[string]bool{
		"":                     false,
		"{}":                   false,
		`{"a":[1,"ü",null]}`:   false,
		`{"a": 1}`:             true,
		"{}\n":                 true,
		`{"a":"\u00fc"}`:       true,
		`{"a":1.0}`:            true,
		`{"a":1,"a":2}`:        true,
		`{"2":0,"1":0}`:        true,
		`[9007199254740993]`:   true,
		`{"b":1,"a":2,"c":{}}`: false,
	} {
		request, err := noba.NewRequest(noba.RequestParams{Method: "POST", Path: "/v1", Body: []byte(body)}, testTime)
		if err != nil {
			t.Fatal(err)
		}
		if warnings := request.Warnings(); (len(warnings) > 0) != warned {
			t.Errorf("%s: got the warnings %q", body, warnings)
		}
	}
}

func TestErrorsAboutARequestQuoteNothingOfIt(t *testing.T) {
	const canary = "Canary7Value"
	far := int64(987654321)
	for _, p := range []noba.RequestParams{
		{Method: canary + " ", Path: "/"},
		{Method: "GET", Path: canary},
		{Method: "GET", Path: "/?" + canary + "#"},
		{Method: "GET", Path: "/", Body: []byte(canary)},
		{Method: "GET", Path: "/", Body: []byte(`{"` + canary + `":` + canary)},
		{Method: "GET", Path: "/", Body: []byte("[\"" + canary + "\xff\"]")},
		{Method: "GET", Path: "/", TimestampMillis: &far},
	} {
		_, err := noba.NewRequest(p, testTime)
		if err == nil {
			t.Errorf("%v was accepted", p)
		} else if text := strings.ToLower(err.Error()); strings.Contains(text, "canary") || strings.Contains(text, "98765") {
			t.Errorf("%q quotes the request", err)
		}
	}
}
