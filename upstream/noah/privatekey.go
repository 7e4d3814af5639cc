package noah

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"

	"github.com/signerd/signerd/upstream"
)

// PEM block types (RFC 7468, RFC 5915).
const (
	typePKCS8     = "PRIVATE KEY"
	typeSEC1      = "EC PRIVATE KEY"
	typeParameter = "EC PARAMETERS"
)

// maxPEMBytes is far above any EC key, with all its comments.
const maxPEMBytes = 16 << 10

const (
	fieldPrivateKey = "material." + upstream.PartPrivateKey
	wantedKey       = "wanted an unencrypted P-384 (or P-256) private key in PEM, as `openssl ecparam -name secp384r1 -genkey -noout` writes it"
)

// foreignBlocks are what people mistake for the private key, by PEM type.
var foreignBlocks = map[string]string{
	"PUBLIC KEY":              "a public key",
	"EC PUBLIC KEY":           "a public key",
	"RSA PUBLIC KEY":          "an RSA public key",
	"CERTIFICATE":             "a certificate",
	"TRUSTED CERTIFICATE":     "a certificate",
	"CERTIFICATE REQUEST":     "a certificate request",
	"NEW CERTIFICATE REQUEST": "a certificate request",
	"RSA PRIVATE KEY":         "an RSA private key",
	"DSA PRIVATE KEY":         "a DSA private key",
	"OPENSSH PRIVATE KEY":     "a private key in OpenSSH's own format",
	"ENCRYPTED PRIVATE KEY":   "an encrypted private key",
}

// ParsePrivateKey reads a P-384 or P-256 private key as openssl writes it: SEC1 with or without its EC PARAMETERS
// block, or PKCS #8, with LF or CRLF line ends. Everything else is refused with a *FieldError that says what was found
// and never quotes it.
func ParsePrivateKey(text []byte) (*ecdsa.PrivateKey, error) {
	if len(text) > maxPEMBytes {
		return nil, upstream.Invalid(fieldPrivateKey, "it has %d bytes, more than any EC key; %s", len(text), wantedKey)
	}
	var found *pem.Block
	rest, blocks := text, 0
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		blocks++
		if block.Type == typeParameter {
			continue
		}
		if found != nil {
			return nil, upstream.Invalid(fieldPrivateKey, "it holds more than one PEM block; %s", wantedKey)
		}
		found = block
	}
	if found == nil {
		return nil, upstream.Invalid(fieldPrivateKey, "it holds no whole PEM block; %s", wantedKey)
	}
	defer clear(found.Bytes)
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, upstream.Invalid(fieldPrivateKey, "something follows the PEM block; %s", wantedKey)
	}
	// The decoder passes over what it cannot read, and the damaged block may be the one that was meant.
	if bytes.Count(text, []byte("-----BEGIN")) != blocks {
		return nil, upstream.Invalid(fieldPrivateKey, "it holds a damaged PEM block beside a whole one; %s", wantedKey)
	}
	return parseBlock(found)
}

func parseBlock(block *pem.Block) (*ecdsa.PrivateKey, error) {
	if _, ok := block.Headers["DEK-Info"]; ok {
		return nil, upstream.Invalid(fieldPrivateKey, "found an encrypted private key; %s", wantedKey)
	}
	var key *ecdsa.PrivateKey
	sec1 := block.Bytes
	switch block.Type {
	case typeSEC1:
		var err error
		if key, err = x509.ParseECPrivateKey(block.Bytes); err != nil {
			// The error's text is left out: it may hold parts of the input.
			return nil, upstream.Invalid(fieldPrivateKey, "its EC PRIVATE KEY block is damaged or of an unknown curve; %s", wantedKey)
		}
	case typePKCS8:
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, upstream.Invalid(fieldPrivateKey, "its PRIVATE KEY block is damaged or of an unknown kind; %s", wantedKey)
		}
		var ok bool
		if key, ok = parsed.(*ecdsa.PrivateKey); !ok {
			return nil, upstream.Invalid(fieldPrivateKey, "found a private key that is not for ECDSA; %s", wantedKey)
		}
		var outer pkcs8
		if _, err := asn1.Unmarshal(block.Bytes, &outer); err != nil {
			return nil, upstream.Invalid(fieldPrivateKey, "its PRIVATE KEY block is damaged or of an unknown kind; %s", wantedKey)
		}
		defer clear(outer.PrivateKey)
		sec1 = outer.PrivateKey
	default:
		kind, ok := foreignBlocks[block.Type]
		if !ok {
			kind = "a PEM block of another kind"
		}
		return nil, upstream.Invalid(fieldPrivateKey, "found %s; %s", kind, wantedKey)
	}
	if key.Curve != elliptic.P384() && key.Curve != elliptic.P256() {
		return nil, upstream.Invalid(fieldPrivateKey, "found a key on the curve %s; %s", key.Curve.Params().Name, wantedKey)
	}
	if !publicKeyFits(key, sec1) {
		return nil, upstream.Invalid(fieldPrivateKey, "it is damaged: the public key inside does not belong to the private key; %s", wantedKey)
	}
	return key, nil
}

// pkcs8 and ecPrivateKey are the outlines of RFC 5958 and RFC 5915.
type (
	pkcs8 struct {
		Version    int
		Algorithm  pkix.AlgorithmIdentifier
		PrivateKey []byte
	}
	ecPrivateKey struct {
		Version    int
		PrivateKey []byte
		Curve      asn1.ObjectIdentifier `asn1:"optional,explicit,tag:0"`
		PublicKey  asn1.BitString        `asn1:"optional,explicit,tag:1"`
	}
)

// publicKeyFits holds the public key that sec1 carries, if it does, against the one that follows from the private key.
// crypto/x509 leaves it unread. Any number makes a private key, so that a typing error goes unnoticed without this; and
// the public key inside is what openssl prints, and what the partner was given.
func publicKeyFits(key *ecdsa.PrivateKey, sec1 []byte) bool {
	var parsed ecPrivateKey
	if _, err := asn1.Unmarshal(sec1, &parsed); err != nil {
		return false
	}
	defer clear(parsed.PrivateKey)
	// encoding/asn1 passes over what it does not know at the end of a sequence: after a wrong length the public key would be there.
	whole, err := asn1.Marshal(parsed)
	if err != nil || !bytes.Equal(whole, sec1) {
		return false
	}
	defer clear(whole)
	found := parsed.PublicKey.Bytes
	if len(found) == 0 {
		return true
	}
	want, err := key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		return false
	}
	if len(found) == len(want) {
		return bytes.Equal(found[1:], want[1:]) // the first byte may name the hybrid form
	}
	width := (len(want) - 1) / 2
	compressed := append([]byte{2 + want[len(want)-1]&1}, want[1:1+width]...)
	return bytes.Equal(found, compressed)
}
