package noah

import (
	"crypto/ecdsa"
	"encoding/base64"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
)

// Verifier checks tokens against one credential's public key. It implements upstream.Verifier.
type Verifier struct{ *verifier } // the nested pointer keeps printers out, as in package secret

type verifier struct {
	public *ecdsa.PublicKey
	method *jwt.SigningMethodECDSA
	apiKey secret.Bytes
}

// Verifier implements upstream.Credential; it is a *Verifier.
func (c *Credential) Verifier() upstream.Verifier {
	return &Verifier{&verifier{public: &c.key.PublicKey, method: c.method, apiKey: c.apiKey}}
}

// HasAPIKey implements upstream.Verifier.
func (v *Verifier) HasAPIKey(apiKey string) bool {
	return v.apiKey.Len() > 0 && secret.New([]byte(apiKey)).Equal(v.apiKey)
}

// Verifies says whether the credential's key made the signature of a compact JWS, by the key's own algorithm. What header and
// payload say is not looked at, and so neither is whether NOAH would take the token. It computes with public values alone.
func (v *Verifier) Verifies(token string) bool {
	end := strings.LastIndexByte(token, '.')
	if end < 0 || strings.Count(token, ".") != 2 {
		return false
	}
	// The decoder skips line ends, which NOAH's does not.
	if strings.ContainsAny(token[end:], "\r\n") {
		return false
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(token[end+1:])
	return err == nil && v.method.Verify(token[:end], signature, v.public) == nil
}
