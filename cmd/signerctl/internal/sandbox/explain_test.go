package sandbox_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/cmd/signerctl/internal/sandbox"
	"github.com/signerd/signerd/internal/partners"
)

// account is a local NOAH with one key, whose tokens are written here as the page describes them.
type account struct {
	noah   *partners.NOAH
	key    *ecdsa.PrivateKey
	apiKey string
}

func newAccount(t *testing.T) account {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	noah := partners.NewNOAH("sandbox", nil)
	apiKey, err := noah.CreateAPIKey(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
	if err != nil {
		t.Fatal(err)
	}
	return account{noah, key, apiKey}
}

// sign makes the headers of a request; der writes the signature as most libraries give it.
func (a account) sign(t *testing.T, claims map[string]any, der bool) http.Header {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES384","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload)
	digest := sha512.Sum384([]byte(signed))
	signature, err := ecdsa.SignASN1(rand.Reader, a.key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	if !der {
		r, s, err := ecdsa.Sign(rand.Reader, a.key, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		signature = append(r.FillBytes(make([]byte, 48)), (*big.Int).FillBytes(s, make([]byte, 48))...)
	}
	return http.Header{"X-Api-Key": {a.apiKey}, "Api-Signature": {signed + "." + base64.RawURLEncoding.EncodeToString(signature)}}
}

// request is what is signed, or what is sent.
type request struct {
	method, path string
	query        string         // as sent
	params       map[string]any // as signed
	body         string
}

func (r request) target() string {
	if r.query == "" {
		return r.path
	}
	return r.path + "?" + r.query
}

// bodyDifferences are told alike by NOAH, whose JWT has a hash of the body, and by Noba, whose signature goes over it.
var bodyDifferences = []struct{ name, signed, sent, want string }{
	{"a trailing newline was added", `{"a":1}`, "{\"a\":1}\n", "the body you sent has a trailing newline that the signed one has not"},
	{"a trailing CRLF was added", `{"a":1}`, "{\"a\":1}\r\n", "the body you sent has a trailing newline that the signed one has not"},
	{"a trailing newline was lost", "{\"a\":1}\n", `{"a":1}`, "the signed body has a trailing newline that the one you sent has not"},
	{"white space around it was added", `{"a":1}`, "  {\"a\":1} ", "the body you sent has white space around it that the signed one has not"},
	{"a byte order mark was added", `{"a":1}`, "\ufeff{\"a\":1}", "the body you sent begins with a byte order mark that the signed one has not"},
	{"LF became CRLF", "{\n\"a\":1\n}", "{\r\n\"a\":1\r\n}", "the body you sent has CRLF line ends where the signed one has LF"},
	{"CRLF became LF", "{\r\n\"a\":1\r\n}", "{\n\"a\":1\n}", "the body you sent has LF line ends where the signed one has CRLF"},
	{"UTF-8 was signed as ISO-8859-1", "{\"a\":\"caf\xe9\"}", `{"a":"café"}`, "the signed body is in ISO-8859-1, the one you sent in UTF-8"},
	{"the braces of no body were signed", `{}`, `{"a":1}`, "the body {} was signed, but another one was sent"},
	{"compact JSON was signed", `{"b":[1,2],"a":"x, y: z"}`, `{"b": [1, 2], "a": "x, y: z"}`, "in the signed body there is no white space"},
	{"JSON was signed with Python's spaces", `{"b": [1, 2], "a": "x,\"y: z"}`, `{"b":[1,2],"a":"x,\"y: z"}`, "in the signed body a space follows each comma and colon, as Python's json.dumps writes it"},
	{"JSON was signed indented", "{\n  \"b\": [\n    1\n  ]\n}", `{"b":[1]}`, `in the signed body lines are indented by "  "`},
	{"names were signed in order", `{"a":1,"b":2.50}`, `{"b":2.50,"a":1}`, "in the signed body its names are in alphabetical order"},
	{"escapes were signed", `{"a":"caf\u00e9 \ud83d\ude00"}`, `{"a":"café 😀"}`, `in the signed body characters beyond ASCII are \u escapes`},
	{"characters were signed", `{"a":"café 😀\n"}`, `{"a":"caf\u00e9 \uD83D\uDE00\n"}`, `in the signed body characters stand for themselves instead of \u escapes`},
	{"Go's escapes were signed", `{"a":"b\u0026c"}`, `{"a":"b&c"}`, `in the signed body <, > and & are \u escapes`},
	{"Python's ASCII and spaces in order were signed", `{"a": "caf\u00e9", "b": 1}` + "\n", `{"b":1,"a":"café"}`,
		`in the signed body its names are in alphabetical order, characters beyond ASCII are \u escapes, a space follows each comma and colon, as Python's json.dumps writes it, it ends with a newline`},
	{"something else was signed", `{"a":2}`, `{"a":1}`, ""},
	{"something else was signed than text that is no JSON", "x", "{\"a\":1", ""},
}

func TestNOAHsReasonsNameTheDifference(t *testing.T) {
	a := newAccount(t)
	get := func(path, query string, params map[string]any) request {
		return request{"GET", path, query, params, ""}
	}
	post := func(body string) request { return request{method: "POST", path: "/v1/a", body: body} }
	tests := []struct {
		name         string
		signed, sent request
		want         string
	}{
		{"no body, but braces signed", post("{}"), post(""), "bodyHash differs: the body {} was signed, but none was sent"},
		{"no body, but another one signed", post("x"), post(""), "bodyHash differs: a body was signed, but none was sent"},
		{"a trailing slash was added", get("/v1/a", "", nil), get("/v1/a/", "", nil), "path differs: the path you sent has a trailing slash that the signed one has not"},
		{"a trailing slash was lost", get("/v1/a/", "", nil), get("/v1/a", "", nil), "path differs: the signed path has a trailing slash that the one you sent has not"},
		{"+ was signed for %20 in a path", get("/v1/a+b", "", nil), get("/v1/a%20b", "", nil), "path differs: the signed path has + where the one you sent has %20; in a path only %20 is a space"},
		{"the path was signed decoded", get("/v1/a/b", "", nil), get("/v1/a%2Fb", "", nil), "path differs: the signed path is percent-decoded; it is signed as it goes on the wire"},
		{"the path was signed encoded twice", get("/v1/a%2520b", "", nil), get("/v1/a%20b", "", nil), "path differs: the signed path is percent-encoded once more than the one you sent"},
		{"the query was signed in the path", get("/v1/a?b=1", "", map[string]any{"b": "1"}), get("/v1/a", "b=1", nil), "path differs: the path was signed with its query; it ends before the question mark"},
		{"another path was signed", get("/v1/b", "", nil), get("/v1/a", "", nil), `the path claim is "/v1/b", the request has "/v1/a"`},
		{"+ was signed for a space", get("/v1/a", "", map[string]any{"q": "a+b"}), get("/v1/a", "q=a%20b", nil), "queryParams differs: the parameter q: the signed value has + where the request has a space; on the wire both + and %20 are a space, and the value is signed decoded"},
		{"a space was signed for a plus sign", get("/v1/a", "", map[string]any{"q": "a b"}), get("/v1/a", "q=a%2Bb", nil), "queryParams differs: the parameter q: the signed value has a space where the request has a plus sign (%2B)"},
		{"the query was signed encoded", get("/v1/a", "", map[string]any{"q": "caf%C3%A9"}), get("/v1/a", "q=caf%C3%A9", nil), "queryParams differs: the parameter q: the signed value is still percent-encoded; it is signed decoded"},
		{"values were signed in another order", get("/v1/a", "", map[string]any{"q": []any{"2", "1"}}), get("/v1/a", "q=1&q=2", nil), "queryParams differs: the parameter q: its values were signed in another order than you sent them"},
		{"one of two values was signed", get("/v1/a", "", map[string]any{"q": 1}), get("/v1/a", "q=1&q=2", nil), "queryParams differs: the parameter q: another number of values was signed than you sent"},
		{"another value was signed", get("/v1/a", "", map[string]any{"q": true}), get("/v1/a", "q=1", nil), "queryParams differs: the parameter q: another value was signed than you sent"},
		{"a parameter was not signed", get("/v1/a", "", map[string]any{"q": "1"}), get("/v1/a", "q=1&r=2", nil), "queryParams differs: you sent the parameter r, which is not in the signed ones"},
		{"a parameter was not sent", get("/v1/a", "", map[string]any{"q": "1", "r": "2"}), get("/v1/a", "q=1", nil), "queryParams differs: the parameter r was signed, but you did not send it"},
		{"no parameters were signed", get("/v1/a", "", nil), get("/v1/a", "q=1", nil), "queryParams differs: you sent the parameter q, which is not in the signed ones"},
	}
	for _, d := range bodyDifferences {
		want := "the bodyHash claim is not the SHA-256 of the body"
		if d.want != "" {
			want = d.want
		}
		tests = append(tests, struct {
			name         string
			signed, sent request
			want         string
		}{d.name, post(d.signed), post(d.sent), want})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := reason(t, a.noah.Check, sandbox.ExplainNOAH, tt.sent, a.sign(t, noahClaims(tt.signed, time.Now()), false))
			if !strings.Contains(got, tt.want) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func noahClaims(r request, at time.Time) map[string]any {
	claims := map[string]any{"aud": "https://api.noah.com", "iat": at.Unix(), "exp": at.Unix() + 300, "method": r.method, "path": r.path}
	if r.params != nil {
		claims["queryParams"] = r.params
	}
	if r.body != "" {
		sum := sha256.Sum256([]byte(r.body))
		claims["bodyHash"] = hex.EncodeToString(sum[:])
	}
	return claims
}

func TestNOAHsReasonsNameAWrongClockAndTheFormOfTheSignature(t *testing.T) {
	a := newAccount(t)
	r := request{method: "GET", path: "/v1/a"}
	for _, tt := range []struct {
		name string
		at   time.Duration
		der  bool
		want string
	}{
		{"fast", 10 * time.Minute, false, "the clock of the machine that signs is fast"},
		{"slow", -10 * time.Minute, false, "or the clock of the machine that signs is slow"},
		{"DER", 0, true, "DER is what OpenSSL and most libraries give"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := reason(t, a.noah.Check, sandbox.ExplainNOAH, r, a.sign(t, noahClaims(r, time.Now().Add(tt.at)), tt.der)); !strings.Contains(got, tt.want) {
				t.Errorf("got %s", got)
			}
		})
	}
}

// Claims that nobody vouches for say nothing of what was signed.
func TestTheClaimsOfAForgedTokenExplainNothing(t *testing.T) {
	a, other := newAccount(t), newAccount(t)
	headers := other.sign(t, noahClaims(request{method: "GET", path: "/v1/b"}, time.Now()), false)
	headers.Set("X-Api-Key", a.apiKey)
	if got := reason(t, a.noah.Check, sandbox.ExplainNOAH, request{method: "GET", path: "/v1/a"}, headers); got !=
		"the JWT signature does not verify with the public key registered for this API key: it was made with another key, such as another version's, or the token was changed on its way" {
		t.Errorf("got %s", got)
	}
	headers.Set("Api-Signature", "x")
	if got := reason(t, a.noah.Check, sandbox.ExplainNOAH, request{method: "GET", path: "/v1/a"}, headers); got != "the JWT has 1 segments, it must have 3" {
		t.Errorf("got %s", got)
	}
}

const nobaSecret = "a-secret-for-tests"

func nobaHeaders(r request, at time.Time) http.Header {
	timestamp := strconv.FormatInt(at.UnixMilli(), 10)
	mac := hmac.New(sha256.New, []byte(nobaSecret))
	mac.Write([]byte(timestamp + "key-1" + r.method + r.path + r.body))
	return http.Header{"X-Noba-Api-Key": {"key-1"}, "X-Noba-Timestamp": {timestamp}, "X-Noba-Signature": {hex.EncodeToString(mac.Sum(nil))}}
}

func TestNobasReasonsNameTheDifference(t *testing.T) {
	post := func(body string) request { return request{method: "POST", path: "/v1/a", body: body} }
	tests := []struct {
		name         string
		signed, sent request
		want         string
	}{
		{"an empty body was signed", request{method: "GET", path: "/v1/a"}, request{method: "GET", path: "/v1/a"}, "signature differs: an empty body was signed; a request without a body signs {}"},
		{"the query was signed", request{method: "GET", path: "/v1/a?b=1", body: "{}"}, request{method: "GET", path: "/v1/a", query: "b=1"}, "signature differs: the path was signed with its query; it ends before the question mark"},
		{"a trailing slash was added", request{method: "GET", path: "/v1/a", body: "{}"}, request{method: "GET", path: "/v1/a/"}, "signature differs: the path you sent has a trailing slash that the signed one has not"},
		{"the method was signed in lower case", request{method: "get", path: "/v1/a", body: "{}"}, request{method: "GET", path: "/v1/a"}, "signature differs: the method was signed in lower case; it is signed in upper case"},
		{"another method was signed", request{method: "PUT", path: "/v1/a", body: "[]"}, request{method: "POST", path: "/v1/a", body: "[]"}, "signature differs: the method PUT was signed, but POST was sent"},
	}
	for _, d := range bodyDifferences {
		want := "the signature does not fit the request"
		if d.want != "" {
			want = d.want
		}
		tests = append(tests, struct {
			name         string
			signed, sent request
			want         string
		}{d.name, post(d.signed), post(d.sent), want})
	}
	noba := partners.NewNoba(nil)
	noba.Register("key-1", []byte(nobaSecret), true)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := reason(t, noba.Check, sandbox.ExplainNoba([]byte(nobaSecret)), tt.sent, nobaHeaders(tt.signed, time.Now())); !strings.Contains(got, tt.want) {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	t.Run("a clock", func(t *testing.T) {
		r := post("{}")
		for off, want := range map[time.Duration]string{10 * time.Minute: "the clock of the machine that signs is fast", -10 * time.Minute: "the clock of the machine that signs is slow"} {
			if got := reason(t, noba.Check, sandbox.ExplainNoba([]byte(nobaSecret)), r, nobaHeaders(r, time.Now().Add(off))); !strings.Contains(got, want) {
				t.Errorf("got %s", got)
			}
		}
	})
	t.Run("strict", func(t *testing.T) {
		strict := partners.NewNoba(nil)
		strict.Strict = true
		strict.Register("key-1", []byte(nobaSecret), true)
		r := post(`{"a": 1}`)
		if got := reason(t, strict.Check, sandbox.ExplainNoba([]byte(nobaSecret)), r, nobaHeaders(r, time.Now())); !strings.Contains(got, "not in the form of JSON.stringify") {
			t.Errorf("got %s", got)
		}
	})
}

// reason is what the sandbox says of a request that its partner must refuse.
func reason(t *testing.T, check func(partners.Request) error, explain func(partners.Request, string) string, sent request, headers http.Header) string {
	t.Helper()
	r := partners.Request{Method: sent.method, Target: sent.target(), Header: headers, Body: bytes.Clone([]byte(sent.body))}
	err := check(r)
	if err == nil {
		t.Fatal("the request was accepted")
	}
	if better := explain(r, err.Error()); better != "" {
		return better
	}
	return err.Error()
}

// Indented, this would be hundreds of megabytes.
func TestDeepJSONIsNotIndented(t *testing.T) {
	noba := partners.NewNoba(nil)
	noba.Register("key-1", []byte(nobaSecret), true)
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	signed, sent := request{method: "POST", path: "/v1/a", body: deep}, request{method: "POST", path: "/v1/a", body: deep + " "}
	if got := reason(t, noba.Check, sandbox.ExplainNoba([]byte(nobaSecret)), sent, nobaHeaders(signed, time.Now())); !strings.Contains(got, "white space around it") {
		t.Errorf("got %s", got)
	}
	sent.body = strings.Repeat("[", 9000) + "1" + strings.Repeat("]", 9000)
	if got := reason(t, noba.Check, sandbox.ExplainNoba([]byte(nobaSecret)), sent, nobaHeaders(signed, time.Now())); got != "the signature does not fit the request" {
		t.Errorf("got %s", got)
	}
}

func FuzzRewritingABodyNeverPanics(f *testing.F) {
	for _, d := range bodyDifferences {
		f.Add([]byte(d.sent))
	}
	f.Add([]byte(`"\`))
	f.Add([]byte("\ufeff [\"\xff\\ud800\"]"))
	noba := sandbox.ExplainNoba([]byte(nobaSecret))
	f.Fuzz(func(_ *testing.T, body []byte) {
		headers := nobaHeaders(request{method: "POST", path: "/", body: "other"}, time.Unix(0, 0))
		_ = noba(partners.Request{Method: "POST", Target: "/", Header: headers, Body: body}, "the signature does not fit the request")
	})
}
