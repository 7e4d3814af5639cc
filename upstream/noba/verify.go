package noba

import (
	"crypto/hmac"

	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
)

// Signature is a signature, and the parts of the string to sign that it is held against, byte for byte.
type Signature struct {
	Timestamp, APIKey, Method, Path string
	Body                            []byte
	MAC                             []byte
}

// Verifier checks signatures against one credential's secret. It implements upstream.Verifier.
type Verifier struct{ credential *Credential }

// Verifier implements upstream.Credential; it is a *Verifier.
func (c *Credential) Verifier() upstream.Verifier { return &Verifier{c} }

// HasAPIKey implements upstream.Verifier.
func (v *Verifier) HasAPIKey(apiKey string) bool {
	return v.credential.apiKey.Len() > 0 && secret.New([]byte(apiKey)).Equal(v.credential.apiKey)
}

// Verifies says whether the credential's secret made s, in time that depends on the lengths alone. Unlike what is signed here, s may have any
// bytes in any part, and an empty body is none. It fails with upstream.ErrFIPS where the secret may not be used.
func (v *Verifier) Verifies(s Signature) (bool, error) {
	if err := v.credential.Allowed(); err != nil {
		return false, err
	}
	made := v.credential.mac([]byte(s.Timestamp), []byte(s.APIKey), []byte(s.Method), []byte(s.Path), s.Body)
	return hmac.Equal(made, s.MAC), nil
}
