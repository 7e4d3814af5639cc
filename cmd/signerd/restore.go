package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/internal/checkpoint"
	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/internal/durable"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/bolt"
	"github.com/signerd/signerd/server"
	"github.com/signerd/signerd/upstream/noon"
)

// restoring is one run of `signerd restore`.
type restoring struct {
	config *config.Config
	stdout io.Writer
	// recovering is what opens the backup instead of the root key, or shows who made it.
	recovering
	// frozen has all signing stopped in what is restored.
	frozen bool
	// done is told after each step that changed something; nil for nobody.
	done func(step string)
}

// The steps of a restore. The first is only there with a recovery key, and where there is no root key.
const (
	stepRootKey  = "root key"
	stepAuditDir = "audit folder"
	stepFile     = "empty store"
	stepStore    = "store"
	stepAnchor   = "anchor"
)

// restore is `signerd restore`; r has no config yet.
func restore(ctx context.Context, configFile, backupFile string, r restoring) (err error) {
	if r.config, err = load(configFile); err != nil {
		return err
	}
	return explain(r.run(ctx, backupFile))
}

// run changes nothing before the whole backup was opened and there is room for what it holds. If it is interrupted, it can be run again.
func (r restoring) run(ctx context.Context, backupFile string) error {
	c := r.config
	if err := foldersExist(c.Store, c.Anchor, c.RootKey.MadeByInit(), c.Audit.Dir); err != nil {
		return err
	}
	if err := checkPermissions(c); err != nil {
		return err
	}
	kc, err := r.keys(ctx)
	if err != nil {
		return err
	}
	opened, err := openBackup(ctx, kc, backupFile)
	if err != nil {
		return err
	}
	if kc.RootKey, err = r.wrapping(ctx, opened); err != nil {
		return err
	}
	store, err := r.prepare(ctx)
	if err != nil {
		return err
	}
	if kc.RootKey == nil {
		if kc.RootKey, err = r.newRootKey(ctx); err != nil {
			return errors.Join(err, store.Close())
		}
	}
	kc.Store, kc.Anchor = &steppedStore{store, r}, &steppedAnchor{audit.NewAnchorFile(c.Anchor), r}
	made, err := opened.Restore(ctx, kc, r.frozen)
	if err := errors.Join(err, store.Close()); err != nil {
		return fmt.Errorf("restoring %s: %w", backupFile, err)
	}
	r.report(opened, made)
	return nil
}

// keys opens what opens the backup.
func (r restoring) keys(ctx context.Context) (keystore.Config, error) {
	c := r.config
	kc := keystore.Config{Schemes: server.Schemes(noon.Destinations{}), Compile: server.CompilePolicy}
	var err error
	if kc.Recovery, err = recoveryPublic(c.RootKey); err != nil {
		return kc, err
	}
	if err := r.configure(&kc, r.stdout); err != nil || kc.RecoveryKey != nil {
		return kc, err
	}
	if kc.RootKey, err = rootKey(ctx, c.RootKey, false); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", err, errNoRootKey)
		}
		return kc, err
	}
	if kc.NextRootKey, err = nextRootKey(ctx, c.NextRootKey); err != nil {
		return kc, fmt.Errorf("next_root_key: %w", err)
	}
	return kc, nil
}

// wrapping is the root key that the restored store gets: the one that opened the backup, or else the configured one, which is looked at
// before anything is made; nil where it is to be made.
func (r restoring) wrapping(ctx context.Context, opened *keystore.Restorable) (keystore.RootKey, error) {
	if root := opened.RootKey(); root != nil {
		return root, nil
	}
	if path := r.config.RootKey.MadeByInit(); path != "" {
		if there, err := exists(path); err != nil || !there {
			return nil, err
		}
	}
	// Nothing shows that a passphrase is the one that was lost: it is typed twice.
	return rootKey(ctx, r.config.RootKey, true)
}

// newRootKey makes the configured root key.
func (r restoring) newRootKey(ctx context.Context) (keystore.RootKey, error) {
	made, err := rootKeyFor(r.config.RootKey, r.stdout)
	if made {
		r.reached(stepRootKey)
	}
	if err != nil {
		return nil, err
	}
	return rootKey(ctx, r.config.RootKey, true)
}

// report says what was made, and what an operator has to know of it.
func (r restoring) report(opened *keystore.Restorable, made keystore.Restored) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(r.stdout, format+"\n", args...) }
	c, m := r.config, opened.Manifest
	taken := m.Created.UTC().Format(time.RFC3339)
	say("restored %d keys, as store %s had them at change %d, %s", m.Keys, m.StoreID, m.Counter, taken)
	say("made the store %s, its anchor %s and the folder of its new audit log %s", c.Store, c.Anchor, c.Audit.Dir)
	if made.Postponed > 0 {
		say("of %d versions the destruction was due or soon: it is put off; signerctl key restore takes it back", made.Postponed)
	}
	if opened.Frozen || r.frozen {
		say("all signing is stopped in it until: signerctl unfreeze")
	} else {
		say("it signs as soon as it is started: a freeze after %s is not in the backup, nor is any key that was disabled since; restore with --frozen to look first", taken)
	}
	say("its verifier key is new; keep it with the recovery key: %s", made.VerifierKey)
}

func openBackup(ctx context.Context, c keystore.Config, path string) (*keystore.Restorable, error) {
	// Without O_NONBLOCK, opening a pipe would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the backup: %w", err)
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("opening the backup %s: %w", path, durable.ErrNotRegular), err)
	}
	opened, err := keystore.OpenBackup(ctx, c, f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return opened, nil
}

// prepare makes the empty store and the folder of the audit log, or takes those that are there.
func (r restoring) prepare(ctx context.Context) (*bolt.Store, error) {
	c := r.config
	there, err := exists(c.Store)
	if err != nil {
		return nil, err
	}
	anchored, err := exists(c.Anchor)
	if err != nil {
		return nil, err
	}
	if there {
		store, err := bolt.Open(c.Store)
		if err != nil {
			return nil, err
		}
		// Before the audit log is looked at, whose state matters only to a store that is to be restored.
		if records, _, err := store.Load(ctx); err != nil || anchored && len(records) > 0 {
			return nil, errors.Join(err, keystore.ErrInitialized, store.Close())
		}
		if anchored {
			return nil, errors.Join(keystore.ErrAnchored, store.Close())
		}
		if err := r.makeAuditDir(); err != nil {
			return nil, errors.Join(err, store.Close())
		}
		return store, nil
	}
	if anchored {
		return nil, keystore.ErrAnchored
	}
	if err := r.makeAuditDir(); err != nil {
		return nil, err
	}
	if err := bolt.Create(c.Store); err != nil {
		return nil, fmt.Errorf("making the store: %w", err)
	}
	r.reached(stepFile)
	return bolt.Open(c.Store)
}

func (r restoring) makeAuditDir() error {
	if err := makeAuditDir(r.config.Audit.Dir); err != nil {
		return fmt.Errorf("making the folder of the audit log: %w", err)
	}
	r.reached(stepAuditDir)
	return nil
}

func (r restoring) reached(step string) {
	if r.done != nil {
		r.done(step)
	}
}

// steppedStore tells of the commit.
type steppedStore struct {
	*bolt.Store
	r restoring
}

// Commit implements keystore.Store.
func (s *steppedStore) Commit(ctx context.Context, changes []keystore.Change) (uint64, error) {
	revision, err := s.Store.Commit(ctx, changes)
	if err == nil {
		s.r.reached(stepStore)
	}
	return revision, err
}

// steppedAnchor tells of the anchor.
type steppedAnchor struct {
	*audit.AnchorFile
	r restoring
}

// Write implements keystore.Anchor.
func (a *steppedAnchor) Write(key *checkpoint.Signer, state checkpoint.Store) error {
	err := a.AnchorFile.Write(key, state)
	if err == nil {
		a.r.reached(stepAnchor)
	}
	return err
}
