package noah

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/signerd/signerd/upstream"
)

// How long a signature may be good for. NOAH refuses more than 15 minutes; its own code uses 5.
const (
	DefaultTTL = 5 * time.Minute
	MaxTTL     = 15 * time.Minute
)

// RequestParams is what a caller says of the request it is about to send.
type RequestParams struct {
	// Method is an HTTP token, in any case.
	Method string
	// Path is the request target as it goes on the wire, with its query unless QueryParams is given.
	Path string
	// QueryParams are typed query parameters: string, bool, float64, or []any of these. Empty means none.
	QueryParams map[string]any
	// Body is the exact body; empty means no body.
	Body []byte
	// BodySHA256 stands in for Body: 32 bytes. The hash of zero bytes means no body.
	BodySHA256 []byte
	// TTL is in whole seconds up to MaxTTL; 0 means DefaultTTL.
	TTL time.Duration
}

// Request is a checked request; only NewRequest makes one.
type Request struct {
	method   string
	target   upstream.Target
	query    queryParams
	bodyHash string
	withheld bool // the body is known by its hash alone
	ttl      time.Duration
}

// NewRequest checks p. Errors are *upstream.FieldError.
func NewRequest(p RequestParams) (Request, error) {
	var r Request
	var err error
	if r.method, err = upstream.ParseMethod(p.Method); err != nil {
		return Request{}, err
	}
	if r.target, err = upstream.ParseTarget(p.Path); err != nil {
		return Request{}, err
	}
	if r.query, err = newQueryParams(r.target.Query(), p.QueryParams); err != nil {
		return Request{}, err
	}
	if r.bodyHash, err = bodyHash(p.Body, p.BodySHA256); err != nil {
		return Request{}, err
	}
	r.withheld = r.bodyHash != "" && len(p.Body) == 0
	if r.ttl, err = lifetime(p.TTL); err != nil {
		return Request{}, err
	}
	return r, nil
}

// emptySHA256 is the hash of a body that is not there.
var emptySHA256 = sha256.Sum256(nil)

// bodyHash is lower-case hex, or empty for no body.
func bodyHash(body, sum []byte) (string, error) {
	switch {
	case len(body) > 0 && len(sum) > 0:
		return "", upstream.Invalid("body_sha256", "it is given beside body; wanted one of the two")
	case len(body) > 0:
		h := sha256.Sum256(body)
		return hex.EncodeToString(h[:]), nil
	case len(sum) == 0 || bytes.Equal(sum, emptySHA256[:]):
		return "", nil
	case len(sum) != sha256.Size:
		return "", upstream.Invalid("body_sha256", "it has %d bytes; a SHA-256 has %d", len(sum), sha256.Size)
	}
	return hex.EncodeToString(sum), nil
}

func lifetime(ttl time.Duration) (time.Duration, error) {
	switch {
	case ttl == 0:
		return DefaultTTL, nil
	case ttl < time.Second || ttl > MaxTTL:
		return 0, upstream.Invalid("ttl", "it is outside 1 to %d seconds", MaxTTL/time.Second)
	case ttl%time.Second != 0:
		return 0, upstream.Invalid("ttl", "it is not a whole number of seconds")
	}
	return ttl, nil
}

// Method is the method as it is signed, in upper case.
func (r Request) Method() string { return r.method }

// BodyWithheld reports whether there is a body that only its hash is known of.
func (r Request) BodyWithheld() bool { return r.withheld }

// BodySHA256 is the hash of the body as it is signed, in lower-case hexadecimal; empty without a body.
func (r Request) BodySHA256() string { return r.bodyHash }

// Path is the path as it goes on the wire, without the query.
func (r Request) Path() string { return r.target.Path() }

// Query is every query parameter with the texts of its values as they go on the wire, percent-decoded: the number 20 is
// "20", true is "true". Nil without a query.
func (r Request) Query() map[string][]string {
	if len(r.query) == 0 {
		return nil
	}
	out := make(map[string][]string, len(r.query))
	for name, value := range r.query {
		out[name] = texts(value)
	}
	return out
}
