// Package diagnosis tells why a partner would refuse a signed request: what of the request is not what was signed, and the likely cause.
//
// It is for `signerctl explain` and `signerctl sandbox`. It is pure: no network, no clock of its own, and it needs no secret. What only a key or
// a secret can tell is left to the caller, as candidates to verify. It knows signerd by nothing: it is written from the partners' pages.
package diagnosis

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Request is a request as it went out.
type Request struct {
	Method string
	// Target is the path with its query, as on the wire.
	Target string
	// Scheme is "https" or "http", or empty where it is not known.
	Scheme string
	Host   string
	Header http.Header
	Body   []byte
	// File is what the body was read from, where what read it changed it, as curl's -d does. Nil otherwise.
	File []byte
	// Sent is when it went out, as far as whoever captured it knows; zero where it is not known.
	Sent time.Time
}

// path is what stands before the "?", query what follows it.
func (r Request) path() string  { p, _, _ := strings.Cut(r.Target, "?"); return p }
func (r Request) query() string { _, q, _ := strings.Cut(r.Target, "?"); return q }

// Cause is the stable name of a reason to refuse.
type Cause string

// The causes, the one to be told first before those that may follow from it.
const (
	MissingHeader    Cause = "missing-header"
	RepeatedHeader   Cause = "repeated-header"
	PlainHTTP        Cause = "plain-http"
	WrongEnvironment Cause = "wrong-environment"
	MalformedAPIKey  Cause = "malformed-api-key"
	MalformedToken   Cause = "malformed-token"
	Base64Padding    Cause = "base64-padding"
	WrongAlgorithm   Cause = "wrong-algorithm"
	DERSignature     Cause = "der-signature"
	SignatureForm    Cause = "signature-form"
	WrongAPIKey      Cause = "wrong-api-key"
	OtherVersion     Cause = "other-version"
	WrongKey         Cause = "wrong-key"
	WrongAudience    Cause = "wrong-audience"
	MethodCase       Cause = "method-case"
	MethodDiffers    Cause = "method-differs"
	PathWithQuery    Cause = "path-with-query"
	PathWithHost     Cause = "path-with-host"
	PathSlash        Cause = "path-trailing-slash"
	PathEncoding     Cause = "path-encoding"
	PathPrefix       Cause = "path-prefix"
	PathDiffers      Cause = "path-differs"
	QueryUnsigned    Cause = "query-not-signed"
	QueryPlus        Cause = "query-plus"
	QueryEncoding    Cause = "query-encoding"
	QueryTyped       Cause = "query-typed"
	QueryOrder       Cause = "query-order"
	QueryParameter   Cause = "query-parameter"
	QueryDiffers     Cause = "query-differs"
	BodyNewline      Cause = "body-trailing-newline"
	BodyCRLF         Cause = "body-crlf"
	BodyStripped     Cause = "body-newlines-stripped"
	BodyMark         Cause = "body-byte-order-mark"
	BodyCharset      Cause = "body-charset"
	BodyEmpty        Cause = "body-empty-object"
	BodyUnsigned     Cause = "body-not-signed"
	BodyHashForm     Cause = "body-hash-form"
	BodySpaces       Cause = "body-json-spaces"
	BodyOrder        Cause = "body-json-order"
	BodyEscapes      Cause = "body-json-escapes"
	BodyNumbers      Cause = "body-json-numbers"
	BodyRewritten    Cause = "body-json-rewritten"
	BodyDiffers      Cause = "body-differs"
	Separators       Cause = "separators"
	SomethingDiffers Cause = "something-differs"
	UnknownClaim     Cause = "unknown-claim"
	ExpiredVersion   Cause = "expired-version"
	OldVersion       Cause = "old-version"
	TimeForm         Cause = "time-form"
	FastClock        Cause = "fast-clock"
	Lifetime         Cause = "lifetime"
	SlowClock        Cause = "slow-clock"
	Expired          Cause = "expired"
	NotStringified   Cause = "body-not-stringified"
)

// Causes are all causes, in the order in which findings are told.
var Causes = []Cause{
	MissingHeader, RepeatedHeader, PlainHTTP, WrongEnvironment, MalformedAPIKey, MalformedToken, Base64Padding, WrongAlgorithm, DERSignature,
	SignatureForm, WrongAPIKey, OtherVersion, WrongKey, WrongAudience, MethodCase, MethodDiffers, PathWithQuery, PathWithHost, PathSlash, PathEncoding,
	PathPrefix, PathDiffers, QueryUnsigned, QueryPlus, QueryEncoding, QueryTyped, QueryOrder, QueryParameter, QueryDiffers, BodyNewline, BodyCRLF,
	BodyStripped, BodyMark, BodyCharset, BodyEmpty, BodyUnsigned, BodyHashForm, BodySpaces, BodyOrder, BodyEscapes, BodyNumbers, BodyRewritten,
	BodyDiffers, Separators, UnknownClaim, ExpiredVersion, TimeForm, FastClock, Lifetime, SlowClock, SomethingDiffers, OldVersion, Expired, NotStringified,
}

// Finding is one reason to refuse a request. Its texts repeat neither API key nor signature.
type Finding struct {
	Cause Cause
	// Text says what is wrong, beginning with the part of the request: "body: …".
	Text string
	// Advice says what to do about it.
	Advice string
}

// Sort puts findings in the order of Causes, and keeps the order of equals.
func Sort(findings []Finding) {
	slices.SortStableFunc(findings, func(a, b Finding) int { return slices.Index(Causes, a.Cause) - slices.Index(Causes, b.Cause) })
}

// shown is text of a request in quotes, cut where it is long.
func shown(s string) string {
	const longest = 120
	cut := ""
	if len(s) > longest {
		s, cut = s[:longest], "…"
	}
	return quote(s) + cut
}
