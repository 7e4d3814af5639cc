package bolt_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/bolt"
)

// steps are those of Compact, in their order.
var steps = []string{"create", "copy", "compare", "sync", "rename", "folder"}

// replaced makes a store whose record a was replaced many times, in small pages and large ones. It gives the bytes that were.
func replaced(t *testing.T, s *bolt.Store) (old [][]byte, now map[string]string) {
	t.Helper()
	for i := range uint64(40) {
		content := make([]byte, 200+i*i*10)
		_, _ = rand.Read(content)
		change(t, s, keystore.Record{Name: "a", Generation: i + 1, Sealed: content}, i)
		old = append(old, content)
	}
	// A small one does not overwrite all of the large one before it.
	change(t, s, keystore.Record{Name: "a", Generation: 41, Sealed: []byte("small")}, 40)
	change(t, s, keystore.Record{Name: "b", Generation: 1, Sealed: []byte("other")}, 0)
	return old, records(t, s)
}

func change(t *testing.T, s *bolt.Store, r keystore.Record, expect uint64) {
	t.Helper()
	if _, err := s.Commit(t.Context(), []keystore.Change{{Record: r, Expect: expect}}); err != nil {
		t.Fatal(err)
	}
}

// records are all there is, the revision included.
func records(t *testing.T, s *bolt.Store) map[string]string {
	t.Helper()
	list, revision, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{"": fmt.Sprint(revision)}
	for _, r := range list {
		out[r.Name] = fmt.Sprintf("%d %x", r.Generation, r.Sealed)
	}
	return out
}

// found counts the contents of which any piece is in the file.
func found(t *testing.T, path string, contents [][]byte) (n int) {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range contents {
		for at := 0; at+32 <= len(c); at += 32 {
			if bytes.Contains(file, c[at:at+32]) {
				n++
				break
			}
		}
	}
	return n
}

func TestCompactLeavesNothingOfReplacedRecordsInTheFile(t *testing.T) {
	path := create(t)
	s := open(t, path)
	old, want := replaced(t, s)
	if found(t, path, old) == 0 {
		t.Fatal("the file holds no replaced record before: this test proves nothing")
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := found(t, path, old); n > 0 {
		t.Errorf("the file holds %d replaced records", n)
	}
	wantCompacted(t, path, s, want)
	closeStore(t, s)
	s = open(t, path)
	wantCompacted(t, path, s, want)
	closeStore(t, s)
}

func wantCompacted(t *testing.T, path string, s *bolt.Store, want map[string]string) {
	t.Helper()
	if got := records(t, s); !maps.Equal(got, want) {
		t.Errorf("the store holds %v, want %v", got, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the store's mode is %v (%v), want 0600", info.Mode(), err)
	}
	wantAlone(t, path)
}

func wantAlone(t *testing.T, path string) {
	t.Helper()
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v (%v), want the store alone", entries, err)
	}
}

func TestTheStoreStaysLockedWhileItIsCompacted(t *testing.T) {
	path := create(t)
	s := open(t, path)
	s.OnStep(func(step string) error {
		if step != "create" && step != "rename" && step != "folder" {
			return nil
		}
		if other, err := bolt.Open(path); !errors.Is(err, bolt.ErrInUse) {
			t.Errorf("Open before the step %q: %v, want ErrInUse", step, err)
			if other != nil {
				closeStore(t, other)
			}
		}
		return nil
	})
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := bolt.Open(path); !errors.Is(err, bolt.ErrInUse) {
		t.Errorf("Open after it: %v, want ErrInUse", err)
	}
	closeStore(t, s)
}

func TestWhoWaitedForTheFileThatWasReplacedDoesNotGetIt(t *testing.T) {
	path := create(t)
	s := open(t, path)
	waited := make(chan error)
	s.OnStep(func(step string) error {
		if step == "rename" {
			// It has the old file open from here on, or opens the new one: both are locked, or no longer the store.
			go func() {
				_, err := bolt.Open(path)
				waited <- err
			}()
		}
		return nil
	})
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; !errors.Is(err, bolt.ErrInUse) {
		t.Errorf("Open: %v, want ErrInUse", err)
	}
	closeStore(t, s)
}

// What a process leaves that is killed is what its folder holds at that moment.
func TestAStoreKilledAtAnyStepOfCompactOpensWhole(t *testing.T) {
	path := create(t)
	s := open(t, path)
	_, want := replaced(t, s)
	var seen []string
	s.OnStep(func(step string) error {
		seen = append(seen, step)
		killed := filepath.Join(t.TempDir(), "store.db")
		copyFolder(t, filepath.Dir(path), filepath.Dir(killed))
		reopened := open(t, killed)
		if got := records(t, reopened); !maps.Equal(got, want) {
			t.Errorf("killed before the step %q the store holds %v, want %v", step, got, want)
		}
		wantAlone(t, killed)
		change(t, reopened, keystore.Record{Name: "c", Generation: 1}, 0)
		if err := reopened.Compact(t.Context()); err != nil {
			t.Errorf("compacting after being killed before the step %q: %v", step, err)
		}
		closeStore(t, reopened)
		return nil
	})
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(seen, steps) {
		t.Errorf("the steps are %q, want %q", seen, steps)
	}
	closeStore(t, s)
}

func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(to, e.Name()), content)
	}
}

func TestAStepOfCompactThatFailsLosesNothing(t *testing.T) {
	for _, failing := range steps {
		t.Run(failing, func(t *testing.T) {
			path := create(t)
			s := open(t, path)
			_, want := replaced(t, s)
			errStep := errors.New("the disk is full")
			s.OnStep(func(step string) error {
				if step == failing {
					return errStep
				}
				return nil
			})
			if err := s.Compact(t.Context()); !errors.Is(err, errStep) {
				t.Errorf("Compact: %v, want the step's error", err)
			}
			wantCompacted(t, path, s, want)
			// Where the new file's name may not outlive a loss of power, nothing is acknowledged.
			_, err := s.Commit(t.Context(), []keystore.Change{{Record: keystore.Record{Name: "c", Generation: 1}}})
			if failing == "folder" && !errors.Is(err, errStep) || failing != "folder" && err != nil {
				t.Errorf("Commit afterwards: %v", err)
			}
			s.OnStep(nil)
			if failing == "folder" {
				change(t, s, keystore.Record{Name: "c", Generation: 1}, 0)
			}
			if err := s.Compact(t.Context()); err != nil {
				t.Errorf("Compact again: %v", err)
			}
			wantAlone(t, path)
			closeStore(t, s)
			closeStore(t, open(t, path))
		})
	}
}

func TestALinkToTheStoreStaysALinkWhenItIsCompacted(t *testing.T) {
	path := create(t)
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	s := open(t, link)
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	change(t, s, keystore.Record{Name: "a", Generation: 1}, 0)
	closeStore(t, s)
	s = open(t, path)
	if _, ok := records(t, s)["a"]; !ok {
		t.Error("what was committed after compacting is not in the file that the link names")
	}
	closeStore(t, s)
	wantAlone(t, link)
}
