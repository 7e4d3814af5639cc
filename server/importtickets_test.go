package server_test

import (
	"bytes"
	"crypto/fips140"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/importticket"
	"github.com/signerd/signerd/policy"
)

func (r *rig) ticket(t testing.TB, in *adminv1.CreateImportTicketRequest) importticket.Ticket {
	t.Helper()
	out, err := r.admin.CreateImportTicket(as(t, operator), in)
	must(t, err)
	ticket, err := importticket.Parse(out.GetTicket())
	must(t, err)
	if out.GetFingerprint() != ticket.Fingerprint() || !out.GetExpireTime().AsTime().Equal(ticket.Expires) {
		t.Errorf("the answer %v does not fit its ticket", out)
	}
	return ticket
}

// startWithHPKE starts a server that may do HPKE also where FIPS 140-3 is enforced, where the tests do what nobody else there could.
func startWithHPKE(t testing.TB) (r *rig) {
	t.Helper()
	fips140.WithoutEnforcement(func() { r = start(t, setup{}) })
	return r
}

func sealedFor(t testing.TB, ticket importticket.Ticket, material map[string][]byte) (file []byte) {
	t.Helper()
	fips140.WithoutEnforcement(func() {
		var err error
		file, err = importticket.Seal(ticket, material)
		must(t, err)
	})
	return file
}

func (r *rig) importSealed(t testing.TB, name, scheme string, env adminv1.Environment, file []byte) error {
	t.Helper()
	_, err := r.admin.ImportKey(as(t, operator), &adminv1.ImportKeyRequest{Name: name, Scheme: scheme, Environment: env, Sealed: file})
	return err
}

func TestASealedKeyIsImportedOnce(t *testing.T) {
	t.Parallel()
	r := startWithHPKE(t)
	account := newNoba()
	ticket := r.ticket(t, &adminv1.CreateImportTicketRequest{Name: "shop", Scheme: "noba", Environment: sandbox})
	file := sealedFor(t, ticket, account.material())
	must(t, r.importSealed(t, "shop", "noba", sandbox, file))
	// It is the same key: the same secret is refused in the other environment.
	_, err := r.admin.ImportKey(as(t, operator), &adminv1.ImportKeyRequest{Name: "other", Scheme: "noba", Environment: prod, Material: account.material()})
	r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST")
	r.refused(t, r.importSealed(t, "shop", "noba", sandbox, file), codes.FailedPrecondition, "TICKET_REFUSED")
	if text := r.recordText(t) + r.log.String(); bytes.Contains([]byte(text), []byte(account.secret)) {
		t.Error("the secret is on record")
	}
	_, err = r.admin.CreateImportTicket(as(t, operator), &adminv1.CreateImportTicketRequest{Name: "shop", Scheme: "noba", Environment: sandbox})
	r.refused(t, err, codes.AlreadyExists, "KEY_EXISTS")
}

func TestASealedKeyIsImportedAsWhatItsTicketIsForAndNothingElse(t *testing.T) {
	t.Parallel()
	r := startWithHPKE(t)
	ticket := r.ticket(t, &adminv1.CreateImportTicketRequest{Name: "shop", Scheme: "noba", Environment: sandbox})
	file := sealedFor(t, ticket, newNoba().material())
	r.refused(t, r.importSealed(t, "shop2", "noba", sandbox, file), codes.FailedPrecondition, "TICKET_REFUSED")
	r.refused(t, r.importSealed(t, "shop", "noah", sandbox, file), codes.FailedPrecondition, "TICKET_REFUSED")
	r.refused(t, r.importSealed(t, "shop", "noba", prod, file), codes.FailedPrecondition, "TICKET_REFUSED")
	another := ticket
	another.Environment = "prod"
	r.refused(t, r.importSealed(t, "shop", "noba", sandbox, sealedFor(t, another, newNoba().material())), codes.InvalidArgument, "INVALID_REQUEST")
	_, err := r.admin.ImportKey(as(t, stranger), &adminv1.ImportKeyRequest{Name: "shop", Scheme: "noba", Environment: sandbox, Sealed: file})
	r.refused(t, err, codes.PermissionDenied, "DENIED")
	must(t, r.importSealed(t, "shop", "noba", sandbox, file)) // none of these used it up
}

func TestWhatIsSealedIsBoundedLikeWhatIsNot(t *testing.T) {
	t.Parallel()
	r := startWithHPKE(t)
	many := make(map[string][]byte)
	for i := range 9 {
		many[fmt.Sprint(i)] = []byte("x")
	}
	for _, parts := range []map[string][]byte{many, {"secret": make([]byte, 65537)}} {
		ticket := r.ticket(t, &adminv1.CreateImportTicketRequest{Name: "shop", Scheme: "noba", Environment: sandbox})
		_, fields := r.refused(t, r.importSealed(t, "shop", "noba", sandbox, sealedFor(t, ticket, parts)), codes.InvalidArgument, "INVALID_REQUEST")
		if len(fields) != 1 || fields[0] != "sealed" {
			t.Errorf("it blames %q", fields)
		}
	}
}

func TestATicketThatOpenedAFileIsUsedUp(t *testing.T) {
	t.Parallel()
	r := startWithHPKE(t)
	ticket := r.ticket(t, &adminv1.CreateImportTicketRequest{Name: "shop", Scheme: "noba", Environment: sandbox})
	incomplete := sealedFor(t, ticket, map[string][]byte{"api_key": []byte("a")})
	r.refused(t, r.importSealed(t, "shop", "noba", sandbox, incomplete), codes.InvalidArgument, "INVALID_REQUEST")
	r.refused(t, r.importSealed(t, "shop", "noba", sandbox, sealedFor(t, ticket, newNoba().material())), codes.FailedPrecondition, "TICKET_REFUSED")
}

func TestATicketEndsWithItsTime(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		ttl  *durationpb.Duration
		life time.Duration
	}{{nil, time.Hour}, {durationpb.New(time.Second), time.Second}, {durationpb.New(24 * time.Hour), 24 * time.Hour}} {
		t.Run(tt.life.String(), func(t *testing.T) {
			t.Parallel()
			r := startWithHPKE(t)
			in := &adminv1.CreateImportTicketRequest{Name: "shop", Scheme: "noba", Environment: sandbox, Ttl: tt.ttl}
			good := r.ticket(t, in)
			in.Name = "shop-2"
			late := r.ticket(t, in)
			r.clock.advance(good.Expires.Sub(r.clock.Now()) - time.Millisecond)
			must(t, r.importSealed(t, "shop", "noba", sandbox, sealedFor(t, good, newNoba().material())))
			r.clock.advance(time.Millisecond)
			r.refused(t, r.importSealed(t, "shop-2", "noba", sandbox, sealedFor(t, late, newNoba().material())), codes.FailedPrecondition, "TICKET_REFUSED")
		})
	}
}

func TestTicketsOfAnotherProcessOpenNothing(t *testing.T) {
	t.Parallel()
	before, after := startWithHPKE(t), startWithHPKE(t)
	ticket := before.ticket(t, &adminv1.CreateImportTicketRequest{Name: "shop", Scheme: "noba", Environment: sandbox})
	after.refused(t, after.importSealed(t, "shop", "noba", sandbox, sealedFor(t, ticket, newNoba().material())), codes.FailedPrecondition, "TICKET_REFUSED")
}

func TestOneCallerHasAHundredTicketsAtMost(t *testing.T) {
	t.Parallel()
	r := startWithHPKE(t)
	request := func(i int) *adminv1.CreateImportTicketRequest {
		return &adminv1.CreateImportTicketRequest{Name: fmt.Sprint("shop-", i), Scheme: "noba", Environment: sandbox}
	}
	for i := range 100 {
		r.ticket(t, request(i))
	}
	_, err := r.admin.CreateImportTicket(as(t, operator), request(100))
	r.refused(t, err, codes.ResourceExhausted, "TOO_MANY_TICKETS")
	r.ticket(t, request(99)) // in place of the one before
	r.clock.advance(time.Hour)
	r.ticket(t, request(100))
}

func TestTheTicketsOfOneOperatorLeaveRoomForAnothers(t *testing.T) {
	t.Parallel()
	const narrow = 4242
	var r *rig
	fips140.WithoutEnforcement(func() {
		r = start(t, setup{rules: []allowance{everything(t, operator), allows(t, narrow, []string{policy.Any}, "CreateImportTicket")}})
	})
	last := r.ticket(t, &adminv1.CreateImportTicketRequest{Name: "shop", Scheme: "noba", Environment: sandbox, Ttl: durationpb.New(24 * time.Hour)})
	for i := range 101 {
		in := &adminv1.CreateImportTicketRequest{Name: fmt.Sprint("shop-", i), Scheme: "noba", Environment: sandbox, Ttl: durationpb.New(24 * time.Hour)}
		if _, err := r.admin.CreateImportTicket(as(t, narrow), in); i < 100 {
			must(t, err)
		} else {
			r.refused(t, err, codes.ResourceExhausted, "TOO_MANY_TICKETS")
		}
	}
	r.ticket(t, &adminv1.CreateImportTicketRequest{Name: "another", Scheme: "noba", Environment: prod})
	must(t, r.importSealed(t, "shop", "noba", sandbox, sealedFor(t, last, newNoba().material())))
}

func TestANewerTicketTakesThePlaceOfTheSameCallersOnly(t *testing.T) {
	t.Parallel()
	const another = 4242
	var r *rig
	fips140.WithoutEnforcement(func() { r = start(t, setup{rules: []allowance{everything(t, operator), everything(t, another)}}) })
	in := &adminv1.CreateImportTicketRequest{Name: "shop", Scheme: "noba", Environment: sandbox}
	older, newer := r.ticket(t, in), r.ticket(t, in)
	_, err := r.admin.CreateImportTicket(as(t, another), in)
	must(t, err)
	r.refused(t, r.importSealed(t, "shop", "noba", sandbox, sealedFor(t, older, newNoba().material())), codes.FailedPrecondition, "TICKET_REFUSED")
	must(t, r.importSealed(t, "shop", "noba", sandbox, sealedFor(t, newer, newNoba().material())))
}

func TestOneFileThatManyImportAtOnceIsImportedOnce(t *testing.T) {
	t.Parallel()
	r := startWithHPKE(t)
	r.importedNoba(t, "noba")
	file := sealedFor(t, r.ticket(t, &adminv1.CreateImportTicketRequest{Name: "noba", Purpose: forNewVersion}), newNoba().material())
	var done atomic.Int32
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			_, err := r.importVersionSealed(t, "noba", file)
			if err == nil {
				done.Add(1)
				return
			}
			r.refused(t, err, codes.FailedPrecondition, "TICKET_REFUSED")
		})
	}
	all.Wait()
	if done.Load() != 1 {
		t.Errorf("it is imported %d times", done.Load())
	}
}

func TestAnImportThatTheStoreRefusesLeavesTheTicket(t *testing.T) {
	t.Parallel()
	r := startWithHPKE(t)
	r.importedNoba(t, "noba")
	apiKey := r.pendingNOAH(t, "noah")
	key := sealedFor(t, r.ticket(t, &adminv1.CreateImportTicketRequest{Name: "shop", Scheme: "noba", Environment: sandbox}), newNoba().material())
	version := sealedFor(t, r.ticket(t, &adminv1.CreateImportTicketRequest{Name: "noba", Purpose: forNewVersion}), newNoba().material())
	completing := sealedFor(t, r.ticket(t, &adminv1.CreateImportTicketRequest{Name: "noah", Purpose: forAPIKey, Version: 1}), map[string][]byte{"api_key": apiKey})
	imports := []func() error{
		func() error { return r.importSealed(t, "shop", "noba", sandbox, key) },
		func() error { _, err := r.importVersionSealed(t, "noba", version); return err },
		func() error { _, err := r.activateSealed(t, "noah", 1, completing); return err },
	}
	for _, one := range imports {
		r.store.failing(errors.New("the disk is full"))
		r.refused(t, one(), codes.Unavailable, "STORE_UNAVAILABLE")
		r.store.failing(nil)
		must(t, one())
		if err := one(); err == nil {
			t.Error("it is imported twice")
		}
	}
}

// The change is made, and signerd cannot say so.
func TestAnImportWhoseOutcomeIsNotKnownIsMadeOnce(t *testing.T) {
	t.Parallel()
	r := startWithHPKE(t)
	r.importedNoba(t, "noba")
	file := sealedFor(t, r.ticket(t, &adminv1.CreateImportTicketRequest{Name: "noba", Purpose: forNewVersion}), newNoba().material())
	r.anchor.broken.Store(true)
	_, err := r.importVersionSealed(t, "noba", file)
	r.refused(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
	r.anchor.broken.Store(false)
	for range 2 {
		_, err = r.importVersionSealed(t, "noba", file)
		r.refused(t, err, codes.Aborted, "CONFLICT")
	}
	out, err := r.admin.GetKey(as(t, operator), &adminv1.GetKeyRequest{Name: "noba"})
	must(t, err)
	if n := len(out.GetKey().GetVersions()); n != 2 {
		t.Errorf("it has %d versions", n)
	}
}

func TestTheRecordOfATicketSaysWhatForAndOfWhichVersion(t *testing.T) {
	t.Parallel()
	r := startWithHPKE(t)
	r.importedNoba(t, "noba")
	r.pendingNOAH(t, "noah")
	for _, tt := range []struct {
		in      *adminv1.CreateImportTicketRequest
		note    string
		version uint32
	}{
		{&adminv1.CreateImportTicketRequest{Name: "shop", Scheme: "noba", Environment: sandbox}, "new-key", 0},
		{&adminv1.CreateImportTicketRequest{Name: "noba", Purpose: forNewVersion}, "new-version", 0},
		{&adminv1.CreateImportTicketRequest{Name: "noah", Purpose: forAPIKey, Version: 1}, "api-key", 1},
	} {
		r.ticket(t, tt.in)
		found := 0
		for _, record := range r.records(t) {
			if record.Operation != "CreateImportTicket" || record.Key != tt.in.GetName() {
				continue
			}
			if found++; record.Note != tt.note || record.Version != tt.version {
				t.Errorf("the record is %+v", record)
			}
		}
		if found != 2 { // the intention too
			t.Errorf("there are %d records of it", found)
		}
	}
}

func TestSignerdsOwnFilesAreNoPartnersSecrets(t *testing.T) {
	t.Parallel()
	r := startWithHPKE(t)
	r.importedNoba(t, "noba")
	r.pendingNOAH(t, "noah")
	ctx, ticket := as(t, operator), &adminv1.CreateImportTicketRequest{Name: "shop", Scheme: "noba", Environment: sandbox}
	own := []byte("signerd-root-key-v1:xyz")
	parts := func() map[string][]byte {
		return map[string][]byte{"api_key": bytes.Clone(own), "secret": []byte("a secret of a partner")}
	}
	refused := func(field string, err error) {
		t.Helper()
		if _, fields := r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST"); len(fields) != 1 || fields[0] != field || bytes.Contains([]byte(err.Error()), own) {
			t.Errorf("it blames %q: %v", fields, err)
		}
	}
	_, err := r.admin.ImportKey(ctx, &adminv1.ImportKeyRequest{Name: "shop", Scheme: "noba", Environment: sandbox, Material: parts()})
	refused("material", err)
	_, err = r.admin.ImportKeyVersion(ctx, &adminv1.ImportKeyVersionRequest{Name: "noba", Material: parts()})
	refused("material", err)
	_, err = r.admin.ActivateKeyVersion(ctx, &adminv1.ActivateKeyVersionRequest{Name: "noah", Version: 1, ApiKey: bytes.Clone(own)})
	refused("api_key", err)
	refused("sealed", r.importSealed(t, "shop", "noba", sandbox, sealedFor(t, r.ticket(t, ticket), parts())))
}
