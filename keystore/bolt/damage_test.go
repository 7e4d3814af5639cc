package bolt_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/signerd/signerd/internal/rootkey"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/bolt"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noba"
)

// filled is a folder with a keystore whose records take several pages.
func filled(t *testing.T) (dir string, fingerprints []string) {
	t.Helper()
	dir = t.TempDir()
	if err := rootkey.CreateFile(filepath.Join(dir, "root.key")); err != nil {
		t.Fatal(err)
	}
	if err := bolt.Create(storePath(dir)); err != nil {
		t.Fatal(err)
	}
	c, err := configure(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, storePath(dir))
	defer closeStore(t, s)
	c.Store = s
	if err := keystore.Init(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	k, err := keystore.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		long := make([]byte, 3000)
		_, _ = rand.Read(long)
		n := keystore.NewKey{Name: fmt.Sprint("key-", i), Scheme: noba.Name, Environment: upstream.Prod,
			Labels: map[string]string{"long": hex.EncodeToString(long)}}
		if _, _, err := k.Import(t.Context(), "", n, newMaterial(noba.Name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir, held(k)
}

// held is what a keystore holds, as its fingerprints.
func held(k *keystore.Keystore) []string {
	var out []string
	for _, key := range k.List("", 100) {
		for _, v := range key.Versions() {
			out = append(out, fmt.Sprintf("%s %d %x", key.Name, v.Number, v.Fingerprint))
		}
	}
	return out
}

func TestATruncatedFileIsRefusedOrHarmlessButNeverEndsTheProgram(t *testing.T) {
	dir, want := filled(t)
	whole, err := os.ReadFile(storePath(dir))
	if err != nil {
		t.Fatal(err)
	}
	refusals := 0
	for size := len(whole) - 1; size > 0; size -= 1024 {
		writeFile(t, storePath(dir), whole[:size])
		if !refused(t, dir, want) {
			continue
		}
		refusals++
		// A refusal must not keep the file locked.
		if s, err := bolt.Open(storePath(dir)); errors.Is(err, bolt.ErrInUse) {
			t.Errorf("cut to %d of %d bytes, the second time: %v", size, len(whole), err)
		} else if err == nil {
			closeStore(t, s)
		}
	}
	if refusals == 0 {
		t.Error("no truncated file was refused")
	}
}

func TestADamagedPageIsRefusedOrHarmlessButNeverEndsTheProgram(t *testing.T) {
	dir, want := filled(t)
	whole, err := os.ReadFile(storePath(dir))
	if err != nil {
		t.Fatal(err)
	}
	refusals := 0
	for page := 0; page < len(whole); page += os.Getpagesize() {
		damaged := bytes.Clone(whole)
		// The page's own header and the first of its entries, which bbolt believes.
		for i := range 64 {
			damaged[page+i] ^= 0xff
		}
		writeFile(t, storePath(dir), damaged)
		if refused(t, dir, want) {
			refusals++
		}
	}
	if refusals == 0 {
		t.Error("no damage was noticed")
	}
}

// refused opens a keystore whose file may be damaged. It must be refused as damaged, or hold what it held before.
func refused(t *testing.T, dir string, want []string) bool {
	t.Helper()
	c, err := configure(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := bolt.Open(storePath(dir))
	if err == nil {
		defer closeStore(t, s)
		var k *keystore.Keystore
		c.Store = s
		if k, err = keystore.Open(t.Context(), c); err == nil && !slices.Equal(held(k), want) {
			t.Errorf("a damaged store serves %q, want %q", held(k), want)
		}
	}
	known := []error{bolt.ErrNotStore, keystore.ErrDamaged, keystore.ErrNotInitialized, keystore.ErrRolledBack}
	if err != nil && !slices.ContainsFunc(known, func(target error) bool { return errors.Is(err, target) }) {
		t.Errorf("error %v, want one that says that the store is damaged", err)
	}
	return err != nil
}

func TestAFileThatIsCutWhileItIsOpenKeepsNobodyWaiting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.db")
	if err := bolt.Create(path); err != nil {
		t.Fatal(err)
	}
	s, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	record := keystore.Record{Name: "a", Generation: 1, Sealed: make([]byte, 64<<10)}
	if _, err := s.Commit(t.Context(), []keystore.Change{{Record: record}}); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, _, err := s.Load(t.Context()); !errors.Is(err, bolt.ErrNotStore) {
			t.Errorf("Load: %v, want ErrNotStore", err)
		}
		record.Generation++
		if _, err := s.Commit(t.Context(), []keystore.Change{{Record: record, Expect: 1}}); !errors.Is(err, bolt.ErrNotStore) {
			t.Errorf("Commit: %v, want ErrNotStore", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}
