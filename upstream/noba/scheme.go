// Package noba knows what the Noba API demands: its keys, and the HMAC that signs each request.
//
// It is for server, which turns gRPC messages into a Request, and for keystore, which opens credentials through
// upstream.Scheme. It stores nothing, sends nothing and decides nothing about who may sign.
//
// Source: Noba's page "API Key Authentication".
package noba

import (
	"bytes"
	"crypto/fips140"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
)

// Name is the scheme's name in the API.
const Name = "noba"

// maxSecretBytes is far above any shared secret.
const maxSecretBytes = 4096

// Scheme implements upstream.Scheme.
type Scheme struct{}

// Name implements upstream.Scheme.
func (Scheme) Name() string { return Name }

// Import implements upstream.Scheme: it takes the API key and the secret.
func (Scheme) Import(_ upstream.Environment, m upstream.Material) (upstream.Material, []string, error) {
	if err := upstream.CheckParts(m, []string{upstream.PartAPIKey, upstream.PartSecret}, nil); err != nil {
		return nil, nil, err
	}
	apiKey, notes, err := upstream.ImportAPIKey(m[upstream.PartAPIKey])
	if err != nil {
		return nil, nil, err
	}
	shared, cut := upstream.CutLineEnd(m[upstream.PartSecret])
	if cut {
		notes = append(notes, upstream.LineEndNote(upstream.PartSecret))
	}
	if err := checkSecret(shared.Reveal()); err != nil {
		return nil, nil, err
	}
	if err := allowed(shared); err != nil {
		return nil, nil, err
	}
	return upstream.Material{upstream.PartAPIKey: apiKey, upstream.PartSecret: shared}, notes, nil
}

// minFIPSBytes is the shortest key that crypto/hmac takes when FIPS 140-3 is enforced; it panics on others.
const minFIPSBytes = 112 / 8

func allowed(shared secret.Bytes) error {
	if fips140.Enforced() && shared.Len() < minFIPSBytes {
		return fmt.Errorf("material.%s: a key of HMAC has at least %d bytes: %w", upstream.PartSecret, minFIPSBytes, upstream.ErrFIPS)
	}
	return nil
}

// checkSecret refuses what can only be a slip: the partner's program would use such bytes as they are, and every
// signature would fail without a reason.
func checkSecret(b []byte) error {
	const field = "material." + upstream.PartSecret
	switch {
	case len(b) == 0:
		return upstream.Invalid(field, "it is empty")
	case len(b) > maxSecretBytes:
		return upstream.Invalid(field, "it has %d bytes; a secret has at most %d", len(b), maxSecretBytes)
	case !utf8.Valid(b):
		return upstream.Invalid(field, "it is not UTF-8 text")
	case bytes.ContainsFunc(b, unicode.IsControl):
		return upstream.Invalid(field, "it holds a line break or another control character")
	case bytes.HasPrefix(b, []byte("\ufeff")):
		return upstream.Invalid(field, "it starts with a byte order mark, which an editor put there")
	case len(bytes.TrimSpace(b)) != len(b):
		return upstream.Invalid(field, "it starts or ends with a space")
	}
	return nil
}

// Generate implements upstream.Scheme: Noba makes its keys itself.
func (Scheme) Generate(string) (upstream.Material, error) { return nil, upstream.ErrNotGenerated }

// Open implements upstream.Scheme; the credential is a *Credential.
func (Scheme) Open(m upstream.Material) (upstream.Credential, error) {
	for _, part := range []string{upstream.PartAPIKey, upstream.PartSecret} {
		if m[part].Len() == 0 {
			return nil, upstream.Invalid("material."+part, "it is missing or empty")
		}
	}
	return &Credential{apiKey: m[upstream.PartAPIKey], secret: m[upstream.PartSecret]}, nil
}

// Credential signs requests for one Noba account. It implements upstream.Credential.
type Credential struct {
	apiKey secret.Bytes
	secret secret.Bytes
}

// Allowed fails with upstream.ErrFIPS where the secret is too short for a process that enforces FIPS 140-3: it may have been
// imported into another one. Sign panics then.
func (c *Credential) Allowed() error { return allowed(c.secret) }

// Algorithm implements upstream.Credential.
func (*Credential) Algorithm() string { return "HMAC-SHA256" }

// Complete implements upstream.Credential.
func (*Credential) Complete() bool { return true }

// PublicKey implements upstream.Credential: a shared secret has none.
func (*Credential) PublicKey() []byte { return nil }

// Fingerprint implements upstream.Credential.
func (c *Credential) Fingerprint(pepper secret.Bytes) [32]byte {
	mac := hmac.New(sha256.New, pepper.Reveal())
	mac.Write([]byte("signerd noba secret\x00"))
	mac.Write(c.secret.Reveal())
	return [32]byte(mac.Sum(nil))
}

// Prove implements upstream.Credential. Any bytes make an HMAC key; what can be proven is that it distinguishes.
func (c *Credential) Prove() error {
	if err := c.Allowed(); err != nil {
		return err
	}
	a, b := c.mac([]byte("signerd probes a key")), c.mac([]byte("signerd probes a key again"))
	if hmac.Equal(a, b) || !hmac.Equal(a, c.mac([]byte("signerd probes a key"))) {
		return upstream.Invalid("material."+upstream.PartSecret, "what it signs does not verify")
	}
	return nil
}

func (c *Credential) mac(message ...[]byte) (sum []byte) {
	secret.Do(func() {
		mac := hmac.New(sha256.New, c.secret.Reveal())
		for _, m := range message {
			mac.Write(m)
		}
		sum = mac.Sum(nil)
	})
	return sum
}
