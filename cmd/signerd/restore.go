package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/internal/checkpoint"
	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/internal/durable"
	"github.com/signerd/signerd/internal/recovery"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/bolt"
	"github.com/signerd/signerd/server"
	"github.com/signerd/signerd/upstream/noon"
)

// restoring is one run of `signerd restore`.
type restoring struct {
	config *config.Config
	stdout io.Writer
	// recoveryKey is the file of the private half that opens the backup instead of the root key; empty for none.
	recoveryKey string
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

// restore is `signerd restore`.
func restore(ctx context.Context, configFile, backupFile, recoveryKey string, stdout io.Writer) error {
	c, err := config.Load(configFile, server.Always())
	if err != nil {
		return err
	}
	return explain(restoring{config: c, stdout: stdout, recoveryKey: recoveryKey}.run(ctx, backupFile))
}

// run changes nothing before the whole backup was opened and there is room for what it holds. If it is interrupted, it can be run again.
func (r restoring) run(ctx context.Context, backupFile string) error {
	c := r.config
	if err := foldersExist(c.Store, c.Anchor, c.RootKey.MadeByInit(), c.Audit.Dir); err != nil {
		return err
	}
	kc := keystore.Config{Schemes: server.Schemes(noon.Destinations{}), Compile: server.CompilePolicy}
	var err error
	if kc.Recovery, err = recoveryPublic(c.RootKey); err != nil {
		return err
	}
	if r.recoveryKey != "" {
		kc.RecoveryKey, err = recovery.OpenPrivate(r.recoveryKey)
	} else {
		kc.RootKey, err = rootKey(ctx, c.RootKey, false)
	}
	if err != nil {
		return notYet(err)
	}
	opened, err := openBackup(ctx, kc, backupFile)
	if err != nil {
		return err
	}
	store, err := r.prepare(ctx)
	if err != nil {
		return err
	}
	if r.recoveryKey != "" {
		if kc.RootKey, err = r.newRootKey(ctx); err != nil {
			return errors.Join(err, store.Close())
		}
	}
	kc.Store, kc.Anchor = &steppedStore{store, r}, &steppedAnchor{audit.NewAnchorFile(c.Anchor), r}
	err = opened.Restore(ctx, kc)
	if err := errors.Join(err, store.Close()); err != nil {
		return fmt.Errorf("restoring %s: %w", backupFile, err)
	}
	m := opened.Manifest
	_, _ = fmt.Fprintf(r.stdout, "restored %d keys, as store %s had them at change %d, %s\n", m.Keys, m.StoreID, m.Counter, m.Created.UTC().Format(time.RFC3339))
	_, _ = fmt.Fprintf(r.stdout, "made the store %s, its anchor %s and the folder of its new audit log %s\n", c.Store, c.Anchor, c.Audit.Dir)
	return nil
}

// newRootKey makes the configured root key, or takes the one that is there.
func (r restoring) newRootKey(ctx context.Context) (keystore.RootKey, error) {
	made, err := rootKeyFor(r.config.RootKey, r.stdout)
	if made {
		r.reached(stepRootKey)
	}
	if err != nil {
		return nil, err
	}
	return rootKey(ctx, r.config.RootKey, made)
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
