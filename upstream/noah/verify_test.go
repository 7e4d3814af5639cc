package noah_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
)

func TestATokenIsVerifiedByTheKeyThatMadeItAlone(t *testing.T) {
	var tokens []string
	var verifiers []*noah.Verifier
	for _, algorithm := range []string{noah.ES384, noah.ES384, noah.ES256, noah.ES256} {
		a := newAccount(t, algorithm)
		headers := a.sign(t, noah.RequestParams{Method: "POST", Path: "/v1/x?a=b", Body: []byte("{}")}, pageTime)
		v := a.Verifier().(*noah.Verifier)
		tokens, verifiers = append(tokens, headers[noah.HeaderSignature]), append(verifiers, v)
		apiKey := headers[noah.HeaderAPIKey]
		for wrong, want := range map[string]bool{apiKey: true, "": false, apiKey + "x": false, apiKey[1:]: false, strings.ToUpper(apiKey): false} {
			if v.HasAPIKey(wrong) != want {
				t.Errorf("%s: of %q it is said %t", algorithm, wrong, !want)
			}
		}
	}
	for i, token := range tokens {
		for j, v := range verifiers {
			if v.Verifies(token) != (i == j) {
				t.Errorf("token %d and key %d: %t", i, j, i != j)
			}
		}
	}
}

// Whether the header names the right algorithm, and the payload anything, is for others to say.
func TestTheHeaderOfATokenDecidesNothing(t *testing.T) {
	a := newAccount(t, noah.ES384)
	for _, other := range []string{`{"alg":"none"}`, `{"alg":"ES256"}`, `{"alg":"HS384"}`} {
		token := a.sign(t, noah.RequestParams{Method: "GET", Path: "/"}, pageTime)[noah.HeaderSignature]
		_, rest, _ := strings.Cut(token, ".")
		if a.Verifier().(*noah.Verifier).Verifies(base64.RawURLEncoding.EncodeToString([]byte(other)) + "." + rest) {
			t.Errorf("the header %s is taken for the one that was signed", other)
		}
	}
}

func TestACredentialWithoutAnAPIKeyHasNoneNotTheEmptyOne(t *testing.T) {
	material, err := noah.Scheme{}.Generate("")
	if err != nil {
		t.Fatal(err)
	}
	v := open(t, upstream.Material{upstream.PartPrivateKey: material[upstream.PartPrivateKey]}).Verifier()
	if v.HasAPIKey("") || v.HasAPIKey("x") {
		t.Error("it has one")
	}
}

func FuzzVerify(f *testing.F) {
	a := newAccount(f, noah.ES384)
	v := a.Verifier().(*noah.Verifier)
	token := a.sign(f, noah.RequestParams{Method: "GET", Path: "/"}, pageTime)[noah.HeaderSignature]
	cut := strings.LastIndexByte(token, '.')
	for _, seed := range []string{token, "", ".", "..", "...", token + "=", token + "\n", "." + token, token[:cut+1], token[:cut+5] + "\n" + token[cut+5:],
		token[:cut+1] + strings.Repeat("A", 128), token[:len(token)-1] + "B"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		// Whoever knows one signature of a text can make a second of it, as with all ECDSA.
		if v.Verifies(s) && !strings.HasPrefix(s, token[:cut+1]) {
			t.Errorf("%q was never signed", s)
		}
	})
}
