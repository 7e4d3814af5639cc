package policy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Caller is who asks, as signerd established it. It is comparable; the zero value is nobody.
type Caller struct{ id string }

// String is the caller as rules and records write it: "unix:uid=1000", "spiffe://example.org/orders",
// "dns:orders.internal".
func (c Caller) String() string { return c.id }

// OverflowUID is what the kernel reports for users that do not exist in signerd's user namespace. It is nobody.
const OverflowUID = 65534

const unixPrefix = "unix:uid="

// Errors of callers that are written wrongly.
var (
	errCaller = errors.New("wanted unix:uid=N with a numeric user id, spiffe://trust-domain/path, or dns:name")
	errSPIFFE = errors.New("it is not a SPIFFE ID: wanted spiffe://trust-domain/path, the trust domain in lower case, without port, query or fragment")
	errDNS    = errors.New("it is not a host name: wanted letters, digits, hyphens, underscores and dots, without a wildcard, and no IP address")
)

// UnixCaller is the process at the other end of a Unix socket. It fails for the overflow uid.
func UnixCaller(uid uint32) (Caller, error) {
	// (uid_t)-1 is how the kernel says that there is no peer.
	if uid == OverflowUID || uid == 1<<32-1 {
		return Caller{}, fmt.Errorf("uid %d is nobody", uid)
	}
	return Caller{unixPrefix + strconv.FormatUint(uint64(uid), 10)}, nil
}

// Bounds of names in certificates.
const (
	maxSPIFFEBytes      = 2048
	maxTrustDomainBytes = 255
	maxDNSBytes         = 253
	maxDNSLabelBytes    = 63
)

const (
	spiffePrefix = "spiffe://"
	dnsPrefix    = "dns:"
)

// SPIFFECaller is the workload that a SPIFFE ID names (SPIFFE-ID, section 2). An ID without a path names a whole
// trust domain, and is refused.
func SPIFFECaller(id string) (Caller, error) {
	rest, ok := strings.CutPrefix(id, spiffePrefix)
	domain, path, hasPath := strings.Cut(rest, "/")
	if !ok || len(id) > maxSPIFFEBytes || domain == "" || len(domain) > maxTrustDomainBytes || !hasPath {
		return Caller{}, errSPIFFE
	}
	if !consistsOf(domain, lowerCase+digits+".-_") {
		return Caller{}, errSPIFFE
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." || !consistsOf(segment, letters+digits+".-_") {
			return Caller{}, errSPIFFE
		}
	}
	return Caller{id}, nil
}

// DNSCaller is the host that a certificate names; case does not matter.
func DNSCaller(name string) (Caller, error) {
	if len(name) > maxDNSBytes {
		return Caller{}, errDNS
	}
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxDNSLabelBytes || label[0] == '-' || label[len(label)-1] == '-' || !consistsOf(label, letters+digits+"-_") {
			return Caller{}, errDNS
		}
		last = label
	}
	// No top-level domain is a number: it is an IP address where a name belongs.
	if consistsOf(last, digits) {
		return Caller{}, errDNS
	}
	// Only now: lower case makes ASCII letters of some that are not.
	return Caller{dnsPrefix + strings.ToLower(name)}, nil
}

const (
	lowerCase = "abcdefghijklmnopqrstuvwxyz"
	upperCase = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	letters   = lowerCase + upperCase
	digits    = "0123456789"
)

func consistsOf(s, allowed string) bool {
	for i := range len(s) {
		if strings.IndexByte(allowed, s[i]) < 0 {
			return false
		}
	}
	return true
}

// ParseCaller reads a caller as rules write it, in its one spelling.
func ParseCaller(s string) (Caller, error) {
	if strings.HasPrefix(s, spiffePrefix) {
		return SPIFFECaller(s)
	}
	if name, ok := strings.CutPrefix(s, dnsPrefix); ok {
		if name != strings.ToLower(name) {
			return Caller{}, errDNS
		}
		return DNSCaller(name)
	}
	number, ok := strings.CutPrefix(s, unixPrefix)
	if !ok {
		return Caller{}, errCaller
	}
	uid, err := strconv.ParseUint(number, 10, 32)
	if err != nil || strconv.FormatUint(uid, 10) != number {
		return Caller{}, errCaller
	}
	return UnixCaller(uint32(uid))
}
