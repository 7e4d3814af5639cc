package sandbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/signerd/signerd/internal/diagnosis"
)

// What the local partners say of what only a key or a secret can tell.
const (
	reasonAPIKey        = "the API key is not known"
	reasonNOAHSignature = "the JWT signature does not verify"
	reasonNobaSignature = "the signature does not fit the request"
)

// ReasonNOAH says how a request that the local NOAH refused differs from what its JWT was made for. Of a JWT that another key signed it says
// that alone: nobody vouches for its claims.
func ReasonNOAH(r diagnosis.Request, reason string) diagnosis.Finding {
	found := diagnosis.NOAH(r, "sandbox", r.Sent)
	if strings.HasPrefix(reason, reasonNOAHSignature) {
		found = append(found, diagnosis.Finding{Cause: diagnosis.WrongKey,
			Text:   reason + ": it was made with another key, such as another version's, or the token was changed on its way",
			Advice: "give this command the public key of the version that signs, and send the headers as they are"})
	}
	f := likeliest(found, reason)
	f.Text = byClaim(f.Text)
	return f
}

// ReasonNoba says the same for a local Noba whose one account has this secret.
func ReasonNoba(secret []byte) func(r diagnosis.Request, reason string) diagnosis.Finding {
	return func(r diagnosis.Request, reason string) diagnosis.Finding {
		found := diagnosis.Noba(r, "sandbox", r.Sent)
		if strings.HasPrefix(reason, reasonNobaSignature) {
			found = append(found, signedNoba(r, secret)...)
		}
		return likeliest(found, reason)
	}
}

// likeliest is the finding to tell first; it has no text where there is none, and the partner's own reason stands.
func likeliest(found []diagnosis.Finding, reason string) diagnosis.Finding {
	if strings.HasPrefix(reason, reasonAPIKey) {
		found = append(found, diagnosis.Finding{Cause: diagnosis.WrongAPIKey, Text: "headers: the API key is not one that the local partner was given",
			Advice: "start this command with the API key that is sent, or have the key activated with the one that it made"})
	}
	if !strings.HasPrefix(reason, "the API key ") {
		// Whoever opened the local account chose its API key: the partner takes it, whatever it looks like.
		found = slices.DeleteFunc(found, func(f diagnosis.Finding) bool { return f.Cause == diagnosis.MalformedAPIKey })
	}
	if len(found) == 0 {
		return diagnosis.Finding{}
	}
	diagnosis.Sort(found)
	return found[0]
}

// byClaim names the claim that differs in place of the part of the request.
func byClaim(text string) string {
	part, rest, _ := strings.Cut(text, ": ")
	switch {
	case part == "body" || part == "body differs":
		return "bodyHash differs: " + rest
	case part == "path" || part == "method":
		return part + " differs: " + rest
	case part == "query":
		return "queryParams differs: " + rest
	case strings.HasPrefix(part, "query parameter "):
		return "queryParams differs: " + strings.TrimPrefix(text, "query ")
	}
	return text
}

// signedNoba tries what may have been signed, until the signature fits.
func signedNoba(r diagnosis.Request, secret []byte) []diagnosis.Finding {
	given, ok := diagnosis.NobaSum(r.Header.Get("X-Noba-Signature"))
	if !ok {
		return nil
	}
	found, first := diagnosis.NobaUnexplained(r), true
	for c := range diagnosis.NobaVariants(r) {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(c.Timestamp + c.APIKey + c.Method + c.Path))
		mac.Write(c.Body)
		if hmac.Equal(mac.Sum(nil), given) {
			if first {
				// The bytes that were sent were signed: a strict Noba compares with others.
				return diagnosis.NobaBody(r)
			}
			found = diagnosis.NobaSigned(r, c)
			break
		}
		first = false
	}
	found.Text = "signature differs: " + strings.TrimPrefix(strings.TrimPrefix(found.Text, "body: "), "path: ")
	return []diagnosis.Finding{found}
}
