package partners_test

import (
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/signerd/signerd/internal/partners"
)

func TestNOAHAcceptsAGoodRequestOnBothCurves(t *testing.T) {
	sum := sha256.Sum256([]byte(pageBody))
	if got := hex.EncodeToString(sum[:]); got != pageBodyHash {
		t.Fatalf("the body of the page hashes to %s", got)
	}
	for _, curve := range []elliptic.Curve{elliptic.P384(), elliptic.P256()} {
		a := newAttempt(t, curve)
		checkReason(t, a.noah.Check(a.request(t)), "")
	}
}

func TestNOAHAcceptsWhatGolangJWTMakes(t *testing.T) {
	for _, method := range []*jwt.SigningMethodECDSA{jwt.SigningMethodES384, jwt.SigningMethodES256} {
		t.Run(method.Alg(), func(t *testing.T) {
			curve := map[string]elliptic.Curve{"ES384": elliptic.P384(), "ES256": elliptic.P256()}[method.Alg()]
			a := newAttempt(t, curve)
			a.req.Target = "/v1/transactions?PageSize=20&SortDirection=ASC&Open=true&Tag=a&Tag=b+c"
			token := jwt.NewWithClaims(method, jwt.MapClaims{
				"aud": "https://api.noah.com", "iat": clock.Unix(), "exp": clock.Unix() + 900,
				"method": "POST", "path": "/v1/transactions", "bodyHash": pageBodyHash,
				"queryParams": map[string]any{"PageSize": 20, "SortDirection": "ASC", "Open": true, "Tag": []string{"a", "b c"}},
			})
			signed, err := token.SignedString(a.key)
			if err != nil {
				t.Fatal(err)
			}
			a.req.Header.Set("Api-Signature", signed)
			checkReason(t, a.noah.Check(a.req), "")
		})
	}
}

func TestNOAHChecksTheRequestLine(t *testing.T) {
	expect(t, elliptic.P384(), []bending{
		{"no method", func(a *attempt) { a.req.Method = "" }, "has no method"},
		{"a method that is no token", func(a *attempt) { a.req.Method = "PO ST" }, "not an HTTP token"},
		{"a target with scheme and host", func(a *attempt) { a.req.Target = "https://api.noah.com/v1" }, "does not start with a slash"},
		{"an empty target", func(a *attempt) { a.req.Target = "" }, "does not start with a slash"},
		{"a fragment", func(a *attempt) { a.req.Target = "/v1#top" }, "path has a fragment"},
		{"a space in the path", func(a *attempt) { a.req.Target = "/v1/a b" }, "path has the byte 0x20"},
		{"a raw letter beyond ASCII", func(a *attempt) { a.req.Target = "/v1/ü" }, "path has the byte 0xc3"},
		{"a broken escape in the path", func(a *attempt) { a.req.Target = "/v1/%2" }, "path has a broken percent-escape"},
		{"a line break in the query", func(a *attempt) { a.req.Target = "/v1?a=b\r\n" }, "query has the byte 0x0d"},
	})
}

func TestNOAHChecksTheHeaders(t *testing.T) {
	expect(t, elliptic.P384(), []bending{
		{"no X-Api-Key", func(a *attempt) { a.req.Header.Del("X-Api-Key") }, "the X-Api-Key header is missing"},
		{"an empty X-Api-Key", func(a *attempt) { a.req.Header.Set("X-Api-Key", "") }, "the X-Api-Key header is empty"},
		{"X-Api-Key twice", func(a *attempt) { a.req.Header.Add("X-Api-Key", a.req.Header.Get("X-Api-Key")) }, "the X-Api-Key header is there 2 times"},
		{"X-Api-Key once more in another spelling", func(a *attempt) { a.req.Header["x-api-key"] = []string{"b"} }, "the X-Api-Key header is there 2 times"},
		{"X-Api-Key in another spelling only", func(a *attempt) {
			a.req.Header = http.Header{"x-API-key": a.req.Header["X-Api-Key"]}
		}, ""},
		{"no Api-Signature", func(a *attempt) { a.req.Header["Api-Signature"] = nil }, "the Api-Signature header is missing"},
		{"Api-Signature twice", func(a *attempt) { a.req.Header["Api-Signature"] = []string{"a", "b"} }, "the Api-Signature header is there 2 times"},
	})
}

func TestNOAHChecksTheAPIKey(t *testing.T) {
	apiKey := func(s string) func(*attempt) { return func(a *attempt) { a.req.Header.Set("X-Api-Key", s) } }
	expect(t, elliptic.P384(), []bending{
		{"unknown", apiKey("apikey_sandbox_unknown"), "the API key is not known"},
		{"of the other environment", apiKey("apikey_prod_12345abcdef"), "the API key is for prod, this is sandbox"},
		{"of no environment", apiKey("apikey_test_12345abcdef"), "neither sandbox nor prod"},
		{"of two parts", apiKey("apikey_sandbox"), "does not have the form"},
		{"with an empty first part", apiKey("_sandbox_1"), "does not have the form"},
		{"with an empty last part", apiKey("apikey_sandbox_"), "does not have the form"},
		{"with a space", apiKey("apikey_sandbox_a b"), "has a space"},
		{"of another type", func(a *attempt) {
			if err := a.noah.Register("newtype_sandbox_1_2", publicPEM(t, a.key.Public())); err != nil {
				t.Error(err)
			}
			a.req.Header.Set("X-Api-Key", "newtype_sandbox_1_2")
		}, ""},
		{"bound to another public key", func(a *attempt) { a.key = newKey(t, elliptic.P384()) }, "does not verify"},
	})
}

func TestNOAHMakesAPIKeysOfItsEnvironment(t *testing.T) {
	key := publicPEM(t, newKey(t, elliptic.P384()).Public())
	for _, env := range []string{"sandbox", "prod"} {
		n := partners.NewNOAH(env, nil)
		first, err := n.CreateAPIKey(key)
		if err != nil {
			t.Fatal(err)
		}
		second, err := n.CreateAPIKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(first, "apikey_"+env+"_") || len(first) < 30 || first == second {
			t.Errorf("API keys %q and %q", first, second)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("NewNOAH made an environment that NOAH does not have")
		}
	}()
	partners.NewNOAH("staging", nil)
}

func TestNOAHRegistersPublicKeysOnly(t *testing.T) {
	key := newKey(t, elliptic.P384())
	good := publicPEM(t, key.Public())
	sec1, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, apiKey string
		pem          []byte
		reason       string
	}{
		{"the same once more", "apikey_sandbox_known", good, ""},
		{"another public key for a known API key", "apikey_sandbox_known", publicPEM(t, newKey(t, elliptic.P256()).Public()), "bound to another public key"},
		{"an API key of the other environment", "apikey_prod_1", good, "is for prod"},
		{"no PEM", "apikey_sandbox_1", []byte("hello"), "not PEM"},
		{"a private key", "apikey_sandbox_1", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}), "this is a private key"},
		{"a certificate", "apikey_sandbox_1", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sec1}), `the PEM block is "CERTIFICATE"`},
		{"bytes that are no key", "apikey_sandbox_1", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}), "cannot be read"},
		{"two keys", "apikey_sandbox_1", append(append([]byte{}, good...), good...), "something after"},
		{"a P-521 key", "apikey_sandbox_1", publicPEM(t, newKey(t, elliptic.P521()).Public()), "not on the curve"},
		{"an Ed25519 key", "apikey_sandbox_1", publicPEM(t, edwards), "not on the curve"},
	}
	n := partners.NewNOAH("sandbox", now)
	if err := n.Register("apikey_sandbox_known", good); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { checkReason(t, n.Register(tt.apiKey, tt.pem), tt.reason) })
	}
	if _, err := n.CreateAPIKey([]byte("hello")); err == nil {
		t.Error("CreateAPIKey took something that is not PEM")
	}
}
