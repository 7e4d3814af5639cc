package partners

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// openToken checks form, header and signature of a JWT and returns its claims.
// The JWT is taken apart by hand, as RFC 7515 and RFC 7518 3.4 describe it, so
// that no library decides here what passes.
func openToken(token string, pub *ecdsa.PublicKey) (claims, error) {
	segments := strings.Split(token, ".")
	if len(segments) != 3 {
		return claims{}, fmt.Errorf("the JWT has %d segments, it must have 3", len(segments))
	}
	var raw [3][]byte
	for i, name := range []string{"header", "payload", "signature"} {
		var err error
		if raw[i], err = decodeSegment(segments[i]); err != nil {
			return claims{}, fmt.Errorf("the JWT %s %w", name, err)
		}
	}
	alg, err := readHeader(raw[0])
	if err != nil {
		return claims{}, fmt.Errorf("the JWT header %w", err)
	}
	if err := verify(alg, pub, segments[0]+"."+segments[1], raw[2]); err != nil {
		return claims{}, err
	}
	// Nothing of the payload is looked at before the signature is good.
	payload, err := parseStrictObject(raw[1])
	if err != nil {
		return claims{}, fmt.Errorf("the JWT payload %w", err)
	}
	return claims{payload}, nil
}

// decodeSegment decodes unpadded base64url and nothing else: there is one text
// for each sequence of bytes.
func decodeSegment(s string) ([]byte, error) {
	if s == "" {
		return nil, errors.New("is empty")
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '=':
			return nil, errors.New("has base64 padding, a JWT has none")
		case c == '+' || c == '/':
			return nil, errors.New("is standard base64, a JWT uses base64url")
		case !isAlphanumeric(c) && c != '-' && c != '_':
			// Line breaks too, which encoding/base64 would skip.
			return nil, fmt.Errorf("has the byte %#02x, which is not base64url", c)
		}
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, errors.New("is not canonical base64url: its last character is cut off or has stray bits")
	}
	return b, nil
}

// readHeader returns the algorithm. The page's code sends alg and typ; any
// other name could change what the signature means, and is refused.
func readHeader(data []byte) (string, error) {
	header, err := parseStrictObject(data)
	if err != nil {
		return "", err
	}
	for _, m := range header.members {
		if m.name != "alg" && m.name != "typ" {
			return "", fmt.Errorf("has %q, only alg and typ are expected", m.name)
		}
	}
	if typ, ok := header.member("typ"); !ok || typ.kind != kindString || typ.text != "JWT" {
		return "", errors.New(`does not have "typ":"JWT"`)
	}
	alg, ok := header.member("alg")
	if !ok || alg.kind != kindString {
		return "", errors.New("does not have alg as a string")
	}
	switch {
	case alg.text == "ES384" || alg.text == "ES256":
		return alg.text, nil
	case strings.EqualFold(alg.text, "none"):
		return "", errors.New(`has "alg":"none": an unsigned token is never accepted`)
	}
	return "", fmt.Errorf("has the algorithm %q, only ES384 and ES256 are allowed", alg.text)
}

// verify checks a signature in the form of RFC 7518 3.4: r and s, each as wide
// as the curve, one after the other.
func verify(alg string, pub *ecdsa.PublicKey, signed string, signature []byte) error {
	sum := sha256.Sum256([]byte(signed))
	fits, width, digest := "ES256", 32, sum[:]
	if pub.Curve == elliptic.P384() {
		sum := sha512.Sum384([]byte(signed))
		fits, width, digest = "ES384", 48, sum[:]
	}
	if alg != fits {
		return fmt.Errorf("the JWT algorithm is %s, but the registered public key is for %s", alg, fits)
	}
	if len(signature) != 2*width {
		var der struct{ R, S *big.Int }
		if rest, err := asn1.Unmarshal(signature, &der); err == nil && len(rest) == 0 {
			return fmt.Errorf("the JWT signature is ASN.1 DER, it must be %d raw bytes: r and s one after the other", 2*width)
		}
		return fmt.Errorf("the JWT signature has %d bytes, for %s it must have %d", len(signature), alg, 2*width)
	}
	r, s := new(big.Int).SetBytes(signature[:width]), new(big.Int).SetBytes(signature[width:])
	if !ecdsa.Verify(pub, digest, r, s) {
		return errors.New("the JWT signature does not verify with the public key registered for this API key")
	}
	return nil
}
