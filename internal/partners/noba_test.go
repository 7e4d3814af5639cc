package partners_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"github.com/signerd/signerd/internal/partners"
)

// Made up for these tests; no account knows them.
const (
	nobaKey    = "test-key"
	nobaSecret = "test-secret"
)

// nobaNow is the tests' clock in milliseconds.
const nobaNow = "1719820231000"

// hmacHex is the page's createHeaderSignature.
func hmacHex(secret, timestamp, apiKey, method, path, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(timestamp + apiKey + method + path + body))
	return hex.EncodeToString(mac.Sum(nil))
}

func nobaRequest(method, target, timestamp, signature, body string) partners.Request {
	return partners.Request{
		Method: method,
		Target: target,
		Header: http.Header{
			"X-Noba-Api-Key":   {nobaKey},
			"X-Noba-Timestamp": {timestamp},
			"X-Noba-Signature": {signature},
		},
		Body: []byte(body),
	}
}

func newNoba(sandbox bool) *partners.Noba {
	n := partners.NewNoba(now)
	n.Register(nobaKey, []byte(nobaSecret), sandbox)
	return n
}

// The signatures were computed outside of Go with the algorithm of the page:
// node's crypto.createHmac("sha256", secret) over the concatenation, the first
// also with printf %s … | openssl dgst -sha256 -hmac test-secret.
func TestNobaAcceptsReferenceSignatures(t *testing.T) {
	tests := []struct{ name, secret, method, target, timestamp, body, signature string }{
		{"the testing timestamp without a body", nobaSecret, "GET", "/v1/countries/US", "0", "", "0e4e3b922292377eac06b3458ff98cd31902168c4522e8a2985a20d53da109c6"},
		{"the body that stands for none", nobaSecret, "GET", "/v1/countries/US", "0", "{}", "0e4e3b922292377eac06b3458ff98cd31902168c4522e8a2985a20d53da109c6"},
		{"a query, which is not signed", nobaSecret, "GET", "/v1/countries/US?a=%zz&b", "0", "", "0e4e3b922292377eac06b3458ff98cd31902168c4522e8a2985a20d53da109c6"},
		{"a lower-case method on the wire", nobaSecret, "get", "/v1/countries/US", "0", "", "0e4e3b922292377eac06b3458ff98cd31902168c4522e8a2985a20d53da109c6"},
		{"a body", nobaSecret, "POST", "/v1/transactions", "0", `{"amount":"10"}`, "298720e9861a5b0804e841bcc3b5331e923945192ae34d6fe1bd4e085dc4159e"},
		{"a body beyond ASCII", nobaSecret, "POST", "/v1/transactions", nobaNow, `{"note":"Grüße ✓"}`, "ed076e6e0b3d7a97d7a68c8ef4bd71345f4cc2f2aa22381b95ecb702242a1daf"},
		{"a secret beyond ASCII", "ключ-ü", "POST", "/v1/transactions", nobaNow, `{"note":"Grüße ✓"}`, "ab47e6ee068d751ddfb8cbf840c540c5557b19655a7e38d9ad439143eed376e7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, strict := range []bool{false, true} {
				n := partners.NewNoba(now)
				n.Strict = strict
				n.Register(nobaKey, []byte(tt.secret), true)
				checkReason(t, n.Check(nobaRequest(tt.method, tt.target, tt.timestamp, tt.signature, tt.body)), "")
			}
		})
	}
}

func TestNobaChecksTheHeaders(t *testing.T) {
	tests := []struct {
		name   string
		bend   func(r *partners.Request)
		reason string
	}{
		{"nothing bent", func(*partners.Request) {}, ""},
		{"names as the page spells them", func(r *partners.Request) {
			r.Header = http.Header{
				"X-Noba-API-Key":   r.Header["X-Noba-Api-Key"],
				"X-Noba-Signature": r.Header["X-Noba-Signature"],
				"X-Noba-Timestamp": r.Header["X-Noba-Timestamp"],
			}
		}, ""},
		{"no API key", func(r *partners.Request) { r.Header.Del("X-Noba-API-Key") }, "the X-Noba-API-Key header is missing"},
		{"no signature", func(r *partners.Request) { r.Header.Del("X-Noba-Signature") }, "the X-Noba-Signature header is missing"},
		{"no timestamp", func(r *partners.Request) { r.Header.Del("X-Noba-Timestamp") }, "the X-Noba-Timestamp header is missing"},
		{"API key twice", func(r *partners.Request) { r.Header.Add("X-Noba-API-Key", nobaKey) }, "the X-Noba-API-Key header is there 2 times"},
		{"signature twice", func(r *partners.Request) { r.Header.Add("X-Noba-Signature", "a") }, "the X-Noba-Signature header is there 2 times"},
		{"timestamp twice", func(r *partners.Request) { r.Header.Add("X-Noba-Timestamp", "0") }, "the X-Noba-Timestamp header is there 2 times"},
		{"an unknown API key", func(r *partners.Request) { r.Header.Set("X-Noba-API-Key", "other") }, "the API key is not known"},
		{"a target without a slash", func(r *partners.Request) { r.Target = "v1" }, "does not start with a slash"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := nobaRequest("GET", "/v1/countries", nobaNow, hmacHex(nobaSecret, nobaNow, nobaKey, "GET", "/v1/countries", "{}"), "")
			tt.bend(&r)
			checkReason(t, newNoba(true).Check(r), tt.reason)
		})
	}
}

func TestNobaChecksTheTimestamp(t *testing.T) {
	tests := []struct {
		name, timestamp string
		sandbox         bool
		reason          string
	}{
		{"now", nobaNow, false, ""},
		{"five minutes old", "1719819931000", false, ""},
		{"five minutes and a millisecond old", "1719819930999", false, "the timestamp is 300001 ms old"},
		{"five minutes ahead", "1719820531000", false, ""},
		{"five minutes and a millisecond ahead", "1719820531001", false, "the timestamp is 300001 ms ahead"},
		{"an old one in sandbox", "1719819930999", true, "the timestamp is 300001 ms old"},
		{"seconds", "1719820231", false, "the timestamp is in seconds"},
		{"zero in sandbox", "0", true, ""},
		{"zero outside of sandbox", "0", false, "the timestamp is 0, which is for testing"},
		{"two zeros in sandbox", "00", true, "has a leading zero"},
		{"a leading zero", "0" + nobaNow, false, "has a leading zero"},
		{"a plus sign", "+" + nobaNow, false, "not decimal milliseconds"},
		{"a minus sign", "-1", false, "not decimal milliseconds"},
		{"a fraction", nobaNow + ".0", false, "not decimal milliseconds"},
		{"a space", " " + nobaNow, false, "not decimal milliseconds"},
		{"digits that are not ASCII", "١", false, "not decimal milliseconds"},
		{"the largest integer", "9223372036854775807", false, "ahead of the clock"},
		{"more than an integer holds", "9223372036854775808", false, "the timestamp is too large"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			signature := hmacHex(nobaSecret, tt.timestamp, nobaKey, "GET", "/v1/countries", "{}")
			r := nobaRequest("GET", "/v1/countries", tt.timestamp, signature, "")
			checkReason(t, newNoba(tt.sandbox).Check(r), tt.reason)
		})
	}
}

func TestNobaChecksTheFormOfTheSignature(t *testing.T) {
	good := hmacHex(nobaSecret, nobaNow, nobaKey, "GET", "/v1/countries", "{}")
	raw, err := hex.DecodeString(good)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, signature, reason string }{
		{"good", good, ""},
		{"upper case", strings.ToUpper(good), "upper-case digits"},
		{"base64", base64.StdEncoding.EncodeToString(raw), "the signature is base64"},
		{"base64url without padding", base64.RawURLEncoding.EncodeToString(raw), "the signature is base64"},
		{"one digit short", good[1:], "not 64 hexadecimal digits"},
		{"one digit long", good + "0", "not 64 hexadecimal digits"},
		{"no digits", strings.Repeat("x", 64), "not 64 hexadecimal digits"},
		{"zeros", strings.Repeat("0", 64), "does not fit the request"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			checkReason(t, newNoba(false).Check(nobaRequest("GET", "/v1/countries", nobaNow, tt.signature, "")), tt.reason)
		})
	}
}

// Each test signs one thing and sends another.
func TestNobaComparesTheSignatureWithTheRequest(t *testing.T) {
	const path = "/v1/transactions"
	signs := func(method, path, body string) string {
		return hmacHex(nobaSecret, nobaNow, nobaKey, method, path, body)
	}
	const misfit = "the signature does not fit the request"
	tests := []struct{ name, signature, method, target, body, reason string }{
		{"another method", signs("PUT", path, "{}"), "POST", path, "{}", misfit},
		{"a method in lower case", signs("post", path, "{}"), "POST", path, "{}", misfit + "; it fits the method in lower case"},
		{"another path", signs("POST", "/v1", "{}"), "POST", path, "{}", misfit},
		{"the query signed", signs("POST", path+"?a=b", "{}"), "POST", path + "?a=b", "{}", misfit + "; it fits the path with its query"},
		{"the bare question mark signed", signs("POST", path+"?", "{}"), "POST", path + "?", "{}", misfit + "; it fits the path with its query"},
		{"another body", signs("POST", path, `{"a":1}`), "POST", path, `{"a":2}`, misfit},
		{"nothing signed for no body", signs("POST", path, ""), "POST", path, "", misfit + "; it fits an empty body, but no body is signed as {}"},
		{"nothing signed for a body", signs("POST", path, "{}"), "POST", path, `{"a":1}`, misfit},
		{"another secret", hmacHex("other", nobaNow, nobaKey, "POST", path, "{}"), "POST", path, "{}", misfit},
		{"another API key signed", hmacHex(nobaSecret, nobaNow, "other", "POST", path, "{}"), "POST", path, "{}", misfit},
		{"another timestamp signed", hmacHex(nobaSecret, "0", nobaKey, "POST", path, "{}"), "POST", path, "{}", misfit},
		{"white space not signed", signs("POST", path, `{"a":1}`), "POST", path, `{ "a": 1 }`, misfit + "; it fits the compact form"},
		{"a newline not signed", signs("POST", path, `{"a":1}`), "POST", path, "{\"a\":1}\n", misfit + "; it fits the body without its trailing newline"},
		{"a newline not sent", signs("POST", path, "{\"a\":1}\n"), "POST", path, `{"a":1}`, misfit + "; it fits the body with one trailing newline more"},
		{"JSON.stringify signed", signs("POST", path, `{"a":1}`), "POST", path, `{"a":1.0}`, misfit + "; it fits JSON.stringify of the body"},
		{"exact bytes in no canonical form", signs("POST", path, "{ \"b\": 1.0 }\n"), "POST", path, "{ \"b\": 1.0 }\n", ""},
		{"a body that is not UTF-8", signs("POST", path, "{\"a\":\"\xff\"}"), "POST", path, "{\"a\":\"\xff\"}", "the body is not valid UTF-8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			checkReason(t, newNoba(false).Check(nobaRequest(tt.method, tt.target, nobaNow, tt.signature, tt.body)), tt.reason)
		})
	}
}

func TestStrictNobaSeesTheParsedBody(t *testing.T) {
	tests := []struct{ name, signed, sent, reason string }{
		{"a compact body", `{"a":1}`, `{"a":1}`, ""},
		{"an array", `[1]`, `[1]`, ""},
		{"no body", `{}`, ``, ""},
		{"white space sent, compact signed", `{"a":1}`, `{ "a": 1 }`, ""},
		{"white space sent and signed", `{ "a": 1 }`, `{ "a": 1 }`, "it fits the bytes that were sent, but"},
		{"a number in another form", `{"a":1.0}`, `{"a":1.0}`, "it fits the bytes that were sent, but"},
		{"integer-like names out of order", `{"2":0,"1":0}`, `{"2":0,"1":0}`, "it fits the bytes that were sent, but"},
		{"a repeated name", `{"a":1,"a":2}`, `{"a":1,"a":2}`, "it fits the bytes that were sent, but"},
		{"another body", `{"a":1}`, `{"a":2}`, "the signature does not fit the request"},
		{"no JSON", `a=b`, `a=b`, "the body is not valid JSON"},
		{"a string", `"a"`, `"a"`, "the body is a string, not a JSON object or array"},
		{"white space alone", ` `, ` `, "the body is not valid JSON"},
	}
	n := newNoba(false)
	n.Strict = true
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			signature := hmacHex(nobaSecret, nobaNow, nobaKey, "POST", "/v1", tt.signed)
			checkReason(t, n.Check(nobaRequest("POST", "/v1", nobaNow, signature, tt.sent)), tt.reason)
		})
	}
}

func TestNobaKeepsItsOwnCopyOfTheSecretAndTakesANewOne(t *testing.T) {
	n := partners.NewNoba(now)
	secret := []byte(nobaSecret)
	n.Register(nobaKey, secret, false)
	clear(secret)
	r := nobaRequest("GET", "/v1", nobaNow, hmacHex(nobaSecret, nobaNow, nobaKey, "GET", "/v1", "{}"), "")
	checkReason(t, n.Check(r), "")
	n.Register(nobaKey, []byte("new-secret"), false)
	checkReason(t, n.Check(r), "the signature does not fit the request")
}

func TestNobaWithoutAClockTakesTheRealOne(t *testing.T) {
	n := partners.NewNoba(nil)
	n.Register(nobaKey, []byte(nobaSecret), true)
	signature := hmacHex(nobaSecret, nobaNow, nobaKey, "GET", "/v1", "{}")
	checkReason(t, n.Check(nobaRequest("GET", "/v1", nobaNow, signature, "")), "ms old") // of 2024
}
