package keystore_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/memory"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

// shared is one secret in the forms in which it may arrive twice: each call gives another API key.
type shared func(env upstream.Environment) upstream.Material

// pair is two ways to hand out the same secret of a scheme.
type pair struct {
	scheme        string
	first, second shared
}

var secrets = func() map[string]pair {
	sec1 := noahPEM()
	block, _ := pem.Decode([]byte(sec1))
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	pkcs8 := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	complete := func(text string) shared {
		return func(env upstream.Environment) upstream.Material {
			return material(map[string]string{upstream.PartPrivateKey: text, upstream.PartAPIKey: noahAPIKey(env)})
		}
	}
	pending := func(upstream.Environment) upstream.Material {
		return material(map[string]string{upstream.PartPrivateKey: sec1})
	}
	hmac := func(text string) shared {
		return func(env upstream.Environment) upstream.Material {
			return material(map[string]string{upstream.PartAPIKey: noahAPIKey(env), upstream.PartSecret: text})
		}
	}
	return map[string]pair{
		"a NOAH private key":                              {noah.Name, complete(sec1), complete(sec1)},
		"a NOAH private key in another form":              {noah.Name, complete(sec1), complete(pkcs8)},
		"a NOAH private key whose API key is yet to come": {noah.Name, pending, complete(sec1)},
		"a NOAH private key that becomes pending":         {noah.Name, complete(sec1), pending},
		"a Noba secret":                                   {noba.Name, hmac("one secret of many bytes"), hmac("one secret of many bytes")},
		"a Noba secret with a line end":                   {noba.Name, hmac("one secret of many bytes"), hmac("one secret of many bytes\n")},
	}
}()

// arrivals are the ways in which material arrives, as a new key or as a version of an existing one.
var arrivals = map[string]func(t *testing.T, k *keystore.Keystore, name, scheme string, env upstream.Environment, m upstream.Material) error{
	"a new key": func(t *testing.T, k *keystore.Keystore, name, scheme string, env upstream.Environment, m upstream.Material) error {
		_, err := importMaterial(t.Context(), k, name, scheme, env, m)
		return err
	},
	"a version": func(t *testing.T, k *keystore.Keystore, name, scheme string, env upstream.Environment, m upstream.Material) error {
		importKey(t, k, name, scheme, env)
		_, _, _, err := k.ImportVersion(t.Context(), tester, name, 0, m, time.Time{})
		return err
	},
}

func TestNoSecretServesBothEnvironments(t *testing.T) {
	for what, secret := range secrets {
		for firstHow, first := range arrivals {
			for secondHow, second := range arrivals {
				for _, order := range [][2]upstream.Environment{{upstream.Sandbox, upstream.Prod}, {upstream.Prod, upstream.Sandbox}} {
					t.Run(fmt.Sprintf("%s as %s in %s, then as %s in %s", what, firstHow, order[0], secondHow, order[1]), func(t *testing.T) {
						c := inMemory(t)
						k := initialize(t, c)
						if err := first(t, k, "first", secret.scheme, order[0], secret.first(order[0])); err != nil {
							t.Fatal(err)
						}
						err := second(t, k, "second", secret.scheme, order[1], secret.second(order[1]))
						wantField(t, err, "material")

						// The same in the same environment is allowed, and so is the refused name with a secret of its own.
						if err := second(t, k, "third", secret.scheme, order[0], secret.second(order[0])); err != nil {
							t.Errorf("in the same environment: %v", err)
						}
						if k.Lookup("second") == nil {
							importKey(t, k, "second", secret.scheme, order[1])
						}
						must(t)(rotate(t.Context(), k, "second"))
						wantSame(t, "the reopened store", open(t, c), k)
					})
				}
			}
		}
	}
}

func TestTheFenceStandsWhateverBecameOfTheVersion(t *testing.T) {
	for what, secret := range secrets {
		c := inMemory(t)
		k := initialize(t, c)
		importKey(t, k, "first", secret.scheme, upstream.Prod)
		must(t)(rotateTo(t.Context(), k, "first", secret.first(upstream.Prod)))
		must(t)(rotate(t.Context(), k, "first"))
		if v, _ := k.Lookup("first").Version(2); v.State != keystore.Pending {
			must(t)(k.DisableVersion(t.Context(), "first", 2, 0))
		}
		must(t)(k.SetEnabled(t.Context(), "first", 0, false))
		for when, k := range map[string]*keystore.Keystore{"at once": k, "after reopening": open(t, c)} {
			_, err := importMaterial(t.Context(), k, "second", secret.scheme, upstream.Sandbox, secret.second(upstream.Sandbox))
			if !errors.Is(err, upstream.ErrInvalid) {
				t.Errorf("%s of a disabled version, %s: %v, want a refusal", what, when, err)
			}
		}
	}
}

func rotateTo(ctx context.Context, k *keystore.Keystore, name string, m upstream.Material) (*keystore.Key, error) {
	key, _, _, err := k.ImportVersion(ctx, tester, name, 0, m, time.Time{})
	return key, err
}

func TestARefusedImportDoesNotFenceItsSecret(t *testing.T) {
	for what, secret := range secrets {
		k := initialize(t, inMemory(t))
		importKey(t, k, "taken", secret.scheme, upstream.Prod)
		_, err := importMaterial(t.Context(), k, "taken", secret.scheme, upstream.Prod, secret.first(upstream.Prod))
		if !errors.Is(err, keystore.ErrKeyExists) {
			t.Fatalf("import under a taken name: %v, want ErrKeyExists", err)
		}
		if _, err := importMaterial(t.Context(), k, "free", secret.scheme, upstream.Sandbox, secret.first(upstream.Sandbox)); err != nil {
			t.Errorf("%s that was refused in prod: %v", what, err)
		}
	}
}

func TestOfTwoKeystoresThatImportOneSecretToBothEnvironmentsOneWins(t *testing.T) {
	for what, secret := range secrets {
		for range 10 {
			store := memory.New()
			a, b := configure(store, &anchor{}), configure(store, &anchor{})
			keystores := map[upstream.Environment]*keystore.Keystore{upstream.Prod: initialize(t, a)}
			b.Anchor.(*anchor).content = a.Anchor.(*anchor).content
			keystores[upstream.Sandbox] = open(t, b)

			start := make(chan struct{})
			refusals := make(chan error, 2)
			var wg sync.WaitGroup
			for env, k := range keystores {
				wg.Go(func() {
					<-start
					_, err := importMaterial(t.Context(), k, string(env), secret.scheme, env, secret.first(env))
					if err != nil {
						refusals <- err
					}
				})
			}
			close(start)
			wg.Wait()
			close(refusals)
			var refused []error
			for err := range refusals {
				refused = append(refused, err)
			}
			if len(refused) != 1 {
				t.Fatalf("%s: %d of 2 imports were refused (%v), want 1", what, len(refused), refused)
			}
			wantField(t, refused[0], "material")
			if got := open(t, a).Stats(); got.Keys != 1 {
				t.Errorf("%s: the store holds %d keys, want 1", what, got.Keys)
			}
		}
	}
}
