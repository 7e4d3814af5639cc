package keystore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/signerd/signerd/upstream"
)

// load reads the store into a snapshot.
func (k *Keystore) load(ctx context.Context) (*snapshot, error) {
	list, revision, err := k.config.Store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: reading it: %w", ErrUnavailable, err)
	}
	return k.read(ctx, list, revision)
}

// read makes a snapshot of records that were loaded.
func (k *Keystore) read(ctx context.Context, list []Record, revision uint64) (*snapshot, error) {
	if len(list) == 0 {
		return nil, ErrNotInitialized
	}
	records := byName(list)
	ring, ok := records[nameKeyring]
	if !ok {
		return nil, damaged(nameKeyring, "it is missing")
	}
	keys, err := k.openKeyset(ctx, ring.Sealed)
	if err != nil {
		return nil, err
	}
	sealer := keys.sealer
	h, err := openHead(sealer, records)
	if err != nil {
		return nil, err
	}
	if err := h.compare(sealer, records); err != nil {
		return nil, err
	}
	s := &snapshot{revision: revision, keyset: keys, head: h, generation: make(map[string]uint64, len(records)),
		keys: make(map[string]*Key), serves: make(map[[32]byte]upstream.Environment)}
	return s, k.fill(s, records)
}

// keyset is an open keyring.
type keyset struct {
	sealer  *sealer
	root    RootKey // that wraps it; nil where the recovery key stands in
	wrapped []byte  // the keyring, as it is stored
}

// rootKeyID is empty where the recovery key stands in for the root key.
func (s keyset) rootKeyID() string {
	if s.root == nil {
		return ""
	}
	return s.root.ID()
}

// openKeyset asks a root key only when the keyring is neither the one that is loaded nor one that was made here: a root key that goes
// away stops nothing that is.
func (k *Keystore) openKeyset(ctx context.Context, wrapped []byte) (keyset, error) {
	if s := k.current.Load(); s != nil && bytes.Equal(s.wrapped, wrapped) {
		return s.keyset, nil
	}
	if made := k.rotating; made != nil && bytes.Equal(made.wrapped, wrapped) {
		return *made, nil
	}
	ring, root, err := k.unwrap(ctx, wrapped)
	if err != nil {
		return keyset{}, err
	}
	s, err := newSealer(ring)
	if err != nil {
		return keyset{}, damaged(nameKeyring, "%v", err)
	}
	return keyset{s, root, wrapped}, nil
}

func byName(list []Record) map[string]Record {
	records := make(map[string]Record, len(list))
	for _, r := range list {
		records[r.Name] = r
	}
	return records
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

// fill opens every record into s. Only records that the head vouches for reach it, and those that are in none.
func (k *Keystore) fill(s *snapshot, records map[string]Record) error {
	var problems Damage
	for name, r := range records {
		if !unlisted(name) {
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
	var keys []Record
	for name, r := range records {
		switch {
		case strings.HasPrefix(name, prefixKey):
			keys = append(keys, r)
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
		case !slices.Contains([]string{nameHead, nameKeyring, nameFence, nameAuditKey, nameAudit, nameUsage}, name):
			problems = append(problems, Problem{name, "this program does not know such a record"})
		}
	}
	problems = append(problems, k.openKeys(s, keys)...)
	if len(problems) > 0 {
		slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Record, b.Record) })
		return problems
	}
	s.names = slices.Sorted(maps.Keys(s.keys))
	k.openUsage(s, records)
	return nil
}

// openKeys opens keys into s, on all processors: parsing a private key takes as long as a signature, and there may be thousands.
func (k *Keystore) openKeys(s *snapshot, records []Record) Damage {
	keys, failed := make([]*Key, len(records)), make([]error, len(records))
	var next atomic.Int64
	var opening sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(records)) {
		opening.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(records)); i = next.Add(1) - 1 {
				keys[i], failed[i] = k.openKey(s, records[i])
			}
		})
	}
	opening.Wait()
	var problems Damage
	for i, r := range records {
		if failed[i] != nil {
			problems = append(problems, Problem{r.Name, failed[i].Error()})
			continue
		}
		s.add(keys[i])
	}
	return problems
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
			CreateTime: v.CreateTime, Creator: v.Creator, DestroyTime: v.DestroyTime, ExpireTime: v.ExpireTime, credential: credential,
			used: k.use(rec.Name, v.Number),
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
