package diagnosis

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The headers and the rules of NOAH's page "Request Signing".
const (
	noahAPIKey    = "X-Api-Key"
	noahSignature = "Api-Signature"
	noahAudience  = "https://api.noah.com"
	noahLifetime  = 15 * time.Minute
	// noahSkew is how far iat may be ahead; the page is silent.
	noahSkew = 30 * time.Second
)

const adviceHeaders = "send the headers of signerd's answer as they are, and see that no proxy or HTTP library drops them"

// NOAH compares a request with what its token claims, and says why NOAH would refuse it; the likeliest reason first. env is the
// environment of the key at signerd, "sandbox" or "prod", or empty where it is not known. Whether the signature is right is not
// looked at: only the key can tell.
func NOAH(r Request, env string, now time.Time) []Finding {
	var found []Finding
	apiKey, missing := only(r.Header, noahAPIKey, adviceHeaders)
	if missing != nil {
		found = append(found, *missing)
	} else if f := apiKeyForm(apiKey); f != nil {
		found = append(found, *f)
	} else {
		found = append(found, fitEnvironment(r, apiKey, env)...)
	}
	text, missing := only(r.Header, noahSignature, adviceHeaders)
	if missing != nil {
		found = append(found, *missing)
		Sort(found)
		return found
	}
	t, wrong := parseToken(text)
	found = append(found, wrong...)
	if t.claims != nil {
		found = append(found, fitClaims(t.claims, r, now)...)
	}
	Sort(found)
	return found
}

// RawToken gives the token of a NOAH request, with its signature as it should be where it was sent in ASN.1 DER. It is empty
// where there is none that a key could verify.
func RawToken(r Request) string {
	text := r.Header.Get(noahSignature)
	t, _ := parseToken(text)
	switch {
	case t.raw != "":
		return t.raw
	case t.claims == nil || widths[t.algorithm] == 0:
		return ""
	}
	return text
}

// Algorithm is the algorithm that the token of a NOAH request names; empty where it cannot be read.
func Algorithm(r Request) string {
	t, _ := parseToken(r.Header.Get(noahSignature))
	return t.algorithm
}

func fitClaims(claims map[string]json.RawMessage, r Request, now time.Time) []Finding {
	var found []Finding
	add := func(f *Finding) {
		if f != nil {
			found = append(found, *f)
		}
	}
	for name := range claims {
		if !slices.Contains([]string{"aud", "iat", "exp", "method", "path", "queryParams", "bodyHash"}, name) {
			add(&Finding{UnknownClaim, "token: it has the claim " + shown(name) + ", which NOAH does not know", "leave it out"})
		}
	}
	add(fitAudience(claims["aud"]))
	if method, f := textClaim(claims, "method"); f != nil {
		add(f)
	} else {
		add(fitMethod(method, r.Method))
	}
	if signed, f := textClaim(claims, "path"); f != nil {
		add(f)
	} else {
		add(fitPath(signed, r))
	}
	// A query that was signed with the path is told once.
	if len(found) == 0 || !slices.ContainsFunc(found, func(f Finding) bool { return f.Cause == PathWithQuery }) || claims["queryParams"] != nil {
		found = append(found, fitQuery(claims["queryParams"], r.query())...)
	}
	add(fitHash(claims["bodyHash"], r))
	return append(found, fitTimes(claims, r.Sent, now)...)
}

func textClaim(claims map[string]json.RawMessage, name string) (string, *Finding) {
	var text string
	raw, ok := claims[name]
	if !ok {
		return "", &Finding{UnknownClaim, "token: the claim " + name + " is missing", adviceToken}
	}
	if raw[0] != '"' || json.Unmarshal(raw, &text) != nil {
		return "", &Finding{UnknownClaim, "token: the claim " + name + " is not a string", adviceToken}
	}
	return text, nil
}

func fitAudience(raw json.RawMessage) *Finding {
	const advice = "aud is the string " + noahAudience + ", in the sandbox too"
	var text string
	switch {
	case raw == nil:
		return &Finding{WrongAudience, "token: the claim aud is missing", advice}
	case raw[0] == '[':
		return &Finding{WrongAudience, "token: the claim aud is a list, and NOAH wants a string", advice}
	case json.Unmarshal(raw, &text) != nil:
		return &Finding{WrongAudience, "token: the claim aud is not a string", advice}
	case text != noahAudience:
		return &Finding{WrongAudience, "token: the claim aud is " + shown(text) + ", and NOAH wants " + shown(noahAudience), advice}
	}
	return nil
}

// fitHash names the difference between the body that was signed and the one that was sent.
func fitHash(raw json.RawMessage, r Request) *Finding {
	var claim string
	switch {
	case raw == nil && len(r.Body) == 0:
		return nil
	case raw == nil:
		return &Finding{BodyUnsigned, "body: a body was sent, and none was signed (bodyHash is missing)", "hand the body to whoever signs; a GET with a body has one too"}
	case json.Unmarshal(raw, &claim) != nil:
		return &Finding{BodyHashForm, "body: the claim bodyHash is not a string", adviceToken}
	case len(claim) != 2*sha256.Size || !isHex(claim):
		return &Finding{BodyHashForm, "body: the claim bodyHash is not 64 hexadecimal digits", "bodyHash is the SHA-256 of the body's bytes in lower-case hex, not base64"}
	case claim != strings.ToLower(claim):
		return &Finding{BodyHashForm, "body: the claim bodyHash is in upper case", "bodyHash is in lower-case hex"}
	}
	is := func(body []byte) bool {
		sum := sha256.Sum256(body)
		return hex.EncodeToString(sum[:]) == claim
	}
	if len(r.Body) == 0 && is(nil) {
		return &Finding{BodyEmpty, "body: the hash of no bytes was signed, and an empty body is no body", "leave bodyHash out where a request has no body"}
	}
	if is(r.Body) {
		return nil
	}
	for v := range bodyVariants(r) {
		if is(v.body) {
			f := v.found(r.Body)
			return &f
		}
	}
	if len(r.Body) == 0 {
		return &Finding{BodyDiffers, "body: a body was signed, and none was sent", "does a redirect or a library drop the body? a GET often loses its own"}
	}
	return &Finding{BodyDiffers, fmt.Sprintf("body differs: what was sent (%d bytes) is not what was signed, and none of the usual causes explains it", len(r.Body)),
		adviceBytes + "; if they are the same when they leave, something on the way changes them"}
}

func isHex(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i] | 0x20; (c < 'a' || c > 'f') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// secondsClaim reads a claim that must be a whole number of Unix seconds.
func secondsClaim(claims map[string]json.RawMessage, name string, now time.Time) (time.Time, *Finding) {
	wrong := func(text string) (time.Time, *Finding) {
		return time.Time{}, &Finding{TimeForm, "time: the claim " + name + " " + text, "iat and exp are whole Unix seconds, as JSON numbers"}
	}
	raw, ok := claims[name]
	if !ok {
		return wrong("is missing")
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	switch {
	case err != nil:
		return wrong("is not a whole number")
	case n > 100*now.Unix():
		return wrong("is in milliseconds, and NOAH wants seconds")
	}
	return time.Unix(n, 0), nil
}

func fitTimes(claims map[string]json.RawMessage, sent, now time.Time) []Finding {
	issued, wrong := secondsClaim(claims, "iat", now)
	if wrong != nil {
		return []Finding{*wrong}
	}
	expires, wrong := secondsClaim(claims, "exp", now)
	if wrong != nil {
		return []Finding{*wrong}
	}
	var found []Finding
	switch life := expires.Sub(issued); {
	case life <= 0:
		found = append(found, Finding{Lifetime, "time: the token expires before it was issued (exp is not after iat)", "exp is iat and 5 minutes, at most 15"})
	case life > noahLifetime:
		found = append(found, Finding{Lifetime, fmt.Sprintf("time: the token is good for %s, and NOAH takes at most 15 minutes", life), "exp is iat and 5 minutes, at most 15"})
	}
	if f := clock(issued, expires, noahSkew, sent, now); f != nil {
		found = append(found, *f)
	}
	return found
}

// clock tells what is wrong with the times of a signature that was made at issued and is over at expires.
func clock(issued, expires time.Time, skew time.Duration, sent, now time.Time) *Finding {
	const advice = "set the clock of the machine that signs by NTP"
	at, when := now, "this machine's clock"
	if !sent.IsZero() {
		at, when = sent, "the time it was sent"
	}
	switch {
	case issued.After(at.Add(skew)):
		return &Finding{FastClock, fmt.Sprintf("time: the signature is from %s after %s: the clock of whoever signed is fast", span(issued.Sub(at)), when), advice}
	case at.Before(expires):
		return nil
	case !sent.IsZero():
		return &Finding{SlowClock, fmt.Sprintf("time: the signature had expired %s before the request was sent, and was made %s before: the clock of whoever signed is slow, or the request waited", span(at.Sub(expires)), span(at.Sub(issued))),
			advice + "; and sign a request when it is sent, each attempt anew"}
	}
	return &Finding{Expired, fmt.Sprintf("time: the signature expired %s ago, and was made %s ago, by %s", span(at.Sub(expires)), span(at.Sub(issued)), when),
		"if it was sent long before now, this is no wonder and not the reason; otherwise the clock of whoever signs is slow, or the request waited: " + advice + ", and sign each attempt anew"}
}

// span is how long something is, no finer than people count.
func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
