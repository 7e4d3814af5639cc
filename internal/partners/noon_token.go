package partners

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// noonSkew is how far from the gateway's clock a token's iat may be.
const noonSkew = 5 * time.Minute

// checkToken takes a login token apart by hand, as RFC 7515 describes it, and uses it up: a second time it is refused.
func (n *Noon) checkToken(token, project string) (keyID string, err error) {
	segments := strings.Split(token, ".")
	if len(segments) != 3 {
		return "", fmt.Errorf("the JWT has %d segments, it must have 3", len(segments))
	}
	var raw [3][]byte
	for i, name := range []string{"header", "payload", "signature"} {
		if raw[i], err = decodeSegment(segments[i]); err != nil {
			return "", fmt.Errorf("the JWT %s %w", name, err)
		}
	}
	if err := readNoonHeader(raw[0]); err != nil {
		return "", fmt.Errorf("the JWT header %w", err)
	}
	// The payload says whose key to verify with; nothing else of it counts before the signature is good.
	payload, err := parseStrictObject(raw[1])
	if err != nil {
		return "", fmt.Errorf("the JWT payload %w", err)
	}
	claims, err := onlyMembers(payload, map[string]kind{"sub": kindString, "iat": kindNumber, "jti": kindString})
	if err != nil {
		return "", fmt.Errorf("the JWT payload %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	account, ok := n.accounts[claims["sub"]]
	if !ok {
		return "", errors.New("the JWT's sub is no known key id")
	}
	digest := sha256.Sum256([]byte(segments[0] + "." + segments[1]))
	if rsa.VerifyPKCS1v15(account.key, crypto.SHA256, digest[:], raw[2]) != nil {
		return "", errors.New("the JWT signature does not verify with the public key of its sub")
	}
	if err := checkIssuedAt(claims["iat"], n.now()); err != nil {
		return "", err
	}
	if !isUUID4(claims["jti"]) {
		return "", errors.New("the JWT's jti is not a UUID of version 4")
	}
	if account.project != project {
		return "", errors.New("default_project_code is not the project of the key")
	}
	if n.seen[claims["jti"]] {
		return "", errors.New("the JWT's jti was used before")
	}
	n.seen[claims["jti"]] = true
	return claims["sub"], nil
}

// readNoonHeader wants alg and typ, as PyJWT writes them, and nothing that changes what the signature means.
func readNoonHeader(data []byte) error {
	header, err := parseStrictObject(data)
	if err != nil {
		return err
	}
	fields, err := onlyMembers(header, map[string]kind{"alg": kindString, "typ": kindString})
	switch {
	case err != nil:
		return err
	case fields["typ"] != "JWT":
		return errors.New(`does not have "typ":"JWT"`)
	case fields["alg"] != "RS256":
		return fmt.Errorf("has the algorithm %q, it must be RS256", fields["alg"])
	}
	return nil
}

// checkIssuedAt wants whole seconds near now.
func checkIssuedAt(literal string, now time.Time) error {
	seconds, err := strconv.ParseInt(literal, 10, 64)
	if err != nil {
		return errors.New("the JWT's iat is not a whole number of seconds")
	}
	// In seconds: a Duration of years past overflows.
	if off := now.Unix() - seconds; off > int64(noonSkew/time.Second) || off < -int64(noonSkew/time.Second) {
		return fmt.Errorf("the JWT's iat is more than %v from now", noonSkew)
	}
	return nil
}

// isUUID4 reads RFC 9562: lower-case, version 4, variant 10.
func isUUID4(s string) bool {
	groups := strings.Split(s, "-")
	if len(groups) != 5 {
		return false
	}
	for i, width := range []int{8, 4, 4, 4, 12} {
		if !isLowerHex(groups[i], width) {
			return false
		}
	}
	return groups[2][0] == '4' && strings.IndexByte("89ab", groups[3][0]) >= 0
}
