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
	"github.com/signerd/signerd/internal/diagnosis"
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

// bodyDifferences are told alike by NOAH, whose JWT has a hash of the body, and by Noba, whose signature goes over it. What else there is,
// internal/diagnosis tests.
var bodyDifferences = []struct{ name, signed, sent, want string }{
	{"a trailing newline was added", `{"a":1}`, "{\"a\":1}\n", " differs: the body you sent has a trailing newline that the signed one has not"},
	{"a trailing newline was lost", "{\"a\":1}\n", `{"a":1}`, " differs: the signed body has a trailing newline that the one you sent has not"},
	{"spaces were added", `{"b":[1,2],"a":"x, y: z"}`, `{"b": [1, 2], "a": "x, y: z"}`, "written in another way: the one you sent has white space that the signed one has not"},
	{"Python's ASCII and spaces in order were signed", `{"a": "caf\u00e9", "b": 1}` + "\n", `{"b":1,"a":"café"}`, "white space that the one you sent has not; names are in another order; characters are escaped in another way"},
	{"the braces of no body were signed", `{}`, `{"a":1}`, " differs: {} was signed in place of the body"},
	{"text was changed that is no JSON", "x", "{\"a\":1", "none of the usual causes explains it"},
	{"a newline was added to as long a body as is read", strings.Repeat("x", partners.MaxBody-1), strings.Repeat("x", partners.MaxBody-1) + "\n", "the body you sent has a trailing newline"},
}

func post(body string) request { return request{method: "POST", path: "/v1/a", body: body} }

func TestNOAHsReasonsNameTheClaimThatDiffers(t *testing.T) {
	a := newAccount(t)
	get := func(path, query string, params map[string]any) request {
		return request{"GET", path, query, params, ""}
	}
	tests := []struct {
		name         string
		signed, sent request
		want         string
	}{
		{"no body, but braces signed", post("{}"), post(""), "bodyHash differs: {} was signed, and no body was sent"},
		{"a trailing slash was added", get("/v1/a", "", nil), get("/v1/a/", "", nil), "path differs: the path you sent has a trailing slash that the signed one has not"},
		{"another method was signed", request{method: "PUT", path: "/v1/a"}, get("/v1/a", "", nil), `method differs: signed "PUT", sent "GET"`},
		{"+ was signed for a space", get("/v1/a", "", map[string]any{"q": "a+b"}), get("/v1/a", "q=a%20b", nil), `queryParams differs: parameter "q": a space of one is a + of the other: signed "a+b", sent "a%20b"`},
		{"no parameters were signed", get("/v1/a", "", nil), get("/v1/a", "q=1", nil), "queryParams differs: parameters were sent, and none were signed"},
	}
	for _, d := range bodyDifferences {
		tests = append(tests, struct {
			name         string
			signed, sent request
			want         string
		}{d.name, post(d.signed), post(d.sent), d.want})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := reason(t, a.noah.Check, sandbox.ReasonNOAH, tt.sent, a.sign(t, noahClaims(tt.signed, time.Now()), false))
			if !strings.Contains(got, tt.want) || tt.sent.body != "" && !strings.HasPrefix(got, "bodyHash differs: ") {
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
		{"fast", 10 * time.Minute, false, "10m after the time it was sent: the clock of whoever signed is fast"},
		{"slow", -10 * time.Minute, false, "the clock of whoever signed is slow"},
		{"DER", 0, true, "the signature is in ASN.1 DER"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := reason(t, a.noah.Check, sandbox.ReasonNOAH, r, a.sign(t, noahClaims(r, time.Now().Add(tt.at)), tt.der)); !strings.Contains(got, tt.want) {
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
	if got := reason(t, a.noah.Check, sandbox.ReasonNOAH, request{method: "GET", path: "/v1/a"}, headers); got !=
		"the JWT signature does not verify with the public key registered for this API key: it was made with another key, such as another version's, or the token was changed on its way" {
		t.Errorf("got %s", got)
	}
	headers.Set("Api-Signature", "x")
	if got := reason(t, a.noah.Check, sandbox.ReasonNOAH, request{method: "GET", path: "/v1/a"}, headers); got != "headers: Api-Signature has 1 parts between dots; a token has 3" {
		t.Errorf("got %s", got)
	}
}

func TestAnUnknownAPIKeyIsToldBeforeWhatFollows(t *testing.T) {
	a := newAccount(t)
	const want = "headers: the API key is not one that the local partner was given"
	headers := a.sign(t, noahClaims(request{method: "GET", path: "/v1/b"}, time.Now()), false)
	headers.Set("X-Api-Key", "apikey_sandbox_other")
	if got := reason(t, a.noah.Check, sandbox.ReasonNOAH, request{method: "GET", path: "/v1/a"}, headers); got != want {
		t.Errorf("got %s", got)
	}
	r := post("{}")
	if got := reason(t, partners.NewNoba(nil).Check, sandbox.ReasonNoba([]byte(nobaSecret)), r, nobaHeaders(r, time.Now().Add(-time.Hour))); got != want {
		t.Errorf("got %s", got)
	}
}

// An account may have any API key here; that is not why a request is refused.
func TestAnOddAPIKeyThatIsKnownIsNoReason(t *testing.T) {
	noba := partners.NewNoba(nil)
	noba.Register("<key>", []byte(nobaSecret), true)
	headers := nobaHeaders(post("{}"), time.Now())
	headers.Set("X-Noba-Api-Key", "<key>")
	if got := reason(t, noba.Check, sandbox.ReasonNoba([]byte(nobaSecret)), post("{}"), headers); !strings.HasPrefix(got, "signature differs: ") {
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

func TestNobasReasonsNameWhatWasSigned(t *testing.T) {
	tests := []struct {
		name         string
		signed, sent request
		want         string
	}{
		{"an empty body was signed", request{method: "GET", path: "/v1/a"}, request{method: "GET", path: "/v1/a"}, "no body was sent, and it was signed as an empty one; Noba sees {}"},
		{"the query was signed", request{method: "GET", path: "/v1/a?b=1", body: "{}"}, request{method: "GET", path: "/v1/a", query: "b=1"}, "the path was signed together with its query"},
		{"the host was signed", request{method: "GET", path: "http://127.0.0.1:7001/v1/a", body: "{}"}, request{method: "GET", path: "/v1/a"}, "the path was signed together with the host"},
		{"the method was signed in lower case", request{method: "get", path: "/v1/a", body: "{}"}, request{method: "GET", path: "/v1/a"}, `method: it was signed in another case: signed "get", sent "GET"`},
	}
	for _, d := range bodyDifferences {
		tests = append(tests, struct {
			name         string
			signed, sent request
			want         string
		}{d.name, post(d.signed), post(d.sent), d.want})
	}
	noba := partners.NewNoba(nil)
	noba.Register("key-1", []byte(nobaSecret), true)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := reason(t, noba.Check, sandbox.ReasonNoba([]byte(nobaSecret)), tt.sent, nobaHeaders(tt.signed, time.Now()))
			if !strings.Contains(got, tt.want) || !strings.HasPrefix(got, "signature differs: ") {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	t.Run("a clock", func(t *testing.T) {
		r := post("{}")
		for off, want := range map[time.Duration]string{10 * time.Minute: "the clock of whoever signed is fast", -10 * time.Minute: "the clock of whoever signed is slow"} {
			if got := reason(t, noba.Check, sandbox.ReasonNoba([]byte(nobaSecret)), r, nobaHeaders(r, time.Now().Add(off))); !strings.Contains(got, want) {
				t.Errorf("got %s", got)
			}
		}
	})
	t.Run("strict", func(t *testing.T) {
		strict := partners.NewNoba(nil)
		strict.Strict = true
		strict.Register("key-1", []byte(nobaSecret), true)
		r := post(`{"a": 1}`)
		if got := reason(t, strict.Check, sandbox.ReasonNoba([]byte(nobaSecret)), r, nobaHeaders(r, time.Now())); !strings.HasPrefix(got, "body: ") || !strings.Contains(got, "white space") {
			t.Errorf("got %s", got)
		}
	})
}

// reason is what the sandbox says of a request that its partner must refuse.
func reason(t *testing.T, check func(partners.Request) error, explain func(diagnosis.Request, string) diagnosis.Finding, sent request, headers http.Header) string {
	t.Helper()
	r := partners.Request{Method: sent.method, Target: sent.target(), Header: headers, Body: bytes.Clone([]byte(sent.body))}
	err := check(r)
	if err == nil {
		t.Fatal("the request was accepted")
	}
	better := explain(diagnosis.Request{Method: r.Method, Target: r.Target, Host: "127.0.0.1:7001", Header: r.Header, Body: r.Body, Sent: time.Now()}, err.Error())
	if better.Text == "" || better.Advice == "" {
		t.Errorf("nothing is found for %q: %+v", err, better)
	}
	return better.Text
}
