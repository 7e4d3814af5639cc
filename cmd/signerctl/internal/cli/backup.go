package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/grpc"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/backup"
	"github.com/signerd/signerd/internal/durable"
)

const longBackup = `Write a backup of everything that signerd keeps (keys, the policy) to FILE, or to standard output where it is "-". It is taken while
signerd serves, and sealed as the store is: without the root key of this day it opens nothing, and with it "signerd restore" makes a
store of it. The audit log is not in it: copy its folder.

FILE gets mode 0600 and its name only once it is whole and was checked. One that is there is replaced with --force alone, and only if
it is a regular file.

Keep what "signerctl audit key" prints with the recovery key, if you have one: to restore a backup with that alone takes it.`

const longBackupVerify = `Check that a backup is whole and was not changed, without any key, and show what it holds. Do this where backups are kept.

Whoever can write the file could have put together another one. --verifier-key FILE, with what "signerctl audit key" printed, shows
that the store itself made it; "signerd restore" looks whether the store that the backup is of did, and opens every record before it
changes anything.`

func (a *app) backupCommand() *cobra.Command {
	var force bool
	cmd := command("backup FILE [--force]", "Write a backup of all keys and the policy, sealed", positional("FILE"), func(cmd *cobra.Command, args []string) error {
		if args[0] == "" {
			return &usageError{message: "FILE is empty"}
		}
		return a.backup(cmd, args[0], force)
	})
	cmd.Long = longBackup + "\n\n" + longStreamTimeout
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE")
	cmd.AddCommand(a.backupVerifyCommand())
	return cmd
}

func (a *app) backup(cmd *cobra.Command, path string, force bool) error {
	a.patient(cmd)
	if path == "-" {
		if err := a.stdout.kept("`> FILE` keeps the backup, and so does a FILE in place of `-`"); err != nil {
			return err
		}
	}
	conn, err := a.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	fetch := func(w io.Writer) error {
		return receive(cmd, func(ctx context.Context) (grpc.ServerStreamingClient[adminv1.BackupResponse], error) {
			return adminv1.NewSystemServiceClient(conn).Backup(ctx, &adminv1.BackupRequest{})
		}, func(piece *adminv1.BackupResponse) error {
			_, err := w.Write(piece.GetData())
			return err
		})
	}
	if path == "-" {
		m, err := checkedWhile(a.stdout, fetch)
		if err != nil {
			return &failure{what: "taking a backup", err: err, hint: "what was written to standard output is no backup"}
		}
		writeManifest(a.stderr, m)
		return nil
	}
	switch info, err := os.Lstat(path); {
	case err == nil && !info.Mode().IsRegular():
		return &failure{what: "taking a backup", err: durable.ErrNotRegular, hint: "give another FILE; --force replaces files alone"}
	case err == nil && !force:
		return &failure{what: "taking a backup", err: fs.ErrExist, hint: "give another FILE, or --force to replace it"}
	}
	m, err := saveBackup(path, force, fetch)
	if err != nil {
		return &failure{what: "taking a backup", err: err, hint: "nothing was kept of it"}
	}
	writeManifest(a.stdout, m)
	_, _ = io.WriteString(a.stderr, keepHint)
	return nil
}

// keepHint is for whoever has a recovery key: nothing else shows later that it was this signerd that made a backup.
const keepHint = "To restore it with a recovery key, keep what signerctl audit key prints with the recovery key.\n"

// saveBackup writes a file that has its name only once it is whole, checked and durable.
func saveBackup(path string, replace bool, fetch func(io.Writer) error) (m backup.Manifest, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return m, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if m, err = checkedWhile(f, fetch); err != nil {
		return m, err
	}
	if err = f.Sync(); err != nil {
		return m, err
	}
	if replace {
		err = os.Rename(f.Name(), path)
	} else {
		err = durable.MoveNew(f.Name(), path)
	}
	if err != nil {
		return m, err
	}
	return m, errors.Join(f.Close(), durable.SyncDir(filepath.Dir(path)))
}

// checkedWhile writes what is fetched, and reads it as a backup at the same time.
func checkedWhile(w io.Writer, fetch func(io.Writer) error) (backup.Manifest, error) {
	type outcome struct {
		m   backup.Manifest
		err error
	}
	read, write := io.Pipe()
	done := make(chan outcome, 1)
	go func() {
		m, _, err := backup.Read(bufio.NewReader(read), nil)
		read.CloseWithError(err) // fetching more is of no use
		done <- outcome{m, err}
	}()
	failed := fetch(io.MultiWriter(w, write))
	write.CloseWithError(failed)
	checked := <-done
	if checked.err != nil && (failed == nil || errors.Is(failed, checked.err)) {
		return checked.m, fmt.Errorf("what signerd sent: %w", checked.err)
	}
	return checked.m, failed
}

func (a *app) backupVerifyCommand() *cobra.Command {
	var key file
	var output *choice
	cmd := command("verify FILE [--verifier-key FILE] [-o text|json]", "Check that a backup is whole, without any key", positional("FILE"),
		func(_ *cobra.Command, args []string) error {
			var verifier note.Verifier
			if key.given() {
				text, err := a.read(&key, maxVerifierKeyBytes)
				if err != nil {
					return err
				}
				if verifier, err = newVerifier(strings.TrimSpace(string(text))); err != nil {
					return &failure{what: "reading --verifier-key", err: err}
				}
			}
			m, err := verifyBackup(args[0], verifier)
			if err != nil {
				return &failure{what: "verifying the backup", err: err}
			}
			if output.value == formatJSON {
				b, err := json.MarshalIndent(m, "", "  ")
				if err != nil {
					return &failure{what: "writing the output", err: err}
				}
				return a.write(append(b, '\n'))
			}
			writeManifest(a.stdout, m)
			return nil
		})
	cmd.Long = longBackupVerify
	fileVar(cmd.Flags(), &key, "verifier-key", "what `signerctl audit key` printed: shows that the store made the backup")
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

var errOtherSigner = errors.New("it was not made by the store whose verifier key this is")

func verifyBackup(path string, verifier note.Verifier) (backup.Manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return backup.Manifest{}, err
	}
	defer func() { _ = f.Close() }()
	m, seal, err := backup.Read(bufio.NewReader(f), nil)
	if err != nil {
		return m, err
	}
	if verifier != nil && !seal.By(verifier) {
		return m, errOtherSigner
	}
	return m, nil
}

func writeManifest(w io.Writer, m backup.Manifest) {
	table(w, [][]string{
		{"Keys:", fmt.Sprint(m.Keys)},
		{"Records:", fmt.Sprintf("%d, %d bytes", m.Records, m.Bytes)},
		{"Store:", fmt.Sprintf("%s, at change %d", m.StoreID, m.Counter)},
		{"Taken:", m.Created.UTC().Format(time.RFC3339) + " by signerd " + plain(m.Version)},
		{"Root key:", plain(m.RootKeyID)},
	}...)
}
