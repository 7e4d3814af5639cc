package server_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/hpke"
	"maps"
	"os"
	"os/exec"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/importticket"
)

const (
	forNewKey     = adminv1.ImportPurpose_IMPORT_PURPOSE_NEW_KEY
	forNewVersion = adminv1.ImportPurpose_IMPORT_PURPOSE_NEW_VERSION
	forAPIKey     = adminv1.ImportPurpose_IMPORT_PURPOSE_API_KEY
)

// pendingNOAH makes a NOAH key whose pair signerd made, and gives an API key for it.
func (r *rig) pendingNOAH(t testing.TB, name string) (apiKey []byte) {
	t.Helper()
	_, err := r.admin.CreateKey(as(t, operator), &adminv1.CreateKeyRequest{Name: name, Environment: sandbox})
	must(t, err)
	return []byte(newNOAH(t, elliptic.P256(), sandbox).apiKey)
}

func (r *rig) importVersionSealed(t testing.TB, name string, file []byte) (*adminv1.ImportKeyVersionResponse, error) {
	t.Helper()
	return r.admin.ImportKeyVersion(as(t, operator), &adminv1.ImportKeyVersionRequest{Name: name, Sealed: file})
}

func (r *rig) activateSealed(t testing.TB, name string, version uint32, file []byte) (*adminv1.ActivateKeyVersionResponse, error) {
	t.Helper()
	return r.admin.ActivateKeyVersion(as(t, operator), &adminv1.ActivateKeyVersionRequest{Name: name, Version: version, Sealed: file})
}

func TestASealedVersionIsImportedOnce(t *testing.T) {
	t.Parallel()
	r := startWithHPKE(t)
	r.importedNoba(t, "shop")
	ticket := r.ticket(t, &adminv1.CreateImportTicketRequest{Name: "shop", Purpose: forNewVersion})
	if want := (importticket.Use{Purpose: importticket.NewVersion, Name: "shop", Scheme: "noba", Environment: "sandbox"}); ticket.Use != want {
		t.Errorf("the ticket is for %v", ticket.Use)
	}
	account := newNoba()
	file := sealedFor(t, ticket, map[string][]byte{"api_key": []byte(account.apiKey), "secret": []byte(account.secret + "\n")})
	out, err := r.importVersionSealed(t, "shop", file)
	must(t, err)
	if out.GetVersion() != 2 || out.GetKey().GetActiveVersion() != 1 || len(out.GetNotes()) != 1 {
		t.Errorf("got %v", out)
	}
	_, err = r.importVersionSealed(t, "shop", file)
	r.refused(t, err, codes.FailedPrecondition, "TICKET_REFUSED")
	// It is the secret that was sealed: it is refused in the other environment.
	_, err = r.admin.ImportKey(as(t, operator), &adminv1.ImportKeyRequest{Name: "other", Scheme: "noba", Environment: prod, Material: account.material()})
	r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST")
	canaries{"secret": []byte(account.secret), "API key": []byte(account.apiKey)}.search(t, "the record", []byte(r.recordText(t)+r.log.String()))
}

func TestASealedAPIKeyActivatesItsVersionOnce(t *testing.T) {
	t.Parallel()
	r := startWithHPKE(t)
	apiKey := r.pendingNOAH(t, "shop")
	ticket := r.ticket(t, &adminv1.CreateImportTicketRequest{Name: "shop", Purpose: forAPIKey, Version: 1, Scheme: "noah", Environment: sandbox})
	file := sealedFor(t, ticket, map[string][]byte{"api_key": append(bytes.Clone(apiKey), '\n')})
	out, err := r.activateSealed(t, "shop", 1, file)
	must(t, err)
	if out.GetKey().GetActiveVersion() != 1 || len(out.GetNotes()) != 1 {
		t.Errorf("got %v", out)
	}
	_, err = r.activateSealed(t, "shop", 1, file)
	r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST") // it has its API key
	next, err := r.admin.CreateKeyVersion(as(t, operator), &adminv1.CreateKeyVersionRequest{Name: "shop"})
	must(t, err)
	_, err = r.activateSealed(t, "shop", next.GetVersion(), file)
	r.refused(t, err, codes.FailedPrecondition, "TICKET_REFUSED")
	canaries{"API key": apiKey}.search(t, "the record", []byte(r.recordText(t)+r.log.String()))
}

func TestWhatIsSealedServesThePurposeOfItsTicketAlone(t *testing.T) {
	t.Parallel()
	r := startWithHPKE(t)
	r.importedNoba(t, "noba")
	r.importedNoba(t, "noba-2")
	r.pendingNOAH(t, "noah")
	_, err := r.admin.CreateKeyVersion(as(t, operator), &adminv1.CreateKeyVersionRequest{Name: "noah"})
	must(t, err)
	noah := newNOAH(t, elliptic.P384(), sandbox)
	both := newNoba().material()
	maps.Copy(both, noah.material())
	file := func(in *adminv1.CreateImportTicketRequest, parts map[string][]byte) []byte {
		return sealedFor(t, r.ticket(t, in), parts)
	}
	files := map[string][]byte{
		"a new Noba key":         file(&adminv1.CreateImportTicketRequest{Name: "new", Scheme: "noba", Environment: sandbox}, both),
		"a new NOAH key":         file(&adminv1.CreateImportTicketRequest{Name: "new", Scheme: "noah", Environment: sandbox, Purpose: forNewKey}, both),
		"a version of noba":      file(&adminv1.CreateImportTicketRequest{Name: "noba", Purpose: forNewVersion}, both),
		"a version of noah":      file(&adminv1.CreateImportTicketRequest{Name: "noah", Purpose: forNewVersion}, both),
		"the API key of noah, 1": file(&adminv1.CreateImportTicketRequest{Name: "noah", Purpose: forAPIKey, Version: 1}, both),
	}
	uses := map[string]struct {
		fits string
		use  func(file []byte) error
	}{
		"ImportKey": {"a new Noba key", func(file []byte) error { return r.importSealed(t, "new", "noba", sandbox, file) }},
		"ImportKey of noba": {"", func(file []byte) error {
			return r.importSealed(t, "noba", "noba", sandbox, file)
		}},
		"ImportKeyVersion of noba":         {"a version of noba", func(file []byte) error { _, err := r.importVersionSealed(t, "noba", file); return err }},
		"ImportKeyVersion of noba-2":       {"", func(file []byte) error { _, err := r.importVersionSealed(t, "noba-2", file); return err }},
		"ImportKeyVersion of noah":         {"a version of noah", func(file []byte) error { _, err := r.importVersionSealed(t, "noah", file); return err }},
		"ActivateKeyVersion of noah, 1":    {"the API key of noah, 1", func(file []byte) error { _, err := r.activateSealed(t, "noah", 1, file); return err }},
		"ActivateKeyVersion of noah, 2":    {"", func(file []byte) error { _, err := r.activateSealed(t, "noah", 2, file); return err }},
		"ImportKey of the other partner":   {"a new NOAH key", func(file []byte) error { return r.importSealed(t, "new", "noah", sandbox, file) }},
		"ImportKey of another environment": {"", func(file []byte) error { return r.importSealed(t, "new", "noba", prod, file) }},
	}
	for _, u := range uses {
		for sealed, file := range files {
			if sealed != u.fits {
				r.refused(t, u.use(file), codes.FailedPrecondition, "TICKET_REFUSED")
			}
		}
	}
	// None of that used a ticket up: each file still opens, to what is no key.
	for name, u := range uses {
		if u.fits == "" {
			continue
		}
		r.refused(t, u.use(files[u.fits]), codes.InvalidArgument, "INVALID_REQUEST")
		if _, err := r.admin.GetKey(as(t, operator), &adminv1.GetKeyRequest{Name: "new"}); err == nil {
			t.Errorf("%s made a key", name)
		}
	}
}

func TestATicketForAKeyThatIsThereIsDecidedByThatKey(t *testing.T) {
	t.Parallel()
	r := startWithHPKE(t)
	r.importedNoba(t, "shop")
	_, err := r.admin.CreateImportTicket(as(t, operator), &adminv1.CreateImportTicketRequest{Name: "nothing", Purpose: forNewVersion})
	r.refused(t, err, codes.NotFound, "KEY_NOT_FOUND")
	_, err = r.admin.CreateImportTicket(as(t, operator), &adminv1.CreateImportTicketRequest{Name: "shop", Purpose: forAPIKey, Version: 2})
	r.refused(t, err, codes.NotFound, "KEY_NOT_FOUND")
	for _, name := range []string{"nothing", "shop"} {
		_, err = r.admin.CreateImportTicket(as(t, stranger), &adminv1.CreateImportTicketRequest{Name: name, Purpose: forNewVersion})
		r.refused(t, err, codes.PermissionDenied, "DENIED")
	}
}

func TestARequestThatCannotSucceedUsesNoTicketUp(t *testing.T) {
	t.Parallel()
	r := startWithHPKE(t)
	r.importedNoba(t, "noba")
	apiKey := r.pendingNOAH(t, "noah")
	version := sealedFor(t, r.ticket(t, &adminv1.CreateImportTicketRequest{Name: "noba", Purpose: forNewVersion}), newNoba().material())
	completing := sealedFor(t, r.ticket(t, &adminv1.CreateImportTicketRequest{Name: "noah", Purpose: forAPIKey, Version: 1}), map[string][]byte{"api_key": apiKey})
	_, err := r.admin.ImportKeyVersion(as(t, operator), &adminv1.ImportKeyVersionRequest{Name: "noba", Sealed: version, Generation: 1})
	r.refused(t, err, codes.Aborted, "CONFLICT")
	_, err = r.admin.ActivateKeyVersion(as(t, operator), &adminv1.ActivateKeyVersionRequest{Name: "noah", Version: 1, Sealed: completing, Generation: 1})
	r.refused(t, err, codes.Aborted, "CONFLICT")
	_, err = r.importVersionSealed(t, "noba", version)
	must(t, err)
	_, err = r.activateSealed(t, "noah", 1, completing)
	must(t, err)
}

func TestTicketsForVersionsEndWithTheirTimeAndTheirProcess(t *testing.T) {
	t.Parallel()
	r, restarted := startWithHPKE(t), startWithHPKE(t)
	for _, rig := range []*rig{r, restarted} {
		rig.importedNoba(t, "noba")
		rig.pendingNOAH(t, "noah")
	}
	version := sealedFor(t, r.ticket(t, &adminv1.CreateImportTicketRequest{Name: "noba", Purpose: forNewVersion}), newNoba().material())
	completing := sealedFor(t, r.ticket(t, &adminv1.CreateImportTicketRequest{Name: "noah", Purpose: forAPIKey, Version: 1}), map[string][]byte{"api_key": []byte("apikey_sandbox_x")})
	r.clock.advance(time.Hour)
	for _, rig := range []*rig{r, restarted} {
		_, err := rig.importVersionSealed(t, "noba", version)
		rig.refused(t, err, codes.FailedPrecondition, "TICKET_REFUSED")
		_, err = rig.activateSealed(t, "noah", 1, completing)
		rig.refused(t, err, codes.FailedPrecondition, "TICKET_REFUSED")
	}
}

func TestAnExpiryDateComesWithWhatItIsAbout(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	ctx := as(t, operator)
	first, second := timestamppb.New(time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)), timestamppb.New(time.Date(2028, 1, 31, 12, 0, 0, 0, time.UTC))
	imported, err := r.admin.ImportKey(ctx, &adminv1.ImportKeyRequest{Name: "noba", Scheme: "noba", Environment: sandbox, Material: newNoba().material(), ExpireTime: first})
	must(t, err)
	same(t, imported.GetKey().GetVersions()[0].GetExpireTime(), first)
	added, err := r.admin.ImportKeyVersion(ctx, &adminv1.ImportKeyVersionRequest{Name: "noba", Material: newNoba().material(), ExpireTime: second})
	must(t, err)
	same(t, added.GetKey().GetVersions()[0].GetExpireTime(), first)
	same(t, added.GetKey().GetVersions()[1].GetExpireTime(), second)
	activated, err := r.admin.ActivateKeyVersion(ctx, &adminv1.ActivateKeyVersionRequest{Name: "noba", Version: 2})
	must(t, err)
	same(t, activated.GetKey().GetVersions()[1].GetExpireTime(), second)
	apiKey := r.pendingNOAH(t, "noah")
	completed, err := r.admin.ActivateKeyVersion(ctx, &adminv1.ActivateKeyVersionRequest{Name: "noah", Version: 1, ApiKey: apiKey, ExpireTime: first})
	must(t, err)
	same(t, completed.GetKey().GetVersions()[0].GetExpireTime(), first)
	again, err := r.admin.GetKey(ctx, &adminv1.GetKeyRequest{Name: "noah"})
	must(t, err)
	same(t, again.GetKey(), completed.GetKey())
}

// Enforcement holds from a process' start: where it is not in force, the test runs itself once more. Which module is in force was decided
// when it was built: `make test-fips` has the one that refuses.
func TestEnforcedFIPSRefusesTicketsThatItCannotMakeAndNeverPanics(t *testing.T) {
	t.Parallel()
	if !fips140.Enforced() {
		self, err := os.Executable()
		must(t, err)
		cmd := exec.CommandContext(t.Context(), self, "-test.run", "^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("PASS")) {
			t.Errorf("it ended with %v and says:\n%s", err, out)
		}
		return
	}
	r := start(t, setup{})
	r.importedNoba(t, "noba")
	r.pendingNOAH(t, "noah")
	for _, in := range []*adminv1.CreateImportTicketRequest{
		{Name: "new", Scheme: "noba", Environment: sandbox}, {Name: "noba", Purpose: forNewVersion}, {Name: "noah", Purpose: forAPIKey, Version: 1},
	} {
		_, err := r.admin.CreateImportTicket(as(t, operator), in)
		if hpkeIsAllowed(t) {
			must(t, err)
			continue
		}
		r.refused(t, err, codes.FailedPrecondition, "FIPS_REFUSED")
	}
	// A ticket of a signerd that may do HPKE means nothing here.
	elsewhere := startWithHPKE(t)
	file := sealedFor(t, elsewhere.ticket(t, &adminv1.CreateImportTicketRequest{Name: "new", Scheme: "noba", Environment: sandbox}), newNoba().material())
	r.refused(t, r.importSealed(t, "new", "noba", sandbox, file), codes.FailedPrecondition, "TICKET_REFUSED")
}

// hpkeIsAllowed asks the standard library: the module of v1.0.0 does not have HPKE, later ones may.
func hpkeIsAllowed(t testing.TB) bool {
	t.Helper()
	private, err := hpke.DHKEM(ecdh.P384()).GenerateKey()
	must(t, err)
	_, err = hpke.Seal(private.PublicKey(), hpke.HKDFSHA384(), hpke.AES256GCM(), nil, nil)
	if err == nil && fips140.Version() == "v1.0.0" {
		t.Error("the module of v1.0.0 does HPKE: the documentation says that it does not")
	}
	return err == nil
}
