// Package noah knows what the NOAH Business API demands: its keys, and the JWT that signs each request.
//
// It is for server, which turns gRPC messages into a Request, and for keystore, which opens credentials through
// upstream.Scheme. It stores nothing, sends nothing and decides nothing about who may sign.
//
// Sources: NOAH's pages "Authentication" and "Request Signing".
package noah

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"

	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
)

// Name is the scheme's name in the API.
const Name = "noah"

// The algorithms NOAH accepts; it recommends ES384.
const (
	ES384 = "ES384"
	ES256 = "ES256"
)

// Scheme implements upstream.Scheme.
type Scheme struct{}

// Name implements upstream.Scheme.
func (Scheme) Name() string { return Name }

// Import implements upstream.Scheme: it takes a private key in PEM and, once the partner gave it, the API key.
func (Scheme) Import(env upstream.Environment, m upstream.Material) (upstream.Material, []string, error) {
	if err := upstream.CheckParts(m, []string{upstream.PartPrivateKey}, []string{upstream.PartAPIKey}); err != nil {
		return nil, nil, err
	}
	key, err := ParsePrivateKey(m[upstream.PartPrivateKey].Reveal())
	if err != nil {
		return nil, nil, err
	}
	canonical, err := privateMaterial(key)
	if err != nil {
		return nil, nil, err
	}
	if _, ok := m[upstream.PartAPIKey]; !ok {
		return canonical, nil, nil
	}
	apiKey, notes, err := upstream.ImportAPIKey(m[upstream.PartAPIKey])
	if err != nil {
		return nil, nil, err
	}
	if err := checkAPIKey(env, apiKey); err != nil {
		return nil, nil, err
	}
	canonical[upstream.PartAPIKey] = apiKey
	return canonical, notes, nil
}

// checkAPIKey holds an API key against the format `<type>_<env>_<key>`. More types are announced, so the first part is
// not looked at.
func checkAPIKey(env upstream.Environment, apiKey secret.Bytes) error {
	const field = "material." + upstream.PartAPIKey
	parts := bytes.SplitN(apiKey.Reveal(), []byte("_"), 3)
	if len(parts) != 3 || len(parts[0]) == 0 || len(parts[2]) == 0 {
		return upstream.Invalid(field, "it is not of NOAH's form <type>_<env>_<key>")
	}
	found := upstream.Environment(parts[1])
	if !found.Valid() {
		return upstream.Invalid(field, "its <env> part is neither sandbox nor prod; wanted NOAH's form <type>_<env>_<key>")
	}
	if found != env {
		return upstream.Invalid(field, "it belongs to NOAH's %s environment, and this key to %s", found, env)
	}
	return nil
}

// Generate implements upstream.Scheme; ES384 is the default.
func (Scheme) Generate(algorithm string) (upstream.Material, error) {
	curve := elliptic.P384()
	switch algorithm {
	case "", ES384:
	case ES256:
		curve = elliptic.P256()
	default:
		return nil, upstream.Invalid("algorithm", "NOAH keys are ES384 or ES256")
	}
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating a NOAH key: %w", err)
	}
	return privateMaterial(key)
}

// privateMaterial is the canonical form: PKCS #8 in PEM.
func privateMaterial(key *ecdsa.PrivateKey) (upstream.Material, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, errors.New("encoding a NOAH key")
	}
	defer clear(der)
	text := pem.EncodeToMemory(&pem.Block{Type: typePKCS8, Bytes: der})
	return upstream.Material{upstream.PartPrivateKey: secret.New(text)}, nil
}

// Open implements upstream.Scheme; the credential is a *Credential.
func (Scheme) Open(m upstream.Material) (upstream.Credential, error) {
	key, err := ParsePrivateKey(m[upstream.PartPrivateKey].Reveal())
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, errors.New("encoding a NOAH public key")
	}
	method := jwt.SigningMethodES384
	if key.Curve == elliptic.P256() {
		method = jwt.SigningMethodES256
	}
	return &Credential{&credential{key: key, method: method, public: public, apiKey: m[upstream.PartAPIKey]}}, nil
}

// Credential signs requests for one NOAH account. It implements upstream.Credential.
type Credential struct{ *credential } // the nested pointer keeps printers out, as in package secret

type credential struct {
	key    *ecdsa.PrivateKey
	method *jwt.SigningMethodECDSA
	public []byte
	apiKey secret.Bytes
}

// Algorithm implements upstream.Credential.
func (c *Credential) Algorithm() string { return c.method.Alg() }

// Complete implements upstream.Credential: without an API key nothing can be sent.
func (c *Credential) Complete() bool { return c.apiKey.Len() > 0 }

// PublicKey implements upstream.Credential.
func (c *Credential) PublicKey() []byte { return bytes.Clone(c.public) }

// Fingerprint implements upstream.Credential: SHA-256 of the public key, which needs no pepper.
func (c *Credential) Fingerprint(secret.Bytes) [32]byte { return sha256.Sum256(c.public) }

// Prove implements upstream.Credential.
func (c *Credential) Prove() error {
	probe := sha256.Sum256([]byte("signerd probes a key"))
	sig, err := ecdsa.SignASN1(rand.Reader, c.key, probe[:])
	if err != nil {
		return fmt.Errorf("signing with a NOAH key: %w", err)
	}
	if !ecdsa.VerifyASN1(&c.key.PublicKey, probe[:], sig) {
		return upstream.Invalid("material."+upstream.PartPrivateKey, "what it signs does not verify with its own public key")
	}
	return nil
}
