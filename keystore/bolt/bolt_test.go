package bolt_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/bolt"
	"github.com/signerd/signerd/keystore/storetest"
)

// fileStore remembers its path, for reopening.
type fileStore struct {
	*bolt.Store
	path string
}

func TestTheBoltStoreKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) keystore.Store {
		path := create(t)
		return fileStore{open(t, path), path}
	}, func(t *testing.T, s keystore.Store) keystore.Store {
		path := s.(fileStore).path
		return fileStore{open(t, path), path}
	})
}

func create(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "store.db")
	if err := bolt.Create(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeStore(t *testing.T, s *bolt.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestCreateMakesAFileThatOnlyItsOwnerReadsAndLeavesNothingElse(t *testing.T) {
	path := create(t)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("the store's mode is %v, want 0600", info.Mode())
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v (%v), want the store alone", entries, err)
	}
	closeStore(t, open(t, path))
}

func TestCreateReplacesNothing(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(t *testing.T, path string)
	}{
		{"a file", func(t *testing.T, path string) { writeFile(t, path, []byte("precious")) }},
		{"an empty file", func(t *testing.T, path string) { writeFile(t, path, nil) }},
		{"a store", func(t *testing.T, path string) {
			if err := bolt.Create(path); err != nil {
				t.Fatal(err)
			}
		}},
		{"a symbolic link to nothing", func(t *testing.T, path string) {
			if err := os.Symlink("nowhere", path); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.db")
			test.make(t, path)
			before, _ := os.ReadFile(path)
			if err := bolt.Create(path); !errors.Is(err, fs.ErrExist) {
				t.Errorf("Create: %v, want fs.ErrExist", err)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the content was replaced")
			}
			if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
				t.Errorf("the folder holds %v (%v), want what was there alone", entries, err)
			}
		})
	}
}

func TestCreateStartsAnewAfterAnInterruptedCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	writeFile(t, path+".new", []byte("half a store"))
	if err := bolt.Create(path); err != nil {
		t.Fatal(err)
	}
	closeStore(t, open(t, path))
}

func TestCreateSaysWhyTheFolderDoesNotTakeTheStore(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "file"), nil)
	err := bolt.Create(filepath.Join(dir, "missing", "store.db"))
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, bolt.ErrNotStore) {
		t.Errorf("Create in a missing folder: %v, want fs.ErrNotExist", err)
	}
	err = bolt.Create(filepath.Join(dir, "file", "store.db"))
	if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, bolt.ErrNotStore) {
		t.Errorf("Create below a file: %v, want an error of the file system, and not fs.ErrExist", err)
	}
}

func TestASecondOpenSaysThatTheStoreIsInUse(t *testing.T) {
	path := create(t)
	first := open(t, path)
	if _, err := bolt.Open(path); !errors.Is(err, bolt.ErrInUse) {
		t.Errorf("Open while it is open: %v, want ErrInUse", err)
	}
	if _, err := first.Commit(t.Context(), []keystore.Change{{Record: keystore.Record{Name: "a", Generation: 1}}}); err != nil {
		t.Errorf("the first one is disturbed: %v", err)
	}
	closeStore(t, first)
	closeStore(t, open(t, path))
}

func TestOpenRefusesAFileThatOthersMayReadOrWrite(t *testing.T) {
	for mode, want := range map[fs.FileMode]error{
		0o600: nil, 0o644: bolt.ErrPermissions, 0o640: bolt.ErrPermissions, 0o660: bolt.ErrPermissions,
		0o604: bolt.ErrPermissions, 0o602: bolt.ErrPermissions, 0o610: bolt.ErrPermissions, 0o666: bolt.ErrPermissions,
	} {
		path := create(t)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		s, err := bolt.Open(path)
		if !errors.Is(err, want) {
			t.Errorf("Open with mode %04o: %v, want %v", mode, err, want)
		}
		if s != nil {
			closeStore(t, s)
		}
	}
}

func TestOpenMakesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	if _, err := bolt.Open(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of a missing file: %v, want fs.ErrNotExist", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open made a file (%v)", err)
	}
}

func TestOpenRefusesWhatIsNoStoreAndLeavesItAsItIs(t *testing.T) {
	random := make([]byte, 1<<16)
	_, _ = rand.Read(random)
	for _, test := range []struct {
		name    string
		content []byte
	}{
		{"an empty file", nil},
		{"one byte", []byte{'x'}},
		{"text", []byte("listen: unix:///run/signerd.sock\n")},
		{"a page of random bytes", random[:4096]},
		{"many random bytes", random},
		{"zeros", make([]byte, 1<<16)},
		{"another program's bbolt file", foreign(t, "anything")},
		{"a bbolt file with one bucket of ours", foreign(t, "records")},
		{"a bbolt file with our buckets and no format", foreign(t, "records", "meta")},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.db")
			writeFile(t, path, test.content)
			// Twice: a refusal must not keep the file locked.
			for range 2 {
				if _, err := bolt.Open(path); !errors.Is(err, bolt.ErrNotStore) {
					t.Fatalf("Open: %v, want ErrNotStore", err)
				}
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, test.content) {
				t.Errorf("Open changed the file (%v)", err)
			}
		})
	}
	if _, err := bolt.Open(t.TempDir()); !errors.Is(err, bolt.ErrNotStore) {
		t.Errorf("Open of a folder: %v, want ErrNotStore", err)
	}
}

// foreign is a bbolt file that has the named buckets, and something in each.
func foreign(t *testing.T, buckets ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "foreign.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			b, err := tx.CreateBucket([]byte(name))
			if err != nil {
				return err
			}
			if err := b.Put([]byte("name"), []byte("value")); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
