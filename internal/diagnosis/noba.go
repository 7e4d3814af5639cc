package diagnosis

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/signerd/signerd/internal/jsonstringify"
)

// The headers and the rules of Noba's page.
const (
	nobaAPIKey    = "X-Noba-API-Key"
	nobaSignature = "X-Noba-Signature"
	nobaTimestamp = "X-Noba-Timestamp"
	// nobaWindow is how far a timestamp may be from the clock (observed).
	nobaWindow = 5 * time.Minute
)

// MaxNobaCandidates bounds what NobaCandidates gives for one request.
const MaxNobaCandidates = 192

// Noba says what of a request Noba would refuse without a look at the signature; the likeliest reason first. env is the
// environment of the key at signerd, "sandbox" or "prod", or empty where it is not known.
func Noba(r Request, env string, now time.Time) []Finding {
	var found []Finding
	apiKey, missing := only(r.Header, nobaAPIKey, adviceHeaders)
	if missing != nil {
		found = append(found, *missing)
	} else if f := apiKeyForm(apiKey); f != nil {
		found = append(found, *f)
	}
	signature, missing := only(r.Header, nobaSignature, adviceHeaders)
	if missing != nil {
		found = append(found, *missing)
	} else if f := fitNobaSignature(signature); f != nil {
		found = append(found, *f)
	}
	timestamp, missing := only(r.Header, nobaTimestamp, adviceHeaders)
	if missing != nil {
		found = append(found, *missing)
	} else if f := fitTimestamp(timestamp, env, r.Sent, now); f != nil {
		found = append(found, *f)
	}
	Sort(found)
	return found
}

// fitNobaSignature finds what is wrong with the signature's form.
func fitNobaSignature(text string) *Finding {
	const advice = "the signature is 64 hexadecimal digits in lower case"
	if len(text) == 2*sha256.Size && isHex(text) {
		if text == strings.ToLower(text) {
			return nil
		}
		return &Finding{SignatureForm, "headers: X-Noba-Signature is in upper case", advice}
	}
	if sum, ok := NobaSum(text); ok && sum != nil {
		return &Finding{SignatureForm, "headers: X-Noba-Signature is not in lower-case hex (it is base64, or has a prefix)", advice}
	}
	return &Finding{SignatureForm, fmt.Sprintf("headers: X-Noba-Signature is not a signature: %d characters that are not 32 bytes in hex", utf8.RuneCountInString(text)), advice}
}

// NobaSum reads the signature of a Noba request, in its own form or a wrong one that can be read: 32 bytes.
func NobaSum(text string) ([]byte, bool) {
	text = strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(text), "sha256="), "0x")
	if sum, err := hex.DecodeString(strings.ToLower(text)); err == nil && len(sum) == sha256.Size {
		return sum, true
	}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if sum, err := e.DecodeString(text); err == nil && len(sum) == sha256.Size {
			return sum, true
		}
	}
	return nil, false
}

func fitTimestamp(text, env string, sent, now time.Time) *Finding {
	const advice = "the timestamp is the time of signing in milliseconds since 1970, as decimal digits, and the same text is signed"
	millis, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil || text[0] == '-' || text[0] == '+':
		return &Finding{TimeForm, "time: X-Noba-Timestamp is not a whole number of milliseconds", advice}
	case text[0] == '0' && len(text) > 1:
		return &Finding{TimeForm, "time: X-Noba-Timestamp begins with a zero", advice}
	case millis == 0 && env == "prod":
		return &Finding{TimeForm, "time: X-Noba-Timestamp is 0, which is for tests, and the key is for prod", advice}
	case millis == 0:
		return nil
	case millis < now.UnixMilli()/100 && millis > now.Unix()/2:
		return &Finding{TimeForm, "time: X-Noba-Timestamp is in seconds, and Noba wants milliseconds", advice}
	}
	issued := time.UnixMilli(millis)
	return clock(issued, issued.Add(nobaWindow), nobaWindow, sent, now)
}

// Candidate is what may have been signed in place of what was sent: NobaSigned says what that means, more exactly than the finding
// does that it carries. Its cause is empty for what Noba sees.
type Candidate struct {
	Finding
	Timestamp, APIKey, Method, Path string
	Body                            []byte
}

// NobaVariants are what may have been signed, each once, the likeliest first; the first is what Noba sees of the request. Each differs from it in
// one thing, but for some paths. They are made one by one, for bodies may be large; 256 MiB of other bodies are made at most.
func NobaVariants(r Request) iter.Seq[Candidate] {
	right := Candidate{Timestamp: r.Header.Get(nobaTimestamp), APIKey: r.Header.Get(nobaAPIKey), Method: strings.ToUpper(r.Method), Path: r.path(), Body: r.Body}
	if len(right.Body) == 0 {
		right.Body = []byte("{}")
	}
	return func(yield func(Candidate) bool) {
		c := &candidates{yield: yield, seen: make(map[[sha256.Size]byte]bool)}
		c.add(right)
		c.empty(right, r)
		c.methods(right, r)
		c.paths(right, r)
		c.times(right)
		c.separators(right)
		// A path with its query, and a body that was not made {}, come together often.
		if len(r.Body) == 0 && r.query() != "" {
			both := right
			both.Finding = Finding{PathWithQuery, "path: the path was signed together with its query, and no body as an empty one", "sign the path without the query, and {} where there is no body"}
			both.Path, both.Body = r.Target, nil
			c.add(both)
		}
		for v := range bodyVariants(r) {
			other := right
			other.Finding, other.Body = v.Finding, v.body
			if !c.add(other) {
				return
			}
		}
	}
}

// NobaCandidates are the likeliest of NobaVariants, at most MaxNobaCandidates with 16 MiB of bodies: for whoever must ask signerd.
func NobaCandidates(r Request) []Candidate {
	var all []Candidate
	size := 0
	for c := range NobaVariants(r) {
		if size += len(c.Body); len(all) == MaxNobaCandidates || len(all) > 0 && size > maxCandidateBytes {
			break
		}
		all = append(all, c)
	}
	return all
}

// maxCandidateBytes bounds the bodies of all candidates together.
const maxCandidateBytes = 16 << 20

// candidates hands them on, each string to sign once.
type candidates struct {
	yield func(Candidate) bool
	ended bool
	seen  map[[sha256.Size]byte]bool
}

func (c *candidates) add(n Candidate) bool {
	if c.ended {
		return false
	}
	hash := sha256.New()
	hash.Write([]byte(n.Timestamp + n.APIKey + n.Method + n.Path))
	hash.Write(n.Body)
	sum := [sha256.Size]byte(hash.Sum(nil))
	if c.seen[sum] {
		return true
	}
	c.seen[sum] = true
	c.ended = !c.yield(n)
	return !c.ended
}

// empty is what is signed for no body.
func (c *candidates) empty(right Candidate, r Request) {
	n := right
	const advice = "where a request has no body, sign {}: that is what the verifier sees"
	if len(r.Body) == 0 {
		n.Finding, n.Body = Finding{BodyEmpty, "body: no body was sent, and it was signed as an empty one; Noba sees {}", advice}, nil
		c.add(n)
		return
	}
	if bytes.Equal(bytes.TrimSpace(r.Body), []byte("{}")) {
		n.Finding, n.Body = Finding{BodyEmpty, "body: {} was sent, and an empty body was signed", advice}, nil
		c.add(n)
	}
}

func (c *candidates) methods(right Candidate, r Request) {
	for _, method := range []string{strings.ToLower(r.Method), r.Method, "POST", "GET", "PUT", "PATCH", "DELETE"} {
		if f := fitMethod(method, r.Method); f != nil {
			n := right
			n.Finding, n.Method = *f, method
			c.add(n)
		}
	}
	n := right
	n.Finding, n.Method = Finding{MethodDiffers, "method: it was signed without the method", "sign timestamp, API key, method, path and body, with nothing between them"}, ""
	c.add(n)
}

func (c *candidates) paths(right Candidate, r Request) {
	for _, v := range pathVariants(r) {
		n := right
		n.Finding, n.Path = v.Finding, v.path
		c.add(n)
	}
}

func (c *candidates) times(right Candidate) {
	add := func(text, signed string) {
		n := right
		n.Finding, n.Timestamp = Finding{TimeForm, "time: " + text, "sign the very text that the header X-Noba-Timestamp has: milliseconds, read from the clock once"}, signed
		c.add(n)
	}
	if len(right.Timestamp) > 3 {
		add("the timestamp was signed in seconds", right.Timestamp[:len(right.Timestamp)-3])
		add("the timestamp was signed in whole seconds, as milliseconds", right.Timestamp[:len(right.Timestamp)-3]+"000")
	}
	add("the timestamp was signed in milliseconds, and sent in seconds", right.Timestamp+"000")
	add("the timestamp 0 was signed", "0")
	add("it was signed without the timestamp", "")
	n := right
	n.Finding, n.APIKey = Finding{WrongAPIKey, "headers: it was signed without the API key", "sign timestamp, API key, method, path and body, with nothing between them"}, ""
	c.add(n)
}

// separators are what people put between the parts. A part may hold one, for the parts stand in a row.
func (c *candidates) separators(right Candidate) {
	for _, s := range []string{"\n", ".", "|", ":", ",", " "} {
		n := right
		n.Finding = Finding{Separators, "string to sign: its parts were signed with " + shown(s) + " between them", "sign timestamp, API key, method, path and body, with nothing between them"}
		n.Timestamp, n.APIKey, n.Method, n.Path = n.Timestamp+s, n.APIKey+s, n.Method+s, n.Path+s
		c.add(n)
	}
}

// NobaSigned says what a candidate means that turned out to be what was signed.
func NobaSigned(r Request, c Candidate) Finding { return bodyVariant{c.Finding, c.Body}.found(r.Body) }

// NobaUnexplained is the finding where no candidate is what was signed: what can be said is what takes part.
func NobaUnexplained(r Request) Finding {
	parts := []string{"path " + shown(r.path())}
	if len(r.Body) > 0 {
		parts = append([]string{fmt.Sprintf("body (%d bytes)", len(r.Body))}, parts...)
	} else {
		parts = append(parts, "body (none was sent, and Noba sees {})")
	}
	parts = append(parts, "method "+shown(strings.ToUpper(r.Method)), "timestamp")
	return Finding{SomethingDiffers, "the " + strings.Join(parts, ", or ") + " differs from what was signed, or it was signed with another secret; a signature does not tell which, and none of the usual causes explains it",
		adviceBytes + "; compare the request where it is signed with what arrives, and see whether something on the way changes body or path"}
}

// NobaBody tells, of a request whose signature is right, why Noba may refuse its body all the same: a verifier compares with
// JSON.stringify of what it has parsed (observed).
func NobaBody(r Request) []Finding {
	if len(r.Body) == 0 {
		return nil
	}
	if v, ok := parseJSON(r.Body); len(r.Body) <= maxRewritten && (!ok || v.kind != '{' && v.kind != '[') {
		return []Finding{{NotStringified, "body: it is not a JSON object or array in UTF-8", "Noba takes JSON"}}
	}
	var found []Finding
	for _, line := range jsonstringify.Differences(r.Body) {
		found = append(found, Finding{NotStringified, "body: " + strings.TrimPrefix(line, "the body "), "a verifier of Noba compares with JSON.stringify of the body it has parsed: write the body in that form"})
	}
	return found
}
