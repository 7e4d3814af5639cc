package server

import (
	"cmp"
	"context"
	"crypto/hpke"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/importticket"
	"github.com/signerd/signerd/internal/ownfile"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/upstream"
)

// What a ticket is good for at most, and how many there are.
const (
	defaultTicketLife = time.Hour
	maxTicketLife     = 24 * time.Hour
	maxTickets        = 1000
	// maxTicketsOfCaller leaves room for other callers' tickets.
	maxTicketsOfCaller = 100
)

// Errors about tickets and what is sealed for them.
var (
	errTicketUnknown = errors.New("there is no such import ticket")
	errTicketExpired = errors.New("the import ticket's time is over")
	errTicketOther   = errors.New("the import ticket is for something else")
	errTicketInUse   = errors.New("an import with this ticket is under way")
	errTooManyTicket = errors.New("there are too many import tickets")
)

// tickets are the import tickets that can be used, and their private keys, in memory only.
type tickets struct {
	mu   sync.Mutex
	kept map[importticket.ID]*issued
}

// issued is a ticket that somebody was given. What is below private belongs to the import that is under way, if there is one.
type issued struct {
	ticket  importticket.Ticket
	caller  string
	private hpke.PrivateKey
	inUse   bool
	// attempted is the generation that the import wants the key at, and doubted that of the first import whose outcome is not
	// known; 0 for none. With doubted the same file never makes a second version.
	attempted, doubted uint64
}

// forget drops the tickets whose time is over.
func (t *tickets) forget(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, i := range t.kept {
		if !now.Before(i.ticket.Expires) {
			delete(t.kept, id)
		}
	}
}

// issue gives a caller a ticket, which takes the place of one that the same caller has for the same use.
func (t *tickets) issue(caller string, use importticket.Use, now time.Time, life time.Duration) (importticket.Ticket, error) {
	t.forget(now)
	ticket, private, err := importticket.New(use, now.Add(life))
	if err != nil {
		return importticket.Ticket{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	own := 0
	for id, i := range t.kept {
		switch {
		case i.caller != caller:
		case i.ticket.Use == use:
			delete(t.kept, id)
		default:
			own++
		}
	}
	if own >= maxTicketsOfCaller || len(t.kept) >= maxTickets {
		return importticket.Ticket{}, errTooManyTicket
	}
	if t.kept == nil {
		t.kept = make(map[importticket.ID]*issued)
	}
	t.kept[ticket.ID] = &issued{ticket: ticket, caller: caller, private: private}
	return ticket, nil
}

// open opens a file that was sealed for a use, and takes its ticket into use, for settle to end. A file that does not open, or is
// for another use, takes nothing.
func (t *tickets) open(use importticket.Use, now time.Time, file []byte) (map[string][]byte, *issued, error) {
	id, err := importticket.For(file)
	if err != nil {
		return nil, nil, upstream.Invalid("sealed", "%v", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i, ok := t.kept[id]
	switch {
	case !ok:
		return nil, nil, errTicketUnknown
	case !now.Before(i.ticket.Expires):
		delete(t.kept, id)
		return nil, nil, errTicketExpired
	case i.ticket.Use != use:
		return nil, nil, errTicketOther
	case i.inUse:
		return nil, nil, errTicketInUse
	}
	parts, err := importticket.Open(i.ticket, i.private, file)
	if err != nil {
		return nil, nil, upstream.Invalid("sealed", "%v", err)
	}
	i.inUse = true
	return parts, i, nil
}

// settle uses a ticket up, unless its import ended with an error after which one tries again.
func (t *tickets) settle(i *issued, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i.inUse = false
	code := codes.OK
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		code = codes.Unavailable
	case err != nil:
		code = rowFor(err).code
	}
	if code != codes.Unavailable && code != codes.Aborted {
		delete(t.kept, i.ticket.ID)
	}
	if code == codes.Unavailable {
		i.doubted = i.attempted
	}
}

// CreateImportTicket implements adminv1.KeyServiceServer.
func (s *keyService) CreateImportTicket(ctx context.Context, in *adminv1.CreateImportTicketRequest) (*adminv1.CreateImportTicketResponse, error) {
	life, err := ticketLife(in.GetTtl())
	if err != nil {
		return nil, err
	}
	c, err := callFrom(ctx)
	if err != nil {
		return nil, err
	}
	c.record.Note = string(purposeOf(in.GetPurpose()))
	use, err := s.ticketUse(ctx, in)
	if err != nil {
		return nil, err
	}
	ticket, err := s.tickets.issue(string(actor(ctx)), use, s.now(), life)
	if err != nil {
		return nil, err
	}
	text, err := ticket.Text()
	if err != nil {
		return nil, err
	}
	return &adminv1.CreateImportTicketResponse{Ticket: text, Fingerprint: ticket.Fingerprint(), ExpireTime: timestamppb.New(ticket.Expires)}, nil
}

// purposeOf takes a ticket for a new key where the request says nothing.
func purposeOf(p adminv1.ImportPurpose) importticket.Purpose {
	switch p {
	case adminv1.ImportPurpose_IMPORT_PURPOSE_NEW_VERSION:
		return importticket.NewVersion
	case adminv1.ImportPurpose_IMPORT_PURPOSE_API_KEY:
		return importticket.APIKey
	}
	return importticket.NewKey
}

// ticketUse says what the ticket is to be for, once the caller was authorized for that.
func (s *keyService) ticketUse(ctx context.Context, in *adminv1.CreateImportTicketRequest) (importticket.Use, error) {
	purpose := purposeOf(in.GetPurpose())
	if purpose == importticket.NewKey {
		return s.newKeyUse(ctx, in)
	}
	forAPIKey := purpose == importticket.APIKey
	a, err := s.authorize(ctx, in.GetName(), nil)
	if err != nil {
		return importticket.Use{}, err
	}
	switch env := environment(in.GetEnvironment()); {
	case forAPIKey && in.GetVersion() == 0:
		return importticket.Use{}, upstream.Invalid("version", "wanted the version that the API key is for")
	case !forAPIKey && in.GetVersion() != 0:
		return importticket.Use{}, versionOfTicket()
	case in.GetScheme() != "" && in.GetScheme() != a.key.Scheme:
		return importticket.Use{}, upstream.Invalid("scheme", "the key is of another partner")
	case env != "" && env != a.key.Environment:
		return importticket.Use{}, upstream.Invalid("environment", "the key is of the other environment")
	case !forAPIKey:
		return newVersionUse(a.key), nil
	}
	return apiKeyUse(a.key, in.GetVersion()), waitsForAPIKey(a.key, in.GetVersion(), "version")
}

func versionOfTicket() error {
	return upstream.Invalid("version", "it is for the API key of a version alone")
}

func (s *keyService) newKeyUse(ctx context.Context, in *adminv1.CreateImportTicketRequest) (importticket.Use, error) {
	n := keystore.NewKey{Name: in.GetName(), Scheme: in.GetScheme(), Environment: environment(in.GetEnvironment())}
	switch {
	case n.Scheme == "":
		return importticket.Use{}, upstream.Invalid("scheme", "it is required for a new key")
	case n.Environment == "":
		return importticket.Use{}, upstream.Invalid("environment", "it is required for a new key")
	}
	keys, err := s.authorizeNew(ctx, n)
	switch {
	case err != nil:
		return importticket.Use{}, err
	case in.GetVersion() != 0:
		return importticket.Use{}, versionOfTicket()
	case !known(n.Scheme):
		return importticket.Use{}, upstream.Invalid("scheme", "there is no such partner; wanted noah, noba or noon")
	case keys.Lookup(n.Name) != nil:
		return importticket.Use{}, keystore.ErrKeyExists
	}
	return newKeyUse(n), nil
}

func newKeyUse(n keystore.NewKey) importticket.Use {
	return importticket.Use{Purpose: importticket.NewKey, Name: n.Name, Scheme: n.Scheme, Environment: string(n.Environment)}
}

func newVersionUse(k *keystore.Key) importticket.Use {
	return importticket.Use{Purpose: importticket.NewVersion, Name: k.Name, Scheme: k.Scheme, Environment: string(k.Environment)}
}

func apiKeyUse(k *keystore.Key, version uint32) importticket.Use {
	return importticket.Use{Purpose: importticket.APIKey, Name: k.Name, Scheme: k.Scheme, Environment: string(k.Environment), Version: version}
}

// waitsForAPIKey refuses a version that takes no API key, before a ticket is made or used up for it. field is the one to blame.
func waitsForAPIKey(k *keystore.Key, number uint32, field string) error {
	v, ok := k.Version(number)
	switch {
	case !ok:
		return keystore.ErrNotFound
	case v.State == keystore.Destroyed:
		return keystore.ErrVersionDestroyed
	case v.State != keystore.Pending:
		return upstream.Invalid(field, "version %d has its API key already; import a new version to change it", number)
	}
	return nil
}

func known(scheme string) bool {
	_, ok := signs[scheme]
	return ok
}

func ticketLife(ttl *durationpb.Duration) (time.Duration, error) {
	if ttl == nil {
		return defaultTicketLife, nil
	}
	life := ttl.AsDuration()
	if ttl.CheckValid() != nil || life%time.Second != 0 || life < time.Second || life > maxTicketLife {
		return 0, upstream.Invalid("ttl", "wanted whole seconds, 1 to %d", int(maxTicketLife/time.Second))
	}
	return life, nil
}

// brought is a request that brings what a partner handed out.
type brought interface {
	GetMaterial() map[string][]byte
	GetSealed() []byte
}

// oneMaterial refuses a request with none, and one with two.
func oneMaterial(in brought) error {
	switch {
	case len(in.GetMaterial()) == 0 && len(in.GetSealed()) == 0:
		return upstream.Invalid("material", "it is empty, and nothing is sealed")
	case len(in.GetMaterial()) > 0 && len(in.GetSealed()) > 0:
		return upstream.Invalid("sealed", "there is material in the clear as well")
	}
	return nil
}

// taken is the material of a request, and the ticket that it was sealed for, nil for none. Wipe and settle it.
type taken struct {
	upstream.Material
	tickets *tickets
	ticket  *issued
}

// settle says how the import ended.
func (t taken) settle(err error) {
	if t.ticket != nil {
		t.tickets.settle(t.ticket, err)
	}
}

// expected is the generation that a version is imported at. What is sealed is imported once: after an outcome that is not known,
// only into the key as it was before.
func (t taken) expected(requested uint64, k *keystore.Key) keystore.Precondition {
	if t.ticket == nil {
		return keystore.Precondition(requested)
	}
	t.ticket.attempted = cmp.Or(t.ticket.doubted, k.Generation)
	return keystore.Precondition(t.ticket.attempted)
}

// materialOf gives what a request brings in the clear, or opens what it brings sealed for that use. The caller was authorized.
func (s *keyService) materialOf(in brought, use importticket.Use) (taken, error) {
	if len(in.GetSealed()) > 0 {
		return s.unseal(in.GetSealed(), use)
	}
	if err := refuseOwn("material", in.GetMaterial()); err != nil {
		return taken{}, err
	}
	return taken{Material: takeMaterial(in.GetMaterial())}, nil
}

func (s *keyService) unseal(file []byte, use importticket.Use) (taken, error) {
	parts, ticket, err := s.tickets.open(use, s.now(), file)
	if err != nil {
		return taken{}, err
	}
	// What the messages' rules say of material in the clear.
	if len(parts) > maxParts || slices.ContainsFunc(slices.Collect(maps.Values(parts)), func(b []byte) bool { return len(b) > maxPartBytes }) {
		err = upstream.Invalid("sealed", "it holds more than %d parts, or one of more than %d bytes", maxParts, maxPartBytes)
	} else {
		err = refuseOwn("sealed", parts)
	}
	if err != nil {
		importticket.Wipe(parts)
		s.tickets.settle(ticket, err)
		return taken{}, err
	}
	return taken{takeMaterial(parts), &s.tickets, ticket}, nil
}

// refuseOwn refuses signerd's own files, which a slip of the hand brings as a partner's secret: an API key is handed out.
func refuseOwn(field string, parts map[string][]byte) error {
	for part := range maps.Values(parts) {
		if kind := ownfile.Kind(part); kind != "" {
			return upstream.Invalid(field, "it holds %s of signerd's own, which is no partner's secret", kind)
		}
	}
	return nil
}

// Bounds of material, as ImportKeyRequest and ImportKeyVersionRequest have them.
const (
	maxParts     = 8
	maxPartBytes = 65536
)

// unsealAPIKey opens an API key for a version that waits for it. It takes the ticket as late as it can.
func (s *keyService) unsealAPIKey(in *adminv1.ActivateKeyVersionRequest, k *keystore.Key) (taken, error) {
	if err := stillAt(k, in.GetGeneration()); err != nil {
		return taken{}, err
	}
	if err := waitsForAPIKey(k, in.GetVersion(), "sealed"); err != nil {
		return taken{}, err
	}
	m, err := s.unseal(in.GetSealed(), apiKeyUse(k, in.GetVersion()))
	if err != nil {
		return taken{}, err
	}
	if _, ok := m.Material[upstream.PartAPIKey]; !ok || len(m.Material) > 1 {
		m.Wipe()
		err := upstream.Invalid("sealed", "it holds something else than an API key")
		m.settle(err)
		return taken{}, err
	}
	return m, nil
}

// stillAt refuses what was decided on another generation before a ticket is used up for it; the keystore decides.
func stillAt(k *keystore.Key, generation uint64) error {
	if generation != 0 && generation != k.Generation {
		return keystore.ErrConflict
	}
	return nil
}
