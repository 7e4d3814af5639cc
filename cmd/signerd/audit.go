package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/internal/version"
	"github.com/signerd/signerd/keystore"
)

// checkAuditDir says why no records can be written to a folder. What is in it, VerifyLog says.
func checkAuditDir(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return errors.New("it is no folder")
	}
	return disk.Dir(path).Writable()
}

// errNoLog marks that the folder of the audit log is missing.
var errNoLog = errors.New("the audit log is missing")

// auditDirMode lets nobody else look at who signed what.
const auditDirMode = 0o700

// makeAuditDir makes the folder of an audit log, or takes one that is there and empty.
func makeAuditDir(path string) error {
	err := os.Mkdir(path, auditDirMode)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := checkAuditPermissions(path); err != nil {
		return err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("audit.dir: %s is not empty, and a new store has no records yet: give it an empty folder", path)
	}
	return nil
}

// recording is the open audit log, and where it is copied to.
type recording struct {
	log    *audit.Log
	copies *audit.Copy
}

// open opens the log of records, which the keystore has the key and the state of. changed is told when records can no longer be
// written, and when they can again.
func (r *recording) open(ctx context.Context, c config.Audit, keys *keystore.Keystore, anchor keystore.Anchor, log *slog.Logger, changed func(error)) error {
	if info, err := os.Stat(c.Dir); err != nil || !info.IsDir() {
		return errors.Join(fmt.Errorf("audit.dir: there is no folder %s: %w", c.Dir, errNoLog), err)
	}
	file, ok := anchor.(*audit.AnchorFile)
	if !ok {
		return fmt.Errorf("the anchor is a %T", anchor)
	}
	signer := keys.AuditSigner()
	anchored, err := file.Checkpoint(signer)
	if err != nil {
		return fmt.Errorf("reading the anchor: %w", err)
	}
	config := audit.Config{
		FS: disk.Dir(c.Dir), Signer: signer, State: keys.AuditState(), Anchor: anchored, Store: keys.StoreState, Keep: keys.SetAuditState,
		Timeout: time.Duration(c.Timeout), MaxFileBytes: c.MaxFileBytes, MaxFileAge: time.Duration(c.MaxFileAge),
		Retention: time.Duration(c.Retention), Version: version.Version,
		Changed: func(err error) {
			if err != nil {
				log.Error("nothing can be recorded, and so nothing is handed out", "cause", err.Error())
			} else {
				log.Info("records are written")
			}
			changed(err)
		},
	}
	if r.copies != nil {
		config.Sink = r.copies
	}
	if r.log, err = audit.Open(ctx, config); err != nil {
		return fmt.Errorf("opening the audit log %s: %w", c.Dir, err)
	}
	file.Attach(func() tlog.Tree {
		// While records are missing, the anchor goes on saying how many there were.
		if tree := r.log.Tree(); tree.N >= anchored.Tree.N || !errors.Is(r.log.Err(), audit.ErrMissing) {
			return tree
		}
		return anchored.Tree
	})
	return nil
}

// copies goes to where the configuration says; nil for nowhere.
func copies(to string, log *slog.Logger) *audit.Copy {
	told := func(lost uint64, err error) {
		switch {
		case lost == 0:
			log.Info("audit records are copied again", "to", to)
		case err != nil:
			log.Warn("audit records are not copied", "to", to, "cause", err.Error())
		default:
			log.Warn("audit records are not copied, being too many", "to", to)
		}
	}
	switch to {
	case config.CopyToStdout:
		return audit.NewCopy(func() (io.WriteCloser, error) { return standardOutput{}, nil }, told)
	case config.CopyToSyslog:
		return audit.NewCopy(audit.Syslog, told)
	}
	return nil
}

// standardOutput is not closed: others write there too.
type standardOutput struct{}

// Write implements io.Writer.
func (standardOutput) Write(p []byte) (int, error) { return os.Stdout.Write(p) }

// Close implements io.Closer.
func (standardOutput) Close() error { return nil }

// closeAudit is how long the last records may take.
const closeAudit = 10 * time.Second

// close writes what is left.
func (r *recording) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeAudit)
	defer cancel()
	var err error
	if r.log != nil {
		err = r.log.Close(ctx)
	}
	if r.copies != nil {
		err = errors.Join(err, r.copies.Close(ctx))
	}
	return err
}
