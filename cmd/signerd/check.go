package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/internal/confine"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/bolt"
	"github.com/signerd/signerd/upstream/noon"
)

// errCheck says that the findings were printed.
var errCheck = errors.New("the configuration cannot be served as it is")

// check is `signerd check`: it prints a line for each thing it looked at, and changes nothing.
func check(ctx context.Context, configFile string, stdout io.Writer) error {
	c, err := load(configFile)
	if err != nil {
		return err
	}
	r := report{out: stdout}
	r.add("configuration "+configFile, nil)
	// From here on files are refused to it as they are to a serving signerd.
	root, rootErr := openRootKeys(ctx, c, false)
	r.confinement(c, configFile)
	for _, socket := range []config.Socket{c.Socket, c.AdminSocket} {
		_, err := checkSocket(socket.Path)
		r.add("socket "+socket.Path, err)
	}
	if source, err := loadTLS(c.TLS); c.TLS.Enabled() {
		r.add("TLS files", err)
		if err == nil && time.Now().After(source.NotAfter()) {
			r.warn("tls.certificate: it has expired; clients will refuse it")
		}
		if info, err := os.Stat(c.TLS.Key); err == nil && info.Mode().Perm()&0o007 != 0 {
			r.warn(fmt.Sprintf("tls.key: %s can be read by every user of the host", c.TLS.Key))
		}
	}
	if _, err := noonConfig(c, slog.New(slog.DiscardHandler)); c.Noon.CAFile != "" {
		r.add("noon.ca_file "+c.Noon.CAFile, err)
	}
	if c.Tracing.Endpoint != "" {
		_, stop, err := startTracing(c.Tracing, slog.New(slog.DiscardHandler))
		r.add("tracing", err)
		if err == nil {
			stop()
		}
	}
	r.add("audit log "+c.Audit.Dir, notYet(checkAuditDir(c.Audit.Dir)))
	r.add("permissions of store, anchor and audit log", checkPermissions(c))
	if rootErr == nil {
		rootErr = contents(ctx, c, root)
	}
	switch err := rootErr; {
	case errors.Is(err, bolt.ErrInUse):
		r.add("store: another process is using it, which will be the signerd that serves; its contents were not looked at", nil)
	default:
		r.add("root key and store", notYet(err))
	}
	if len(c.Administrators) == 0 {
		r.warn("administrators: there are none, so that nobody can set a first policy, and without one nobody may do anything")
	}
	if filepath.Dir(c.Anchor) == filepath.Dir(c.Store) {
		r.warn("anchor: it is beside the store; whoever puts back an older copy of the folder is not noticed")
	}
	if r.failed {
		return errCheck
	}
	return nil
}

type report struct {
	out    io.Writer
	failed bool
}

func (r *report) add(what string, err error) {
	if err == nil {
		_, _ = fmt.Fprintf(r.out, "ok       %s\n", what)
		return
	}
	r.failed = true
	_, _ = fmt.Fprintf(r.out, "problem  %s: %v\n", what, explain(err))
}

func (r *report) warn(text string) { _, _ = fmt.Fprintf(r.out, "warning  %s\n", text) }

// confinement shuts the process in as serving would.
func (r *report) confinement(c *config.Config, configFile string) {
	if c.Confinement == config.ConfineOff {
		r.warn("confinement: it is off; debuggers and core dumps can read keys")
		return
	}
	_, err := confine.Restrict(ownFiles(configFile, c))
	if c.Confinement == config.ConfineBestEffort && errors.Is(err, confine.ErrNoLandlock) {
		r.warn(fmt.Sprintf("confinement: %v; every file of the user's can be opened", err))
		return
	}
	r.add("confinement", err)
}

// contents opens the store and checks every record.
func contents(ctx context.Context, c *config.Config, root rootKeys) error {
	kc, err := filesWith(c, root, noon.Destinations{})
	if err != nil {
		return err
	}
	return errors.Join(keystore.Verify(ctx, kc), kc.Store.Close())
}
