package diagnosis

import (
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
)

// maxTokenBytes bounds a token that is looked into.
const maxTokenBytes = 16 << 10

// widths are how many bytes r and s have each.
var widths = map[string]int{"ES256": 32, "ES384": 48}

// token is a JWT taken apart. What could not be read is empty.
type token struct {
	algorithm string
	claims    map[string]json.RawMessage
	// raw is the token with its signature as it should be, where it was in DER; empty otherwise.
	raw string
}

const adviceToken = "have the token made by signerd or a JWT library, and send it as it is"

// parseToken takes a JWT apart as far as it goes, and tells what is wrong with its form.
func parseToken(text string) (token, []Finding) {
	malformed := func(format string, args ...any) (token, []Finding) {
		return token{}, []Finding{{MalformedToken, "headers: Api-Signature " + fmt.Sprintf(format, args...), adviceToken}}
	}
	switch {
	case len(text) > maxTokenBytes:
		return malformed("has more than %d KiB", maxTokenBytes>>10)
	case strings.HasPrefix(strings.ToLower(text), "bearer "):
		return malformed("begins with the word Bearer; the token stands there alone")
	case strings.ContainsAny(text, " \t\r\n\"'"):
		return malformed("holds white space or quotation marks")
	}
	segments := strings.Split(text, ".")
	if len(segments) != 3 {
		return malformed("has %d parts between dots; a token has 3", len(segments))
	}
	var t token
	var found []Finding
	if strings.Contains(text, "=") {
		found = append(found, Finding{Base64Padding, "headers: the base64 of Api-Signature ends with padding (=), and a token has none", "encode the parts as base64url without padding"})
	} else if strings.ContainsAny(text, "+/") {
		found = append(found, Finding{Base64Padding, "headers: Api-Signature is in standard base64 (+ and /), and a token is in base64url (- and _)", "encode the parts as base64url without padding"})
	}
	var parts [3][]byte
	for i, name := range []string{"header", "payload", "signature"} {
		var err error
		lenient := strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(segments[i])
		if parts[i], err = base64.RawURLEncoding.DecodeString(lenient); err != nil {
			return malformed("has a %s that is not base64url", name)
		}
	}
	var header map[string]json.RawMessage
	if json.Unmarshal(parts[0], &header) != nil {
		return malformed("has a header that is not a JSON object")
	}
	if json.Unmarshal(parts[1], &t.claims) != nil || t.claims == nil {
		return malformed("has a payload that is not a JSON object")
	}
	_ = json.Unmarshal(header["alg"], &t.algorithm)
	width, ok := widths[t.algorithm]
	if !ok {
		return t, append(found, Finding{WrongAlgorithm, "token: its algorithm is " + shown(t.algorithm) + ", and NOAH takes ES384 and ES256", "sign with the algorithm of the key, which `signerctl key show` tells"})
	}
	if len(parts[2]) == 2*width {
		return t, found
	}
	var der struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(parts[2], &der); err == nil && len(rest) == 0 && der.R.Sign() > 0 && der.S.Sign() > 0 &&
		der.R.BitLen() <= 8*width && der.S.BitLen() <= 8*width {
		raw := append(der.R.FillBytes(make([]byte, width)), der.S.FillBytes(make([]byte, width))...)
		t.raw = segments[0] + "." + segments[1] + "." + base64.RawURLEncoding.EncodeToString(raw)
		return t, append(found, Finding{DERSignature, "token: the signature is in ASN.1 DER, and a token has r and s as they are, one after the other",
			fmt.Sprintf("ask the library for the raw form (IEEE P1363), which for %s has %d bytes: openssl, Java and Node give DER when they are not told", t.algorithm, 2*width)})
	}
	return t, append(found, Finding{SignatureForm, fmt.Sprintf("token: the signature has %d bytes, and for %s it must have %d", len(parts[2]), t.algorithm, 2*width), adviceToken})
}
