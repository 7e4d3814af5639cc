package sandbox

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/signerd/signerd/internal/partners"
)

// noahClaims are the claims that a request is compared with.
type noahClaims struct {
	Path        string         `json:"path"`
	QueryParams map[string]any `json:"queryParams"`
	BodyHash    string         `json:"bodyHash"`
}

// ExplainNOAH says how a request differs from what its JWT was made for. It looks at the claims only where the local NOAH found the
// signature good, which its reason says.
func ExplainNOAH(r partners.Request, reason string) string {
	has := func(prefixes ...string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(reason, p) })
	}
	claims, ok := readClaims(header(r, "Api-Signature"))
	path, query, _ := strings.Cut(r.Target, "?")
	switch {
	case has("the iat claim is ") && strings.Contains(reason, "in the future"):
		return reason + ": the clock of the machine that signs is fast, or this one's is slow"
	case has("the JWT has expired"):
		return reason + ": it was sent too late after it was signed, or the clock of the machine that signs is slow"
	case has("the JWT signature is ASN.1 DER"):
		return reason + " (DER is what OpenSSL and most libraries give: ask yours for P1363 or JOSE)"
	case has("the JWT signature does not verify"):
		return reason + ": it was made with another key, such as another version's, or the token was changed on its way"
	case !ok:
		return ""
	case has("the path claim"):
		return prefixed("path differs: ", pathCause(path, query, claims.Path))
	case has("the queryParams claim has", "the query parameter", "the number of values", "there is a queryParams claim", "the request has query parameters"):
		return prefixed("queryParams differs: ", queryCause(query, claims.QueryParams))
	case has("there is a bodyHash claim, but"):
		return prefixed("bodyHash differs: ", noBodyCause(claims.BodyHash))
	case has("the bodyHash claim is"):
		return prefixed("bodyHash differs: ", bodyCause(r.Body, func(b []byte) bool { return hash(b) == claims.BodyHash }))
	}
	return ""
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// readClaims reads the payload of a JWT without a look at its signature.
func readClaims(token string) (c noahClaims, ok bool) {
	segments := strings.Split(token, ".")
	if len(segments) != 3 {
		return c, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(segments[1])
	if err != nil {
		return c, false
	}
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.UseNumber()
	return c, decoder.Decode(&c) == nil
}

func header(r partners.Request, name string) string { return r.Header.Get(name) }

// pathCause compares the path that was sent with the one that was signed.
func pathCause(path, query, signed string) string {
	for _, v := range pathVariants(path, query) {
		if v.path == signed {
			return v.text
		}
	}
	return ""
}

type pathVariant struct{ path, text string }

// pathVariants are paths that may have been signed in place of the one that was sent.
func pathVariants(path, query string) []pathVariant {
	all := []pathVariant{
		{path + "/", "the signed path has a trailing slash that the one you sent has not"},
		{strings.TrimSuffix(path, "/"), "the path you sent has a trailing slash that the signed one has not"},
		{strings.TrimPrefix(path, "/"), "the signed path has no slash at its beginning"},
		{strings.ReplaceAll(path, "%20", "+"), "the signed path has + where the one you sent has %20; in a path only %20 is a space"},
		{strings.ReplaceAll(path, "+", "%20"), "the signed path has %20 where the one you sent has +; in a path + is no space"},
		{strings.ReplaceAll(path, "%", "%25"), "the signed path is percent-encoded once more than the one you sent"},
		{(&url.URL{Path: path}).EscapedPath(), "the path you sent is percent-encoded once less than the signed one"},
	}
	if decoded, err := url.PathUnescape(path); err == nil {
		all = append(all, pathVariant{decoded, "the signed path is percent-decoded; it is signed as it goes on the wire"},
			pathVariant{(&url.URL{Path: decoded}).EscapedPath(), "the signed path has other percent-escapes than the one you sent"})
	}
	if query != "" {
		all = append(all, pathVariant{path + "?" + query, "the path was signed with its query; it ends before the question mark"})
	}
	return slices.DeleteFunc(all, func(v pathVariant) bool { return v.path == path })
}

// queryCause compares the query that was sent with the parameters that were signed.
func queryCause(query string, signed map[string]any) string {
	sent, err := url.ParseQuery(query)
	if err != nil {
		return ""
	}
	raw := make(map[string][]string) // as on the wire
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); err == nil {
			raw[plain] = append(raw[plain], value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sent)) {
		claimed, ok := signed[name]
		if !ok {
			return "you sent the parameter " + name + ", which is not in the signed ones"
		}
		want, ok := texts(claimed)
		if !ok || slices.Equal(want, sent[name]) {
			continue
		}
		return "the parameter " + name + ": " + parameterCause(sent[name], raw[name], want)
	}
	for _, name := range slices.Sorted(maps.Keys(signed)) {
		if _, ok := sent[name]; !ok {
			return "the parameter " + name + " was signed, but you did not send it"
		}
	}
	return ""
}

// parameterCause compares a parameter's values, which differ.
func parameterCause(sent, raw, signed []string) string {
	changed := func(change func(string) string) bool {
		return len(sent) == len(signed) && slices.EqualFunc(sent, signed, func(a, b string) bool { return change(a) == b })
	}
	switch {
	case changed(func(s string) string { return strings.ReplaceAll(s, " ", "+") }):
		return "the signed value has + where the request has a space; on the wire both + and %20 are a space, and the value is signed decoded"
	case changed(func(s string) string { return strings.ReplaceAll(s, "+", " ") }):
		return "the signed value has a space where the request has a plus sign (%2B)"
	case slices.Equal(raw, signed), changed(url.QueryEscape), changed(url.PathEscape):
		return "the signed value is still percent-encoded; it is signed decoded"
	case slices.Equal(slices.Sorted(slices.Values(sent)), slices.Sorted(slices.Values(signed))):
		return "its values were signed in another order than you sent them"
	case len(sent) != len(signed):
		return "another number of values was signed than you sent"
	}
	return "another value was signed than you sent"
}

// texts is a claimed value as the wire has it; not ok is for what no query can say.
func texts(claimed any) ([]string, bool) {
	switch v := claimed.(type) {
	case string:
		return []string{v}, true
	case json.Number:
		return []string{v.String()}, true
	case bool:
		if v {
			return []string{"true"}, true
		}
		return []string{"false"}, true
	case []any:
		var all []string
		for _, item := range v {
			one, ok := texts(item)
			if !ok || len(one) != 1 {
				return nil, false
			}
			all = append(all, one[0])
		}
		return all, true
	}
	return nil, false
}

// noBodyCause says what was hashed where no body was sent.
func noBodyCause(claim string) string {
	for _, v := range []struct{ body, text string }{
		{"", "no body was sent, and yet its hash was signed; without a body there is no bodyHash"},
		{"{}", "the body {} was signed, but none was sent"},
		{"null", "the body null was signed, but none was sent"},
		{`""`, `the body "" was signed, but none was sent`},
	} {
		if hash([]byte(v.body)) == claim {
			return v.text
		}
	}
	return "a body was signed, but none was sent"
}

// ExplainNoba says how a request differs from what was signed, for a local Noba whose one account has this secret.
func ExplainNoba(secret []byte) func(r partners.Request, reason string) string {
	return func(r partners.Request, reason string) string {
		switch {
		case strings.HasPrefix(reason, "the timestamp is") && strings.Contains(reason, "ahead of the clock"):
			return reason + ": the clock of the machine that signs is fast, or this one's is slow"
		case strings.HasPrefix(reason, "the timestamp is") && strings.Contains(reason, " ms old"):
			return reason + ": it was sent too late after it was signed, or the clock of the machine that signs is slow"
		case !strings.HasPrefix(reason, "the signature does not fit the request"):
			return ""
		}
		given, err := hex.DecodeString(header(r, "X-Noba-Signature"))
		if err != nil {
			return ""
		}
		path, query, _ := strings.Cut(r.Target, "?")
		method := strings.ToUpper(r.Method)
		body := r.Body
		if len(body) == 0 {
			body = []byte("{}")
		}
		signed := func(method, path string, body []byte) bool {
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(header(r, "X-Noba-Timestamp") + header(r, "X-Noba-API-Key") + method + path))
			mac.Write(body)
			return hmac.Equal(mac.Sum(nil), given)
		}
		return prefixed("signature differs: ", nobaCause(method, path, query, r, body, signed))
	}
}

// nobaCause tries what may have been signed; body is {} for none.
func nobaCause(method, path, query string, r partners.Request, body []byte, signed func(method, path string, body []byte) bool) string {
	switch {
	case len(r.Body) == 0 && signed(method, path, nil):
		return "an empty body was signed; a request without a body signs {}"
	case signed(method, path, body):
		return "the body you sent was signed as it is, but it is not in the form of JSON.stringify, which the verifier compares with"
	case signed(strings.ToLower(method), path, body):
		return "the method was signed in lower case; it is signed in upper case"
	}
	for _, v := range pathVariants(path, query) {
		if signed(method, v.path, body) {
			return v.text
		}
	}
	for _, other := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		if signed(other, path, body) {
			return "the method " + other + " was signed, but " + method + " was sent"
		}
	}
	return bodyCause(body, func(b []byte) bool { return signed(method, path, b) })
}
