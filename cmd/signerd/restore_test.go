package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/internal/recovery"
	"github.com/signerd/signerd/internal/rootkey"
	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noba"
	"github.com/signerd/signerd/upstream/noon"
)

// folderConfig is a configuration in a folder; the root key may be another folder's.
func folderConfig(dir, rootKey string) *config.Config {
	return &config.Config{Store: filepath.Join(dir, "keys.db"), Anchor: filepath.Join(dir, "anchor"),
		RootKey: config.RootKey{File: rootKey}, Audit: config.Audit{Dir: filepath.Join(dir, "audit")}}
}

// backedUp makes a store with a key in it, and a backup of it.
func backedUp(t *testing.T) (rootKey, path string) {
	t.Helper()
	rootKey, made := backedUpTo(t, "")
	return rootKey, made.backup
}

// madeBackup is a backup, and the verifier key of the store that it is of.
type madeBackup struct{ backup, verifierKey string }

// backedUpTo is backedUp of a store that is wrapped to a recovery key.
func backedUpTo(t *testing.T, recoveryPublicKey string) (rootKey string, made madeBackup) {
	t.Helper()
	dir := t.TempDir()
	c := folderConfig(dir, filepath.Join(dir, "root.key"))
	c.RootKey.RecoveryPublicKey = recoveryPublicKey
	path, verifierKey := backupWithKey(t, c)
	return c.RootKey.File, madeBackup{path, verifierKey}
}

// backupOf makes the store of a configuration, with a key in it, and a backup.
func backupOf(t *testing.T, c *config.Config) (path string) {
	t.Helper()
	path, _ = backupWithKey(t, c)
	return path
}

// backupWithKey is backupOf that gives the verifier key of the store as well.
func backupWithKey(t *testing.T, c *config.Config) (path, verifierKey string) {
	t.Helper()
	if _, err := prepare(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	kc, err := files(t.Context(), c, noon.Destinations{}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kc.Store.Close() }()
	k, err := keystore.Open(t.Context(), kc)
	if err != nil {
		t.Fatal(err)
	}
	m := upstream.Material{upstream.PartAPIKey: secret.New([]byte("api")), upstream.PartSecret: secret.New([]byte("a secret of a test"))}
	if _, _, err := k.Import(t.Context(), "unix:uid=1", keystore.NewKey{Name: "pay", Scheme: noba.Name, Environment: upstream.Sandbox}, m); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(filepath.Dir(c.Store), "backup"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Backup(t.Context(), f, "test"); err != nil {
		t.Fatal(err)
	}
	return f.Name(), k.AuditSigner().VerifierKey()
}

// Variables of the process that is killed.
const (
	killDir, killStep    = "SIGNERD_TEST_RESTORE_DIR", "SIGNERD_TEST_RESTORE_STEP"
	killRoot, killBackup = "SIGNERD_TEST_RESTORE_ROOT", "SIGNERD_TEST_RESTORE_BACKUP"
	killRecovery         = "SIGNERD_TEST_RESTORE_RECOVERY"
)

// TestRestoreThatIsKilled is the process that is killed; without the variables there is none. Without a step it is killed from outside,
// or not at all.
func TestRestoreThatIsKilled(t *testing.T) {
	if os.Getenv(killDir) == "" {
		return
	}
	err := restoring{config: folderConfig(os.Getenv(killDir), os.Getenv(killRoot)), recovering: unverified(os.Getenv(killRecovery)), stdout: io.Discard, done: func(step string) {
		if step == os.Getenv(killStep) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}}.run(t.Context(), os.Getenv(killBackup))
	if step := os.Getenv(killStep); step != "" || err != nil {
		t.Fatalf("it was not killed at %q: %v", step, err)
	}
}

func TestARestoreThatIsKilledAfterAnyStepLeavesNothingOrIsCompletedByTheNext(t *testing.T) {
	t.Parallel()
	root, path := backedUp(t)
	var steps []string
	whole := folderConfig(t.TempDir(), root)
	if err := (restoring{config: whole, stdout: io.Discard, done: func(step string) { steps = append(steps, step) }}).run(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if len(steps) != 4 {
		t.Fatalf("the steps are %q", steps)
	}
	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			c := folderConfig(t.TempDir(), root)
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRestoreThatIsKilled$")
			cmd.Env = append(os.Environ(), killDir+"="+filepath.Dir(c.Store), killStep+"="+step, killRoot+"="+root, killBackup+"="+path)
			if out, err := cmd.CombinedOutput(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("it was not killed: %v\n%s", err, out)
			}
			if step != stepAnchor {
				if served(t, c) {
					t.Error("half a restore is served")
				}
			}
			err := restoring{config: c, stdout: io.Discard}.run(t.Context(), path)
			if step == stepAnchor && !errors.Is(err, keystore.ErrInitialized) || step != stepAnchor && err != nil {
				t.Fatalf("restoring once more: %v", err)
			}
			wantPay(t, c)
		})
	}
}

// wantPay fails unless the store opens and has the key of the backup.
func wantPay(t *testing.T, c *config.Config) {
	t.Helper()
	kc, err := files(t.Context(), c, noon.Destinations{}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kc.Store.Close() }()
	k, err := keystore.Open(t.Context(), kc)
	if err != nil {
		t.Fatal(err)
	}
	if k.Lookup("pay") == nil {
		t.Error("the key is not there")
	}
}

func TestARestoreIsNotCompletedByAnotherBackupNorOverAChangedStore(t *testing.T) {
	t.Parallel()
	root, path := backedUp(t)
	c := folderConfig(t.TempDir(), root)
	if err := (restoring{config: c, stdout: io.Discard}).run(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	kc, err := files(t.Context(), c, noon.Destinations{}, false)
	if err != nil {
		t.Fatal(err)
	}
	k, err := keystore.Open(t.Context(), kc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.SetEnabled(t.Context(), "pay", 0, false); err != nil {
		t.Fatal(err)
	}
	second := filepath.Join(t.TempDir(), "second")
	f, err := os.Create(second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Backup(t.Context(), f, "test"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), kc.Store.Close(), os.Remove(c.Anchor)); err != nil {
		t.Fatal(err)
	}
	for _, backup := range []string{path, second} {
		if err := (restoring{config: c, stdout: io.Discard}).run(t.Context(), backup); !errors.Is(err, keystore.ErrInitialized) {
			t.Errorf("without its anchor, a changed store is restored over: %v", err)
		}
	}
	if there, err := audit.NewAnchorFile(c.Anchor).Exists(); there || err != nil {
		t.Errorf("an anchor was made (%v)", err)
	}
}

// The public half is public: whoever has it can wrap a keyring of their own to it.
func TestABackupThatAStrangerMadeForTheRecoveryKeyIsRefused(t *testing.T) {
	t.Parallel()
	if !recoveryKeys(t) {
		return
	}
	dir := t.TempDir()
	private, public := filepath.Join(dir, "recovery.key"), filepath.Join(dir, "recovery.pub")
	if err := recovery.Create(private, public); err != nil {
		t.Fatal(err)
	}
	_, theirs := backedUpTo(t, public)
	_, ours := backedUpTo(t, public)
	key := filepath.Join(dir, "log.key")
	if err := os.WriteFile(key, []byte(ours.verifierKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		recovering
		backup string
		want   error
	}{
		{"the stranger's, against our verifier key", recovering{private, key, false}, theirs.backup, keystore.ErrOtherVerifierKey},
		{"the stranger's, against nothing", recovering{private, "", false}, theirs.backup, keystore.ErrUnverified},
		{"ours, against our verifier key", recovering{private, key, false}, ours.backup, nil},
		{"ours, unverified", recovering{private, "", true}, ours.backup, nil},
	} {
		into := t.TempDir()
		c := folderConfig(into, filepath.Join(into, "root.key"))
		var out strings.Builder
		if err := (restoring{config: c, stdout: &out, recovering: tt.recovering}).run(t.Context(), tt.backup); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if warned := strings.Contains(out.String(), "WARNING"); warned != tt.unverified {
			t.Errorf("%s: it warns: %t", tt.name, warned)
		}
		entries, err := os.ReadDir(into)
		if err != nil || tt.want != nil && len(entries) > 0 {
			t.Errorf("%s: the folder has %v (%v)", tt.name, entries, err)
		}
		if tt.want == nil {
			wantPay(t, c)
		}
	}
}

func TestARestoreLooksAtTheRootKeyBeforeItMakesAnything(t *testing.T) {
	t.Parallel()
	if !recoveryKeys(t) {
		return
	}
	dir := t.TempDir()
	private, public := filepath.Join(dir, "recovery.key"), filepath.Join(dir, "recovery.pub")
	if err := recovery.Create(private, public); err != nil {
		t.Fatal(err)
	}
	_, ours := backedUpTo(t, public)
	into := t.TempDir()
	c := folderConfig(into, filepath.Join(into, "root.key"))
	if err := os.WriteFile(c.RootKey.File, []byte("no root key\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	r := restoring{config: c, stdout: io.Discard, recovering: recovering{private, "", true}}
	if err := r.run(t.Context(), ours.backup); !errors.Is(err, rootkey.ErrMalformed) {
		t.Errorf("restoring it: %v", err)
	}
	if entries, err := os.ReadDir(into); err != nil || len(entries) != 1 {
		t.Errorf("the folder has %v (%v)", entries, err)
	}
}

func TestABackupOfAfterARotationIsRestoredWithTheRootKeyToCome(t *testing.T) {
	t.Parallel()
	root, path := backedUp(t)
	dir := t.TempDir()
	c := folderConfig(dir, filepath.Join(dir, "old.key"))
	if err := rootkey.CreateFile(c.RootKey.File); err != nil {
		t.Fatal(err)
	}
	c.NextRootKey.File = root
	if err := (restoring{config: c, stdout: io.Discard}).run(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	// The old one may have been replaced because it was stolen.
	c.RootKey.File, c.NextRootKey.File = root, ""
	wantPay(t, c)
}

func TestARotationIsRefusedOnceTheRecoveryKeysFileHasAnother(t *testing.T) {
	t.Parallel()
	if !recoveryKeys(t) {
		return
	}
	dir := t.TempDir()
	public := filepath.Join(dir, "recovery.pub")
	if err := recovery.Create(filepath.Join(dir, "first.key"), public); err != nil {
		t.Fatal(err)
	}
	c := config.RootKey{RecoveryPublicKey: public}
	loaded, err := recoveryPublic(c)
	if err != nil {
		t.Fatal(err)
	}
	next := withSameRecoveryKey(c, loaded, func(context.Context) (keystore.RootKey, error) { return nil, nil })
	if _, err := next(t.Context()); err != nil {
		t.Errorf("with the same one: %v", err)
	}
	if err := errors.Join(os.Remove(public), recovery.Create(filepath.Join(dir, "second.key"), public)); err != nil {
		t.Fatal(err)
	}
	if _, err := next(t.Context()); err == nil || !strings.Contains(err.Error(), "restart signerd") {
		t.Errorf("with another one: %v", err)
	}
	if err := os.Remove(public); err != nil {
		t.Fatal(err)
	}
	if _, err := next(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("with none: %v", err)
	}
}

// served says whether signerd would serve what is there.
func served(t *testing.T, c *config.Config) bool {
	t.Helper()
	root, err := openRootKeys(t.Context(), c, false)
	return err == nil && contents(t.Context(), c, root) == nil
}
