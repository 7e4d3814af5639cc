package partners

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// NOAH is a local stand-in for the NOAH Business API of one environment. It is
// an http.Handler: 200 with {"accepted":true,…} when NOAH's pages say that the
// request is good, 401 with {"accepted":false,"reason":…} when not, 413 for a
// body longer than MaxBody. It is safe for concurrent use.
//
// Every request must be signed, in sandbox too. Reasons do not repeat the API
// key or the signature.
type NOAH struct {
	env string
	now func() time.Time

	mu   sync.RWMutex
	keys map[string]*ecdsa.PublicKey
}

// NewNOAH returns a NOAH of the environment "sandbox" or "prod" with no API
// keys; it panics on any other environment. now is its clock and must be safe
// for concurrent use; nil means time.Now.
func NewNOAH(env string, now func() time.Time) *NOAH {
	if env != "sandbox" && env != "prod" {
		panic(fmt.Sprintf("partners: NOAH has no environment %q", env))
	}
	if now == nil {
		now = time.Now
	}
	return &NOAH{env: env, now: now, keys: make(map[string]*ecdsa.PublicKey)}
}

// CreateAPIKey does what the dashboard does: it takes a public key (one PEM
// block "PUBLIC KEY" with a P-384 or P-256 key) and returns a new API key of
// the form apikey_<env>_<random>. One public key may have several API keys.
func (n *NOAH) CreateAPIKey(publicPEM []byte) (string, error) {
	apiKey := "apikey_" + n.env + "_" + strings.ToLower(rand.Text())
	if err := n.Register(apiKey, publicPEM); err != nil {
		return "", err
	}
	return apiKey, nil
}

// Register accepts an API key chosen elsewhere and binds it to a public key
// like that of CreateAPIKey. The API key must be of this environment. Doing it
// again with the same public key changes nothing, with another one is an error.
func (n *NOAH) Register(apiKey string, publicPEM []byte) error {
	if err := n.fits(apiKey); err != nil {
		return err
	}
	pub, err := parsePublicKey(publicPEM)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if old, ok := n.keys[apiKey]; ok && !old.Equal(pub) {
		return errors.New("the API key is bound to another public key already")
	}
	n.keys[apiKey] = pub
	return nil
}

// ServeHTTP answers a request; see NOAH.
func (n *NOAH) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	serve(w, r, "noah", n.Check)
}

// Check does what ServeHTTP does on a request in parts, without HTTP and
// without a limit on the body. It returns nil, or an error whose text says in
// plain words what is wrong first.
func (n *NOAH) Check(r Request) error {
	at, err := r.readLine()
	if err != nil {
		return err
	}
	apiKey, err := onlyHeader(r.Header, "X-Api-Key")
	if err != nil {
		return err
	}
	token, err := onlyHeader(r.Header, "Api-Signature")
	if err != nil {
		return err
	}
	// The environment comes before the look-up, as a key of the other
	// environment is of course unknown here.
	if err := n.fits(apiKey); err != nil {
		return err
	}
	n.mu.RLock()
	pub, ok := n.keys[apiKey]
	n.mu.RUnlock()
	if !ok {
		return errors.New("the API key is not known")
	}
	claims, err := openToken(token, pub)
	if err != nil {
		return err
	}
	return claims.fit(at, r.Body, n.now())
}

// fits checks the form <type>_<env>_<key> ("Authentication", Key Format) and
// the environment. More types are announced there, so any type will do.
func (n *NOAH) fits(apiKey string) error {
	parts := strings.SplitN(apiKey, "_", 3)
	if len(parts) != 3 || parts[0] == "" || parts[2] == "" {
		return errors.New("the API key does not have the form <type>_<env>_<key>")
	}
	for i := 0; i < len(apiKey); i++ {
		if apiKey[i] <= ' ' || apiKey[i] > '~' {
			return errors.New("the API key has a space or a byte that is not printable ASCII")
		}
	}
	switch parts[1] {
	case n.env:
		return nil
	case "sandbox", "prod":
		return fmt.Errorf("the API key is for %s, this is %s", parts[1], n.env)
	}
	return errors.New("the API key names an environment that is neither sandbox nor prod")
}

// parsePublicKey reads what "Request Signing Key Generation" makes with
// openssl ec -pubout.
func parsePublicKey(publicPEM []byte) (*ecdsa.PublicKey, error) {
	block, rest := pem.Decode(publicPEM)
	switch {
	case block == nil:
		return nil, errors.New("the public key is not PEM")
	case strings.Contains(block.Type, "PRIVATE KEY"):
		return nil, errors.New("this is a private key: never hand it to anybody, not even to NOAH")
	case block.Type != "PUBLIC KEY":
		return nil, fmt.Errorf("the PEM block is %q, it must be \"PUBLIC KEY\"", block.Type)
	case strings.TrimSpace(string(rest)) != "":
		return nil, errors.New("the PEM has something after the public key")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the public key cannot be read: %w", err)
	}
	pub, ok := parsed.(*ecdsa.PublicKey)
	if !ok || (pub.Curve != elliptic.P384() && pub.Curve != elliptic.P256()) {
		return nil, errors.New("the public key is not on the curve P-384 or P-256")
	}
	return pub, nil
}
