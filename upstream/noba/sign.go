package noba

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/signerd/signerd/internal/jsonstringify"
	"github.com/signerd/signerd/upstream"
)

// The headers Noba wants on a request.
const (
	HeaderAPIKey    = "X-Noba-API-Key"
	HeaderSignature = "X-Noba-Signature"
	HeaderTimestamp = "X-Noba-Timestamp"
)

// MaxClockDifference is how far a timestamp may be from the clock: a verifier of the partner refuses more (observed).
const MaxClockDifference = 5 * time.Minute

// emptyBody is what is signed when there is no body, as the page's own script does.
const emptyBody = "{}"

// RequestParams is what a caller says of the request it is about to send.
type RequestParams struct {
	// Method is an HTTP token, in any case.
	Method string
	// Path is the request target as it goes on the wire; its query takes no part in the signature.
	Path string
	// Body is the exact body: empty, or a JSON object or array in UTF-8.
	Body []byte
	// TimestampMillis is in milliseconds since the epoch; nil means now, 0 is the partner's testing value.
	TimestampMillis *int64
}

// Request is a checked request; only NewRequest makes one.
type Request struct {
	method    string
	target    upstream.Target
	body      []byte
	timestamp *int64
}

// NewRequest checks p; now is signerd's clock. Errors are *upstream.FieldError. The request keeps p.Body.
func NewRequest(p RequestParams, now time.Time) (Request, error) {
	r := Request{body: p.Body}
	var err error
	if r.method, err = upstream.ParseMethod(p.Method); err != nil {
		return Request{}, err
	}
	if r.target, err = upstream.ParseTarget(p.Path); err != nil {
		return Request{}, err
	}
	if err = checkBody(p.Body); err != nil {
		return Request{}, err
	}
	if p.TimestampMillis == nil {
		return r, nil
	}
	t := *p.TimestampMillis // what is checked is what is signed, whatever becomes of p
	if t != 0 {
		if t < now.Add(-MaxClockDifference).UnixMilli() || t > now.Add(MaxClockDifference).UnixMilli() {
			return Request{}, upstream.Invalid("timestamp_millis", "it is more than 5 minutes from signerd's clock, and Noba would refuse it")
		}
	}
	r.timestamp = &t
	return r, nil
}

// checkBody keeps the string to sign unambiguous: it has no separators, and neither { nor [ nor white space can stand
// in a path, so the body's first byte is where the path ends.
func checkBody(body []byte) error {
	if len(body) == 0 {
		return nil
	}
	if !utf8.Valid(body) {
		return upstream.Invalid("body", "it is not UTF-8")
	}
	start := bytes.TrimLeft(body, " \t\r\n")
	if len(start) == 0 || start[0] != '{' && start[0] != '[' || !json.Valid(body) {
		return upstream.Invalid("body", "it is not a JSON object or array; wanted one, or no body")
	}
	return nil
}

// Method is the method as it is signed, in upper case.
func (r Request) Method() string { return r.method }

// Path is the path as it is signed, without the query.
func (r Request) Path() string { return r.target.Path() }

// Testing reports whether the request carries the timestamp 0, which is for sandbox keys only.
func (r Request) Testing() bool { return r.timestamp != nil && *r.timestamp == 0 }

// Warnings says in plain words why Noba may refuse the request although the signature is right: a verifier compares
// with JSON.stringify of the parsed body (observed).
func (r Request) Warnings() []string { return jsonstringify.Differences(r.body) }

// stringToSign is timestamp, API key, method, path and body with nothing between them; apiKey is the account's.
func (r Request) stringToSign(timestamp string, apiKey []byte) [][]byte {
	body := r.body
	if len(body) == 0 {
		body = []byte(emptyBody)
	}
	return [][]byte{[]byte(timestamp), apiKey, []byte(r.method), []byte(r.target.Path()), body}
}

// Sign makes the headers for r; now is the timestamp when r has none. Allowed says beforehand whether it can. It is safe for concurrent use.
func (c *Credential) Sign(r Request, now time.Time) map[string]string {
	millis := now.UnixMilli()
	if r.timestamp != nil {
		millis = *r.timestamp
	}
	timestamp := strconv.FormatInt(millis, 10)
	return map[string]string{
		HeaderAPIKey:    string(c.apiKey.Reveal()),
		HeaderSignature: hex.EncodeToString(c.mac(r.stringToSign(timestamp, c.apiKey.Reveal())...)),
		HeaderTimestamp: timestamp,
	}
}
