package partners_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/partners"
)

// The clock of all tests: the iat of the "Request Signing" page's examples.
var clock = time.Unix(1719820231, 0)

func now() time.Time { return clock }

// pageBody is the compact body of "Example Request Payloads", pageBodyHash the
// hash that the page gives for it.
const (
	pageBody     = `{"CryptoCurrency":"USDC_TEST","CustomerID":"noah-1235","ExternalID":"noah-funds-124","FiatAmount":"100","FiatCurrency":"USD","LineItems":[{"Description":"100 USDT for use in noah.com","Quantity":"1","TotalFiatAmount":"100","UnitFiatAmount":"100"}],"Nonce":"nonce-987654321","PaymentMethodCategory":"Bank","ReturnURL":"https://noah.com"}`
	pageBodyHash = "f5d7c7d38825cb5701e20342e4b0ca47dfb2006a91d3dd6a847da86a78a8380b"
)

func newKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicPEM(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// pair is one claim as JSON text.
type pair struct{ name, json string }

// attempt is a signed request in the making. A test bends one thing of a good
// attempt; what is not bent follows from the rest.
type attempt struct {
	noah *partners.NOAH
	key  *ecdsa.PrivateKey

	header    string
	claims    []pair
	payload   string              // instead of claims
	signature func([]byte) []byte // from the good signature
	token     func(string) string // from the good token
	req       partners.Request
}

// newAttempt returns a good request with a query and a body.
func newAttempt(t testing.TB, curve elliptic.Curve) *attempt {
	t.Helper()
	a := &attempt{noah: partners.NewNOAH("sandbox", now), key: newKey(t, curve)}
	apiKey, err := a.noah.CreateAPIKey(publicPEM(t, a.key.Public()))
	if err != nil {
		t.Fatal(err)
	}
	a.header = `{"alg":"ES384","typ":"JWT"}`
	if curve == elliptic.P256() {
		a.header = `{"alg":"ES256","typ":"JWT"}`
	}
	a.claims = []pair{
		{"aud", `"https://api.noah.com"`},
		{"iat", strconv.FormatInt(clock.Unix(), 10)},
		{"exp", strconv.FormatInt(clock.Unix()+300, 10)},
		{"method", `"POST"`},
		{"path", `"/v1/checkout/buy"`},
		{"queryParams", `{"PageSize":20,"SortDirection":"ASC"}`},
		{"bodyHash", `"` + pageBodyHash + `"`},
	}
	a.req = partners.Request{
		Method: "POST",
		Target: "/v1/checkout/buy?PageSize=20&SortDirection=ASC",
		Header: http.Header{"X-Api-Key": {apiKey}},
		Body:   []byte(pageBody),
	}
	return a
}

// set replaces a claim or adds it; an empty text drops it.
func (a *attempt) set(name, json string) {
	for i, c := range a.claims {
		if c.name == name {
			a.claims[i].json = json
			return
		}
	}
	a.claims = append(a.claims, pair{name, json})
}

// query sets the query on the wire and the queryParams claim.
func (a *attempt) query(wire, claim string) {
	path, _, _ := strings.Cut(a.req.Target, "?")
	a.req.Target = path + wire
	a.set("queryParams", claim)
}

// body sets the body on the wire and the bytes that are hashed for the claim.
func (a *attempt) body(wire, hashed string) {
	sum := sha256.Sum256([]byte(hashed))
	a.req.Body = []byte(wire)
	a.set("bodyHash", `"`+hex.EncodeToString(sum[:])+`"`)
}

// times sets iat and exp in seconds from the clock.
func (a *attempt) times(iat, exp int64) {
	a.set("iat", strconv.FormatInt(clock.Unix()+iat, 10))
	a.set("exp", strconv.FormatInt(clock.Unix()+exp, 10))
}

// request signs what is there.
func (a *attempt) request(t testing.TB) partners.Request {
	t.Helper()
	payload := a.payload
	if payload == "" {
		var members []string
		for _, c := range a.claims {
			if c.json != "" {
				members = append(members, fmt.Sprintf("%q:%s", c.name, c.json))
			}
		}
		payload = "{" + strings.Join(members, ",") + "}"
	}
	b64 := base64.RawURLEncoding.EncodeToString
	signed := b64([]byte(a.header)) + "." + b64([]byte(payload))
	signature := rawSignature(t, a.key, signed)
	if a.signature != nil {
		signature = a.signature(signature)
	}
	token := signed + "." + b64(signature)
	if a.token != nil {
		token = a.token(token)
	}
	if _, bent := a.req.Header["Api-Signature"]; !bent {
		a.req.Header.Set("Api-Signature", token)
	}
	return a.req
}

// rawSignature is r and s, each as wide as the curve (RFC 7518 3.4).
func rawSignature(t testing.TB, key *ecdsa.PrivateKey, signed string) []byte {
	t.Helper()
	sum256 := sha256.Sum256([]byte(signed))
	digest, width := sum256[:], 32
	if key.Curve == elliptic.P384() {
		sum384 := sha512.Sum384([]byte(signed))
		digest, width = sum384[:], 48
	}
	r, s, err := ecdsa.Sign(rand.Reader, key, digest)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 2*width)
	r.FillBytes(out[:width])
	s.FillBytes(out[width:])
	return out
}

// expect runs sub-tests that bend a good attempt: with an empty reason it must
// still be accepted, else the reason must be part of the error.
func expect(t *testing.T, curve elliptic.Curve, tests []bending) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAttempt(t, curve)
			tt.bend(a)
			checkReason(t, a.noah.Check(a.request(t)), tt.reason)
		})
	}
}

type bending struct {
	name   string
	bend   func(a *attempt)
	reason string
}

func checkReason(t *testing.T, err error, reason string) {
	t.Helper()
	switch {
	case reason == "" && err != nil:
		t.Errorf("refused: %v; want accepted", err)
	case reason != "" && err == nil:
		t.Errorf("accepted; want refused: %s", reason)
	case reason != "" && !strings.Contains(err.Error(), reason):
		t.Errorf("refused: %v; want: %s", err, reason)
	}
}
