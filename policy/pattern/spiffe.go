package pattern

import (
	"errors"
	"fmt"
	"strings"
)

// SPIFFE is a pattern of SPIFFE IDs. It is comparable and immutable. The zero value matches nothing.
type SPIFFE struct{ text string }

const (
	spiffeScheme = "spiffe://"
	// spiffeRoot is cut off so that the trust domain becomes the first segment of a path.
	spiffeRoot          = "spiffe:/"
	maxTrustDomainBytes = 255
)

// ParseSPIFFE reads a pattern such as "spiffe://example.org/*/api" or "spiffe://example.org/ns/**". The trust domain is
// exact. "*" stands for one segment, "**" at the end for at least one. Case counts, and SPIFFE IDs have no escapes.
// Without a wildcard the pattern matches the one ID that it is.
func ParseSPIFFE(text string) (SPIFFE, error) {
	if len(text) > MaxBytes {
		return SPIFFE{}, fmt.Errorf("it is longer than %d bytes", MaxBytes)
	}
	after, ok := strings.CutPrefix(text, spiffeScheme)
	if !ok {
		return SPIFFE{}, errors.New("it does not start with spiffe://")
	}
	domain, _, _ := strings.Cut(after, "/")
	path := after[len(domain):]
	switch {
	case domain == "" || len(domain) > maxTrustDomainBytes || strings.ContainsFunc(domain, notInTrustDomain):
		return SPIFFE{}, errors.New("its trust domain is not one: wanted at most 255 lower-case letters, digits, dots, hyphens and underscores; " +
			"wildcards stand behind it only")
	case path == "":
		return SPIFFE{}, errors.New("it is a trust domain alone; append /** for all that it names")
	case strings.ContainsFunc(path, notInSPIFFEPath):
		return SPIFFE{}, errors.New("its path holds what SPIFFE IDs do not: wanted letters, digits, dots, hyphens and underscores, or * and **")
	}
	if err := checkSegments(path); err != nil {
		return SPIFFE{}, err
	}
	return SPIFFE{text}, nil
}

func notInTrustDomain(r rune) bool { return notInSPIFFEPath(r) || upperASCII(r) || r == '*' }

func notInSPIFFEPath(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !upperASCII(r) && !strings.ContainsRune("/*.-_", r)
}

// String is the pattern as it was written; empty for the zero value.
func (p SPIFFE) String() string { return p.text }

// Matches reports whether p means id, which is a SPIFFE ID that policy.SPIFFECaller takes. No caller of another kind
// matches; a string that merely starts like a SPIFFE ID must not come here.
func (p SPIFFE) Matches(id string) bool {
	return strings.HasPrefix(id, spiffeScheme) && p.text != "" && matches(p.text[len(spiffeRoot):], id[len(spiffeRoot):], strict)
}
