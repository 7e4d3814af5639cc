// Package bolt is the embedded store: one bbolt file on a local disk, for one signerd process.
//
// It is for cmd/signerd, which opens it and hands it to keystore. It sees only sealed records, and never interprets
// them.
package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/signerd/signerd/internal/durable"
	"github.com/signerd/signerd/keystore"
)

// The file's layout: one bucket of records (name → generation, 8 bytes big-endian, then the sealed bytes) and one for
// the store's own numbers.
var (
	bucketRecords = []byte("records")
	bucketMeta    = []byte("meta")
	keyFormat     = []byte("format")
	keyRevision   = []byte("revision")
)

const format = 1

// lockWait is how long Open waits for another process to let go of the file.
const lockWait = time.Second

// Errors of Open.
var (
	// ErrInUse says that another process has the file open.
	ErrInUse = errors.New("another process is using it")
	// ErrNotStore says that the file is damaged as a database, or is none of ours.
	ErrNotStore = errors.New("it is not a readable signerd store")
	// ErrPermissions says that the file is open to others than its owner.
	ErrPermissions = errors.New("its mode lets other users read or write it; wanted 0600")
)

// Store implements keystore.Store.
type Store struct {
	path string // without symbolic links, for Compact puts another file there
	// swap is held alone by Compact, which replaces db and file, and shared by whoever uses them.
	swap sync.RWMutex
	db   *bbolt.DB
	file *os.File // what db has open and locked
	// unsynced says that the folder may still have the file before the last Compact: commits sync it first.
	unsynced atomic.Bool
	onStep   func(string) error // for tests; nil otherwise
	// broken says that bbolt panicked on the file: its locks may be held for ever, and it must not be asked again.
	broken atomic.Bool

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every commit
	closed  bool
	done    chan struct{}
}

var _ keystore.Store = (*Store)(nil)

// Create makes a new, empty store file with mode 0600, whole or not at all. It fails with fs.ErrExist if there is one.
func Create(path string) error {
	switch _, err := os.Lstat(path); {
	case err == nil:
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	unfinished := path + ".new"
	if err := removeUnfinished(unfinished); err != nil {
		return err
	}
	s, err := open(unfinished, layOut)
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	return durable.MoveNew(unfinished, path)
}

func layOut(tx *bbolt.Tx) error {
	if _, err := tx.CreateBucket(bucketRecords); err != nil {
		return err
	}
	meta, err := tx.CreateBucket(bucketMeta)
	if err != nil {
		return err
	}
	if err := meta.Put(keyFormat, number(format)); err != nil {
		return err
	}
	return meta.Put(keyRevision, number(0))
}

// Open opens an existing store file. Errors: fs.ErrNotExist, ErrInUse, ErrPermissions, ErrNotStore.
func Open(path string) (*Store, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() == 0:
		return nil, fmt.Errorf("opening %s: %w", path, ErrNotStore)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("opening %s (mode %04o): %w", path, info.Mode().Perm(), ErrPermissions)
	}
	// Compact renames over the file itself, not over a link to it.
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	s, err := open(resolved, nil)
	if err != nil {
		return nil, err
	}
	// What a Compact that was killed left behind is nobody's: the store's lock is ours.
	if err := removeUnfinished(resolved + compactSuffix); err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", path, err), s.Close())
	}
	return s, nil
}

// openOptions are how every file is opened; what is opened goes to file.
func openOptions(file **os.File) *bbolt.Options {
	return &bbolt.Options{Timeout: lockWait, FreelistType: bbolt.FreelistMapType,
		OpenFile: func(path string, flag int, mode fs.FileMode) (f *os.File, err error) {
			*file, err = os.OpenFile(path, flag, mode)
			return *file, err
		}}
}

func open(path string, prepare func(*bbolt.Tx) error) (*Store, error) {
	s := &Store{path: path, changed: make(chan struct{}), done: make(chan struct{})}
	err := onDamagedFile(func() (err error) {
		s.db, err = bbolt.Open(path, 0o600, openOptions(&s.file))
		switch {
		case errors.Is(err, bbolterrors.ErrTimeout):
			return ErrInUse
		case errors.As(err, new(*fs.PathError)):
			return err // of the file system, and says nothing about the content
		case err != nil:
			return fmt.Errorf("%w: %w", ErrNotStore, err)
		}
		switch err := s.isAt(path); {
		case err != nil:
			return err
		case prepare != nil:
			return s.db.Update(prepare)
		default:
			return s.db.View(checkFormat)
		}
	})
	if err == nil {
		return s, nil
	}
	err = fmt.Errorf("opening %s: %w", path, err)
	if s.db != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	return nil, errors.Join(err, s.abandon())
}

// isAt refuses a file that is no longer the one of that name: another process compacted it while this one waited for the lock.
func (s *Store) isAt(path string) error {
	opened, err := s.file.Stat()
	if err != nil {
		return err
	}
	named, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(opened, named) {
		return ErrInUse
	}
	return nil
}

// abandon lets go of the file after a panic of bbolt's: it is still open and locked, and closing it unlocks nothing
// while it is mapped.
func (s *Store) abandon() error {
	if s.file == nil {
		return nil
	}
	return errors.Join(syscall.Flock(int(s.file.Fd()), syscall.LOCK_UN), s.file.Close())
}

func checkFormat(tx *bbolt.Tx) error {
	meta := tx.Bucket(bucketMeta)
	if meta == nil || tx.Bucket(bucketRecords) == nil {
		return ErrNotStore
	}
	if found := meta.Get(keyFormat); string(found) != string(number(format)) {
		return fmt.Errorf("%w: its format is not %d", ErrNotStore, format)
	}
	return nil
}

// errPanic marks an error that was a panic or a fault.
var errPanic = errors.New("the database panicked")

// onDamagedFile runs use, and turns what bbolt does on a damaged file (it panics, or reads beyond the file's end) into
// an error.
func onDamagedFile(use func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %w: %v", ErrNotStore, errPanic, r)
		}
	}()
	return use()
}

// Load implements keystore.Store.
func (s *Store) Load(ctx context.Context) (records []keystore.Record, revision uint64, err error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	err = s.guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			revision = readRevision(tx)
			return tx.Bucket(bucketRecords).ForEach(func(name, value []byte) error {
				r := keystore.Record{Name: string(name)}
				if len(value) >= 8 {
					r.Generation = binary.BigEndian.Uint64(value)
					r.Sealed = append([]byte(nil), value[8:]...)
				}
				// A shorter value is damaged: the keystore, which has the list of what should be there, names it.
				records = append(records, r)
				return nil
			})
		})
	})
	return records, revision, err
}

// Commit implements keystore.Store.
func (s *Store) Commit(ctx context.Context, changes []keystore.Change) (revision uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	err = s.guard(func() error {
		if err := s.syncFolder(); err != nil {
			return err
		}
		return s.db.Update(func(tx *bbolt.Tx) error {
			records := tx.Bucket(bucketRecords)
			for _, c := range changes {
				if generation(records.Get([]byte(c.Name))) != c.Expect {
					return fmt.Errorf("record %q: %w", c.Name, keystore.ErrConflict)
				}
			}
			for _, c := range changes {
				value := append(number(c.Generation), c.Sealed...)
				if err := records.Put([]byte(c.Name), value); err != nil {
					return err
				}
			}
			revision = readRevision(tx) + 1
			return tx.Bucket(bucketMeta).Put(keyRevision, number(revision))
		})
	})
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	return revision, nil
}

// Watch implements keystore.Store. No other process can commit while this one has the file.
func (s *Store) Watch(ctx context.Context, after uint64) error {
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		var now uint64
		err := s.guard(func() error {
			return s.db.View(func(tx *bbolt.Tx) error {
				now = readRevision(tx)
				return nil
			})
		})
		if err != nil || now > after {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.done:
			return keystore.ErrStoreClosed
		}
	}
}

// Close implements keystore.Store. It waits for calls under way.
func (s *Store) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	if !first {
		return nil
	}
	close(s.done)
	s.swap.RLock()
	defer s.swap.RUnlock()
	if s.broken.Load() {
		return s.abandon()
	}
	return s.db.Close()
}

// guard runs one use of the database, while Compact does not replace it.
func (s *Store) guard(use func() error) error {
	s.swap.RLock()
	defer s.swap.RUnlock()
	return s.use(use)
}

// use runs one use of the database and gives its errors the names of the contract.
func (s *Store) use(use func() error) error {
	if s.broken.Load() {
		return ErrNotStore
	}
	err := onDamagedFile(use)
	if errors.Is(err, errPanic) {
		s.broken.Store(true)
	}
	if errors.Is(err, bbolterrors.ErrDatabaseNotOpen) {
		return keystore.ErrStoreClosed
	}
	return err
}

func readRevision(tx *bbolt.Tx) uint64 { return generation(tx.Bucket(bucketMeta).Get(keyRevision)) }

// generation reads the number at the start of a stored value; 0 when there is none.
func generation(value []byte) uint64 {
	if len(value) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(value)
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
