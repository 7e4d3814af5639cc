package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/internal/confine"
	"github.com/signerd/signerd/internal/owner"
)

// The widest modes that are served from. A group may read the log, as whoever collects it does; the anchor has no secret in it, and
// may be read by all who keep a copy. The store's and the root key's modes are looked at where they are opened.
const (
	widestAuditDir fs.FileMode = 0o750
	widestRecords  fs.FileMode = 0o640
	widestAnchor   fs.FileMode = 0o644
)

// Errors of checkPermissions, beside owner.ErrOthers.
var (
	// errAnchorPermissions marks that others may write the anchor.
	errAnchorPermissions = errors.New("the anchor can be changed by other users")
	// errAuditPermissions marks that others may read or change what is on record.
	errAuditPermissions = errors.New("the audit log is open to other users")
)

// checkPermissions refuses a store, an anchor and an audit log that are open to others, belong to others, or are in folders where others may
// replace them. What is missing is for others to find.
func checkPermissions(c *config.Config) error {
	info, err := os.Stat(c.Anchor)
	if err == nil {
		err = notWider(info, c.Anchor, widestAnchor, errAnchorPermissions)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := checkAuditPermissions(c.Audit.Dir); err != nil {
		return err
	}
	for _, path := range []string{c.Store, c.Anchor, c.Audit.Dir} {
		for _, folder := range confine.FolderOf(path) {
			if err := ownAlone(folder); err != nil {
				return err
			}
		}
	}
	return ownAlone(c.Store)
}

// ownAlone refuses what others can change.
func ownAlone(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := owner.Alone(info); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// checkAuditPermissions looks at the folder and each file in it.
func checkAuditPermissions(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if err := notWider(info, dir, widestAuditDir, errAuditPermissions); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // a signerd that serves compresses and removes files
		}
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			continue // a link's mode says nothing, and the log follows none
		}
		if err := notWider(info, dir+"/"+entry.Name(), widestRecords, errAuditPermissions); err != nil {
			return err
		}
	}
	return nil
}

// notWider refuses a wider mode, and another user's file.
func notWider(info fs.FileInfo, path string, widest fs.FileMode, refusal error) error {
	if perm := info.Mode().Perm(); perm&^widest&0o077 != 0 {
		return fmt.Errorf("%s (mode %04o): %w; the widest mode is %04o", path, perm, refusal, widest)
	}
	if err := owner.Alone(info); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
