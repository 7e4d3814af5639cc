package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/backup"
	"github.com/signerd/signerd/internal/killtest"
	"github.com/signerd/signerd/internal/rootkey"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/bolt"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

// operationVariable makes the test binary a process that does one operation on the store in victimFolder.
const operationVariable = "SIGNERD_TEST_KILL_OPERATION"

// done is what the process says once the operation was acknowledged.
const done = "done\n"

// operation is a change of the store that may be killed at every one of its writes.
type operation struct {
	// prepare makes what it begins with, in a store that has the keys of makeStore; nil for nothing.
	prepare func(ctx context.Context, k *keystore.Keystore) error
	// later is how long after prepare it is done.
	later time.Duration
	do    func(ctx context.Context, k *keystore.Keystore, c keystore.Config, dir string) error
	// again reports whether an error of do says that it was done before.
	again func(error) bool
	// purges says that nothing of the records before may be in the file in the end.
	purges bool
}

func never(error) bool { return false }

var operations = map[string]operation{
	"import": {
		do: func(ctx context.Context, k *keystore.Keystore, _ keystore.Config, _ string) error {
			_, _, err := k.Import(ctx, "", keystore.NewKey{Name: "new", Scheme: noba.Name, Environment: upstream.Prod}, newMaterial(noba.Name))
			return err
		},
		again: func(err error) bool { return errors.Is(err, keystore.ErrKeyExists) },
	},
	"activation": {
		do: func(ctx context.Context, k *keystore.Keystore, _ keystore.Config, _ string) error {
			_, _, err := k.Activate(ctx, "a", 2, 0, nil, time.Time{})
			return err
		},
		again: never,
	},
	"activation with an API key": {
		do: func(ctx context.Context, k *keystore.Keystore, _ keystore.Config, _ string) error {
			m := upstream.Material{upstream.PartAPIKey: newMaterial(noah.Name)[upstream.PartAPIKey]}
			_, _, err := k.Activate(ctx, "pending", 1, 0, m, time.Time{})
			return err
		},
		again: func(err error) bool {
			var f *upstream.FieldError
			return errors.As(err, &f) && strings.Contains(f.Problem, "has its API key already")
		},
	},
	"scheduled destruction": {
		do: func(ctx context.Context, k *keystore.Keystore, _ keystore.Config, _ string) error {
			_, err := k.ScheduleDestruction(ctx, "a", 2, 0, keystore.Destruction{})
			return err
		},
		again: func(err error) bool {
			var f *upstream.FieldError
			return errors.As(err, &f) && strings.Contains(f.Problem, "is scheduled")
		},
	},
	"destruction": {
		prepare: func(ctx context.Context, k *keystore.Keystore) error {
			_, err := k.ScheduleDestruction(ctx, "a", 2, 0, keystore.Destruction{})
			return err
		},
		later: keystore.DefaultDestroyAfter,
		do: func(ctx context.Context, k *keystore.Keystore, _ keystore.Config, _ string) error {
			for _, due := range k.Due() {
				if _, _, err := k.DestroyVersion(ctx, due.Key.Name, due.Version); err != nil {
					return err
				}
			}
			return k.Purge(ctx)
		},
		again: never, purges: true,
	},
	"root key rotation": {
		do: func(ctx context.Context, k *keystore.Keystore, c keystore.Config, _ string) error {
			if k.Stats().RootKeyID == c.NextRootKey.ID() {
				return k.Purge(ctx)
			}
			return k.RotateRootKey(ctx, c.NextRootKey, nil)
		},
		again: never, purges: true,
	},
	"backup": {
		do: func(ctx context.Context, k *keystore.Keystore, _ keystore.Config, dir string) error {
			f, err := os.OpenFile(filepath.Join(dir, "backup"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
			if err != nil {
				return err
			}
			_, err = k.Backup(ctx, f, "test")
			return errors.Join(err, f.Sync(), f.Close())
		},
		again: never,
	},
}

// openAt opens the keystore of a folder at a time after its preparation. close lets go of it.
func openAt(ctx context.Context, dir string, later time.Duration) (k *keystore.Keystore, c keystore.Config, close func() error, err error) {
	if c, err = configure(dir); err != nil {
		return nil, c, nil, err
	}
	if c.NextRootKey, err = rootkey.OpenFile(filepath.Join(dir, "next.key")); err != nil {
		return nil, c, nil, err
	}
	c.Now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(later) }
	s, err := bolt.Open(storePath(dir))
	if err != nil {
		return nil, c, nil, err
	}
	c.Store = s
	if k, err = keystore.Open(ctx, c); err != nil {
		return nil, c, nil, errors.Join(err, s.Close())
	}
	return k, c, s.Close, nil
}

// beOperation does an operation, and says so once it is acknowledged.
func beOperation(dir, name string) error {
	ctx, o := context.Background(), operations[name]
	k, c, closeStore, err := openAt(ctx, dir, o.later)
	if err != nil {
		return err
	}
	if err := o.do(ctx, k, c, dir); err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString(done); err != nil {
		return err
	}
	return closeStore()
}

// makeStore makes the folder that an operation begins with.
func makeStore(t *testing.T, o operation) (dir string) {
	t.Helper()
	dir = realDir(t)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"root.key", "next.key"} {
		check(rootkey.CreateFile(filepath.Join(dir, name)))
	}
	check(bolt.Create(storePath(dir)))
	c, err := configure(dir)
	check(err)
	s, err := bolt.Open(storePath(dir))
	check(err)
	c.Store = s
	check(keystore.Init(t.Context(), c))
	check(s.Close())
	k, _, closeStore, err := openAt(t.Context(), dir, 0)
	check(err)
	_, _, err = k.Import(t.Context(), "", keystore.NewKey{Name: "a", Scheme: noba.Name, Environment: upstream.Prod}, newMaterial(noba.Name))
	check(err)
	_, _, _, err = k.ImportVersion(t.Context(), "", "a", 0, newMaterial(noba.Name), time.Time{})
	check(err)
	_, err = k.Create(t.Context(), "", keystore.NewKey{Name: "pending", Scheme: noah.Name, Environment: upstream.Prod}, "")
	check(err)
	if o.prepare != nil {
		check(o.prepare(t.Context(), k))
	}
	check(closeStore())
	return dir
}

// realDir is a folder without symbolic links in its path.
func realDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// state opens the store as the next process does, and is all of it that an operation changes. Every version that should sign does.
func state(t *testing.T, dir string, later time.Duration) string {
	t.Helper()
	k, c, closeStore, err := openAt(t.Context(), dir, later)
	if err != nil {
		t.Fatalf("the store does not open: %v", err)
	}
	defer func() {
		if err := closeStore(); err != nil {
			t.Error(err)
		}
	}()
	var b strings.Builder
	fmt.Fprintf(&b, "next root key %t;", k.Stats().RootKeyID == c.NextRootKey.ID())
	for _, key := range k.List("", 100) {
		fmt.Fprintf(&b, " %s, active %d:", key.Name, key.Active)
		for _, v := range key.Versions() {
			fmt.Fprintf(&b, " %d %s %t", v.Number, v.State, v.DestroyTime.IsZero())
		}
		if key.Active == 0 {
			continue
		}
		credential, _, err := key.Credential(permit(t, key.Name))
		if err != nil {
			t.Fatalf("key %s: %v", key.Name, err)
		}
		if err := credential.Prove(); err != nil {
			t.Errorf("key %s does not sign: %v", key.Name, err)
		}
	}
	return b.String()
}

// oldRecords are the sealed bytes of every record of a folder's store that is written anew.
func oldRecords(t *testing.T, dir string) (sealed [][]byte) {
	t.Helper()
	s, err := bolt.Open(storePath(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	records, _, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if r.Name == "key/a" {
			sealed = append(sealed, r.Sealed)
		}
	}
	return sealed
}

func TestKilledBeforeEachWriteOfAnOperationItIsDoneOrNot(t *testing.T) {
	for name, o := range operations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := makeStore(t, o)
			before, old := state(t, base, o.later), oldRecords(t, base)
			victim := func(dir string) killtest.Victim {
				return killtest.Victim{Path: os.Args[0], Env: []string{victimFolder + "=" + dir, operationVariable + "=" + name, "GORACE=atexit_sleep_ms=0"}, Dir: dir}
			}
			// Once to its end, to know the points and what is there after it.
			whole := copied(t, base)
			dry := victim(whole).Run(t, 0)
			if dry.Failed || dry.Output != done {
				t.Fatalf("it does not work: %+v", dry)
			}
			after := state(t, whole, o.later)
			if len(dry.Points) < 2 {
				t.Fatalf("the points are %q", dry.Points)
			}
			t.Logf("%d points: %s", len(dry.Points), strings.Join(dry.Points, ", "))
			for at, point := range dry.Points {
				dir := copied(t, base)
				out := victim(dir).Run(t, at+1)
				if !out.Killed {
					t.Fatalf("at %d, %s: it was not killed there: %+v", at+1, point, out)
				}
				got := state(t, dir, o.later)
				if got != before && got != after || out.Output == done && got != after {
					t.Errorf("killed at %d, %s, having said %q: the store is\n%s\nbefore\n%s\nafter\n%s", at+1, point, out.Output, got, before, after)
				}
				o.finish(t, dir)
				if got := state(t, dir, o.later); got != after {
					t.Errorf("killed at %d, %s, and done again: the store is\n%s\nwant\n%s", at+1, point, got, after)
				}
				if o.purges {
					wantGone(t, dir, old)
				}
				if name == "backup" {
					wantBackup(t, dir)
				}
			}
		})
	}
}

// finish does the operation in the next process.
func (o operation) finish(t *testing.T, dir string) {
	t.Helper()
	k, c, closeStore, err := openAt(t.Context(), dir, o.later)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.do(t.Context(), k, c, dir); err != nil && !o.again(err) {
		t.Errorf("doing it again: %v", err)
	}
	if err := closeStore(); err != nil {
		t.Error(err)
	}
}

// copied is a copy of a folder of files.
func copied(t *testing.T, from string) string {
	t.Helper()
	to := realDir(t)
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	// CopyFS gives every file more permissions than the store may have.
	err := filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chmod(path, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// wantGone fails if a file of the folder still has something of the sealed records.
func wantGone(t *testing.T, dir string, sealed [][]byte) {
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
		for _, b := range sealed {
			if bytes.Contains(content, b[len(b)-32:]) {
				t.Errorf("%s still holds what was sealed before", e.Name())
			}
		}
	}
}

func wantBackup(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "backup"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, _, err := backup.Read(f, func(backup.Record) error { return nil }); err != nil {
		t.Errorf("the backup that was taken again: %v", err)
	}
}
