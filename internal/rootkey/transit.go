package rootkey

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/signerd/signerd/internal/durable"
	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/internal/tlsfiles"
)

const (
	maxTransitAnswer  = 64 << 10
	maxTransitHeaders = 16 << 10
	maxTokenBytes     = 4 << 10
)

// TransitConfig says where a Vault or OpenBao is, and which of its transit keys is the root key.
type TransitConfig struct {
	// Address is https://HOST[:PORT].
	Address string
	// Namespace is where the engine is mounted (Vault Enterprise, OpenBao); empty for the root namespace.
	Namespace string
	// Mount is the path of the transit engine, Key the name of the key.
	Mount, Key string
	// TokenFile holds a token, read anew for each request.
	TokenFile string
	// CAFile holds the authorities, PEM, that the server's certificate comes from; empty for the system's.
	CAFile string
	// Timeout bounds each request.
	Timeout time.Duration
}

// Transit is a root key in the transit engine of Vault or OpenBao. It implements keystore.RootKey, and is safe for concurrent use.
type Transit struct {
	config TransitConfig
	client *http.Client
}

// CheckTransitAddress says what is wrong with an address.
func CheckTransitAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.String() != "https://"+u.Host {
		return errors.New("wanted https://HOST or https://HOST:PORT, and nothing behind it")
	}
	return nil
}

var transitName = regexp.MustCompile(`^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$`)

// MaxTransitNamespace is how long a namespace may be, in bytes: an id has room for it beside mount and key.
const MaxTransitNamespace = 40

// CheckTransitName says what is wrong with the path of a namespace or a mount, or with the name of a key (which has no slash).
func CheckTransitName(name string) error {
	if len(name) > 100 || !transitName.MatchString(name) || strings.Contains("/"+name+"/", "/../") || strings.Contains("/"+name+"/", "/./") {
		return errors.New("wanted at most 100 letters, digits, dots, dashes, underscores (and slashes, in a mount or a namespace), neither first nor last a slash")
	}
	return nil
}

// NewTransit connects to nobody yet; it reads the authorities.
func NewTransit(c TransitConfig) (*Transit, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		roots, err := tlsfiles.Roots(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("root_key.transit.ca_file: %w", err)
		}
		config.RootCAs = roots
	}
	return &Transit{config: c, client: &http.Client{
		Timeout: c.Timeout,
		// A token is for the server that was named, and for nobody it points to.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		// The environment names no proxy here. Requests are few: none keeps a connection.
		Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, MaxResponseHeaderBytes: maxTransitHeaders},
	}}, nil
}

// ID implements keystore.RootKey: namespace, mount and key name, which stay when the key is rotated or the server moves.
func (t *Transit) ID() string {
	if t.config.Namespace == "" {
		return "transit:" + t.config.Mount + "/" + t.config.Key
	}
	return "transit:" + t.config.Namespace + "/" + t.config.Mount + "/" + t.config.Key
}

// Wrap implements keystore.RootKey.
func (t *Transit) Wrap(ctx context.Context, plaintext []byte) ([]byte, error) {
	return wrapElsewhere(ctx, t, plaintext)
}

// Unwrap implements keystore.RootKey. Its errors may be a *Fault.
func (t *Transit) Unwrap(ctx context.Context, wrapped []byte) ([]byte, error) {
	return unwrapElsewhere(ctx, t, wrapped)
}

// transitCiphertext is `vault:v`, the key's version, and base64.
var transitCiphertext = regexp.MustCompile(`^vault:v[1-9][0-9]{0,8}:[A-Za-z0-9+/]+={0,2}$`)

type transitFields struct {
	Ciphertext string       `json:"ciphertext,omitempty"`
	Plaintext  secretBase64 `json:"plaintext,omitempty"`
}

// secretBase64 keeps a plaintext from being printed by accident; it is wiped by whoever has it.
type secretBase64 []byte

// MarshalJSON implements json.Marshaler.
func (s secretBase64) MarshalJSON() ([]byte, error) { return json.Marshal([]byte(s)) }

// Format implements fmt.Formatter.
func (secretBase64) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(secret.Redacted)) }

func (t *Transit) encrypt(ctx context.Context, key []byte) (encryptedKey, error) {
	out, err := t.post(ctx, "encrypt", transitFields{Plaintext: key})
	if err != nil {
		return encryptedKey{}, err
	}
	if len(out.Ciphertext) > maxKMSCiphertext || !transitCiphertext.MatchString(out.Ciphertext) {
		return encryptedKey{}, unavailable("transit at %s answers what is no ciphertext", t.config.Address)
	}
	return encryptedKey{Ciphertext: []byte(out.Ciphertext)}, nil
}

func (t *Transit) decrypt(ctx context.Context, key encryptedKey) ([]byte, error) {
	if !transitCiphertext.Match(key.Ciphertext) || key.KeyID != "" || len(key.Annotations) > 0 {
		return nil, errEnvelope
	}
	out, err := t.post(ctx, "decrypt", transitFields{Ciphertext: string(key.Ciphertext)})
	return out.Plaintext, err
}

// post makes one request. Nothing of an answer's body is ever quoted.
func (t *Transit) post(ctx context.Context, operation string, in transitFields) (out transitFields, err error) {
	if err := ctx.Err(); err != nil {
		return out, err
	}
	token, err := readToken(t.config.TokenFile)
	if err != nil {
		return out, unavailable("root_key.transit.token_file: %v", err)
	}
	defer clear(token)
	body, err := json.Marshal(in)
	if err != nil {
		return out, fmt.Errorf("asking transit: %w", err)
	}
	defer clear(body)
	to := fmt.Sprintf("%s/v1/%s/%s/%s", t.config.Address, t.config.Mount, operation, t.config.Key)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return out, fmt.Errorf("asking transit: %w", err)
	}
	req.Header = http.Header{"X-Vault-Token": {string(token)}, "X-Vault-Request": {"true"}, "Content-Type": {"application/json"}}
	if t.config.Namespace != "" {
		req.Header.Set("X-Vault-Namespace", t.config.Namespace)
	}
	answer, err := t.client.Do(req)
	switch {
	case ctx.Err() != nil:
		return out, ctx.Err()
	case err != nil:
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // without the address once more
		}
		return out, unavailable("transit at %s cannot be asked: %v", t.config.Address, err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := durable.ReadAllLimited(answer.Body, "the answer", maxTransitAnswer)
	defer clear(text)
	if err != nil {
		return out, unavailable("transit at %s: its answer is too long, or was cut off", t.config.Address)
	}
	if answer.StatusCode != http.StatusOK {
		return out, t.refused(answer.StatusCode, text)
	}
	var content struct {
		Data *transitFields `json:"data"`
	}
	if err := json.Unmarshal(text, &content); err != nil || content.Data == nil {
		return out, unavailable("transit at %s answers what is no answer of transit", t.config.Address)
	}
	return *content.Data, nil
}

// refused says what a status means. Only 400 is about what was asked; of its text, two documented causes are recognized.
func (t *Transit) refused(code int, text []byte) error {
	why := map[int]string{
		http.StatusForbidden: "the token is not valid, or may not use the key", http.StatusNotFound: "is the mount right?",
		http.StatusTooManyRequests: "it has too much to do", http.StatusServiceUnavailable: "it is sealed, or being maintained",
	}[code]
	switch {
	case code == http.StatusBadRequest && bytes.Contains(text, []byte("too old")):
		return wrongKey("transit at %s refuses the key's version that the keyring was wrapped with: it is under min_decryption_version", t.config.Address)
	case code == http.StatusBadRequest && bytes.Contains(text, []byte("encryption key not found")):
		return wrongKey("transit at %s has no key %s/%s", t.config.Address, t.config.Mount, t.config.Key)
	case code == http.StatusBadRequest:
		return fmt.Errorf("transit at %s does not decrypt it: it was changed, or encrypted by another key of that name", t.config.Address)
	case code >= 300 && code < 400:
		why = "redirects are not followed: name the server that it points to"
	}
	if why != "" {
		why = ": " + why
	}
	return unavailable("transit at %s answers %d%s", t.config.Address, code, why)
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *secretBase64) UnmarshalJSON(text []byte) error {
	quoted := bytes.Trim(text, `"`)
	out := make([]byte, base64.StdEncoding.DecodedLen(len(quoted)))
	n, err := base64.StdEncoding.Strict().Decode(out, quoted)
	if err != nil {
		clear(out)
		return errors.New("no base64")
	}
	*s = out[:n]
	return nil
}

// Errors of token files.
var (
	errToken     = errors.New("the file does not hold a token")
	errTokenMode = errors.New("others than its owner and group may read the token, or than its owner write it")
)

// readToken reads a file that nobody but its owner may write, and its owner and group may read: agents that renew tokens share them so.
func readToken(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errToken
	case info.Mode().Perm()&0o027 != 0 && !inCredentialsDirectory(path):
		return nil, errTokenMode
	}
	text, err := durable.ReadAllLimited(f, path, maxTokenBytes)
	if err != nil {
		return nil, err
	}
	token := bytes.TrimRight(text, "\r\n")
	for _, c := range token {
		if c <= ' ' || c >= 0x7f {
			clear(text)
			return nil, errToken
		}
	}
	if len(token) == 0 {
		return nil, errToken
	}
	return token, nil
}
