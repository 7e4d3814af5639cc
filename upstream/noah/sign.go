package noah

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/signerd/signerd/internal/secret"
)

// The headers NOAH wants on every request.
const (
	HeaderAPIKey    = "X-Api-Key"
	HeaderSignature = "Api-Signature"
)

// Audience is the `aud` claim, in the sandbox too.
const Audience = "https://api.noah.com"

// ErrIncomplete says that the credential still lacks its API key.
var ErrIncomplete = errors.New("the NOAH API key has not arrived yet")

// claims is the JWT's payload, as the page "Request Signing" lists it. The field order is the page's.
type claims struct {
	Audience    string      `json:"aud"`
	IssuedAt    int64       `json:"iat"`
	Expires     int64       `json:"exp"`
	Method      string      `json:"method"`
	Path        string      `json:"path"`
	QueryParams queryParams `json:"queryParams,omitempty"`
	BodyHash    string      `json:"bodyHash,omitempty"`
}

// Sign makes the headers for r, issued now, and says when they expire. It is safe for concurrent use.
func (c *Credential) Sign(r Request, now time.Time) (headers map[string]string, expires time.Time, err error) {
	if !c.Complete() {
		return nil, time.Time{}, ErrIncomplete
	}
	issued := now.Unix()
	expires = time.Unix(issued, 0).Add(r.ttl)
	unsigned := jwt.NewWithClaims(c.method, claims{
		Audience:    Audience,
		IssuedAt:    issued,
		Expires:     expires.Unix(),
		Method:      r.method,
		Path:        r.target.Path(),
		QueryParams: r.query,
		BodyHash:    r.bodyHash,
	})
	var token string
	secret.Do(func() { token, err = unsigned.SignedString(c.key) })
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("signing a NOAH request: %w", err)
	}
	return map[string]string{
		HeaderAPIKey:    string(c.apiKey.Reveal()),
		HeaderSignature: token,
	}, expires, nil
}

// jwt.Claims is also what a verifier reads. signerd only signs: the claims are plain JSON for it, and these methods
// complete the interface truthfully.

// GetExpirationTime implements jwt.Claims.
func (c claims) GetExpirationTime() (*jwt.NumericDate, error) {
	return jwt.NewNumericDate(time.Unix(c.Expires, 0)), nil
}

// GetIssuedAt implements jwt.Claims.
func (c claims) GetIssuedAt() (*jwt.NumericDate, error) {
	return jwt.NewNumericDate(time.Unix(c.IssuedAt, 0)), nil
}

// GetNotBefore implements jwt.Claims.
func (claims) GetNotBefore() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuer implements jwt.Claims.
func (claims) GetIssuer() (string, error) { return "", nil }

// GetSubject implements jwt.Claims.
func (claims) GetSubject() (string, error) { return "", nil }

// GetAudience implements jwt.Claims.
func (c claims) GetAudience() (jwt.ClaimStrings, error) { return jwt.ClaimStrings{c.Audience}, nil }
