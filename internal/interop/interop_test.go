package interop

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
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	noahAudience = "https://api.noah.com"
	// noahTime is the iat of the example on the partner's page.
	noahTime = 1719820231
)

// A noahCase is one token, and what the verifier is told about it.
type noahCase struct {
	Token          string   `json:"token"`
	PublicPEM      string   `json:"publicPem"`
	Algorithms     []string `json:"algorithms"`
	ClockTimestamp int64    `json:"clockTimestamp"`
}

type noahAnswer struct {
	OK      bool            `json:"ok"`
	Header  json.RawMessage `json:"header"`
	Payload string          `json:"payload"`
	Parsed  json.RawMessage `json:"parsed"`
	Error   string          `json:"error"`
}

func TestNoahScriptTellsGoodTokensFromBad(t *testing.T) {
	key, other := newKey(t), newKey(t)
	const header = `{"alg":"ES384","typ":"JWT"}`
	// An integer that a float64 cannot hold shows that the payload's text is the signed one.
	payload := noahPayload(noahAudience, `,"queryParams":{"PageSize":20,"Big":9007199254740993}`)
	good := noahCase{
		Token:          signES384(t, key, header, payload),
		PublicPEM:      publicPEM(t, key),
		Algorithms:     []string{"ES384"},
		ClockTimestamp: noahTime,
	}
	change := func(f func(*noahCase)) noahCase {
		c := good
		f(&c)
		return c
	}
	parts := strings.Split(good.Token, ".")
	signature := decodeBase64URL(t, parts[2])
	signature[0] ^= 1

	tests := []struct {
		name string
		in   noahCase
		err  string // empty when the token is good
	}{
		{"a good token verifies", good, ""},
		{"a good token verifies in its last second", change(func(c *noahCase) { c.ClockTimestamp = noahTime + 299 }), ""},
		{"a token is refused once it has expired", change(func(c *noahCase) { c.ClockTimestamp = noahTime + 300 }), "jwt expired"},
		{"a changed payload is refused", change(func(c *noahCase) {
			changed := strings.Replace(payload, "GET", "PUT", 1)
			c.Token = strings.Join([]string{parts[0], encodeBase64URL([]byte(changed)), parts[2]}, ".")
		}), "invalid signature"},
		{"a changed signature is refused", change(func(c *noahCase) {
			c.Token = strings.Join([]string{parts[0], parts[1], encodeBase64URL(signature)}, ".")
		}), "invalid signature"},
		{"another key's token is refused", change(func(c *noahCase) { c.Token = signES384(t, other, header, payload) }), "invalid signature"},
		{"a token for another audience is refused", change(func(c *noahCase) {
			c.Token = signES384(t, key, header, noahPayload("https://api.sandbox.noah.com", ""))
		}), "jwt audience invalid. expected: https://api.noah.com"},
		{"an algorithm that was not asked for is refused", change(func(c *noahCase) { c.Algorithms = []string{"ES256"} }), "invalid algorithm"},
		{"what is no token is refused", change(func(c *noahCase) { c.Token = "a.b" }), "jwt malformed"},
	}
	var lines []string
	for _, tt := range tests {
		lines = append(lines, toJSON(t, tt.in))
	}
	answers := Node(t, "noah.js", lines)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got noahAnswer
			fromJSON(t, answers[i], &got)
			if got.OK != (tt.err == "") || got.Error != tt.err {
				t.Fatalf("ok %v, error %q; want error %q", got.OK, got.Error, tt.err)
			}
			if !got.OK {
				return
			}
			if got.Payload != payload {
				t.Errorf("payload %s, want %s", got.Payload, payload)
			}
			if string(got.Header) != header {
				t.Errorf("header %s, want %s", got.Header, header)
			}
			if want := strings.Replace(payload, "9007199254740993", "9007199254740992", 1); string(got.Parsed) != want {
				t.Errorf("parsed %s, want %s", got.Parsed, want)
			}
		})
	}
}

func TestNobaScriptComputesTheHMACOfTheConcatenatedParts(t *testing.T) {
	// 1 MiB of JSON whose characters take one to four bytes.
	large := []byte(`["` + strings.Repeat("aé€😀", (1<<20-4)/10) + `"]`)
	tests := []struct {
		name      string
		timestamp int64
		apiKey    string
		secret    string
		method    string
		path      string
		body      []byte
		signed    string // what goes in place of the body
	}{
		{"a body is signed as it is", 1700000000123, "key", "secret", "POST", "/v1/x", []byte(`{ "a": 1.0 }`), `{ "a": 1.0 }`},
		{"no body is signed as {}", 0, "key", "secret", "GET", "/v1/countries/US", nil, "{}"},
		{"an empty body is signed as {}", 0, "key", "secret", "GET", "/v1/countries/US", []byte{}, "{}"},
		{"secret and path are UTF-8", 0, "clé", "sécrèt 😀", "GET", "/é", nil, "{}"},
		{"a byte order mark in the body is signed", 0, "key", "secret", "POST", "/", []byte("\ufeff{}"), "\ufeff{}"},
		{"a body of 1 MiB is signed", 0, "key", strings.Repeat("s", 100), "POST", "/", large, string(large)},
	}
	var lines []string
	for _, tt := range tests {
		lines = append(lines, toJSON(t, map[string]any{
			"timestamp": tt.timestamp, "apiKey": tt.apiKey, "secret": tt.secret,
			"method": tt.method, "path": tt.path, "body": tt.body, // a nil []byte is null
		}))
	}
	answers := Node(t, "noba.js", lines)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mac := hmac.New(sha256.New, []byte(tt.secret))
			fmt.Fprintf(mac, "%d%s%s%s%s", tt.timestamp, tt.apiKey, tt.method, tt.path, tt.signed)
			var got string
			fromJSON(t, answers[i], &got)
			if want := hex.EncodeToString(mac.Sum(nil)); got != want {
				t.Errorf("signature %s, want %s", got, want)
			}
		})
	}
}

func TestStringifyScriptWritesAsJavaScriptDoes(t *testing.T) {
	in := base64.StdEncoding.EncodeToString([]byte(` { "b" : 1.0, "1" : "\u0041" } `))
	got := Node(t, "stringify.js", []string{in})
	if want := base64.StdEncoding.EncodeToString([]byte(`{"1":"A","b":1}`)); got[0] != want {
		t.Errorf("got %s, want %s", got[0], want)
	}
}

func TestOpenSSLHashesThePartnersExampleToItsPublishedValue(t *testing.T) {
	const body = `{"CryptoCurrency":"USDC_TEST","CustomerID":"noah-1235","ExternalID":"noah-funds-124",` +
		`"FiatAmount":"100","FiatCurrency":"USD","LineItems":[{"Description":"100 USDT for use in noah.com",` +
		`"Quantity":"1","TotalFiatAmount":"100","UnitFiatAmount":"100"}],"Nonce":"nonce-987654321",` +
		`"PaymentMethodCategory":"Bank","ReturnURL":"https://noah.com"}`
	got := hex.EncodeToString(OpenSSL(t, []byte(body), "dgst", "-sha256", "-binary"))
	if want := "f5d7c7d38825cb5701e20342e4b0ca47dfb2006a91d3dd6a847da86a78a8380b"; got != want {
		t.Errorf("hash %s, want %s", got, want)
	}
}

func TestFailuresDoNotQuoteTheirInputs(t *testing.T) {
	// Without the programs there is nothing to see here.
	Node(t, "stringify.js", nil)
	OpenSSL(t, nil, "version")

	const secret = "hunter2hunter2"
	tests := []struct {
		name string
		call func(testing.TB)
	}{
		{"a line that is not JSON", func(t testing.TB) { Node(t, "noba.js", []string{secret}) }},
		{"a line that lacks what it needs", func(t testing.TB) { Node(t, "noah.js", []string{`{"token":"` + secret + `"}`}) }},
		{"a line with a line break in it", func(t testing.TB) { Node(t, "noba.js", []string{secret + "\n"}) }},
		{"a script that does not exist", func(t testing.TB) { Node(t, "none.js", []string{secret}) }},
		{"an openssl argument that is wrong", func(t testing.TB) { OpenSSL(t, nil, "pkey", "-passin", secret) }},
		{"an openssl argument with a prefix", func(t testing.TB) { OpenSSL(t, nil, "mac", "-macopt", "key:"+secret, secret) }},
		{"an openssl input that is wrong", func(t testing.TB) { OpenSSL(t, []byte(secret), "pkey") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := record(t, tt.call)
			if got.verdict != "fatal" {
				t.Fatalf("verdict %q, want a failure", got.verdict)
			}
			if strings.Contains(got.text, secret) {
				t.Error("the failure quotes the input")
			}
		})
	}
}

func TestMissingProgramSkipsTheTestAndFailsOnCI(t *testing.T) {
	for name, call := range map[string]func(testing.TB){
		"node":    func(t testing.TB) { Node(t, "stringify.js", nil) },
		"openssl": func(t testing.TB) { OpenSSL(t, nil, "version") },
	} {
		for ci, verdict := range map[string]string{"": "skip", "true": "fatal"} {
			t.Run(fmt.Sprintf("%s with CI=%q", name, ci), func(t *testing.T) {
				t.Setenv("PATH", t.TempDir())
				t.Setenv("CI", ci)
				got := record(t, call)
				if got.verdict != verdict || !strings.Contains(got.text, name+" is not installed") {
					t.Errorf("got %s: %s", got.verdict, got.text)
				}
			})
		}
	}
}

func TestPackagesAreCheckedAgainstTheLockFile(t *testing.T) {
	const lock = `{"packages":{"":{"name":"interop"},"node_modules/a":{"version":"1.0.0","integrity":"x"}}}`
	tests := []struct {
		name      string
		installed string
		want      string // part of the reason; empty when all is well
	}{
		{"nothing is installed", "", "not installed"},
		{"the same packages are installed", `{"packages":{"node_modules/a":{"version":"1.0.0","integrity":"x"}}}`, ""},
		{"another version is installed", `{"packages":{"node_modules/a":{"version":"1.0.1","integrity":"y"}}}`, "not those"},
		{"one package too many is installed", `{"packages":{"node_modules/a":{"version":"1.0.0","integrity":"x"},"node_modules/b":{}}}`, "not those"},
		{"the record of what is installed is broken", `{`, ".package-lock.json: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, filepath.Join(dir, "package-lock.json"), lock)
			if tt.installed != "" {
				writeFile(t, filepath.Join(dir, "node_modules", ".package-lock.json"), tt.installed)
			}
			err := checkInstalled(dir)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestLockFileRecordsNoDownloadAddress(t *testing.T) {
	data, err := os.ReadFile("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(`"resolved"`)) {
		t.Error("package-lock.json records where its packages were downloaded from; see .npmrc")
	}
}

// recorder stands in for a test and keeps how it was ended.
type recorder struct {
	testing.TB
	verdict, text string
}

// errEnded ends the recorded call, as Goexit ends a test.
var errEnded = errors.New("ended")

func (r *recorder) Helper() {}

func (r *recorder) Skip(args ...any) { r.end("skip", fmt.Sprint(args...)) }

func (r *recorder) Fatalf(format string, args ...any) { r.end("fatal", fmt.Sprintf(format, args...)) }

func (r *recorder) end(verdict, text string) {
	r.verdict, r.text = verdict, text
	panic(errEnded)
}

// record runs call with a recorder in the test's place.
func record(t *testing.T, call func(testing.TB)) (r *recorder) {
	t.Helper()
	r = &recorder{TB: t}
	defer func() {
		if v := recover(); v != nil && v != errEnded {
			panic(v)
		}
	}()
	call(r)
	return r
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicPEM(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// noahPayload returns claims that are good for 300 seconds from noahTime, with more at their end.
func noahPayload(audience, more string) string {
	return fmt.Sprintf(`{"aud":%q,"iat":%d,"exp":%d,"method":"GET","path":"/v1/transactions"%s}`,
		audience, noahTime, noahTime+300, more)
}

// signES384 makes a token by hand: RFC 7518, section 3.4.
func signES384(t *testing.T, key *ecdsa.PrivateKey, header, payload string) string {
	t.Helper()
	input := encodeBase64URL([]byte(header)) + "." + encodeBase64URL([]byte(payload))
	digest := sha512.Sum384([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 96)
	r.FillBytes(signature[:48])
	s.FillBytes(signature[48:])
	return input + "." + encodeBase64URL(signature)
}

func encodeBase64URL(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func decodeBase64URL(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func fromJSON(t *testing.T, s string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), v); err != nil {
		t.Fatalf("an answer of the script: %v", err)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
