package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

// account is one key under test.
type account struct {
	k      *keystore.Keystore
	scheme string
	// at is the precondition of changes.
	at keystore.Precondition
}

const name = "main-account"

// op is one change of the account.
type op func(ctx context.Context, a account) (*keystore.Key, error)

func (a account) newKey() keystore.NewKey {
	return keystore.NewKey{Name: name, Scheme: a.scheme, Environment: upstream.Sandbox}
}

func created(ctx context.Context, a account) (*keystore.Key, error) {
	return a.k.Create(ctx, tester, a.newKey(), "")
}

func imported(ctx context.Context, a account) (*keystore.Key, error) {
	return importMaterial(ctx, a.k, name, a.scheme, upstream.Sandbox, newMaterial(a.scheme, upstream.Sandbox))
}

func importedWithoutAPIKey(ctx context.Context, a account) (*keystore.Key, error) {
	return importMaterial(ctx, a.k, name, a.scheme, upstream.Sandbox, withoutAPIKey(a))
}

func withoutAPIKey(a account) upstream.Material {
	m := newMaterial(a.scheme, upstream.Sandbox)
	delete(m, upstream.PartAPIKey)
	return m
}

func generated(ctx context.Context, a account) (*keystore.Key, error) {
	key, _, err := a.k.CreateVersion(ctx, tester, name, a.at, noah.ES256)
	return key, err
}

func rotated(ctx context.Context, a account) (*keystore.Key, error) {
	key, _, _, err := a.k.ImportVersion(ctx, tester, name, a.at, newMaterial(a.scheme, upstream.Sandbox), time.Time{})
	return key, err
}

func rotatedWithoutAPIKey(ctx context.Context, a account) (*keystore.Key, error) {
	key, _, _, err := a.k.ImportVersion(ctx, tester, name, a.at, withoutAPIKey(a), time.Time{})
	return key, err
}

func activate(n uint32) op {
	return func(ctx context.Context, a account) (*keystore.Key, error) {
		key, _, err := a.k.Activate(ctx, name, n, a.at, nil, time.Time{})
		return key, err
	}
}

func activateWith(n uint32, parts map[string]string) op {
	return func(ctx context.Context, a account) (*keystore.Key, error) {
		key, _, err := a.k.Activate(ctx, name, n, a.at, material(parts), time.Time{})
		return key, err
	}
}

func activateWithAPIKey(n uint32, apiKey string) op {
	return activateWith(n, map[string]string{upstream.PartAPIKey: apiKey})
}

func enable(n uint32) op {
	return func(ctx context.Context, a account) (*keystore.Key, error) {
		return a.k.EnableVersion(ctx, name, n, a.at)
	}
}

func disable(n uint32) op {
	return func(ctx context.Context, a account) (*keystore.Key, error) {
		return a.k.DisableVersion(ctx, name, n, a.at)
	}
}

func turn(on bool) op {
	return func(ctx context.Context, a account) (*keystore.Key, error) {
		return a.k.SetEnabled(ctx, name, a.at, on)
	}
}

func label(labels map[string]string) op {
	return func(ctx context.Context, a account) (*keystore.Key, error) {
		return a.k.SetLabels(ctx, name, a.at, labels)
	}
}

// lifecycleTests say what each change makes of a key. Without an error and unless it is unchanged, a change is one more
// commit; with an error nothing changes.
var lifecycleTests = []struct {
	name   string
	scheme string // empty for every scheme
	before []op
	do     op
	want   string // the key, as describe gives it; empty with an error
	idle   bool   // nothing changes, not even the generation
	err    error
	field  string // of a *upstream.FieldError
}{
	{"an import makes version 1 active", "", nil, imported, "on: 1 ENABLED active", false, nil, ""},
	{"a name is taken once", "", []op{imported}, imported, "", false, keystore.ErrKeyExists, ""},
	{"a created key waits for its API key", noah.Name, nil, created, "on: 1 PENDING", false, nil, ""},
	{"a key imported without its API key waits for it", noah.Name, nil, importedWithoutAPIKey, "on: 1 PENDING", false, nil, ""},
	{"creating takes a name once too", noah.Name, []op{created}, created, "", false, keystore.ErrKeyExists, ""},
	{"Noba keys cannot be created", noba.Name, nil, created, "", false, upstream.ErrNotGenerated, ""},
	{"Noba keys cannot be imported without an API key", noba.Name, nil, importedWithoutAPIKey, "", false, nil, "material.api_key"},
	{"Noba versions cannot be created", noba.Name, []op{imported}, generated, "", false, upstream.ErrNotGenerated, ""},
	{"Noba versions cannot be imported without an API key", noba.Name, []op{imported}, rotatedWithoutAPIKey, "", false, nil, "material.api_key"},

	{"a rotation adds a version beside the active one", "", []op{imported}, rotated, "on: 1 ENABLED active, 2 ENABLED", false, nil, ""},
	{"a generated version is pending beside the active one", noah.Name, []op{imported}, generated, "on: 1 ENABLED active, 2 PENDING", false, nil, ""},
	{"a version imported without its API key is pending", noah.Name, []op{imported}, rotatedWithoutAPIKey, "on: 1 ENABLED active, 2 PENDING", false, nil, ""},
	{"a rotation beside a pending version does not activate", noah.Name, []op{created}, rotated, "on: 1 PENDING, 2 ENABLED", false, nil, ""},
	{"a rotation needs a key", "", nil, rotated, "", false, keystore.ErrNotFound, ""},
	{"generating a version needs a key", "", nil, generated, "", false, keystore.ErrNotFound, ""},
	{"a disabled key can be rotated", "", []op{imported, turn(false)}, rotated, "off: 1 ENABLED active, 2 ENABLED", false, nil, ""},

	{"activating moves the active version", "", []op{imported, rotated}, activate(2), "on: 1 ENABLED, 2 ENABLED active", false, nil, ""},
	{"activating moves it back", "", []op{imported, rotated, activate(2)}, activate(1), "on: 1 ENABLED active, 2 ENABLED", false, nil, ""},
	{"activating the active version changes nothing", "", []op{imported}, activate(1), "on: 1 ENABLED active", true, nil, ""},
	{"an absent version cannot be activated", "", []op{imported}, activate(2), "", false, keystore.ErrNotFound, ""},
	{"version 0 cannot be activated", "", []op{imported}, activate(0), "", false, keystore.ErrNotFound, ""},
	{"activating needs a key", "", nil, activate(1), "", false, keystore.ErrNotFound, ""},
	{"a disabled version cannot be activated", "", []op{imported, rotated, disable(2)}, activate(2), "", false, keystore.ErrKeyDisabled, ""},
	{"a disabled active version cannot be activated again", "", []op{imported, disable(1)}, activate(1), "", false, keystore.ErrKeyDisabled, ""},
	{"versions of a disabled key can be activated", "", []op{imported, rotated, turn(false)}, activate(2), "off: 1 ENABLED, 2 ENABLED active", false, nil, ""},
	{"an enabled version takes no second API key", noah.Name, []op{imported, rotated}, activateWithAPIKey(2, "pk_sandbox_x"), "", false, nil, "api_key"},
	{"a Noba version takes no second API key", noba.Name, []op{imported, rotated}, activateWithAPIKey(2, "x"), "", false, nil, "api_key"},

	{"a pending version is activated with its API key", noah.Name, []op{created}, activateWithAPIKey(1, "pk_sandbox_x"), "on: 1 ENABLED active", false, nil, ""},
	{"a pending version beside an active one takes over with its API key", noah.Name, []op{imported, generated}, activateWithAPIKey(2, "pk_sandbox_x\n"), "on: 1 ENABLED, 2 ENABLED active", false, nil, ""},
	{"a pending version cannot be activated without its API key", noah.Name, []op{created}, activate(1), "", false, nil, "api_key"},
	{"an API key of the other environment is refused", noah.Name, []op{imported, generated}, activateWithAPIKey(2, "pk_prod_x"), "", false, nil, "material.api_key"},
	{"an API key of no environment is refused", noah.Name, []op{created}, activateWithAPIKey(1, "pk_staging_x"), "", false, nil, "material.api_key"},
	{"an empty API key is refused", noah.Name, []op{created}, activateWithAPIKey(1, ""), "", false, nil, "material.api_key"},
	{"a part that the scheme does not have is refused", noah.Name, []op{created}, activateWith(1, map[string]string{upstream.PartSecret: "x"}), "", false, nil, "material"},
	{"activating never replaces the private key", noah.Name, []op{created},
		activateWith(1, map[string]string{upstream.PartAPIKey: "pk_sandbox_x", upstream.PartPrivateKey: noahPEM()}), "", false, nil, "material.private_key"},
	{"a pending version cannot be enabled", noah.Name, []op{created}, enable(1), "", false, nil, "version"},
	{"a pending version cannot be disabled", noah.Name, []op{created}, disable(1), "", false, nil, "version"},

	{"an idle version can be disabled", "", []op{imported, rotated}, disable(2), "on: 1 ENABLED active, 2 DISABLED", false, nil, ""},
	{"the active version can be disabled and stays active", "", []op{imported}, disable(1), "on: 1 DISABLED active", false, nil, ""},
	{"disabling a disabled version changes nothing", "", []op{imported, disable(1)}, disable(1), "on: 1 DISABLED active", true, nil, ""},
	{"an absent version cannot be disabled", "", []op{imported}, disable(7), "", false, keystore.ErrNotFound, ""},
	{"a disabled version can be enabled", "", []op{imported, rotated, disable(2)}, enable(2), "on: 1 ENABLED active, 2 ENABLED", false, nil, ""},
	{"the disabled active version can be enabled", "", []op{imported, disable(1)}, enable(1), "on: 1 ENABLED active", false, nil, ""},
	{"enabling an enabled version changes nothing", "", []op{imported}, enable(1), "on: 1 ENABLED active", true, nil, ""},
	{"an absent version cannot be enabled", "", []op{imported}, enable(7), "", false, keystore.ErrNotFound, ""},
	{"away from a disabled version another can be activated", "", []op{imported, rotated, disable(1)}, activate(2), "on: 1 DISABLED, 2 ENABLED active", false, nil, ""},

	{"a key can be disabled", "", []op{imported}, turn(false), "off: 1 ENABLED active", false, nil, ""},
	{"a key can be enabled again", "", []op{imported, turn(false)}, turn(true), "on: 1 ENABLED active", false, nil, ""},
	{"disabling a disabled key changes nothing", "", []op{imported, turn(false)}, turn(false), "off: 1 ENABLED active", true, nil, ""},
	{"enabling an enabled key changes nothing", "", []op{imported}, turn(true), "on: 1 ENABLED active", true, nil, ""},
	{"an absent key cannot be disabled", "", nil, turn(false), "", false, keystore.ErrNotFound, ""},
	{"labels can be set", "", []op{imported}, label(map[string]string{"team": "pay"}), "on: 1 ENABLED active", false, nil, ""},
	{"setting the same labels changes nothing", "", []op{imported, label(map[string]string{"a": "1", "b": "2"})}, label(map[string]string{"b": "2", "a": "1"}), "on: 1 ENABLED active", true, nil, ""},
	{"setting no labels where there are none changes nothing", "", []op{imported}, label(map[string]string{}), "on: 1 ENABLED active", true, nil, ""},
	{"an absent key takes no labels", "", nil, label(nil), "", false, keystore.ErrNotFound, ""},
}

func TestALifeOfAKey(t *testing.T) {
	for backend, configuration := range backends {
		for _, scheme := range []string{noah.Name, noba.Name} {
			for _, test := range lifecycleTests {
				if test.scheme != "" && test.scheme != scheme {
					continue
				}
				t.Run(fmt.Sprintf("%s in %s: %s", scheme, backend, test.name), func(t *testing.T) {
					c := configuration(t)
					a := account{k: initialize(t, c), scheme: scheme}
					for _, step := range test.before {
						must(t)(step(t.Context(), a))
					}
					before, counter := a.k.Lookup(name), a.k.Stats().Counter
					key, err := test.do(t.Context(), a)
					switch {
					case test.field != "":
						wantField(t, err, test.field)
					case !errors.Is(err, test.err):
						t.Fatalf("error %v, want %v", err, test.err)
					}
					want := test.want
					if failed := test.err != nil || test.field != ""; failed || test.idle {
						if now := a.k.Stats().Counter; now != counter {
							t.Errorf("the store's counter went from %d to %d", counter, now)
						}
						want = describe(before)
					} else {
						counter++
						if got := a.k.Lookup(name).Generation; got != counter || a.k.Stats().Counter != counter {
							t.Errorf("generation %d, counter %d, want both %d", got, a.k.Stats().Counter, counter)
						}
					}
					if got := describe(a.k.Lookup(name)); got != want {
						t.Errorf("the key is %q, want %q", got, want)
					}
					if err == nil && key != a.k.Lookup(name) {
						t.Errorf("the key returned (%s) is not the one that is served (%s)", describe(key), describe(a.k.Lookup(name)))
					}
					wantSame(t, "the reopened store", open(t, c), a.k)
				})
			}
		}
	}
}
