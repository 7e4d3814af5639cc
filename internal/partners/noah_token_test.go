package partners_test

import (
	"crypto/elliptic"
	"encoding/asn1"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
)

func TestNOAHChecksTheFormOfTheToken(t *testing.T) {
	token := func(bend func([]string) []string) func(*attempt) {
		return func(a *attempt) {
			a.token = func(s string) string { return strings.Join(bend(strings.Split(s, ".")), ".") }
		}
	}
	expect(t, elliptic.P384(), []bending{
		{"two segments", token(func(s []string) []string { return s[:2] }), "has 2 segments"},
		{"four segments", token(func(s []string) []string { return append(s, s[2]) }), "has 4 segments"},
		{"an empty signature", token(func(s []string) []string { return []string{s[0], s[1], ""} }), "the JWT signature is empty"},
		{"a scheme before it", token(func(s []string) []string { return []string{"Bearer " + s[0], s[1], s[2]} }), "the JWT header has the byte 0x20"},
		{"padding", token(func(s []string) []string { return []string{s[0] + "=", s[1], s[2]} }), "the JWT header has base64 padding"},
		{"standard base64", token(func(s []string) []string { return []string{s[0], "+" + s[1][1:], s[2]} }), "the JWT payload is standard base64"},
		{"a line break inside", token(func(s []string) []string { return []string{s[0], s[1], "\n" + s[2]} }), "the JWT signature has the byte 0x0a"},
		{"a cut character", token(func(s []string) []string { return []string{s[0], s[1], s[2] + "A"} }), "the JWT signature is not canonical base64url"},
	})
	// 64 bytes leave four bits over in the last character, 96 leave none.
	expect(t, elliptic.P256(), []bending{
		{"stray bits in the last character", token(func(s []string) []string {
			const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
			last := len(s[2]) - 1
			i := strings.IndexByte(alphabet, s[2][last])
			return []string{s[0], s[1], s[2][:last] + alphabet[i+1:i+2]}
		}), "the JWT signature is not canonical base64url"},
	})
}

func TestNOAHChecksTheHeaderOfTheToken(t *testing.T) {
	header := func(s string) func(*attempt) { return func(a *attempt) { a.header = s } }
	expect(t, elliptic.P384(), []bending{
		{"in another order with white space", header(` { "typ" : "JWT", "alg" : "ES384" } `), ""},
		{"no JSON", header(`alg`), "the JWT header is not valid JSON"},
		{"an array", header(`["ES384"]`), "the JWT header is an array"},
		{"not UTF-8", header("{\"alg\":\"ES384\",\"typ\":\"JWT\xff\"}"), "the JWT header is not valid UTF-8"},
		{"no alg", header(`{"typ":"JWT"}`), "does not have alg"},
		{"alg that is no string", header(`{"alg":384,"typ":"JWT"}`), "does not have alg"},
		{"alg none", header(`{"alg":"none","typ":"JWT"}`), "an unsigned token is never accepted"},
		{"alg None", header(`{"alg":"None","typ":"JWT"}`), "an unsigned token is never accepted"},
		{"alg HS256", header(`{"alg":"HS256","typ":"JWT"}`), `has the algorithm "HS256"`},
		{"alg ES512", header(`{"alg":"ES512","typ":"JWT"}`), `has the algorithm "ES512"`},
		{"alg in lower case", header(`{"alg":"es384","typ":"JWT"}`), `has the algorithm "es384"`},
		{"alg of the other curve", header(`{"alg":"ES256","typ":"JWT"}`), "the JWT algorithm is ES256, but the registered public key is for ES384"},
		{"no typ", header(`{"alg":"ES384"}`), `does not have "typ":"JWT"`},
		{"typ in lower case", header(`{"alg":"ES384","typ":"jwt"}`), `does not have "typ":"JWT"`},
		{"alg twice", header(`{"alg":"none","typ":"JWT","alg":"ES384"}`), `the JWT header has the name "alg" twice`},
		{"alg twice, once escaped", header(`{"alg":"none","typ":"JWT","\u0061lg":"ES384"}`), `the JWT header has the name "alg" twice`},
		{"a key of its own", header(`{"alg":"ES384","typ":"JWT","jwk":{}}`), `the JWT header has "jwk"`},
		{"Alg beside alg", header(`{"alg":"ES384","typ":"JWT","Alg":"none"}`), `the JWT header has "Alg"`},
	})
	expect(t, elliptic.P256(), []bending{
		{"ES384 with a P-256 key", header(`{"alg":"ES384","typ":"JWT"}`), "the JWT algorithm is ES384, but the registered public key is for ES256"},
	})
}

func TestNOAHChecksTheSignatureOfTheToken(t *testing.T) {
	signature := func(bend func([]byte) []byte) func(*attempt) { return func(a *attempt) { a.signature = bend } }
	for _, curve := range []elliptic.Curve{elliptic.P384(), elliptic.P256()} {
		t.Run(curve.Params().Name, func(t *testing.T) {
			order := curve.Params().N
			expect(t, curve, []bending{
				{"ASN.1 DER", signature(asDER), "the JWT signature is ASN.1 DER"},
				{"one byte short", signature(func(b []byte) []byte { return b[1:] }), "the JWT signature has"},
				{"one byte long", signature(func(b []byte) []byte { return append([]byte{0}, b...) }), "the JWT signature has"},
				{"one bit off", signature(func(b []byte) []byte { b[0] ^= 1; return b }), "does not verify"},
				{"s before r", signature(func(b []byte) []byte { return append(b[len(b)/2:], b[:len(b)/2]...) }), "does not verify"},
				{"zeros", signature(func(b []byte) []byte { return make([]byte, len(b)) }), "does not verify"},
				{"s beyond the order", signature(func(b []byte) []byte { order.FillBytes(b[len(b)/2:]); return b }), "does not verify"},
			})
		})
	}
	expect(t, elliptic.P384(), []bending{
		{"another payload under the signature", func(a *attempt) {
			a.token = func(s string) string {
				segments := strings.Split(s, ".")
				payload, _ := base64.RawURLEncoding.DecodeString(segments[1])
				bent := strings.Replace(string(payload), "POST", "PUT", 1)
				return segments[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(bent)) + "." + segments[2]
			}
		}, "does not verify"},
	})
}

func asDER(raw []byte) []byte {
	half := len(raw) / 2
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:half]), new(big.Int).SetBytes(raw[half:])})
	if err != nil {
		panic(err)
	}
	return der
}
