package partners

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// nobaWindow is how far a timestamp may be from the clock, either way, in
// milliseconds (observed in the code of a verifier; the page is silent).
const nobaWindow = 5 * 60 * 1000

// Noba is a local stand-in for Noba's verifier. It is an http.Handler that
// answers as NOAH does. It is safe for concurrent use once Strict is set.
// Reasons repeat neither the API key, nor the secret, nor a right signature.
type Noba struct {
	// Strict makes the signature count over JSON.stringify of the parsed body,
	// as the real verifier was observed to do, and refuses a body that is not a
	// JSON object or array. By default the exact bytes of the body count, as
	// the page says. Set it before the first request.
	Strict bool

	now func() time.Time

	mu   sync.RWMutex
	keys map[string]nobaKey
}

type nobaKey struct {
	secret  []byte
	sandbox bool
}

// NewNoba returns a Noba with no API keys. now is its clock and must be safe
// for concurrent use; nil means time.Now.
func NewNoba(now func() time.Time) *Noba {
	if now == nil {
		now = time.Now
	}
	return &Noba{now: now, keys: make(map[string]nobaKey)}
}

// Register makes an API key known with its secret, whose bytes are the HMAC key
// as they are. An API key that is known gets the new secret. With sandbox the
// timestamp 0, the page's testing value, is accepted beside the current time.
func (n *Noba) Register(apiKey string, secret []byte, sandbox bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.keys[apiKey] = nobaKey{bytes.Clone(secret), sandbox}
}

// ServeHTTP answers a request; see Noba.
func (n *Noba) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	serve(w, r, "noba", n.Check)
}

// Check does what ServeHTTP does on a request in parts, without HTTP and
// without a limit on the body. It returns nil, or an error whose text says in
// plain words what is wrong first.
func (n *Noba) Check(r Request) error {
	at, err := r.readLine()
	if err != nil {
		return err
	}
	apiKey, err := onlyHeader(r.Header, "X-Noba-API-Key")
	if err != nil {
		return err
	}
	signature, err := onlyHeader(r.Header, "X-Noba-Signature")
	if err != nil {
		return err
	}
	timestamp, err := onlyHeader(r.Header, "X-Noba-Timestamp")
	if err != nil {
		return err
	}
	n.mu.RLock()
	key, ok := n.keys[apiKey]
	n.mu.RUnlock()
	if !ok {
		return errors.New("the API key is not known")
	}
	if err := key.fitTimestamp(timestamp, n.now().UnixMilli()); err != nil {
		return err
	}
	given, err := readSignature(signature)
	if err != nil {
		return err
	}
	body, err := n.seen(r.Body)
	if err != nil {
		return err
	}
	signs := func(method, path string, body []byte) bool {
		mac := hmac.New(sha256.New, key.secret)
		mac.Write([]byte(timestamp + apiKey + method + path))
		mac.Write(body)
		return hmac.Equal(mac.Sum(nil), given)
	}
	if signs(at.method, at.path, body) {
		return nil
	}
	return errors.New("the signature does not fit the request" + n.cause(r, at, body, signs))
}

// seen is the body as the verifier sees it. One without a body is `{}`: the
// page's script signs that, and the parser in front of the verifier makes it.
func (n *Noba) seen(body []byte) ([]byte, error) {
	if len(body) == 0 {
		return []byte("{}"), nil
	}
	if !utf8.Valid(body) {
		return nil, errors.New("the body is not valid UTF-8")
	}
	if !n.Strict {
		return body, nil
	}
	v, err := parseJSON(body)
	if err != nil {
		return nil, fmt.Errorf("the body %w", err)
	}
	if v.kind != kindObject && v.kind != kindArray {
		return nil, fmt.Errorf("the body is %s, not a JSON object or array", v.kind)
	}
	return v.stringify(nil), nil
}

// cause tries the usual mistakes and names the one that explains the signature.
func (n *Noba) cause(r Request, at line, body []byte, signs func(method, path string, body []byte) bool) string {
	switch {
	case len(r.Body) == 0 && signs(at.method, at.path, nil):
		return "; it fits an empty body, but no body is signed as {}"
	case at.path != r.Target && signs(at.method, r.Target, body):
		return "; it fits the path with its query, but the path is cut at the question mark"
	case signs(strings.ToLower(at.method), at.path, body):
		return "; it fits the method in lower case, it must be in upper case"
	case len(r.Body) == 0:
		return ""
	case n.Strict && signs(at.method, at.path, r.Body):
		return "; it fits the bytes that were sent, but they are not in the form that JSON.stringify gives"
	}
	return bodyCause(r.Body, func(b []byte) bool { return signs(at.method, at.path, b) })
}

// fitTimestamp checks for canonical decimal milliseconds: the text is signed,
// so there must be one text for each time.
func (k nobaKey) fitTimestamp(text string, now int64) error {
	for i := 0; i < len(text); i++ {
		if text[i] < '0' || text[i] > '9' {
			return errors.New("the timestamp is not decimal milliseconds, digits only")
		}
	}
	if len(text) > 1 && text[0] == '0' {
		return errors.New("the timestamp has a leading zero")
	}
	t, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		return errors.New("the timestamp is too large")
	case t == 0 && k.sandbox:
		return nil
	case t == 0:
		return errors.New("the timestamp is 0, which is for testing and this API key is not for sandbox")
	}
	switch d := t - now; {
	case d >= -nobaWindow && d <= nobaWindow:
		return nil
	case t >= (now-nobaWindow)/1000 && t <= (now+nobaWindow)/1000:
		return errors.New("the timestamp is in seconds, it must be in milliseconds")
	case d > 0:
		return fmt.Errorf("the timestamp is %d ms ahead of the clock, at most %d are allowed", d, nobaWindow)
	default:
		return fmt.Errorf("the timestamp is %d ms old, at most %d are allowed", -d, nobaWindow)
	}
}

// readSignature decodes 64 lower-case hexadecimal digits, what
// cryptoJS.enc.Hex.stringify of the page gives.
func readSignature(s string) ([]byte, error) {
	if isLowerHex(s, 2*sha256.Size) {
		return hex.DecodeString(s)
	}
	if isLowerHex(strings.ToLower(s), 2*sha256.Size) {
		return nil, errors.New("the signature has upper-case digits, it must be lower-case hex")
	}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if b, err := e.DecodeString(s); err == nil && len(b) == sha256.Size {
			return nil, errors.New("the signature is base64, it must be lower-case hex")
		}
	}
	return nil, fmt.Errorf("the signature is not %d hexadecimal digits", 2*sha256.Size)
}
