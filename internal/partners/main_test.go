package partners_test

import (
	"crypto/fips140"
	"os"
	"testing"
)

// The partners' own examples have secrets that are too short where FIPS 140-3 is enforced.
func TestMain(m *testing.M) {
	var code int
	fips140.WithoutEnforcement(func() { code = m.Run() })
	os.Exit(code)
}
