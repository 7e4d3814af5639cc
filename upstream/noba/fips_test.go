package noba_test

import (
	"crypto/fips140"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noba"
)

// enforced is the variable that has this program try what it refuses when FIPS 140-3 is enforced, which holds from a process' start.
const enforced = "NOBA_TEST_ENFORCED"

// The partner's own examples have secrets that are too short for enforced FIPS 140-3: all other tests do without.
func TestMain(m *testing.M) {
	if os.Getenv(enforced) != "" {
		tryEnforced()
		return
	}
	var code int
	fips140.WithoutEnforcement(func() { code = m.Run() })
	os.Exit(code)
}

// tryEnforced prints what is not as it should be.
func tryEnforced() {
	if !fips140.Enforced() {
		fmt.Println("it is not enforced")
	}
	for secret, want := range map[string]error{
		"thirteen byte": upstream.ErrFIPS, "fourteen bytes": nil, "thirteen byte\n": upstream.ErrFIPS, "x": upstream.ErrFIPS, strings.Repeat("s", 4096): nil,
	} {
		if _, _, err := (noba.Scheme{}).Import(upstream.Prod, material(testKey, secret)); !errors.Is(err, want) || (err == nil) != (want == nil) {
			fmt.Printf("importing %d bytes: %v\n", len(secret), err)
		}
		// It may have been imported elsewhere.
		opened, err := noba.Scheme{}.Open(material(testKey, strings.TrimSpace(secret)))
		if err != nil {
			fmt.Printf("opening %d bytes: %v\n", len(secret), err)
			continue
		}
		credential := opened.(*noba.Credential)
		credential.Fingerprint(material("", strings.Repeat("p", 32))[upstream.PartSecret])
		_, verifying := credential.Verifier().(*noba.Verifier).Verifies(noba.Signature{})
		for what, err := range map[string]error{"Verifies": verifying, "Allowed": credential.Allowed(), "Prove": credential.Prove()} {
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				fmt.Printf("%s of %d bytes: %v\n", what, len(secret), err)
			}
		}
		if want == nil {
			r, err := noba.NewRequest(noba.RequestParams{Method: "GET", Path: "/"}, time.Now())
			if err != nil || len(credential.Sign(r, time.Now())) != 3 {
				fmt.Printf("signing with %d bytes: %v\n", len(secret), err)
			}
		}
	}
	fmt.Println("tried")
}

func TestEnforcedFIPSRefusesShortSecretsAndNeverPanics(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), enforced+"=1", "GODEBUG=fips140=only")
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "tried\n" {
		t.Errorf("it ended with %v and says:\n%s", err, out)
	}
}
