package keystore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/memory"
)

// inFolder names the records whose sealed bytes are in a file of the folder.
func inFolder(t *testing.T, dir string, sealed map[string][]byte) (found []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for record, b := range sealed {
			if len(b) > 64 && bytes.Contains(content, b[len(b)-64:]) {
				found = append(found, record+" in "+e.Name())
			}
		}
	}
	return found
}

// compacted counts compactions, which fail with err if it is not nil.
type compacted struct {
	keystore.Store
	err error
	n   int
}

func (c *compacted) Compact(ctx context.Context) error {
	c.n++
	if c.err != nil {
		return c.err
	}
	return c.Store.Compact(ctx)
}

func TestARotationThatIsKilledBeforeItCompactsIsCompactedByTheNextProcess(t *testing.T) {
	dir := t.TempDir()
	c := onDiskIn(t, dir)
	filled(t, c)
	before := sealedBytes(t, c.Store)
	disk := c.Store
	c.Store = &faulty{Store: disk, kill: 2} // the commit is done, and the compaction is not
	k := open(t, c)
	next := newRootKey()
	if err := k.RotateRootKey(t.Context(), next, nil); err != nil || !errors.Is(k.CompactErr(), errKilled) {
		t.Fatalf("it ends with %v, and its compaction with %v", err, k.CompactErr())
	}
	if len(inFolder(t, dir, before)) == 0 {
		t.Fatal("nothing old is in the file: the test proves nothing")
	}
	c.Store, c.RootKey = disk, next
	open(t, c)
	if found := inFolder(t, dir, before); len(found) > 0 {
		t.Errorf("still there: %q", found)
	}
}

func TestACompactionThatFailsIsToldAndTriedAgain(t *testing.T) {
	s := &compacted{Store: memory.New(), err: errDisk}
	c := configure(s, &anchor{})
	k := filled(t, c)
	if err := k.Purge(t.Context()); err != nil || s.n != 0 || k.CompactErr() != nil {
		t.Fatalf("with nothing to do it was compacted %d times (%v, %v)", s.n, err, k.CompactErr())
	}
	c.RootKey = newRootKey()
	// The rotation is done, and whoever takes it for a failure may throw the new root key away.
	if err := k.RotateRootKey(t.Context(), c.RootKey, nil); err != nil || k.Stats().RootKeyID != c.RootKey.ID() {
		t.Errorf("rotated and not compacted: %v, and the root key is %s", err, k.Stats().RootKeyID)
	}
	wantUnavailable(t, k.CompactErr(), errDisk)
	// A start is not stopped by it, and tells as well.
	k = open(t, c)
	wantUnavailable(t, k.CompactErr(), errDisk)
	must(t)(rotate(t.Context(), k, "noba-1")) // a commit in between forgets nothing
	wantUnavailable(t, k.Purge(t.Context()), errDisk)
	s.err, s.n = nil, 0
	for range 2 {
		if err := k.Purge(t.Context()); err != nil || s.n != 1 || k.CompactErr() != nil {
			t.Errorf("with room on the disk it was compacted %d times, want once (%v, %v)", s.n, err, k.CompactErr())
		}
	}
	// Until a commit says that it is done, a start does it once more.
	open(t, c)
	must(t)(rotate(t.Context(), k, "noba-1"))
	open(t, c)
	if s.n != 2 {
		t.Errorf("it was compacted %d times, want twice", s.n)
	}
}

func TestARotationByAnotherProcessIsCompactedByWhoFollows(t *testing.T) {
	s := &compacted{Store: memory.New(), err: errDisk}
	c := configure(s, &anchor{})
	k := filled(t, c)
	other := open(t, c)
	if err := k.RotateRootKey(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	wantUnavailable(t, k.CompactErr(), errDisk)
	must(t)(rotate(t.Context(), other, "noba-1")) // it reads what the first one wrote
	s.err, s.n = nil, 0
	if err := other.Purge(t.Context()); err != nil || s.n != 1 {
		t.Errorf("it was compacted %d times (%v)", s.n, err)
	}
}

func TestADroppedWrappingOfTheKeyringIsCompactedAway(t *testing.T) {
	key, half := newRecoveryKey(t)
	for name, drop := range map[string]func(t *testing.T, c keystore.Config){
		"the recovery key is removed": func(t *testing.T, c keystore.Config) {
			c.Recovery = nil
			open(t, c)
		},
		"the root key was lost": func(t *testing.T, c keystore.Config) {
			if err := keystore.Recover(t.Context(), recovered(c, key)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := onDiskIn(t, dir)
			c.Recovery = half
			initialize(t, c)
			before := map[string][]byte{"keyring": sealedBytes(t, c.Store)["keyring"]}
			if len(inFolder(t, dir, before)) == 0 {
				t.Fatal("the keyring is not found where it is: the test looks for the wrong thing")
			}
			drop(t, c)
			if found := inFolder(t, dir, before); len(found) > 0 {
				t.Errorf("still there: %s", fmt.Sprint(found))
			}
		})
	}
}

func TestARotationWhoseAnchorFailsIsCompactedAllTheSame(t *testing.T) {
	dir := t.TempDir()
	c := onDiskIn(t, dir)
	a := &anchor{}
	c.Anchor = a
	k := filled(t, c)
	before := sealedBytes(t, c.Store)
	a.fail = errDisk
	c.RootKey = newRootKey()
	wantUnavailable(t, k.RotateRootKey(t.Context(), c.RootKey, nil), errDisk)
	a.fail = nil
	if err := k.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k.Stats().RootKeyID != c.RootKey.ID() {
		t.Fatal("it is not rotated")
	}
	if found := inFolder(t, dir, before); len(found) > 0 {
		t.Errorf("rotated, and still there is %q", found)
	}
}
