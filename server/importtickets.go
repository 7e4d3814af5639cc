package server

import (
	"context"
	"crypto/hpke"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/importticket"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/upstream"
)

// What a ticket is good for at most, and how many there are.
const (
	defaultTicketLife = time.Hour
	maxTicketLife     = 24 * time.Hour
	maxTickets        = 100
)

// Errors about tickets and what is sealed for them.
var (
	errTicketUnknown = errors.New("there is no such import ticket")
	errTicketExpired = errors.New("the import ticket's time is over")
	errTicketOther   = errors.New("the import ticket is for another key")
	errTooManyTicket = errors.New("there are too many import tickets")
)

// tickets are the import tickets that can be used, and their private keys, in memory only.
type tickets struct {
	mu   sync.Mutex
	kept map[importticket.ID]issued
}

type issued struct {
	ticket  importticket.Ticket
	private hpke.PrivateKey
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

func (t *tickets) issue(n keystore.NewKey, now time.Time, life time.Duration) (importticket.Ticket, error) {
	t.forget(now)
	ticket, private, err := importticket.New(n.Name, n.Scheme, string(n.Environment), now.Add(life))
	if err != nil {
		return importticket.Ticket{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.kept) >= maxTickets {
		return importticket.Ticket{}, errTooManyTicket
	}
	if t.kept == nil {
		t.kept = make(map[importticket.ID]issued)
	}
	t.kept[ticket.ID] = issued{ticket, private}
	return ticket, nil
}

// open opens a file that was sealed for the key, and uses up its ticket. A file that does not open, or is for another key, uses up
// nothing.
func (t *tickets) open(n keystore.NewKey, now time.Time, file []byte) (map[string][]byte, error) {
	id, err := importticket.For(file)
	if err != nil {
		return nil, upstream.Invalid("sealed", "%v", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i, ok := t.kept[id]
	switch {
	case !ok:
		return nil, errTicketUnknown
	case !now.Before(i.ticket.Expires):
		delete(t.kept, id)
		return nil, errTicketExpired
	case i.ticket.Name != n.Name || i.ticket.Scheme != n.Scheme || i.ticket.Environment != string(n.Environment):
		return nil, errTicketOther
	}
	material, err := importticket.Open(i.ticket, i.private, file)
	if err != nil {
		return nil, upstream.Invalid("sealed", "%v", err)
	}
	delete(t.kept, id)
	return material, nil
}

// CreateImportTicket implements adminv1.KeyServiceServer.
func (s *keyService) CreateImportTicket(ctx context.Context, in *adminv1.CreateImportTicketRequest) (*adminv1.CreateImportTicketResponse, error) {
	life, err := ticketLife(in.GetTtl())
	if err != nil {
		return nil, err
	}
	n := keystore.NewKey{Name: in.GetName(), Scheme: in.GetScheme(), Environment: environment(in.GetEnvironment())}
	keys, err := s.authorizeNew(ctx, n)
	switch {
	case err != nil:
		return nil, err
	case !known(n.Scheme):
		return nil, upstream.Invalid("scheme", "there is no such partner; wanted noah, noba or noon")
	case keys.Lookup(n.Name) != nil:
		return nil, keystore.ErrKeyExists
	}
	ticket, err := s.tickets.issue(n, s.now(), life)
	if err != nil {
		return nil, err
	}
	text, err := ticket.Text()
	if err != nil {
		return nil, err
	}
	return &adminv1.CreateImportTicketResponse{Ticket: text, Fingerprint: ticket.Fingerprint(), ExpireTime: timestamppb.New(ticket.Expires)}, nil
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

// unsealed gives what a request brings in the clear, or opens what it brings sealed. The caller was authorized.
func (s *keyService) unsealed(in *adminv1.ImportKeyRequest, n keystore.NewKey) (upstream.Material, error) {
	if len(in.GetSealed()) == 0 {
		return takeMaterial(in.GetMaterial()), nil
	}
	parts, err := s.tickets.open(n, s.now(), in.GetSealed())
	if err != nil {
		return nil, err
	}
	// What the message's rules say of material in the clear.
	if tooMuch := len(parts) > maxParts || slices.ContainsFunc(slices.Collect(maps.Values(parts)), func(b []byte) bool { return len(b) > maxPartBytes }); tooMuch {
		importticket.Wipe(parts)
		return nil, upstream.Invalid("sealed", "it holds more than %d parts, or one of more than %d bytes", maxParts, maxPartBytes)
	}
	return takeMaterial(parts), nil
}

// Bounds of material, as ImportKeyRequest has them.
const (
	maxParts     = 8
	maxPartBytes = 65536
)

// oneMaterial refuses a request with none, and one with two.
func oneMaterial(in *adminv1.ImportKeyRequest) error {
	switch {
	case len(in.GetMaterial()) == 0 && len(in.GetSealed()) == 0:
		return upstream.Invalid("material", "it is empty, and nothing is sealed")
	case len(in.GetMaterial()) > 0 && len(in.GetSealed()) > 0:
		return upstream.Invalid("sealed", "there is material in the clear as well")
	}
	return nil
}
