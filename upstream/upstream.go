// Package upstream says what the partners' packages have in common: environments, the material of a key, and what a
// scheme must be able to do with it.
//
// It is for keystore, which keeps keys of any scheme without knowing one, and for server, whose scheme table lists
// them. It never stores, never decides who may sign, and knows nothing of gRPC.
package upstream

import (
	"errors"
	"fmt"

	"github.com/signerd/signerd/internal/secret"
)

// Environment is the partner's environment that a key belongs to.
type Environment string

// The partners' environments.
const (
	Sandbox Environment = "sandbox"
	Prod    Environment = "prod"
)

// Valid reports whether e is one of the two environments.
func (e Environment) Valid() bool { return e == Sandbox || e == Prod }

// The parts that material consists of; a scheme takes some of them.
const (
	PartAPIKey      = "api_key"
	PartPrivateKey  = "private_key"
	PartSecret      = "secret"
	PartCredentials = "credentials"
	PartUserAgent   = "user_agent"
	PartBaseURL     = "base_url"
)

// Material is what a partner handed out, or what was generated, by part.
type Material map[string]secret.Bytes

// Wipe overwrites every part.
func (m Material) Wipe() {
	for _, part := range m {
		part.Wipe()
	}
}

// Scheme is one partner's kind of key. Implementations are stateless and safe for concurrent use.
type Scheme interface {
	// Name is what keys of this scheme are called in the API: "noah", "noba".
	Name() string
	// Import reads material in every form that the partner or an editor may have given it, and returns its one
	// canonical form, with notes that say what was changed on the way. Canonical material imports as itself. Errors
	// are *FieldError, or ErrFIPS, and never quote the input. A part that arrives only later (NOAH's API key) may be missing.
	Import(env Environment, m Material) (canonical Material, notes []string, err error)
	// Generate makes canonical material inside. An empty algorithm means the scheme's default. It fails with
	// ErrNotGenerated for schemes whose material the partner makes, and with *FieldError for an unknown algorithm.
	Generate(algorithm string) (Material, error)
	// Open makes a credential from canonical material.
	Open(m Material) (Credential, error)
}

// Credential is opened material, ready for use; its scheme's package knows what more it can do. Safe for concurrent use.
type Credential interface {
	// Algorithm is the signature algorithm's name: ES384, ES256, HMAC-SHA256.
	Algorithm() string
	// Complete is false while a part is missing that the partner has yet to give.
	Complete() bool
	// Prove signs and verifies once, so that a broken key is found before it is stored.
	Prove() error
	// PublicKey is the SubjectPublicKeyInfo in DER, nil where the scheme has none.
	PublicKey() []byte
	// Fingerprint names the secret part without giving it away: SHA-256 of PublicKey, or where there is none an HMAC
	// of the secret under pepper. Two credentials with the same secret have the same fingerprint.
	Fingerprint(pepper secret.Bytes) [32]byte
	// Verifier checks what the credential makes, nil where the scheme signs no requests.
	Verifier() Verifier
}

// Verifier checks what one credential made. It makes nothing and shows no part of the credential; its scheme's package knows
// which signatures it takes. Safe for concurrent use.
type Verifier interface {
	// HasAPIKey says whether this is the credential's API key, in time that depends on the lengths alone. Nothing is the API
	// key of a credential that still lacks one.
	HasAPIKey(apiKey string) bool
}

// ErrNotGenerated says that the partner makes this scheme's material, so that it can only be imported.
var ErrNotGenerated = errors.New("keys of this scheme are handed out by the partner and can only be imported")

// ErrFIPS says that the FIPS 140-3 module does not do what the material asks for, in a process that must use nothing else
// (GODEBUG=fips140=only).
var ErrFIPS = errors.New("FIPS 140-3 mode does not allow it")

// ErrInvalid is what every *FieldError is.
var ErrInvalid = errors.New("invalid request")

// FieldError says which field of a request is wrong and how. Its text is shown to callers: it never quotes the input.
type FieldError struct {
	// Field is the field's name in the API, such as "path" or "material.private_key".
	Field string
	// Problem says what was found and what was wanted.
	Problem string
}

// Error implements error.
func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// Is makes every FieldError an ErrInvalid.
func (e *FieldError) Is(target error) bool { return target == ErrInvalid }

// Invalid makes a *FieldError.
func Invalid(field, format string, args ...any) error {
	return &FieldError{Field: field, Problem: fmt.Sprintf(format, args...)}
}
