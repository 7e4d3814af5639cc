package recovery_test

import (
	"context"
	"crypto/ecdh"
	"crypto/fips140"
	"crypto/hpke"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/signerd/signerd/internal/recovery"
)

// enforced is the variable that has this program make a recovery key where FIPS 140-3 is enforced, which holds from a process' start. It
// names a folder.
const enforced = "RECOVERY_TEST_ENFORCED"

// The module with a certificate has no HPKE: all other tests do without enforcement.
func TestMain(m *testing.M) {
	if dir := os.Getenv(enforced); dir != "" {
		tryEnforced(dir)
		return
	}
	var code int
	fips140.WithoutEnforcement(func() { code = m.Run() })
	os.Exit(code)
}

// tryEnforced prints what is not as it should be: HPKE is refused in plain words, where the standard library refuses it.
func tryEnforced(dir string) {
	if !fips140.Enforced() {
		fmt.Println("it is not enforced")
	}
	key, err := hpke.DHKEM(ecdh.P384()).GenerateKey()
	if err == nil {
		_, err = hpke.Seal(key.PublicKey(), hpke.HKDFSHA384(), hpke.AES256GCM(), nil, nil)
	}
	var want error
	if err != nil {
		want = recovery.ErrNotAllowed
	}
	private, public := filepath.Join(dir, "new"), filepath.Join(dir, "new.pub")
	if err := recovery.Create(private, public); !errors.Is(err, want) || (err == nil) != (want == nil) {
		fmt.Println("making one:", err)
	}
	if _, err := os.Stat(private); want != nil && !errors.Is(err, fs.ErrNotExist) {
		fmt.Println("half of one was left:", err)
	}
	// Made where it is allowed.
	half, err := recovery.OpenPublic(filepath.Join(dir, "public"))
	if err != nil {
		fmt.Println("opening the public half:", err)
		return
	}
	if _, err := half.Wrap(context.Background(), []byte("keyring")); !errors.Is(err, want) || (err == nil) != (want == nil) {
		fmt.Println("wrapping:", err)
	}
	if _, err := recovery.OpenPrivate(filepath.Join(dir, "private")); !errors.Is(err, want) || (err == nil) != (want == nil) {
		fmt.Println("opening the private half:", err)
	}
	fmt.Println("tried")
}

func TestEnforcedFIPSRefusesHPKEAndNeverPanics(t *testing.T) {
	dir := t.TempDir()
	private, public := filepath.Join(dir, "private"), filepath.Join(dir, "public")
	if err := recovery.Create(private, public); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), enforced+"="+dir, "GODEBUG=fips140=only")
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "tried\n" {
		t.Errorf("it ended with %v and says:\n%s", err, out)
	}
}
