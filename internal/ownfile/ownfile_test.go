package ownfile_test

import (
	"bytes"
	"crypto/fips140"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/backup"
	"github.com/signerd/signerd/internal/importticket"
	"github.com/signerd/signerd/internal/ownfile"
	"github.com/signerd/signerd/internal/recovery"
	"github.com/signerd/signerd/internal/rootkey"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// made are files as signerd's own packages make them, by what they are.
func made(t *testing.T) map[string][]byte {
	t.Helper()
	dir := t.TempDir()
	out := make(map[string][]byte)
	fips140.WithoutEnforcement(func() {
		must(t, rootkey.CreateFile(filepath.Join(dir, "root")))
		must(t, rootkey.CreateParameters(filepath.Join(dir, "params")))
		must(t, recovery.Create(filepath.Join(dir, "private"), filepath.Join(dir, "public")))
		ticket, _, err := importticket.New(importticket.Use{Purpose: importticket.NewKey, Name: "shop", Scheme: "noba", Environment: "prod"}, time.Now())
		must(t, err)
		out["an import ticket"], err = ticket.Text()
		must(t, err)
		out["a sealed file"], err = importticket.Seal(ticket, map[string][]byte{"secret": []byte("x")})
		must(t, err)
	})
	for kind, name := range map[string]string{
		"a root key": "root", "the parameters of a passphrase": "params",
		"the private half of a recovery key": "private", "the public half of a recovery key": "public",
	} {
		var err error
		out[kind], err = os.ReadFile(filepath.Join(dir, name))
		must(t, err)
	}
	var b bytes.Buffer
	_, err := backup.Write(&b, backup.Manifest{StoreID: strings.Repeat("0", 32), Root: strings.Repeat("0", 64), Created: time.Now()},
		[]backup.Record{{Name: "head", Generation: 1, Sealed: []byte("x")}},
		func([]byte) ([]byte, error) { return make([]byte, 64), nil })
	must(t, err)
	out["a backup"] = b.Bytes()
	return out
}

func TestEveryFileThatSignerdMakesIsKnown(t *testing.T) {
	for want, content := range made(t) {
		for _, before := range []string{"", "\ufeff", " \r\n\t"} {
			if got := ownfile.Kind(append([]byte(before), content...)); got != want {
				t.Errorf("%s after %q is taken for %q", want, before, got)
			}
		}
	}
}

func TestAPartnersSecretsAreNotSignerdsOwn(t *testing.T) {
	armor := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY"})) // the form of a partner's key, with none in it
	for _, content := range []string{"", "x", "apikey_sandbox_0123", "signerd", armor, `{"type":"signerd-root-key-v1:"}`} {
		if kind := ownfile.Kind([]byte(content)); kind != "" {
			t.Errorf("%q is taken for %s", content, kind)
		}
	}
}
