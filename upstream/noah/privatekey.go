package noah

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
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
// block, or PKCS #8, with any line ends. Everything else is refused with a *FieldError that says what was found and
// never quotes it.
func ParsePrivateKey(text []byte) (*ecdsa.PrivateKey, error) {
	if len(text) > maxPEMBytes {
		return nil, upstream.Invalid(fieldPrivateKey, "it has %d bytes, more than any EC key; %s", len(text), wantedKey)
	}
	var found *pem.Block
	rest := text
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
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
	return parseBlock(found)
}

func parseBlock(block *pem.Block) (*ecdsa.PrivateKey, error) {
	if _, ok := block.Headers["DEK-Info"]; ok {
		return nil, upstream.Invalid(fieldPrivateKey, "found an encrypted private key; %s", wantedKey)
	}
	var key *ecdsa.PrivateKey
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
			return nil, upstream.Invalid(fieldPrivateKey, "found a private key that is not an elliptic-curve one; %s", wantedKey)
		}
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
	return key, nil
}
