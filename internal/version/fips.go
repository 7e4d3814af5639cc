package version

import "crypto/fips140"

// FIPS says how far this process keeps to FIPS 140-3: off, on, or only, where everything else is refused.
func FIPS() string {
	switch {
	case fips140.Enforced():
		return "only"
	case fips140.Enabled():
		return "on"
	default:
		return "off"
	}
}

// Module is the version of the Go Cryptographic Module that the program was built with, "latest" for Go's own of that release.
func Module() string { return fips140.Version() }
