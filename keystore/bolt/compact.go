package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/signerd/signerd/internal/durable"
	"github.com/signerd/signerd/keystore"
)

// compactSuffix ends the name of a new file that is not yet the store.
const compactSuffix = ".compact"

// errCopy says that a compacted copy is not what it was copied from; it is thrown away.
var errCopy = errors.New("the compacted copy differs from the store")

// Compact implements keystore.Store: it copies every record into a new file beside the store, and renames that over it. Until the
// rename the store is the old file, whole; from then on the new one, whole. This process has each locked while it is the store.
func (s *Store) Compact(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.swap.Lock()
	defer s.swap.Unlock()
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return keystore.ErrStoreClosed
	}
	return s.use(s.compact)
}

// compact does the work of Compact. The caller holds s.swap alone.
func (s *Store) compact() error {
	db, file, err := s.copyBeside()
	if err != nil {
		return err
	}
	if err = s.reach("rename"); err == nil {
		err = os.Rename(s.path+compactSuffix, s.path)
	}
	if err != nil {
		return errors.Join(err, db.Close(), os.Remove(s.path+compactSuffix))
	}
	old := s.db
	s.db, s.file = db, file
	// Until the folder is durable, a loss of power may bring the old file back: nothing may be acknowledged that is not in it.
	s.unsynced.Store(true)
	return errors.Join(s.syncFolder(), old.Close())
}

// copyBeside makes a durable, locked copy that has the records and nothing else.
func (s *Store) copyBeside() (db *bbolt.DB, file *os.File, err error) {
	path := s.path + compactSuffix
	if err := removeUnfinished(path); err != nil {
		return nil, nil, err
	}
	if err := s.reach("create"); err != nil {
		return nil, nil, err
	}
	options := openOptions(&file)
	open := options.OpenFile
	options.OpenFile = func(path string, flag int, mode fs.FileMode) (*os.File, error) {
		return open(path, flag|os.O_EXCL, mode)
	}
	db, err = bbolt.Open(path, 0o600, options)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("making a new file for the store: %w", err), removeUnfinished(path))
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"copy", func() error { return bbolt.Compact(db, s.db, 0) }},
		{"compare", func() error { return compare(s.db, db) }},
		{"sync", db.Sync},
	} {
		if err = s.reach(step.name); err == nil {
			err = step.do()
		}
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("compacting into a new file: %w", err), db.Close(), removeUnfinished(path))
		}
	}
	return db, file, nil
}

// compare fails unless both files hold the same.
func compare(a, b *bbolt.DB) error {
	return a.View(func(from *bbolt.Tx) error {
		return b.View(func(to *bbolt.Tx) error {
			for _, name := range [][]byte{bucketRecords, bucketMeta} {
				copied := to.Bucket(name)
				if copied == nil || copied.Inspect().KeyN != from.Bucket(name).Inspect().KeyN {
					return errCopy
				}
				err := from.Bucket(name).ForEach(func(k, v []byte) error {
					if !bytes.Equal(copied.Get(k), v) {
						return errCopy
					}
					return nil
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// syncFolder makes the last rename durable, if it is not.
func (s *Store) syncFolder() error {
	if !s.unsynced.Load() {
		return nil
	}
	if err := s.reach("folder"); err != nil {
		return err
	}
	if err := durable.SyncDir(filepath.Dir(s.path)); err != nil {
		return fmt.Errorf("making the compacted store's name durable: %w", err)
	}
	s.unsynced.Store(false)
	return nil
}

// removeUnfinished removes what a process that was killed, or failed, left of a new file.
func removeUnfinished(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// reach tells a test which step comes next, and fails if the test wants it to.
func (s *Store) reach(step string) error {
	if s.onStep == nil {
		return nil
	}
	return s.onStep(step)
}
