package backup_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/signerd/signerd/internal/backup"
)

// The stored backup is of a store that was made for it, and whose root key is gone: what is sealed in it opens for nobody.
func TestABackupOfTheFirstFormatKeepsOpening(t *testing.T) {
	text, err := os.ReadFile("testdata/v1.verifier-key")
	if err != nil {
		t.Fatal(err)
	}
	key, err := note.NewVerifier(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("testdata/v1.backup")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var names []string
	m, seal, err := backup.Read(f, func(r backup.Record) error {
		names = append(names, r.Name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !seal.By(key) {
		t.Error("the store did not sign it")
	}
	want := backup.Manifest{Format: 1, StoreID: "ec1da49f0990af2b8bfee3cba893831e", Counter: 3,
		Root: "a2215478ac558dfb08ff36f96268e8bf8fee505e94188503608fabb443659d18", Records: 7, Bytes: 2111, Keys: 1,
		Created: time.Date(2026, 11, 22, 8, 33, 50, 362339998, time.UTC), Version: "0.1.0-dev", RootKeyID: "file:77c6dbf7c2696d3f"}
	if m != want {
		t.Errorf("it says %+v, want %+v", m, want)
	}
	if got := strings.Join(names, " "); got != "audit audit-key fence head key/shop keyring policy" {
		t.Errorf("its records are %s", got)
	}
}
