package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/internal/recovery"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/bolt"
	"github.com/signerd/signerd/server"
	"github.com/signerd/signerd/upstream/noon"
)

// recoveryPublic is the configured public half; nil for none.
func recoveryPublic(c config.RootKey) (keystore.RecoveryPublic, error) {
	if c.RecoveryPublicKey == "" {
		return nil, nil
	}
	key, err := recovery.OpenPublic(c.RecoveryPublicKey)
	if err != nil {
		return nil, fmt.Errorf("root_key.recovery_public_key: %w", err)
	}
	return key, nil
}

// rootKeyFor makes what init makes for the provider, where there is none.
func rootKeyFor(c config.RootKey, stdout io.Writer) (made bool, err error) {
	path := c.MadeByInit()
	if path == "" {
		return false, nil
	}
	there, err := exists(path)
	if err != nil || there {
		return false, err
	}
	if err := makeRootKey(c); err != nil {
		return false, fmt.Errorf("making the root key: %w", err)
	}
	_, _ = fmt.Fprintf(stdout, "made the root key %s: keep a copy where the store is not\n", path)
	return true, nil
}

// recoverStore is `signerd recover`. The recovery key is tried on the store before a root key is made.
func recoverStore(ctx context.Context, configFile, recoveryKey string, stdout io.Writer) (err error) {
	c, err := config.Load(configFile, server.Always())
	if err != nil {
		return err
	}
	key, err := recovery.OpenPrivate(recoveryKey)
	if err != nil {
		return explain(err)
	}
	public, err := recoveryPublic(c.RootKey)
	if err != nil {
		return err
	}
	store, err := bolt.Open(c.Store)
	if err != nil {
		return explain(err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	kc := keystore.Config{Store: store, Anchor: audit.NewAnchorFile(c.Anchor), Recovery: public, RecoveryKey: key,
		Schemes: server.Schemes(noon.Destinations{}), Compile: server.CompilePolicy}
	if err := keystore.Verify(ctx, kc); err != nil {
		return explain(err)
	}
	made, err := rootKeyFor(c.RootKey, stdout)
	if err != nil {
		return err
	}
	if kc.RootKey, err = rootKey(ctx, c.RootKey, made); err != nil {
		return explain(err)
	}
	if err := keystore.Recover(ctx, kc); err != nil {
		return explain(err)
	}
	_, _ = fmt.Fprintf(stdout, "the store %s opens with root key %s now\n", c.Store, kc.RootKey.ID())
	return nil
}
