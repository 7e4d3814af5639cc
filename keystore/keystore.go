// Package keystore keeps partners' keys: names, versions, their states, and their material, sealed.
//
// It is for server, which looks keys up while signing and changes them for operators. Lookups read an immutable
// snapshot: they take no lock, touch no disk and decrypt nothing. Every change is sealed and written before it is seen,
// and anchored before it is acknowledged. Material comes out only as an opened credential, and only against a policy permit.
// For the audit log it keeps the key that signs checkpoints, and a state that is opaque to it. The package knows no partner
// (schemes are given to it), no database (see Store), no records of what was, and never decides who may do what.
package keystore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signerd/signerd/internal/checkpoint"
	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/upstream"
)

// Errors that callers test for. server's error table gives each its code.
var (
	// ErrNotFound says that there is no such key or version.
	ErrNotFound = errors.New("no such key or version")
	// ErrKeyExists says that the name is taken.
	ErrKeyExists = errors.New("a key of this name exists")
	// ErrKeyDisabled says that the key, or the version asked for, is disabled.
	ErrKeyDisabled = errors.New("the key or its version is disabled")
	// ErrNoActiveVersion says that no version has been made active yet.
	ErrNoActiveVersion = errors.New("the key has no active version")
	// ErrVersionDestroyed says that the version's material is gone.
	ErrVersionDestroyed = errors.New("the version was destroyed")
	// ErrUnavailable says that the store could not be read or written; the cause is wrapped.
	ErrUnavailable = errors.New("the store is not available")
	// ErrNotInitialized says that the store is empty.
	ErrNotInitialized = errors.New("the store is empty: it has never been initialized")
	// ErrRemoved says that the store is empty or gone, while its anchor tells that there was one.
	ErrRemoved = errors.New("the store was removed: its anchor is still there")
	// ErrInitialized says that Init found something in the store.
	ErrInitialized = errors.New("the store is not empty: it has been initialized before")
	// ErrDamaged says that records are missing, changed, moved or old; the error names them (see Damage).
	ErrDamaged = errors.New("the store is damaged or was tampered with")
	// ErrAnchor is the ErrDamaged whose fault is the anchor, which is missing, damaged or another store's.
	ErrAnchor = errors.New("the anchor is missing or damaged")
	// ErrRolledBack says that the store as a whole is older than its anchor.
	ErrRolledBack = errors.New("the store is older than its anchor: an older copy was put in its place")
)

// Config is what a keystore needs. Every field but NextRootKey, Recovery, RecoveryKey, VerifierKey, Unverified and Now is required.
type Config struct {
	Store   Store
	Anchor  Anchor
	RootKey RootKey
	// NextRootKey may be what the store is sealed with, where a rotation was made that the configuration does not say yet. Optional.
	NextRootKey RootKey
	// Recovery is what the keyring is wrapped to as well; nil for nothing.
	Recovery RecoveryPublic
	// RecoveryKey opens the keyring instead of RootKey, for OpenBackup and Recover alone; otherwise nil.
	RecoveryKey RecoveryKey
	// VerifierKey is that of the AuditSigner which the store or the backup has to have, for OpenBackup, Recover and Verify; empty for any.
	// Whoever has the public half of a recovery key can make a store that RecoveryKey opens: with it this is required, or Unverified.
	VerifierKey string
	Unverified  bool
	Schemes     []upstream.Scheme
	// Compile makes a stored document a policy. Its errors may quote the document, which is no secret; they go to operators alone.
	Compile func(document []byte) (*policy.Policy, error)
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

func (c *Config) now() time.Time {
	if c.Now == nil {
		return time.Now().UTC()
	}
	return c.Now().UTC()
}

func (c *Config) scheme(name string) upstream.Scheme {
	for _, s := range c.Schemes {
		if s.Name() == name {
			return s
		}
	}
	return nil
}

// Keystore is an open store. All methods are safe for concurrent use.
type Keystore struct {
	config  Config // as it was given: the root key in use is the snapshot's
	current atomic.Pointer[snapshot]
	// freezeTold is what OnFreeze was given, faultTold what OnFault was.
	freezeTold atomic.Pointer[func()]
	faultTold  atomic.Pointer[func(error)]

	// compacted is the counter up to which nothing that was replaced is left in the store's unused parts; 0 for not known.
	compacted atomic.Uint64
	// compacting is why the store could not be compacted the last time; nil for no reason.
	compacting atomic.Pointer[error]

	// change serializes changes and reloads; reading takes no part in it.
	change sync.Mutex
	// uncertain says that the last commit may or may not have been written: reload before the next.
	uncertain bool
	// rotating may be the keyring of the store, while it is not known what became of a rotation; nil otherwise.
	rotating *keyset
	// anchored is the counter that the anchor holds.
	anchored uint64
	// recoveryBefore is what Open found the keyring wrapped to, and recoveryReplaced that it was not what is configured.
	recoveryBefore   string
	recoveryReplaced bool
	// began is when it was opened: uses are known from then on, where the store says nothing of earlier ones.
	began time.Time
}

// snapshot is all that the store held at one revision. It is immutable.
type snapshot struct {
	revision uint64
	keyset
	head       head
	pepper     secret.Bytes
	signer     *checkpoint.Signer
	audit      auditState
	usage      usage
	generation map[string]uint64 // of every record in the head, and the head's
	keys       map[string]*Key
	names      []string      // of keys, sorted
	policy     *StoredPolicy // nil while there is none
	freeze     Freeze
	// serves says which environment each fingerprint belongs to, over all versions of all keys.
	serves map[[32]byte]upstream.Environment
}

// Init makes the records of an empty store. ErrInitialized if there is anything in it, ErrRemoved if only its anchor exists. An Init
// that was interrupted is completed by the next.
func Init(ctx context.Context, c Config) error {
	records, _, err := c.Store.Load(ctx)
	if err != nil {
		return fmt.Errorf("%w: reading it: %w", ErrUnavailable, err)
	}
	anchored, err := c.Anchor.Exists()
	switch {
	case err != nil:
		return fmt.Errorf("%w: reading the anchor: %w", ErrUnavailable, err)
	case len(records) > 0 && !anchored:
		return completeInit(ctx, c)
	case len(records) > 0:
		return ErrInitialized
	case anchored:
		return ErrRemoved
	}
	ring := newKeyring()
	s, err := newSealer(ring)
	if err != nil {
		return err
	}
	wrapped, err := ring.wrap(ctx, c)
	if err != nil {
		return err
	}
	fence, err := newFence(s)
	if err != nil {
		return err
	}
	signer, auditKey, err := newAuditKey(s)
	if err != nil {
		return err
	}
	listed := []Record{{nameKeyring, firstCounter, wrapped}, fence, auditKey}
	h := head{}.with(listed)
	sealed, err := sealHead(s, h)
	if err != nil {
		return err
	}
	if err := commitInit(ctx, c, append(listed, sealed, sealAuditState(s, firstCounter, nil))); err != nil {
		return err
	}
	return writeAnchor(c.Anchor, signer, h)
}

// newFence makes the record of a new pepper.
func newFence(s *sealer) (Record, error) {
	pepper := make([]byte, dataKeySize)
	_, _ = rand.Read(pepper)
	defer clear(pepper)
	fence, err := encode(fenceRecord{recordFormat, pepper})
	if err != nil {
		return Record{}, err
	}
	defer clear(fence)
	return Record{nameFence, firstCounter, s.seal(nameFence, firstCounter, fence)}, nil
}

// firstCounter is the counter of a store that has never changed since Init, and the generation of its records.
const firstCounter = 1

// completeInit writes the anchor of a store whose Init, or Restore, was interrupted. A store with any change in it had an anchor
// once, so its loss is not repaired here.
func completeInit(ctx context.Context, c Config) error {
	k := &Keystore{config: c}
	s, err := k.load(ctx)
	if err != nil {
		return err
	}
	if s.head.counter != s.head.first() || s.audit.generation != firstCounter {
		return errNoAnchor
	}
	return writeAnchor(c.Anchor, s.signer, s.head)
}

func commitInit(ctx context.Context, c Config, records []Record) error {
	var changes []Change
	for _, r := range records {
		changes = append(changes, Change{Record: r})
	}
	if _, err := c.Store.Commit(ctx, changes); err != nil {
		if errors.Is(err, ErrConflict) {
			return ErrInitialized
		}
		return fmt.Errorf("%w: writing it: %w", ErrUnavailable, err)
	}
	return nil
}

func sealHead(s *sealer, h head) (Record, error) {
	plaintext, err := h.encode()
	if err != nil {
		return Record{}, err
	}
	return Record{nameHead, h.counter, s.seal(nameHead, h.counter, plaintext)}, nil
}

// Open reads and checks the whole store, and proves that it is not older than its anchor. Nothing is served from a
// store with any fault: the error names every record concerned (ErrDamaged), or is ErrNotInitialized, ErrWrongRootKey,
// ErrRootKeyUnavailable, ErrRolledBack or ErrUnavailable. A compaction that was interrupted is done again; if it fails, CompactErr says so.
func Open(ctx context.Context, c Config) (*Keystore, error) {
	k := &Keystore{config: c, began: c.now()}
	s, err := k.load(ctx)
	if err != nil {
		return nil, err
	}
	if err := k.checkAnchor(s); err != nil {
		return nil, err
	}
	k.current.Store(s)
	if err := k.raiseAnchor(); err != nil {
		return nil, err
	}
	if err := k.refreshRecovery(ctx); err != nil {
		return nil, err
	}
	// Where it fails it is tried again by Purge, and stops nothing.
	_ = k.compactReplaced(ctx)
	return k, nil
}

// Verify does all the checks of Open, and changes nothing: neither store nor anchor. With c.RecoveryKey, errors as Recover.
func Verify(ctx context.Context, c Config) error {
	_, _, err := verified(ctx, c)
	return err
}

// Lookup finds a key by name, or returns nil. It takes no lock.
func (k *Keystore) Lookup(name string) *Key { return k.current.Load().keys[name] }

// List gives up to limit keys whose names sort after the given one.
func (k *Keystore) List(after string, limit int) []*Key {
	s := k.current.Load()
	i, found := slices.BinarySearch(s.names, after)
	if found {
		i++
	}
	var out []*Key
	for ; i < len(s.names) && len(out) < limit; i++ {
		out = append(out, s.keys[s.names[i]])
	}
	return out
}

// Follow takes in what other processes commit to a shared store, until ctx ends; it then returns ctx's error. Any other
// error means that the store can no longer be read or vouched for, and that nothing may be served from it any more.
//
// While the root key is not available, what others sealed with a new keyring cannot be read: it is tried again until it is, and what
// was loaded before is served meanwhile.
func (k *Keystore) Follow(ctx context.Context) error {
	for {
		seen := k.current.Load().revision
		if err := k.config.Store.Watch(ctx, seen); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%w: watching it: %w", ErrUnavailable, err)
		}
		for {
			err := k.catchUp(ctx, seen)
			if err == nil {
				break
			}
			if ctx.Err() != nil || !errors.Is(err, ErrRootKeyUnavailable) {
				return err
			}
			select {
			case <-time.After(followAgain):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// followAgain is how long Follow waits for a root key that is not available.
const followAgain = 5 * time.Second

// catchUp reloads if the store moved on, unless it was this process that moved it.
func (k *Keystore) catchUp(ctx context.Context, seen uint64) error {
	k.change.Lock()
	defer k.change.Unlock()
	if k.current.Load().revision != seen {
		return nil
	}
	return k.reload(ctx)
}

// reload replaces the snapshot by what the store holds, which must be no older. The caller holds k.change.
func (k *Keystore) reload(ctx context.Context) error {
	s, err := k.load(ctx)
	if err != nil {
		return err
	}
	old := k.current.Load()
	if s.head.counter < old.head.counter || s.head.counter == old.head.counter && s.head.root() != old.head.root() || !s.audit.follows(old.audit) {
		return ErrRolledBack
	}
	k.publish(s)
	k.uncertain, k.rotating = false, nil
	return k.raiseAnchor()
}
