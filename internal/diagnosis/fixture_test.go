package diagnosis_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/diagnosis"
)

var now = time.Unix(1_790_000_000, 0)

// noah is a request to NOAH in parts. Its signature is 96 zero bytes: nothing here verifies one.
type noah struct {
	request   diagnosis.Request
	claims    map[string]any
	header    map[string]string
	signature []byte
	encoding  *base64.Encoding
}

// goodNOAH is a request that claims what it is, after change.
func goodNOAH(t *testing.T, change func(n *noah)) diagnosis.Request {
	t.Helper()
	n := &noah{
		request: diagnosis.Request{Method: "POST", Target: "/v1/orders?Note=a%20b&PageSize=20", Scheme: "https", Host: "api.sandbox.noah.com", Header: http.Header{},
			Body: []byte(`{"b":"Zoë","a":1.5}`)},
		header:    map[string]string{"alg": "ES384", "typ": "JWT"},
		signature: make([]byte, 96), encoding: base64.RawURLEncoding,
	}
	n.request.Header.Set("X-Api-Key", "apikey_sandbox_0123456789")
	n.claims = map[string]any{"aud": "https://api.noah.com", "iat": now.Unix(), "exp": now.Unix() + 300, "method": "POST", "path": "/v1/orders",
		"queryParams": map[string]any{"Note": "a b", "PageSize": 20}, "bodyHash": hashOf(n.request.Body)}
	change(n)
	header, err := json.Marshal(n.header)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(n.claims)
	if err != nil {
		t.Fatal(err)
	}
	if len(payload)%3 == 0 {
		payload = append(payload, ' ')
	}
	if n.request.Header.Get("Api-Signature") == "" {
		e := n.encoding
		n.request.Header.Set("Api-Signature", e.EncodeToString(header)+"."+e.EncodeToString(payload)+"."+e.EncodeToString(n.signature))
	}
	return n.request
}

func hashOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// noba is what Noba's signature is made of; signing is done by the test itself, which compares candidates.
type noba struct {
	request diagnosis.Request
	signed  string // the string to sign
}

const nobaKey = "noba-api-key-1"

func goodNoba(change func(r *diagnosis.Request)) diagnosis.Request {
	r := diagnosis.Request{Method: "POST", Target: "/v1/transactions?dry=1", Scheme: "https", Host: "noba.example", Header: http.Header{}, Body: []byte(`{"amount":"100","note":"Zoë"}`)}
	r.Header.Set("X-Noba-API-Key", nobaKey)
	r.Header.Set("X-Noba-Timestamp", strconv.FormatInt(now.UnixMilli(), 10))
	r.Header.Set("X-Noba-Signature", hex.EncodeToString(make([]byte, 32)))
	change(&r)
	return r
}

// explain finds the candidate that gives the string to sign.
func (n noba) explain() (diagnosis.Finding, bool) {
	for i, c := range diagnosis.NobaCandidates(n.request) {
		if string(slices.Concat([]byte(c.Timestamp+c.APIKey+c.Method+c.Path), c.Body)) == n.signed {
			if i == 0 {
				return diagnosis.Finding{}, true
			}
			return diagnosis.NobaSigned(n.request, c), true
		}
	}
	return diagnosis.NobaUnexplained(n.request), false
}
