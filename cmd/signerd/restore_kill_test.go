package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signerd/signerd/internal/killtest"
	"github.com/signerd/signerd/internal/recovery"
	"github.com/signerd/signerd/keystore"
)

// restored is a folder that a backup is restored into.
type restored struct {
	backup string
	// root is the root key's file; empty for one that is made in the folder, when recoveryKey opens the backup.
	root, recoveryKey string
}

// recoveryKeys says whether the cryptographic module in force has recovery keys; where it has none, internal/recovery's tests hold it to
// its refusal.
func recoveryKeys(t *testing.T) bool {
	t.Helper()
	dir := t.TempDir()
	err := recovery.Create(filepath.Join(dir, "private"), filepath.Join(dir, "public"))
	if err != nil && !errors.Is(err, recovery.ErrNotAllowed) {
		t.Fatal(err)
	}
	return err == nil
}

// restores are the ways to restore.
func restores(t *testing.T) map[string]restored {
	t.Helper()
	root, path := backedUp(t)
	all := map[string]restored{"with the root key": {backup: path, root: root}}
	if recoveryKeys(t) {
		all["with the recovery key"] = restoredWithARecoveryKey(t)
	}
	return all
}

// restoredWithARecoveryKey is a backup whose root key is lost.
func restoredWithARecoveryKey(t *testing.T) restored {
	t.Helper()
	dir := t.TempDir()
	private, public := filepath.Join(dir, "private"), filepath.Join(dir, "public")
	if err := recovery.Create(private, public); err != nil {
		t.Fatal(err)
	}
	c := folderConfig(dir, filepath.Join(dir, "root.key"))
	c.RootKey.RecoveryPublicKey = public
	return restored{backup: backupOf(t, c), recoveryKey: private}
}

// unverified takes the backup that the recovery key opens for what it is; nothing for no key.
func unverified(recoveryKey string) recovering {
	return recovering{recoveryKey: recoveryKey, unverified: recoveryKey != ""}
}

func (r restored) rootKey(dir string) string {
	if r.root == "" {
		return filepath.Join(dir, "root.key")
	}
	return r.root
}

// killedAt restores into a new folder, in a process that is killed before that change of a file; 0 for one that is not.
func (r restored) killedAt(t *testing.T, at int) (dir string, out killtest.Outcome) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir, killtest.Victim{Path: os.Args[0], Args: []string{"-test.run=^TestRestoreThatIsKilled$"}, Dir: dir,
		Env: []string{killDir + "=" + dir, killStep + "=", killRoot + "=" + r.rootKey(dir), killRecovery + "=" + r.recoveryKey, killBackup + "=" + r.backup,
			"GORACE=atexit_sleep_ms=0"}}.Run(t, at)
}

func TestARestoreThatIsKilledBeforeAnyOfItsWritesIsCompletedByTheNext(t *testing.T) {
	t.Parallel()
	for name, r := range restores(t) {
		t.Run(name, func(t *testing.T) {
			dir, dry := r.killedAt(t, 0)
			if dry.Failed || len(dry.Points) < 10 {
				t.Fatalf("it does not work: %+v", dry)
			}
			wantPay(t, folderConfig(dir, r.rootKey(dir)))
			t.Logf("%d points: %s", len(dry.Points), strings.Join(dry.Points, ", "))
			for at, point := range dry.Points {
				dir, out := r.killedAt(t, at+1)
				if !out.Killed {
					t.Fatalf("at %d, %s: it was not killed there: %+v", at+1, point, out)
				}
				c := folderConfig(dir, r.rootKey(dir))
				complete := served(t, c)
				if complete {
					wantPay(t, c)
				}
				err := restoring{config: c, recovering: unverified(r.recoveryKey), stdout: io.Discard}.run(t.Context(), r.backup)
				if complete && !errors.Is(err, keystore.ErrInitialized) || !complete && err != nil {
					t.Errorf("killed at %d, %s: restoring once more: %v (what was there is served: %t)", at+1, point, err, complete)
				}
				wantPay(t, c)
			}
		})
	}
}
