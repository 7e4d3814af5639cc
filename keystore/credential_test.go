package keystore_test

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

const sign policy.Operation = "Sign"

// permit is a decision that allows a signature with the named key.
func permit(t *testing.T, key string) *policy.Permit {
	t.Helper()
	caller, err := policy.UnixCaller(1000)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(policy.Document{Rules: []policy.Rule{{
		Name: "signs", Effect: policy.Allow, Callers: []string{policy.Any}, Keys: []string{policy.Any}, Operations: []policy.Operation{policy.Any},
	}}}, policy.Catalog{sign: {}})
	if err != nil {
		t.Fatal(err)
	}
	return p.Decide(policy.Question{Caller: caller, Operation: sign, Key: policy.Key{Name: key}}).Permit
}

func TestACredentialIsGivenAgainstItsOwnUnusedPermitOnly(t *testing.T) {
	k := initialize(t, inMemory(t))
	for _, scheme := range []string{noah.Name, noba.Name} {
		key := importKey(t, k, scheme, scheme, upstream.Prod)
		used := permit(t, scheme)
		if _, version, err := key.Credential(used); err != nil || version != 1 {
			t.Errorf("with a permit: version %d, %v", version, err)
		}
		for what, p := range map[string]*policy.Permit{
			"no permit": nil, "an empty permit": {}, "a used permit": used, "a permit for another key": permit(t, "other"),
			"a permit for no key": permit(t, ""),
		} {
			credential, version, err := key.Credential(p)
			if !errors.Is(err, policy.ErrPermit) || credential != nil || version != 0 {
				t.Errorf("%s: %v, version %d, %v, want ErrPermit alone", what, credential, version, err)
			}
		}
	}
}

func TestACandidateIsAnEnabledVersionOfAKeyAgainstItsPermit(t *testing.T) {
	for _, test := range []struct {
		name    string
		before  []op
		version uint32
		want    error
	}{
		{"a version beside the active one", []op{imported, rotated}, 2, nil},
		{"the active version", []op{imported, rotated}, 1, nil},
		{"a version of a disabled key", []op{imported, rotated, turn(false)}, 2, nil},
		{"a disabled version", []op{imported, rotated, disable(2)}, 2, keystore.ErrKeyDisabled},
		{"a version that is not there", []op{imported}, 2, keystore.ErrNotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := account{k: initialize(t, inMemory(t)), scheme: noba.Name}
			for _, step := range test.before {
				must(t)(step(t.Context(), a))
			}
			key := a.k.Lookup(name)
			credential, err := key.Candidate(permit(t, name), test.version)
			if !errors.Is(err, test.want) || (credential == nil) != (test.want != nil) {
				t.Errorf("got %v, %v", credential, err)
			}
			if _, err := key.Candidate(permit(t, "other"), test.version); !errors.Is(err, policy.ErrPermit) {
				t.Errorf("with another key's permit: %v", err)
			}
		})
	}
}

func TestAKeyThatMayNotSignGivesNoCredential(t *testing.T) {
	for _, test := range []struct {
		name    string
		scheme  string
		before  []op
		want    error
		version uint32
	}{
		{"a disabled key", noba.Name, []op{imported, turn(false)}, keystore.ErrKeyDisabled, 0},
		{"a key whose active version is disabled", noba.Name, []op{imported, rotated, disable(1)}, keystore.ErrKeyDisabled, 0},
		{"a disabled key without an active version", noah.Name, []op{created, turn(false)}, keystore.ErrKeyDisabled, 0},
		{"a key whose only version is pending", noah.Name, []op{created}, keystore.ErrNoActiveVersion, 0},
		{"a key with no version made active", noah.Name, []op{created, rotated}, keystore.ErrNoActiveVersion, 0},
		{"a key enabled again", noba.Name, []op{imported, turn(false), turn(true)}, nil, 1},
		{"a version enabled again", noba.Name, []op{imported, disable(1), enable(1)}, nil, 1},
		{"a key with another version disabled", noba.Name, []op{imported, rotated, disable(2)}, nil, 1},
		{"a key whose version was activated", noah.Name, []op{imported, rotated, rotated, activate(3)}, nil, 3},
		{"a key whose created version was completed", noah.Name, []op{created, activateWithAPIKey(1, "pk_sandbox_x")}, nil, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := inMemory(t)
			a := account{k: initialize(t, c), scheme: test.scheme}
			for _, step := range test.before {
				must(t)(step(t.Context(), a))
			}
			for _, k := range []*keystore.Keystore{a.k, open(t, c)} {
				credential, version, err := k.Lookup(name).Credential(permit(t, name))
				if !errors.Is(err, test.want) || version != test.version || (credential == nil) != (test.want != nil) {
					t.Errorf("credential %v, version %d, %v, want version %d, %v", credential, version, err, test.version, test.want)
				}
			}
		})
	}
}

func TestAKeyStaysAsItWasWhileItIsChanged(t *testing.T) {
	k := initialize(t, inMemory(t))
	old := importKey(t, k, name, noba.Name, upstream.Prod)
	must(t)(rotate(t.Context(), k, name))
	must(t)(k.SetEnabled(t.Context(), name, 0, false))
	if _, version, err := old.Credential(permit(t, name)); err != nil || version != 1 || describe(old) != "on: 1 ENABLED active" {
		t.Errorf("the key from before is %q, and gives version %d, %v", describe(old), version, err)
	}
}

func TestTheCredentialOfTheActiveVersionSigns(t *testing.T) {
	c := inMemory(t)
	k := initialize(t, c)
	for _, scheme := range []string{noah.Name, noba.Name} {
		first, second := newMaterial(scheme, upstream.Prod), newMaterial(scheme, upstream.Prod)
		must(t)(importMaterial(t.Context(), k, scheme, scheme, upstream.Prod, first))
		must(t)(rotateTo(t.Context(), k, scheme, second))
		wantSignature(t, k.Lookup(scheme), 1, first)
		if _, _, err := k.Activate(t.Context(), scheme, 2, 0, nil, time.Time{}); err != nil {
			t.Fatal(err)
		}
		wantSignature(t, k.Lookup(scheme), 2, second)
		wantSignature(t, open(t, c).Lookup(scheme), 2, second)
	}
}

// wantSignature signs with the active version, and verifies with what was imported.
func wantSignature(t *testing.T, key *keystore.Key, version uint32, m upstream.Material) {
	t.Helper()
	credential, got, err := key.Credential(permit(t, key.Name))
	if err != nil || got != version {
		t.Fatalf("credential of %s: version %d, %v, want version %d", key.Name, got, err, version)
	}
	now := time.Now()
	apiKey := string(m[upstream.PartAPIKey].Reveal())
	switch credential := credential.(type) {
	case *noah.Credential:
		r, err := noah.NewRequest(noah.RequestParams{Method: "GET", Path: "/v1/balances"})
		if err != nil {
			t.Fatal(err)
		}
		headers, _, err := credential.Sign(r, now)
		if err != nil || headers[noah.HeaderAPIKey] != apiKey {
			t.Fatalf("signing: API key of another version, or %v", err)
		}
		want, err := noah.ParsePrivateKey(m[upstream.PartPrivateKey].Reveal())
		if err != nil {
			t.Fatal(err)
		}
		v, _ := key.Version(version)
		public, err := x509.ParsePKIXPublicKey(v.PublicKey())
		if err != nil || !want.PublicKey.Equal(public) {
			t.Errorf("the public key is not that of what was imported (%v)", err)
		}
		_, err = jwt.Parse(headers[noah.HeaderSignature], func(*jwt.Token) (any, error) { return public.(*ecdsa.PublicKey), nil })
		if err != nil {
			t.Errorf("the signature does not verify: %v", err)
		}
	case *noba.Credential:
		stamp := int64(0)
		r, err := noba.NewRequest(noba.RequestParams{Method: "GET", Path: "/v1/x", TimestampMillis: &stamp}, now)
		if err != nil {
			t.Fatal(err)
		}
		mac := hmac.New(sha256.New, m[upstream.PartSecret].Reveal())
		mac.Write([]byte("0" + apiKey + "GET" + "/v1/x" + "{}"))
		if got := credential.Sign(r, now)[noba.HeaderSignature]; got != hex.EncodeToString(mac.Sum(nil)) {
			t.Error("the signature does not verify")
		}
	default:
		t.Fatalf("a credential of type %T", credential)
	}
}
