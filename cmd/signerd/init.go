package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/signerd/signerd/internal/backup"
	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/internal/owner"
	"github.com/signerd/signerd/internal/recovery"
	"github.com/signerd/signerd/internal/rootkey"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/bolt"
	"github.com/signerd/signerd/upstream/noon"
)

// initialize is `signerd init`.
func initialize(ctx context.Context, configFile string, stdout io.Writer) error {
	c, err := load(configFile)
	if err != nil {
		return err
	}
	madeRootKey, err := prepare(ctx, c)
	// Also when something failed after it: the next run would find it there, and say nothing.
	switch {
	case madeRootKey && c.RootKey.File == "":
		_, _ = fmt.Fprintf(stdout, "made the passphrase's parameters %s: keep a copy where the store is not; without them, or without the passphrase, the store is lost\n", c.RootKey.Passphrase.Parameters)
	case madeRootKey:
		_, _ = fmt.Fprintf(stdout, "made the root key %s: keep a copy where the store is not; without it the store is lost\n", c.RootKey.File)
	}
	if err != nil {
		return explain(err)
	}
	_, _ = fmt.Fprintf(stdout, "made the empty store %s, its anchor %s and the folder of the audit log %s\nnext: signerd --config %s\n", c.Store, c.Anchor, c.Audit.Dir, configFile)
	return nil
}

// prepare makes the root key's file, where there is none and the provider has one, and the empty store. It never makes a root key for a store that
// another one has sealed.
func prepare(ctx context.Context, c *config.Config) (madeRootKey bool, err error) {
	storeExists, err := exists(c.Store)
	if err != nil {
		return false, err
	}
	folders, rootKeyFile, rootKeyExists := []string{c.Store, c.Anchor, c.Audit.Dir}, c.RootKey.MadeByInit(), true
	if rootKeyFile != "" {
		if rootKeyExists, err = exists(rootKeyFile); err != nil {
			return false, err
		}
		folders = append(folders, rootKeyFile)
	}
	if err := foldersExist(folders...); err != nil {
		return false, err
	}
	if err := checkPermissions(c); err != nil {
		return false, err
	}
	anchorExists, err := exists(c.Anchor)
	if err != nil {
		return false, err
	}
	if anchorExists && !storeExists {
		return false, keystore.ErrRemoved
	}
	if storeExists && !rootKeyExists {
		return false, fmt.Errorf("the store %s exists, but its root key %s does not: bring back the root key; a new one would not open it", c.Store, rootKeyFile)
	}
	if !storeExists {
		if err := makeAuditDir(c.Audit.Dir); err != nil {
			return false, fmt.Errorf("making the folder of the audit log: %w", err)
		}
	}
	if !rootKeyExists {
		if err := makeRootKey(c.RootKey); err != nil {
			return false, fmt.Errorf("making the root key: %w", err)
		}
	}
	if !storeExists {
		if err := bolt.Create(c.Store); err != nil {
			return !rootKeyExists, fmt.Errorf("making the store: %w", err)
		}
	}
	kc, err := files(ctx, c, noon.Destinations{}, !anchorExists)
	if err != nil {
		return !rootKeyExists, err
	}
	return !rootKeyExists, errors.Join(keystore.Init(ctx, kc), kc.Store.Close())
}

// foldersExist is asked before anything is made, so that init makes all or nothing.
func foldersExist(paths ...string) error {
	for _, path := range paths {
		if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
			return fmt.Errorf("%s: there is no folder %s; make it first", path, filepath.Dir(path))
		}
	}
	return nil
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// errNotYet marks that a file is missing which init makes.
var errNotYet = errors.New("it is missing")

// errNoRootKey marks that there is no root key to open a backup with.
var errNoRootKey = errors.New("the root key is missing")

// notYet marks errors of opening files that init would have made.
func notYet(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", err, errNotYet)
	}
	return err
}

// hints say what an operator can do about an error.
var hints = []struct {
	is   error
	hint string
}{
	{errNoLog, "bring back the log; if it is lost for good, make the folder (mode 0700), start signerd, and acknowledge the loss with signerctl audit acknowledge"},
	{errNotYet, "if this is a new signerd, run `signerd init --config FILE` once"},
	{errNoRootKey, "bring back the root key of the backup, or open it with --recovery-key"},
	{keystore.ErrUnverified, "give --verifier-key FILE, with what `signerctl audit key` printed; without one at all, --unverified"},
	{keystore.ErrOtherVerifierKey, "find out where it comes from; each store has its own verifier key, a restored one too"},
	{recovery.ErrExchangeable, "chmod 644 the file, and find out who changed it: recovery-key new printed the id of the pair"},
	{keystore.ErrNotInitialized, "run `signerd init --config FILE` once"},
	{keystore.ErrRemoved, "bring back the store; only if it is to be given up for good, remove the anchor as well"},
	{keystore.ErrInitialized, "it is ready: start `signerd --config FILE`"},
	{keystore.ErrWrongRootKey, "bring back the root key that the store was made with"},
	{keystore.ErrRootKeyUnavailable, "make it available: signerd that serves waits for it, init and check do not"},
	{keystore.ErrNoRecovery, "the store, or this backup, is older than its recovery key: bring back the root key"},
	{keystore.ErrWrongRecoveryKey, "bring back the recovery key whose public half was configured then"},
	{keystore.ErrRolledBack, "bring back the newest copy of the store; nothing is served from an older one"},
	{keystore.ErrAnchor, "bring back the anchor; without it nobody could tell whether the store is an older copy"},
	{keystore.ErrDamaged, "bring back a whole copy of the store; nothing is served from a damaged one"},
	{bolt.ErrNotStore, "bring back a whole copy of the store; nothing is served from a damaged one"},
	{keystore.ErrAnchored, "it may be that of the store that was lost: move it away, and keep it with the lost store's audit log"},
	{keystore.ErrForgedBackup, "take another backup, and find out where this one comes from"},
	{backup.ErrDamaged, "nothing was changed; take another backup. signerctl backup verify FILE looks at one without any key"},
	{bolt.ErrInUse, "is another signerd running on this store?"},
	{bolt.ErrPermissions, "chmod 600 the store's file, and find out who could read it"},
	{errAnchorPermissions, "chmod 600 the anchor, and find out who could change it"},
	{errAuditPermissions, "chmod 700 the folder of the audit log and 600 the files in it, and find out who could read or change them"},
	{owner.ErrOthers, "give it to the user that signerd runs as (chown) and take others' right to write (chmod go-w), and find out who could change it"},
	{recovery.ErrPermissions, "chmod 400 the private half's file, and find out who could read it: with it and a backup they have every key"},
	{rootkey.ErrPermissions, "chmod 400 the root key's file, and find out who could read it"},
}

// explain adds what an operator can do.
func explain(err error) error {
	for _, h := range hints {
		if errors.Is(err, h.is) {
			return fmt.Errorf("%w\nhint: %s", err, h.hint)
		}
	}
	return err
}
