package server_test

import (
	"bytes"
	"crypto/fips140"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/importticket"
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
			good, late := r.ticket(t, in), r.ticket(t, in)
			r.clock.advance(good.Expires.Sub(r.clock.Now()) - time.Millisecond)
			must(t, r.importSealed(t, "shop", "noba", sandbox, sealedFor(t, good, newNoba().material())))
			r.clock.advance(time.Millisecond)
			r.refused(t, r.importSealed(t, "shop", "noba", sandbox, sealedFor(t, late, newNoba().material())), codes.FailedPrecondition, "TICKET_REFUSED")
		})
	}
}

func TestTicketsOfAnotherProcessOpenNothing(t *testing.T) {
	t.Parallel()
	before, after := startWithHPKE(t), startWithHPKE(t)
	ticket := before.ticket(t, &adminv1.CreateImportTicketRequest{Name: "shop", Scheme: "noba", Environment: sandbox})
	after.refused(t, after.importSealed(t, "shop", "noba", sandbox, sealedFor(t, ticket, newNoba().material())), codes.FailedPrecondition, "TICKET_REFUSED")
}

func TestThereAreAHundredTicketsAtMost(t *testing.T) {
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
	r.clock.advance(time.Hour)
	r.ticket(t, request(100))
}
