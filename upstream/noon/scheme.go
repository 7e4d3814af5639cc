// Package noon knows what the Noon partner gateway demands: its credential file, the login that turns it into a
// session, and the cookies that are one.
//
// It is for server, which hands sessions out, and for keystore, which opens credentials through upstream.Scheme. It
// talks to the gateway and to nobody else; it stores nothing, and decides nothing about who may have a session.
//
// Source: Noon's page "Quick Start", and what upstreams observed of it: sessions end earlier than documented.
package noon

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
)

// Name is the scheme's name in the API.
const Name = "noon"

// DefaultBaseURL is the partner's gateway.
const DefaultBaseURL = "https://noon-api-gateway.noon.partners"

// DefaultUserAgent names signerd where a key has no User-Agent of its own; the gateway may refuse requests without one.
const DefaultUserAgent = "signerd/1"

// Bounds of what is imported.
const (
	minRSABits        = 2048
	maxRSABits        = 8192
	maxUserAgentBytes = 256
	maxFieldBytes     = 512
)

// Scheme implements upstream.Scheme. The zero value allows the partner's own gateway alone.
type Scheme struct {
	// Destinations are the gateways that keys may name.
	Destinations Destinations
}

// Name implements upstream.Scheme.
func (Scheme) Name() string { return Name }

// credentialFile is what the partner's console downloads. Other fields are kept out.
type credentialFile struct {
	KeyID       string `json:"key_id"`
	PrivateKey  string `json:"private_key"`
	ProjectCode string `json:"project_code"`
}

const fieldCredentials = "material." + upstream.PartCredentials

// Import implements upstream.Scheme: it takes the credential file, and optionally a User-Agent and a base URL.
func (s Scheme) Import(_ upstream.Environment, m upstream.Material) (upstream.Material, []string, error) {
	err := upstream.CheckParts(m, []string{upstream.PartCredentials}, []string{upstream.PartUserAgent, upstream.PartBaseURL})
	if err != nil {
		return nil, nil, err
	}
	file, notes, err := parseFile(m[upstream.PartCredentials].Reveal())
	if err != nil {
		return nil, nil, err
	}
	key, err := parsePrivateKey([]byte(file.PrivateKey))
	if err != nil {
		return nil, nil, err
	}
	canonical, err := canonicalFile(file, key)
	if err != nil {
		return nil, nil, err
	}
	userAgent, err := userAgent(m[upstream.PartUserAgent].Reveal())
	if err != nil {
		return nil, nil, err
	}
	base := string(m[upstream.PartBaseURL].Reveal())
	if base == "" {
		base = DefaultBaseURL
	}
	if base, err = s.Destinations.check(base); err != nil {
		return nil, nil, err
	}
	return upstream.Material{
		upstream.PartCredentials: canonical,
		upstream.PartUserAgent:   secret.New([]byte(userAgent)),
		upstream.PartBaseURL:     secret.New([]byte(base)),
	}, notes, nil
}

// parseFile reads the credential file. Its errors never quote it.
func parseFile(text []byte) (credentialFile, []string, error) {
	if bytes.HasPrefix(text, []byte("\xef\xbb\xbf")) || bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return credentialFile{}, nil, upstream.Invalid(fieldCredentials, "it starts with a byte order mark, which an editor added; wanted UTF-8 without one")
	}
	var file credentialFile
	if err := json.Unmarshal(text, &file); err != nil {
		return credentialFile{}, nil, upstream.Invalid(fieldCredentials, "it is not the JSON credential file that Noon's console downloads")
	}
	if !distinctNames(text) {
		return credentialFile{}, nil, upstream.Invalid(fieldCredentials, "it has a name twice, or one of key_id, private_key and project_code in another case")
	}
	for name, value := range map[string]string{"key_id": file.KeyID, "private_key": file.PrivateKey, "project_code": file.ProjectCode} {
		if value == "" {
			return credentialFile{}, nil, upstream.Invalid(fieldCredentials, "it has no %s; wanted the JSON credential file that Noon's console downloads", name)
		}
	}
	if !printable(file.KeyID) || !printable(file.ProjectCode) {
		return credentialFile{}, nil, upstream.Invalid(fieldCredentials, "its key_id or project_code is too long or holds a control character")
	}
	var notes []string
	if unfolded, ok := unfoldNewlines(file.PrivateKey); ok {
		file.PrivateKey = unfolded
		notes = append(notes, `credentials: \n pairs in private_key were read as line breaks`)
	}
	return file, notes, nil
}

// distinctNames reports whether a JSON object has every name once, whatever its case, and those of credentialFile as
// they are written there: package json takes any case, and the last of several.
func distinctNames(text []byte) bool {
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil {
		return false
	}
	seen := make(map[string]bool)
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		folded := strings.ToLower(strings.ToUpper(name)) // one form for every letter that package json takes for another
		ours := folded == "key_id" || folded == "private_key" || folded == "project_code"
		if err != nil || !ok || seen[folded] || ours && name != folded {
			return false
		}
		seen[folded] = true
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return false
		}
	}
	return true
}

func printable(s string) bool {
	if len(s) > maxFieldBytes {
		return false
	}
	for _, r := range s {
		if r < 0x20 || r == 0x7f {
			return false
		}
	}
	return true
}

// unfoldNewlines reads the two characters \n as a line break: some copies of the file carry them (observed). PEM never
// holds a backslash.
func unfoldNewlines(s string) (string, bool) {
	b := bytes.ReplaceAll([]byte(s), []byte(`\r\n`), []byte("\n"))
	b = bytes.ReplaceAll(b, []byte(`\n`), []byte("\n"))
	return string(b), string(b) != s
}

const wantedKey = "wanted an unencrypted RSA private key of 2048 bits or more in PEM"

func parsePrivateKey(text []byte) (*rsa.PrivateKey, error) {
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, upstream.Invalid(fieldCredentials, "its private_key holds no whole PEM block; %s", wantedKey)
	}
	defer clear(block.Bytes)
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, upstream.Invalid(fieldCredentials, "something follows the PEM block in its private_key; %s", wantedKey)
	}
	if _, encrypted := block.Headers["DEK-Info"]; encrypted || block.Type == "ENCRYPTED PRIVATE KEY" {
		return nil, upstream.Invalid(fieldCredentials, "its private_key is encrypted; %s", wantedKey)
	}
	key, err := decodeKey(block)
	if err != nil {
		return nil, err
	}
	if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
		return nil, upstream.Invalid(fieldCredentials, "its private_key is an RSA key of %d bits; %s", bits, wantedKey)
	}
	if err := key.Validate(); err != nil {
		return nil, upstream.Invalid(fieldCredentials, "its private_key is a damaged RSA key; %s", wantedKey)
	}
	return key, nil
}

func decodeKey(block *pem.Block) (*rsa.PrivateKey, error) {
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			return nil, upstream.Invalid(fieldCredentials, "the RSA PRIVATE KEY block in its private_key is damaged; %s", wantedKey)
		}
		return key, nil
	case "PRIVATE KEY":
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, upstream.Invalid(fieldCredentials, "the PRIVATE KEY block in its private_key is damaged; %s", wantedKey)
		}
		if key, ok := parsed.(*rsa.PrivateKey); ok {
			return key, nil
		}
	}
	return nil, upstream.Invalid(fieldCredentials, "its private_key is not an RSA private key; %s", wantedKey)
}

// canonicalFile is the file with its three fields, the key as PKCS #8.
func canonicalFile(file credentialFile, key *rsa.PrivateKey) (secret.Bytes, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return secret.Bytes{}, errors.New("encoding a Noon key")
	}
	defer clear(der)
	file.PrivateKey = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	text, err := json.Marshal(file)
	if err != nil {
		return secret.Bytes{}, errors.New("encoding a Noon credential file")
	}
	return secret.New(text), nil
}

// userAgent checks a User-Agent: visible ASCII with inner spaces (RFC 9110, section 10.1.5).
func userAgent(b []byte) (string, error) {
	const field = "material." + upstream.PartUserAgent
	b = bytes.TrimRight(b, "\r\n")
	switch {
	case len(b) == 0:
		return DefaultUserAgent, nil
	case len(b) > maxUserAgentBytes:
		return "", upstream.Invalid(field, "it has %d bytes; a User-Agent has at most %d", len(b), maxUserAgentBytes)
	case b[0] == ' ' || b[len(b)-1] == ' ':
		return "", upstream.Invalid(field, "it starts or ends with a space")
	}
	for _, c := range b {
		if c < 0x20 || c > 0x7e {
			return "", upstream.Invalid(field, "it holds a byte that is not visible ASCII")
		}
	}
	return string(b), nil
}

// Generate implements upstream.Scheme: Noon makes its keys itself.
func (Scheme) Generate(string) (upstream.Material, error) { return nil, upstream.ErrNotGenerated }

// Open implements upstream.Scheme; the credential is a *Credential. The base URL is not held against Destinations
// here, so that a changed configuration keeps no store from opening: Broker does it at each login.
func (Scheme) Open(m upstream.Material) (upstream.Credential, error) {
	file, _, err := parseFile(m[upstream.PartCredentials].Reveal())
	if err != nil {
		return nil, err
	}
	key, err := parsePrivateKey([]byte(file.PrivateKey))
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, errors.New("encoding a Noon public key")
	}
	c := &credential{
		key: key, public: public, fingerprint: sha256.Sum256(public), keyID: file.KeyID, projectCode: file.ProjectCode,
		userAgent: string(m[upstream.PartUserAgent].Reveal()), baseURL: string(m[upstream.PartBaseURL].Reveal()),
	}
	c.material = sha256.Sum256(fmt.Appendf(nil, "%x %q %q %q %q", c.fingerprint, c.keyID, c.projectCode, c.userAgent, c.baseURL))
	return &Credential{c}, nil
}

// Credential logs in to one Noon service account. It implements upstream.Credential.
type Credential struct{ *credential } // the nested pointer keeps printers out, as in package secret

type credential struct {
	key         *rsa.PrivateKey
	public      []byte
	fingerprint [32]byte // of the public key
	material    [32]byte // of all that a login says; no secret is in it
	keyID       string
	projectCode string
	userAgent   string
	baseURL     string
}

// UserAgent is what every request with the session must send.
func (c *Credential) UserAgent() string { return c.userAgent }

// BaseURL is the gateway's.
func (c *Credential) BaseURL() string { return c.baseURL }

// partner is the account that logins are for.
func (c *Credential) partner() partnerAccount { return partnerAccount{c.baseURL, c.projectCode} }

// Algorithm implements upstream.Credential.
func (*Credential) Algorithm() string { return "RS256" }

// Complete implements upstream.Credential.
func (*Credential) Complete() bool { return true }

// PublicKey implements upstream.Credential.
func (c *Credential) PublicKey() []byte { return bytes.Clone(c.public) }

// Fingerprint implements upstream.Credential: SHA-256 of the public key, which needs no pepper.
func (c *Credential) Fingerprint(secret.Bytes) [32]byte { return c.fingerprint }

// Verifier implements upstream.Credential: Noon has sessions in place of signatures.
func (*Credential) Verifier() upstream.Verifier { return nil }

// Prove implements upstream.Credential.
func (c *Credential) Prove() error {
	probe := sha256.Sum256([]byte("signerd probes a key"))
	sig, err := rsa.SignPKCS1v15(rand.Reader, c.key, crypto.SHA256, probe[:])
	if err != nil {
		return fmt.Errorf("signing with a Noon key: %w", err)
	}
	if err := rsa.VerifyPKCS1v15(&c.key.PublicKey, crypto.SHA256, probe[:], sig); err != nil {
		return upstream.Invalid(fieldCredentials, "what its private_key signs does not verify with its own public key")
	}
	return nil
}
