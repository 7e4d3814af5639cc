package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/internal/confine"
	"github.com/signerd/signerd/internal/rootkey"
	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/keystore"
)

// rootKey makes the root key that the configuration names. One that is elsewhere is not asked yet. isNew says that nothing was ever
// wrapped with it: a passphrase is then typed twice.
func rootKey(ctx context.Context, c config.RootKey, isNew bool) (keystore.RootKey, error) {
	return openRootKey(ctx, c, "root key", isNew)
}

// openRootKey is rootKey for one that is asked for under another name.
func openRootKey(ctx context.Context, c config.RootKey, what string, isNew bool) (keystore.RootKey, error) {
	switch {
	case c.Passphrase.Parameters != "":
		passphrase, err := readPassphrase(ctx, c.Passphrase, what, isNew)
		if err != nil {
			return nil, err
		}
		return rootkey.OpenPassphrase(c.Passphrase.Parameters, passphrase)
	case c.KMS.Socket != "":
		return rootkey.NewKMS(c.KMS.Socket, time.Duration(c.KMS.Timeout)), nil
	case c.Transit.Address != "":
		t := c.Transit
		return rootkey.NewTransit(rootkey.TransitConfig{
			Address: t.Address, Namespace: t.Namespace, Mount: t.Mount, Key: t.Key, TokenFile: t.TokenFile, CAFile: t.CAFile, Timeout: time.Duration(t.Timeout),
		})
	}
	return rootkey.OpenFile(c.File)
}

func readPassphrase(ctx context.Context, c config.Passphrase, what string, isNew bool) (secret.Bytes, error) {
	switch {
	case c.Credential != "":
		return rootkey.PassphraseFromCredential(c.Credential)
	case c.Terminal:
		return rootkey.PassphraseFromTerminal(ctx, rootkey.ControllingTerminal, what, isNew)
	}
	return rootkey.PassphraseFromFD(ctx, c.FD)
}

// makeRootKey makes what init makes for the provider.
func makeRootKey(c config.RootKey) error {
	if c.File != "" {
		return rootkey.CreateFile(c.File)
	}
	return rootkey.CreateParameters(c.Passphrase.Parameters)
}

// rootKeyCommand is `signerd root-key`.
func rootKeyCommand(stdout io.Writer) *cobra.Command {
	var passphrase bool
	cmd := &cobra.Command{Use: "root-key [--passphrase] FILE", Short: "Make a root key file, to rotate to", Args: func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("%w: name the file to make", errUsage)
		}
		return nil
	}, RunE: func(_ *cobra.Command, args []string) error { return makeNextRootKey(args[0], passphrase, stdout) }}
	cmd.Flags().BoolVar(&passphrase, "passphrase", false, "make a passphrase's parameters instead, which are no secret")
	return cmd
}

// makeNextRootKey is `signerd root-key FILE`, and with a passphrase `signerd root-key --passphrase FILE`.
func makeNextRootKey(path string, passphrase bool, stdout io.Writer) error {
	if err := confine.HideMemory(); err != nil {
		return err
	}
	what, field, create := "root key", "file", rootkey.CreateFile
	if passphrase {
		what, field, create = "passphrase's parameters", "passphrase.parameters", rootkey.CreateParameters
	}
	if err := create(path); err != nil {
		return fmt.Errorf("making the %s: %w", what, err)
	}
	_, _ = fmt.Fprintf(stdout, "made the %s %s: keep a copy where the store is not\nnext: name it as next_root_key.%s, send SIGHUP, and then signerctl root-key rotate\n", what, path, field)
	return nil
}

// nextRootKey opens the root key to come that a configuration names; nil if it names none.
func nextRootKey(ctx context.Context, c config.NextRootKey) (keystore.RootKey, error) {
	r := c.RootKey()
	if r.MadeByInit() == "" && r.KMS.Socket == "" && r.Transit.Address == "" {
		return nil, nil
	}
	return openRootKey(ctx, r, "next root key", true)
}

// errAskedAtStart says that a passphrase cannot be asked for now: the file descriptor of that number is another file by now, and nobody
// may be at the terminal.
var errAskedAtStart = errors.New("a passphrase from a file descriptor or a terminal is asked for at start alone: restart signerd with this next_root_key")

// coming is the root key to come as it was opened at start.
type coming struct {
	section config.NextRootKey
	root    keystore.RootKey
}

// now opens what the configuration names by now.
func (c coming) now(ctx context.Context, section config.NextRootKey) (keystore.RootKey, error) {
	p := section.Passphrase
	switch atStart := p.Parameters != "" && p.Credential == ""; {
	case atStart && section == c.section:
		return c.root, nil
	case atStart:
		return nil, errAskedAtStart
	}
	return nextRootKey(ctx, section)
}

// rootKeys are what a start opens before anything else: what a passphrase is read from may be out of reach later.
type rootKeys struct {
	now keystore.RootKey
	// next is the root key to come; nil for none.
	next keystore.RootKey
}

// openRootKeys opens what the configuration names.
func openRootKeys(ctx context.Context, c *config.Config, isNew bool) (rootKeys, error) {
	now, err := rootKey(ctx, c.RootKey, isNew)
	if err != nil {
		return rootKeys{}, err
	}
	next, err := nextRootKey(ctx, c.NextRootKey)
	if err != nil {
		return rootKeys{}, fmt.Errorf("next_root_key: %w", err)
	}
	return rootKeys{now, next}, nil
}

// How long signerd waits before it asks again for a root key that was not available: the first time, and at most.
const (
	firstPause   = time.Second
	longestPause = 30 * time.Second
)

// patiently does something again and again while the root key is not available; away is told why, and in how long it is done again.
func patiently(ctx context.Context, do func() error, away func(err error, pause time.Duration)) error {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := do()
		if ctx.Err() != nil || !errors.Is(err, keystore.ErrRootKeyUnavailable) {
			return err
		}
		away(err, pause)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// pluginLook is how often a KMS plugin's status is asked for, as API servers of Kubernetes do.
const pluginLook = time.Minute

// watchRootKey logs what a KMS plugin says of its key, until stop is called. Serving does not depend on it.
func watchRootKey(root keystore.RootKey, log *slog.Logger) (stop func()) {
	kms, ok := root.(*rootkey.KMS)
	if !ok {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ticker := time.NewTicker(pluginLook)
	done := make(chan struct{})
	go func() {
		defer close(done)
		kms.Watch(ctx, ticker.C, func(keyID string, err error) {
			if err != nil {
				log.Warn("the KMS plugin is not well; what is loaded is served on, but a start would wait for it", "cause", err.Error())
				return
			}
			log.Info("the KMS plugin is well", "key_id", keyID, "keyring_key_id", kms.KeyID())
		})
	}()
	return func() {
		cancel()
		<-done
		ticker.Stop()
	}
}
