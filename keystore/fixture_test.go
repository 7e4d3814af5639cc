package keystore_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/internal/checkpoint"
	"github.com/signerd/signerd/internal/rootkey"
	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/bolt"
	"github.com/signerd/signerd/keystore/memory"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

const tester keystore.Actor = "unix:uid=1000"

// anchor is a keystore.Anchor in memory: a signed checkpoint, nil for none. What Write returns, if not nil, is what it did not
// write.
type anchor struct {
	mu      sync.Mutex
	content []byte
	fail    error
	writes  int
}

func (a *anchor) Exists() (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.content != nil, nil
}

func (a *anchor) Read(key note.Verifier) (checkpoint.Store, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.content == nil {
		return checkpoint.Store{}, fs.ErrNotExist
	}
	c, err := checkpoint.Open(a.content, key)
	return c.Store, err
}

func (a *anchor) Write(key *checkpoint.Signer, state checkpoint.Store) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fail != nil {
		return a.fail
	}
	a.writes++
	signed, err := checkpoint.Checkpoint{Origin: key.Name(), Store: state}.Sign(key)
	a.content = signed
	return err
}

// counter is the one that an anchor's content says, whoever signed it.
func counter(t interface{ Fatal(...any) }, content []byte) (n uint64) {
	lines := strings.Split(string(content), "\n")
	if len(lines) < 4 {
		t.Fatal("the anchor is no checkpoint")
	}
	if _, err := fmt.Sscanf(lines[3], "store %d ", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// newRootKey makes a root key as signerd init does.
func newRootKey() *rootkey.File {
	dir, err := os.MkdirTemp("", "signerd-test-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "root.key")
	if err := rootkey.CreateFile(path); err != nil {
		panic(err)
	}
	key, err := rootkey.OpenFile(path)
	if err != nil {
		panic(err)
	}
	return key
}

// sharedRootKey saves each test the disk's time for a root key of its own.
var sharedRootKey = sync.OnceValue(newRootKey)

// configure describes a keystore over s; its clock ticks once a second, from an arbitrary time on.
func configure(s keystore.Store, a keystore.Anchor) keystore.Config {
	var mu sync.Mutex
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return keystore.Config{
		Store: s, Anchor: a, RootKey: sharedRootKey(), Compile: compile, Schemes: []upstream.Scheme{noah.Scheme{}, noba.Scheme{}},
		Now: func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			now = now.Add(time.Second)
			return now
		},
	}
}

func inMemory(*testing.T) keystore.Config { return configure(memory.New(), &anchor{}) }

func onDisk(t *testing.T) keystore.Config { return onDiskIn(t, t.TempDir()) }

func onDiskIn(t *testing.T, dir string) keystore.Config {
	t.Helper()
	path := filepath.Join(dir, "store.db")
	if err := bolt.Create(path); err != nil {
		t.Fatal(err)
	}
	s, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return configure(s, audit.NewAnchorFile(filepath.Join(dir, "anchor")))
}

// backends are the ways to keep a keystore.
var backends = map[string]func(t *testing.T) keystore.Config{"memory": inMemory, "bolt": onDisk}

func initialize(t *testing.T, c keystore.Config) *keystore.Keystore {
	t.Helper()
	if err := keystore.Init(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return open(t, c)
}

func open(t *testing.T, c keystore.Config) *keystore.Keystore {
	t.Helper()
	k, err := keystore.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return k
}

func material(parts map[string]string) upstream.Material {
	m := make(upstream.Material, len(parts))
	for part, text := range parts {
		m[part] = secret.New([]byte(text))
	}
	return m
}

// noahPEM is a new private key in SEC 1, as openssl writes it.
func noahPEM() string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

func noahAPIKey(env upstream.Environment) string { return fmt.Sprintf("pk_%s_%s", env, rand.Text()) }

// newMaterial is what a partner hands out.
func newMaterial(scheme string, env upstream.Environment) upstream.Material {
	if scheme == noah.Name {
		return material(map[string]string{upstream.PartPrivateKey: noahPEM(), upstream.PartAPIKey: noahAPIKey(env)})
	}
	return material(map[string]string{upstream.PartAPIKey: rand.Text(), upstream.PartSecret: rand.Text()})
}

// importKey imports new material under a new name.
func importKey(t *testing.T, k *keystore.Keystore, name, scheme string, env upstream.Environment) *keystore.Key {
	t.Helper()
	return must(t)(importMaterial(t.Context(), k, name, scheme, env, newMaterial(scheme, env)))
}

func importMaterial(ctx context.Context, k *keystore.Keystore, name, scheme string, env upstream.Environment, m upstream.Material) (*keystore.Key, error) {
	key, _, err := k.Import(ctx, tester, keystore.NewKey{Name: name, Scheme: scheme, Environment: env}, m)
	return key, err
}

// rotate imports new material as a new version.
func rotate(ctx context.Context, k *keystore.Keystore, name string) (*keystore.Key, error) {
	old := k.Lookup(name)
	key, _, _, err := k.ImportVersion(ctx, tester, name, 0, newMaterial(old.Scheme, old.Environment), time.Time{})
	return key, err
}

func must(t *testing.T) func(*keystore.Key, error) *keystore.Key {
	t.Helper()
	return func(key *keystore.Key, err error) *keystore.Key {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
}

// describe is all that an operator sees of a key's state, such as "on: 1 ENABLED, 2 DISABLED active".
func describe(key *keystore.Key) string {
	if key == nil {
		return "none"
	}
	state := "off"
	if key.Enabled {
		state = "on"
	}
	var versions []string
	for _, v := range key.Versions() {
		text := fmt.Sprintf("%d %s", v.Number, v.State)
		if v.Number == key.Active {
			text += " active"
		}
		versions = append(versions, text)
	}
	return state + ": " + strings.Join(versions, ", ")
}

// wantSame fails unless two keystores hold the same keys.
func wantSame(t *testing.T, what string, got, want *keystore.Keystore) {
	t.Helper()
	if got, want := contents(got), contents(want); !maps.Equal(got, want) {
		t.Errorf("%s holds %v, want %v", what, got, want)
	}
}

// contents is everything of every key but its material, whose fingerprints stand for it.
func contents(k *keystore.Keystore) map[string]string {
	out := make(map[string]string)
	for _, key := range k.List("", 1<<20) {
		text := fmt.Sprint(key.Scheme, key.Environment, key.Generation, key.CreateTime, key.UpdateTime, key.Labels(), describe(key))
		for _, v := range key.Versions() {
			text += fmt.Sprintf(" %x %s %s %s", v.Fingerprint, v.Algorithm, v.Creator, v.CreateTime)
		}
		out[key.Name] = text
	}
	return out
}

// wantField fails unless err is a *upstream.FieldError about the field.
func wantField(t *testing.T, err error, field string) {
	t.Helper()
	var f *upstream.FieldError
	if !errors.As(err, &f) || f.Field != field {
		t.Errorf("error %v, want one about the field %q", err, field)
	}
}
