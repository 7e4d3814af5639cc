package noah_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
)

// maxSignatures bounds the wait for a short r and a short s: each turns up once in 256 signatures on average, so that
// one of them is missing after 6000 in 2·(255/256)^6000, less than one run in 10^9.
const maxSignatures = 6000

// A number below 2^(8·(width-1)) is where DER, and code that trims, would give fewer bytes.
func TestASignatureIsRAndSOfFixedWidthHoweverSmallTheyAre(t *testing.T) {
	tests := []struct {
		algorithm       string
		atLeast, width  int
		digest          func(string) []byte
		headerBase64url string
	}{
		{noah.ES384, 300, 48, func(s string) []byte { h := sha512.Sum384([]byte(s)); return h[:] }, "eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCJ9"},
		{noah.ES256, 600, 32, func(s string) []byte { h := sha256.Sum256([]byte(s)); return h[:] }, "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9"},
	}
	for _, tt := range tests {
		t.Run(tt.algorithm, func(t *testing.T) {
			a := newAccount(t, tt.algorithm)
			parsed, err := x509.ParsePKIXPublicKey(a.PublicKey())
			if err != nil {
				t.Fatal(err)
			}
			public := parsed.(*ecdsa.PublicKey)
			shortR, shortS, n := 0, 0, 0
			for ; n < tt.atLeast || shortR == 0 || shortS == 0; n++ {
				if n == maxSignatures {
					t.Fatalf("%d short r and %d short s in %d signatures", shortR, shortS, n)
				}
				target := fmt.Sprintf("/v1/transactions/%d", n)
				headers := a.sign(t, noah.RequestParams{Method: "GET", Path: target}, pageTime)
				token := headers[noah.HeaderSignature]
				// The bytes of {"alg":"…","typ":"JWT"}: exactly these two, nothing that could be mistaken for more.
				if header, _, _ := strings.Cut(token, "."); header != tt.headerBase64url {
					t.Fatalf("the header is %s", segment(t, token, 0))
				}
				signature := segment(t, token, 2)
				if len(signature) != 2*tt.width {
					t.Fatalf("the signature has %d bytes", len(signature))
				}
				if signature[0] == 0 {
					shortR++
				}
				if signature[tt.width] == 0 {
					shortS++
				}
				r, s := new(big.Int).SetBytes(signature[:tt.width]), new(big.Int).SetBytes(signature[tt.width:])
				if !ecdsa.Verify(public, tt.digest(token[:strings.LastIndexByte(token, '.')]), r, s) {
					t.Fatal("the signature does not verify")
				}
				if err := a.ask(pageTime, "GET", target, nil, headers); err != nil {
					t.Fatalf("the partner says: %v", err)
				}
			}
			t.Logf("%d signatures, %d with a short r, %d with a short s", n, shortR, shortS)
		})
	}
}

func TestAudienceAndTimesAreJSONOfTheRightType(t *testing.T) {
	a := newAccount(t, noah.ES384)
	headers := a.sign(t, noah.RequestParams{Method: "GET", Path: "/v1/transactions", TTL: 10 * time.Minute}, pageTime.Add(999*time.Millisecond))
	payload := string(segment(t, headers[noah.HeaderSignature], 1))
	// The text itself: a decoder would take 1.719820231e9 and ["https://api.noah.com"] without a word.
	for _, want := range []string{`"aud":"https://api.noah.com"`, `"iat":1719820231,`, `"exp":1719820831,`} {
		if !strings.Contains(payload, want) {
			t.Errorf("%s lacks %s", payload, want)
		}
	}
	for _, absent := range []string{"bodyHash", "queryParams", "nbf", "jti", "null"} {
		if strings.Contains(payload, absent) {
			t.Errorf("%s holds %s", payload, absent)
		}
	}
}

func TestTheHeadersExpireWithTheToken(t *testing.T) {
	a := newAccount(t, noah.ES384)
	request, err := noah.NewRequest(noah.RequestParams{Method: "GET", Path: "/", TTL: 15 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	now := pageTime.Add(999999999).In(time.FixedZone("elsewhere", 5*3600))
	headers, expires, err := a.Sign(request, now)
	if err != nil {
		t.Fatal(err)
	}
	if want := pageTime.Add(15 * time.Minute); !expires.Equal(want) {
		t.Errorf("they expire at %v, want %v", expires, want)
	}
	if len(headers) != 2 || headers["X-Api-Key"] == "" || headers["Api-Signature"] == "" {
		t.Errorf("got %d headers", len(headers))
	}
	if err := a.ask(expires.Add(-time.Second), "GET", "/", nil, headers); err != nil {
		t.Errorf("a second before, the partner says: %v", err)
	}
	if err := a.ask(expires, "GET", "/", nil, headers); err == nil {
		t.Error("the partner takes them when they have expired")
	}
}

// A signature that fits more than its own request would be worth more than the caller asked for.
func TestASignatureFitsItsOwnRequestAlone(t *testing.T) {
	a := newAccount(t, noah.ES384)
	body := []byte(`{"a":1}`)
	headers := a.sign(t, noah.RequestParams{Method: "POST", Path: "/v1/a?b=1", Body: body}, pageTime)
	if err := a.ask(pageTime, "POST", "/v1/a?b=1", body, headers); err != nil {
		t.Fatal(err)
	}
	others := []struct {
		name, method, target string
		body                 []byte
	}{
		{"another method", "PUT", "/v1/a?b=1", body},
		{"another path", "POST", "/v1/A?b=1", body},
		{"a slash more", "POST", "/v1/a/?b=1", body},
		{"another value", "POST", "/v1/a?b=2", body},
		{"a parameter more", "POST", "/v1/a?b=1&b=1", body},
		{"no query", "POST", "/v1/a", body},
		{"another body", "POST", "/v1/a?b=1", []byte(`{"a":2}`)},
		{"no body", "POST", "/v1/a?b=1", nil},
	}
	for _, tt := range others {
		t.Run(tt.name, func(t *testing.T) {
			if a.ask(pageTime, tt.method, tt.target, tt.body, headers) == nil {
				t.Error("the partner takes it")
			}
		})
	}
}

func TestNothingIsSignedWithoutAnAPIKey(t *testing.T) {
	material, err := noah.Scheme{}.Generate("")
	if err != nil {
		t.Fatal(err)
	}
	request, err := noah.NewRequest(noah.RequestParams{Method: "GET", Path: "/"})
	if err != nil {
		t.Fatal(err)
	}
	for name, apiKey := range map[string]*secret.Bytes{"none": nil, "an empty one": {}} {
		if apiKey != nil {
			material[upstream.PartAPIKey] = *apiKey
		}
		c := open(t, material)
		if c.Complete() {
			t.Errorf("%s: it is complete", name)
		}
		if headers, _, err := c.Sign(request, pageTime); !errors.Is(err, noah.ErrIncomplete) || headers != nil {
			t.Errorf("%s: got %d headers and %v", name, len(headers), err)
		}
	}
}
