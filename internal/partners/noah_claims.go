package partners

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// What the claims must satisfy ("Request Signing", JWT Claims). The skew is not
// on the page; it is what clocks kept by NTP need, with room to spare.
const (
	noahAudience    = "https://api.noah.com" // in sandbox too
	noahMaxLifetime = 15 * 60                // seconds from iat to exp
	noahSkew        = 30                     // seconds that iat may be ahead of this clock
)

// claims is the payload of a JWT whose signature is good.
type claims struct{ payload value }

// fit checks the claims against the request they came with.
func (c claims) fit(at line, body []byte, now time.Time) error {
	for _, m := range c.payload.members {
		switch m.name {
		case "aud", "iat", "exp", "method", "path", "queryParams", "bodyHash":
		default:
			return fmt.Errorf("the JWT has the claim %q, which NOAH does not know", m.name)
		}
	}
	if err := c.fitAudience(); err != nil {
		return err
	}
	if err := c.fitTime(now.Unix()); err != nil {
		return err
	}
	if err := c.fitMethod(at.method); err != nil {
		return err
	}
	if err := c.fitPath(at.path); err != nil {
		return err
	}
	if err := c.fitQuery(at.query); err != nil {
		return err
	}
	return c.fitBody(body)
}

// text returns a claim that must be there as a string.
func (c claims) text(name string) (string, error) {
	v, ok := c.payload.member(name)
	switch {
	case !ok:
		return "", fmt.Errorf("the %s claim is missing", name)
	case v.kind != kindString:
		return "", fmt.Errorf("the %s claim is %s, it must be a string", name, v.kind)
	}
	return v.text, nil
}

// seconds returns a claim that must be there as a JSON integer.
func (c claims) seconds(name string) (int64, error) {
	v, ok := c.payload.member(name)
	switch {
	case !ok:
		return 0, fmt.Errorf("the %s claim is missing", name)
	case v.kind != kindNumber:
		return 0, fmt.Errorf("the %s claim is %s, it must be an integer", name, v.kind)
	case strings.ContainsAny(v.text, ".eE"):
		return 0, fmt.Errorf("the %s claim is %s, it must be an integer without fraction or exponent", name, v.text)
	}
	n, err := strconv.ParseInt(v.text, 10, 64)
	if err != nil || v.text[0] == '-' {
		return 0, fmt.Errorf("the %s claim is %s, which is no Unix time", name, v.text)
	}
	return n, nil
}

func (c claims) fitAudience() error {
	if v, ok := c.payload.member("aud"); ok && v.kind == kindArray {
		return errors.New("the aud claim is an array, it must be a plain string")
	}
	aud, err := c.text("aud")
	if err != nil {
		return err
	}
	if aud != noahAudience {
		return fmt.Errorf("the aud claim is %q, it must be %q", aud, noahAudience)
	}
	return nil
}

func (c claims) fitTime(now int64) error {
	iat, err := c.seconds("iat")
	if err != nil {
		return err
	}
	exp, err := c.seconds("exp")
	if err != nil {
		return err
	}
	switch {
	case iat > now+noahSkew:
		return fmt.Errorf("the iat claim is %d s in the future, at most %d s are allowed", iat-now, noahSkew)
	case exp <= iat:
		return errors.New("the exp claim is not after iat")
	case exp-iat > noahMaxLifetime:
		return fmt.Errorf("the JWT lives for %d s, at most %d s are allowed", exp-iat, noahMaxLifetime)
	case exp <= now:
		return fmt.Errorf("the JWT has expired %d s ago", now-exp)
	}
	return nil
}

func (c claims) fitMethod(method string) error {
	claim, err := c.text("method")
	switch {
	case err != nil:
		return err
	case claim == method:
		return nil
	case strings.ToUpper(claim) == method:
		return fmt.Errorf("the method claim is %q, it must be in upper case: %q", claim, method)
	}
	return fmt.Errorf("the method claim is %q, the request has %q", claim, method)
}

func (c claims) fitPath(path string) error {
	claim, err := c.text("path")
	switch {
	case err != nil:
		return err
	case claim == path:
		return nil
	case strings.Contains(claim, "?"):
		return fmt.Errorf("the path claim %q has the query in it, the path ends before the question mark", claim)
	case strings.Contains(claim, "://"):
		return fmt.Errorf("the path claim %q has scheme and host in it", claim)
	case strings.Contains(path, "%") && claim == decodePercent(path):
		return fmt.Errorf("the path claim %q is percent-decoded, it must be as sent: %q", claim, path)
	}
	return fmt.Errorf("the path claim is %q, the request has %q", claim, path)
}

func (c claims) fitBody(body []byte) error {
	_, present := c.payload.member("bodyHash")
	switch {
	case len(body) == 0 && present:
		return errors.New("there is a bodyHash claim, but the request has no body")
	case len(body) == 0:
		return nil
	case !present:
		return errors.New("the request has a body, but there is no bodyHash claim")
	}
	claim, err := c.text("bodyHash")
	if err != nil {
		return err
	}
	lower := strings.ToLower(claim)
	switch {
	case !isLowerHex(lower, 2*sha256.Size):
		return fmt.Errorf("the bodyHash claim is not %d hexadecimal digits", 2*sha256.Size)
	case lower != claim:
		return errors.New("the bodyHash claim has upper-case digits, it must be lower-case hex")
	}
	matches := func(b []byte) bool {
		sum := sha256.Sum256(b)
		return hex.EncodeToString(sum[:]) == claim
	}
	if matches(body) {
		return nil
	}
	if matches(nil) {
		return errors.New("the bodyHash claim is the hash of no bytes, but the request has a body")
	}
	return errors.New("the bodyHash claim is not the SHA-256 of the body" + bodyCause(body, matches))
}
