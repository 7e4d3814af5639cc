package importticket_test

import (
	"crypto/ecdh"
	"crypto/fips140"
	"crypto/hpke"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/signerd/signerd/internal/importticket"
)

// enforced is the variable that has this program try HPKE where FIPS 140-3 is enforced, which holds from a process' start.
const enforced = "IMPORTTICKET_TEST_ENFORCED"

// The module with a certificate has no HPKE: all other tests do without enforcement.
func TestMain(m *testing.M) {
	if os.Getenv(enforced) != "" {
		tryEnforced()
		return
	}
	var code int
	fips140.WithoutEnforcement(func() { code = m.Run() })
	os.Exit(code)
}

// tryEnforced prints what is not as it should be: HPKE is refused in plain words, where the standard library refuses it.
func tryEnforced() {
	if !fips140.Enforced() {
		fmt.Println("it is not enforced")
	}
	var want error
	key, err := hpke.DHKEM(ecdh.P384()).GenerateKey()
	if err == nil {
		_, err = hpke.Seal(key.PublicKey(), hpke.HKDFSHA384(), hpke.AES256GCM(), nil, nil)
	}
	if err != nil {
		want = importticket.ErrNotAllowed
	}
	if want == nil && fips140.Version() == "v1.0.0" {
		fmt.Println("the module of v1.0.0 does HPKE: the documentation says that it does not")
	}
	use := importticket.Use{Purpose: importticket.NewKey, Name: "shop", Scheme: "noba", Environment: "prod"}
	if _, _, err := importticket.New(use, expires); !errors.Is(err, want) || (err == nil) != (want == nil) {
		fmt.Println("making a ticket:", err)
	}
	// Made where it is allowed.
	var ticket importticket.Ticket
	var private hpke.PrivateKey
	var file []byte
	fips140.WithoutEnforcement(func() {
		if ticket, private, err = importticket.New(use, expires); err == nil {
			file, err = importticket.Seal(ticket, material())
		}
	})
	if err != nil {
		fmt.Println("without enforcement:", err)
	}
	if _, err := importticket.Seal(ticket, material()); !errors.Is(err, want) || (err == nil) != (want == nil) {
		fmt.Println("sealing:", err)
	}
	if _, err := importticket.Open(ticket, private, file); (err == nil) != (want == nil) {
		fmt.Println("opening:", err)
	}
	fmt.Println("tried")
}

func TestEnforcedFIPSRefusesHPKEAndNeverPanics(t *testing.T) {
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
