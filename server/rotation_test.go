package server_test

import (
	"crypto/elliptic"
	"fmt"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/partners"
)

func TestTheNextRequestAfterAnActivationIsSignedByTheNewVersion(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	ctx := as(t, operator)
	accounts := []noahAccount{r.importedNOAH(t, "a"), newNOAH(t, elliptic.P256(), sandbox), newNOAH(t, elliptic.P384(), sandbox)}
	for _, a := range accounts[1:] {
		_, err := r.admin.ImportKeyVersion(ctx, &adminv1.ImportKeyVersionRequest{Name: "a", Material: a.material()})
		must(t, err)
	}
	signedBy := func(version uint32) {
		t.Helper()
		out, err := r.signNOAH(ctx, "a")
		must(t, err)
		if out.GetKeyVersion() != version || out.GetHeaders()["X-Api-Key"] != accounts[version-1].apiKey {
			t.Errorf("version %d signed, want %d", out.GetKeyVersion(), version)
		}
		if err := noahPartner(t, r, accounts[version-1]).Check(onTheWire("GET", "/v1/things", out.GetHeaders(), nil)); err != nil {
			t.Errorf("version %d: %v", version, err)
		}
	}
	signedBy(1) // an imported version is not active by itself
	for _, version := range []uint32{2, 3, 1, 3} {
		_, err := r.admin.ActivateKeyVersion(ctx, &adminv1.ActivateKeyVersionRequest{Name: "a", Version: version})
		must(t, err)
		signedBy(version)
	}

	_, err := r.admin.DisableKeyVersion(ctx, &adminv1.DisableKeyVersionRequest{Name: "a", Version: 2})
	must(t, err)
	signedBy(3) // another one's state does not matter
	_, err = r.admin.DisableKeyVersion(ctx, &adminv1.DisableKeyVersionRequest{Name: "a", Version: 3})
	must(t, err)
	_, err = r.signNOAH(ctx, "a")
	r.refused(t, err, codes.FailedPrecondition, "KEY_DISABLED")
	_, err = r.admin.EnableKeyVersion(ctx, &adminv1.EnableKeyVersionRequest{Name: "a", Version: 3})
	must(t, err)
	signedBy(3)
	_, err = r.admin.DisableKey(ctx, &adminv1.DisableKeyRequest{Name: "a"})
	must(t, err)
	_, err = r.signNOAH(ctx, "a")
	r.refused(t, err, codes.FailedPrecondition, "KEY_DISABLED")
	_, err = r.admin.EnableKey(ctx, &adminv1.EnableKeyRequest{Name: "a"})
	must(t, err)
	signedBy(3)
}

// rotations is how often the keys below change under the requests.
const rotations = 12

func TestSigningGoesOnWhileANOAHKeyIsRotated(t *testing.T) {
	t.Parallel()
	r := start(t, setup{bolt: true})
	partner := partners.NewNOAH("sandbox", r.clock.Now)
	var accounts sync.Map // version to account
	known := func(version uint32, a noahAccount) {
		must(t, partner.Register(a.apiKey, a.publicPEM(t)))
		accounts.Store(version, a)
	}
	first := newNOAH(t, elliptic.P256(), sandbox)
	known(1, first)
	r.imported(t, "a", "noah", sandbox, first.material())

	sign := func() (uint32, error) {
		out, err := r.signNOAH(as(t, operator), "a")
		if err != nil {
			return 0, err
		}
		version := out.GetKeyVersion()
		a, ok := accounts.Load(version)
		if !ok || a.(noahAccount).apiKey != out.GetHeaders()["X-Api-Key"] {
			return version, fmt.Errorf("the API key is not that of version %d", version)
		}
		return version, partner.Check(onTheWire("GET", "/v1/things", out.GetHeaders(), nil))
	}
	r.underRotation(t, sign, func(version uint32) {
		a := newNOAH(t, elliptic.P256(), sandbox)
		known(version, a)
		r.rotateTo(t, version, a.material())
	})
}

func TestSigningGoesOnWhileANobaKeyIsRotated(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	partner := partners.NewNoba(r.clock.Now)
	var accounts sync.Map
	known := func(version uint32, a nobaAccount) {
		partner.Register(a.apiKey, []byte(a.secret), true)
		accounts.Store(version, a)
	}
	first := newNoba()
	known(1, first)
	r.imported(t, "a", "noba", sandbox, first.material())
	sign := func() (uint32, error) {
		out, err := r.computeNoba(as(t, operator), "a")
		if err != nil {
			return 0, err
		}
		version := out.GetKeyVersion()
		a, ok := accounts.Load(version)
		if !ok || a.(nobaAccount).apiKey != out.GetHeaders()["X-Noba-API-Key"] {
			return version, fmt.Errorf("the API key is not that of version %d", version)
		}
		return version, partner.Check(onTheWire("GET", "/v1/things", out.GetHeaders(), nil))
	}
	r.underRotation(t, sign, func(version uint32) {
		a := newNoba()
		known(version, a)
		r.rotateTo(t, version, a.material())
	})
}

// underRotation signs all the while that rotate makes version after version the active one.
func (r *rig) underRotation(t *testing.T, sign func() (uint32, error), rotate func(version uint32)) {
	t.Helper()
	stop := make(chan struct{})
	started := make(chan struct{}, 4)
	var signers sync.WaitGroup
	for range cap(started) {
		signers.Go(func() {
			last := uint32(0)
			for i := 0; ; i++ {
				version, err := sign()
				if err != nil || version < last {
					t.Errorf("version %d signed after version %d: %v", version, last, err)
					started <- struct{}{}
					return
				}
				last = version
				if i == 0 {
					started <- struct{}{}
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for range cap(started) {
		<-started
	}
	for version := uint32(2); version <= rotations; version++ {
		rotate(version)
		if got, err := sign(); got != version || err != nil {
			t.Errorf("version %d signed right after version %d was made active: %v", got, version, err)
		}
	}
	close(stop)
	signers.Wait()
}

// rotateTo adds a version to the key "a", makes it active, and disables the one before.
func (r *rig) rotateTo(t *testing.T, version uint32, material map[string][]byte) {
	t.Helper()
	ctx := as(t, operator)
	added, err := r.admin.ImportKeyVersion(ctx, &adminv1.ImportKeyVersionRequest{Name: "a", Material: material})
	must(t, err)
	if added.GetVersion() != version {
		t.Fatalf("the new version is %d, want %d", added.GetVersion(), version)
	}
	_, err = r.admin.ActivateKeyVersion(ctx, &adminv1.ActivateKeyVersionRequest{Name: "a", Version: version, Generation: added.GetKey().GetGeneration()})
	must(t, err)
	_, err = r.admin.DisableKeyVersion(ctx, &adminv1.DisableKeyVersionRequest{Name: "a", Version: version - 1})
	must(t, err)
}

func TestOfManyThatDecideOnTheSameStateOneSucceeds(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNoba(t, "a")
	got, err := r.admin.GetKey(as(t, operator), &adminv1.GetKeyRequest{Name: "a"})
	must(t, err)
	errs := make([]error, 8)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			_, errs[i] = r.admin.UpdateKey(as(t, operator), &adminv1.UpdateKeyRequest{Name: "a", Generation: got.GetKey().GetGeneration(),
				Labels: map[string]string{"by": fmt.Sprint(i)}})
		})
	}
	all.Wait()
	won := -1
	for i, err := range errs {
		if err == nil && won < 0 {
			won = i
			continue
		}
		r.refused(t, err, codes.Aborted, "CONFLICT")
	}
	got, err = r.admin.GetKey(as(t, operator), &adminv1.GetKeyRequest{Name: "a"})
	must(t, err)
	if got.GetKey().GetLabels()["by"] != fmt.Sprint(won) {
		t.Errorf("the labels are %v, the change of %d was acknowledged", got.GetKey().GetLabels(), won)
	}
}
