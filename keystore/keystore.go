// Package keystore keeps partners' keys: names, versions, their states, and their material, sealed.
//
// It is for server, which looks keys up while signing and changes them for operators. Lookups read an immutable
// snapshot: they take no lock, touch no disk and decrypt nothing. Every change is sealed and written before it is seen,
// and anchored before it is acknowledged. Material comes out only as an opened credential, and only against a policy permit.
// For the audit log it keeps the key that signs checkpoints, and a state that is opaque to it. The package knows no partner
// (schemes are given to it), no database (see Store), no records of what was, and never decides who may do what.
package keystore

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
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

// Config is what a keystore needs. Every field but NextRootKey and Now is required.
type Config struct {
	Store   Store
	Anchor  Anchor
	RootKey RootKey
	// NextRootKey may be what the store is sealed with, where a rotation was made that the configuration does not say yet. Optional.
	NextRootKey RootKey
	Schemes     []upstream.Scheme
	// Compile makes a stored document a policy. Its errors may quote the document, which is no secret; they go to operators alone.
	Compile func(document []byte) (*policy.Policy, error)
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

func (c Config) now() time.Time {
	if c.Now == nil {
		return time.Now().UTC()
	}
	return c.Now().UTC()
}

func (c Config) scheme(name string) upstream.Scheme {
	for _, s := range c.Schemes {
		if s.Name() == name {
			return s
		}
	}
	return nil
}

// Keystore is an open store. All methods are safe for concurrent use.
type Keystore struct {
	config  Config
	current atomic.Pointer[snapshot]
	// freezeTold is what OnFreeze was given.
	freezeTold atomic.Pointer[func()]

	// change serializes changes and reloads; reading takes no part in it.
	change sync.Mutex
	// uncertain says that the last commit may or may not have been written: reload before the next.
	uncertain bool
	// otherRootKey may be what wraps the keyring, while it is not known what became of a rotation; nil otherwise.
	otherRootKey RootKey
	// anchored is the counter that the anchor holds.
	anchored uint64
}

// snapshot is all that the store held at one revision. It is immutable.
type snapshot struct {
	revision   uint64
	rootKeyID  string // of the one that wraps the keyring
	head       head
	sealer     *sealer
	keyring    []byte // the record that sealer was unwrapped from
	pepper     secret.Bytes
	signer     *checkpoint.Signer
	audit      auditState
	generation map[string]uint64 // of every record, the head's included, but not of audit
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
	wrapped, err := ring.wrap(ctx, c.RootKey)
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

// completeInit writes the anchor of a store whose Init was interrupted. A store with any change in it had an anchor
// once, so its loss is not repaired here.
func completeInit(ctx context.Context, c Config) error {
	k := &Keystore{config: c}
	s, err := k.load(ctx)
	if err != nil {
		return err
	}
	if s.head.counter != firstCounter || s.audit.generation != firstCounter {
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
// ErrRootKeyUnavailable, ErrRolledBack or ErrUnavailable.
func Open(ctx context.Context, c Config) (*Keystore, error) {
	k := &Keystore{config: c}
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
	return k, nil
}

// Verify does all the checks of Open, and changes nothing: neither store nor anchor.
func Verify(ctx context.Context, c Config) error {
	k := &Keystore{config: c}
	s, err := k.load(ctx)
	if err != nil {
		return err
	}
	return k.checkAnchor(s)
}

// load reads the store into a snapshot.
func (k *Keystore) load(ctx context.Context) (*snapshot, error) {
	list, revision, err := k.config.Store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: reading it: %w", ErrUnavailable, err)
	}
	if len(list) == 0 {
		return nil, ErrNotInitialized
	}
	records := make(map[string]Record, len(list))
	for _, r := range list {
		records[r.Name] = r
	}
	ring, ok := records[nameKeyring]
	if !ok {
		return nil, damaged(nameKeyring, "it is missing")
	}
	sealer, err := k.openSealer(ctx, ring.Sealed)
	if err != nil {
		return nil, err
	}
	h, err := openHead(sealer, records)
	if err != nil {
		return nil, err
	}
	if err := h.compare(sealer, records); err != nil {
		return nil, err
	}
	s := &snapshot{revision: revision, rootKeyID: k.config.RootKey.ID(), head: h, sealer: sealer, keyring: ring.Sealed, generation: make(map[string]uint64, len(records)),
		keys: make(map[string]*Key), serves: make(map[[32]byte]upstream.Environment)}
	return s, k.fill(s, records)
}

// openSealer asks the root key only when the keyring is not the one that is loaded: a root key that goes away stops nothing that is.
func (k *Keystore) openSealer(ctx context.Context, sealed []byte) (*sealer, error) {
	if s := k.current.Load(); s != nil && bytes.Equal(s.keyring, sealed) {
		if other := k.otherRootKey; other != nil && other.ID() == s.rootKeyID {
			k.config.RootKey = other // a rotation that came to nothing
		}
		return s.sealer, nil
	}
	keys, err := k.unwrap(ctx, sealed)
	if err != nil {
		return nil, err
	}
	s, err := newSealer(keys)
	if err != nil {
		return nil, damaged(nameKeyring, "%v", err)
	}
	return s, nil
}

func openHead(s *sealer, records map[string]Record) (head, error) {
	r, ok := records[nameHead]
	if !ok {
		return head{}, damaged(nameHead, "it is missing")
	}
	plaintext, err := s.open(nameHead, r.Generation, r.Sealed)
	if err != nil {
		return head{}, damaged(nameHead, "it is damaged, or belongs to another store")
	}
	h, err := decodeHead(plaintext)
	if err != nil {
		return head{}, damaged(nameHead, "%v", err)
	}
	if h.counter != r.Generation {
		return head{}, damaged(nameHead, "its counter is not its generation")
	}
	return h, nil
}

// fill opens every record into s. Only records that the head vouches for reach it, and the audit log's state.
func (k *Keystore) fill(s *snapshot, records map[string]Record) error {
	var problems Damage
	for name, r := range records {
		if name != nameAudit {
			s.generation[name] = r.Generation
		}
	}
	fence, err := s.sealer.open(nameFence, s.generation[nameFence], records[nameFence].Sealed)
	if err != nil {
		return damaged(nameFence, "it is missing or damaged")
	}
	defer clear(fence)
	if s.pepper, err = decodeFenceRecord(fence); err != nil {
		return damaged(nameFence, "%v", err)
	}
	if s.signer, err = openAuditKey(s.sealer, records[nameAuditKey]); err != nil {
		problems = append(problems, Problem{nameAuditKey, err.Error()})
	}
	if s.audit, err = openAuditState(s.sealer, records); err != nil {
		problems = append(problems, Problem{nameAudit, err.Error()})
	}
	for name, r := range records {
		switch {
		case strings.HasPrefix(name, prefixKey):
			key, err := k.openKey(s, r)
			if err != nil {
				problems = append(problems, Problem{name, err.Error()})
				continue
			}
			s.add(key)
		case name == namePolicy:
			var err error
			if s.policy, err = k.openPolicy(s, r); err != nil {
				problems = append(problems, Problem{name, err.Error()})
			}
		case name == nameFreeze:
			var err error
			if s.freeze, err = openFreeze(s, r); err != nil {
				problems = append(problems, Problem{name, err.Error()})
			}
		case !slices.Contains([]string{nameHead, nameKeyring, nameFence, nameAuditKey, nameAudit}, name):
			problems = append(problems, Problem{name, "this program does not know such a record"})
		}
	}
	if len(problems) > 0 {
		slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Record, b.Record) })
		return problems
	}
	s.names = slices.Sorted(maps.Keys(s.keys))
	return nil
}

// openKey turns a stored record into a key that is ready to sign.
func (k *Keystore) openKey(s *snapshot, r Record) (*Key, error) {
	plaintext, err := s.sealer.open(r.Name, r.Generation, r.Sealed)
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	rec, err := decodeKeyRecord(plaintext)
	if err != nil {
		return nil, err
	}
	defer rec.wipe()
	if prefixKey+rec.Name != r.Name {
		return nil, errors.New("it holds a key of another name")
	}
	return k.buildKey(s, rec, r)
}

func (k *Keystore) buildKey(s *snapshot, rec keyRecord, r Record) (*Key, error) {
	scheme := k.config.scheme(rec.Scheme)
	if scheme == nil {
		return nil, fmt.Errorf("this program does not know its scheme %q", rec.Scheme)
	}
	key := &Key{
		Name: rec.Name, Scheme: rec.Scheme, Environment: upstream.Environment(rec.Environment), Enabled: rec.Enabled,
		Active: rec.Active, Generation: r.Generation, CreateTime: rec.CreateTime, UpdateTime: rec.UpdateTime,
		labels: maps.Clone(rec.Labels), sealed: r.Sealed,
	}
	for _, v := range rec.Versions {
		credential, err := openVersion(scheme, s, v)
		if err != nil {
			return nil, fmt.Errorf("version %d: %w", v.Number, err)
		}
		key.versions = append(key.versions, Version{
			Number: v.Number, State: v.State, Algorithm: v.Algorithm, Fingerprint: [32]byte(v.Fingerprint),
			CreateTime: v.CreateTime, Creator: v.Creator, DestroyTime: v.DestroyTime, ExpireTime: v.ExpireTime, credential: credential, remains: v.Remains,
		})
	}
	return key, nil
}

// openVersion is what a version signs with; nil once it is destroyed.
func openVersion(scheme upstream.Scheme, s *snapshot, v versionRecord) (upstream.Credential, error) {
	if v.State == Destroyed {
		return nil, nil
	}
	credential, err := scheme.Open(v.material())
	switch {
	case err != nil:
		return nil, fmt.Errorf("its material cannot be used: %w", err)
	case credential.Fingerprint(s.pepper) != [32]byte(v.Fingerprint):
		return nil, errors.New("its key does not fit its fingerprint")
	case v.State != Pending && !credential.Complete():
		return nil, fmt.Errorf("it is %s but incomplete", v.State)
	}
	return credential, nil
}

// add puts a key into a snapshot that is not yet shared.
func (s *snapshot) add(key *Key) {
	s.keys[key.Name] = key
	for _, v := range key.versions {
		s.serves[v.Fingerprint] = key.Environment
	}
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
func (k *Keystore) Follow(ctx context.Context) error {
	for {
		seen := k.current.Load().revision
		if err := k.config.Store.Watch(ctx, seen); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%w: watching it: %w", ErrUnavailable, err)
		}
		if err := k.catchUp(ctx, seen); err != nil {
			return err
		}
	}
}

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
	k.uncertain, k.otherRootKey = false, nil
	return k.raiseAnchor()
}
