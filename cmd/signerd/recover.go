package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/internal/durable"
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

// recovering says what opens a store or a backup instead of the root key, and what shows that it is the right one.
type recovering struct {
	// recoveryKey is the file of the private half; empty for none.
	recoveryKey string
	// verifierKey is a file with what `signerctl audit key` printed; empty for none, and then unverified says that this is meant.
	verifierKey string
	unverified  bool
}

// maxVerifierKeyBytes is far more than a verifier key has.
const maxVerifierKeyBytes = 4096

// configure opens the files into kc. Where kc has no recovery key to wrap to, the one that opens it stays that.
func (r recovering) configure(kc *keystore.Config, stdout io.Writer) error {
	if r.verifierKey != "" {
		b, err := durable.ReadLimited(r.verifierKey, maxVerifierKeyBytes)
		if err != nil {
			return fmt.Errorf("--verifier-key: %w", err)
		}
		kc.VerifierKey = strings.TrimSpace(string(b))
		if _, err := note.NewVerifier(kc.VerifierKey); err != nil {
			return fmt.Errorf("--verifier-key: %s does not hold what `signerctl audit key` prints", r.verifierKey)
		}
	}
	if r.recoveryKey == "" {
		return nil
	}
	key, err := recovery.OpenPrivate(r.recoveryKey)
	if err != nil {
		return err
	}
	kc.RecoveryKey, kc.Unverified = key, r.unverified
	if r.unverified && kc.VerifierKey == "" {
		_, _ = fmt.Fprintln(stdout, "WARNING: nothing shows who made what the recovery key opens here: anybody who has its public half can have. Look at every key and at the policy before this signerd is served from.")
	}
	if kc.Recovery == nil {
		kc.Recovery = key.Public()
		_, _ = fmt.Fprintf(stdout, "the configuration names no recovery key: the store stays wrapped to %s until the next start; name its public half as root_key.recovery_public_key to keep that\n", key.ID())
	}
	return nil
}

// withSameRecoveryKey has next refuse a rotation, which would wrap to the recovery key that was read at start, once its file has another.
func withSameRecoveryKey(c config.RootKey, loaded keystore.RecoveryPublic, next func(context.Context) (keystore.RootKey, error)) func(context.Context) (keystore.RootKey, error) {
	return func(ctx context.Context) (keystore.RootKey, error) {
		now, err := recoveryPublic(c)
		if err != nil {
			return nil, err
		}
		if now != nil && now.ID() != loaded.ID() {
			return nil, fmt.Errorf("root_key.recovery_public_key: the file has another key (%s) than at start (%s): restart signerd, which wraps to it", now.ID(), loaded.ID())
		}
		return next(ctx)
	}
}

// tellRecovery logs that the start has found another recovery key configured than the store was wrapped to.
func tellRecovery(keys *keystore.Keystore, log *slog.Logger) {
	if before, replaced := keys.RecoveryReplaced(); replaced {
		log.Warn("the recovery key was replaced: who has the private half of the one in force can open the store", "before", before, "in_force", keys.Stats().RecoveryKeyID)
	}
}

// recoverStore is `signerd recover`. The recovery key is tried on the store before a root key is made.
func recoverStore(ctx context.Context, configFile string, r recovering, stdout io.Writer) (err error) {
	c, err := load(configFile)
	if err != nil {
		return err
	}
	if err := checkPermissions(c); err != nil {
		return explain(err)
	}
	public, err := recoveryPublic(c.RootKey)
	if err != nil {
		return explain(err)
	}
	kc := keystore.Config{Recovery: public, Anchor: audit.NewAnchorFile(c.Anchor),
		Schemes: server.Schemes(noon.Destinations{}), Compile: server.CompilePolicy}
	if err := r.configure(&kc, stdout); err != nil {
		return err
	}
	store, err := bolt.Open(c.Store)
	if err != nil {
		return explain(err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	kc.Store = store
	if err := keystore.Verify(ctx, kc); err != nil {
		return explain(err)
	}
	if _, err := rootKeyFor(c.RootKey, stdout); err != nil {
		return err
	}
	// Nothing shows that a passphrase is the one that was lost: it is typed twice.
	if kc.RootKey, err = rootKey(ctx, c.RootKey, true); err != nil {
		return explain(err)
	}
	if err := keystore.Recover(ctx, kc); err != nil {
		return explain(err)
	}
	_, _ = fmt.Fprintf(stdout, "the store %s opens with root key %s now, and with recovery key %s\n", c.Store, kc.RootKey.ID(), kc.Recovery.ID())
	return nil
}
