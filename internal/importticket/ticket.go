// Package importticket lets whoever holds a key's secrets seal them for one signerd, so that the person who carries them cannot
// read them: tickets, which are one-time public keys bound to what may be imported, and files sealed for them (HPKE, RFC 9180:
// DHKEM(P-384, HKDF-SHA384), HKDF-SHA384, AES-256-GCM).
//
// It is for server, which makes tickets and opens files, and for signerctl, which seals. It keeps nothing and knows no partner.
package importticket

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"
)

// Bounds of what is parsed, in bytes.
const (
	MaxTicketBytes = 8 << 10
	MaxSealedBytes = 1 << 20
	// MaxMaterialBytes bounds all parts of a key together, as they are sealed.
	MaxMaterialBytes = 512 << 10
)

// Errors that callers test for. None quotes what it is about.
var (
	// ErrTicket says that a text is no ticket.
	ErrTicket = errors.New("it is no import ticket of a format that this program reads")
	// ErrSealed says that a file is not sealed, is damaged, or was sealed for another ticket.
	ErrSealed = errors.New("it is no sealed file for this ticket, or is damaged")
	// ErrNotAllowed says that the cryptography in force cannot do HPKE, as under FIPS 140-3.
	ErrNotAllowed = errors.New("the cryptographic module in force does not allow HPKE")
)

const (
	format     = 1
	typeTicket = "SIGNERD IMPORT TICKET"
	typeSealed = "SIGNERD SEALED IMPORT"
	idSize     = 16
	pointSize  = 97 // an uncompressed P-384 point
)

// ID names a ticket.
type ID [idSize]byte

// Purpose is what is sealed for a ticket.
type Purpose string

// The purposes of tickets.
const (
	NewKey     Purpose = "new-key"     // all parts of a key that is to be made
	NewVersion Purpose = "new-version" // all parts of another version of a key that there is
	APIKey     Purpose = "api-key"     // the API key of a version that waits for it
)

// Use is what a ticket is good for, and nothing else.
type Use struct {
	Purpose     Purpose
	Name        string // of the key
	Scheme      string
	Environment string
	Version     uint32 // that APIKey is for; otherwise 0
}

// String says it to people. A use that came in a ticket may hold anything: show it with care.
func (u Use) String() string {
	key := fmt.Sprintf("key %s (%s, %s)", u.Name, u.Scheme, u.Environment)
	switch u.Purpose {
	case NewVersion:
		return "a new version of " + key
	case APIKey:
		return fmt.Sprintf("the API key of version %d of %s", u.Version, key)
	}
	return "the new " + key
}

func (u Use) valid() bool {
	if !isName(u.Name) || !isName(u.Scheme) || u.Environment != "sandbox" && u.Environment != "prod" {
		return false
	}
	return u.Purpose == APIKey && u.Version > 0 || (u.Purpose == NewKey || u.Purpose == NewVersion) && u.Version == 0
}

// isName says whether a text is a name as keys and schemes have them.
func isName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	return len(s) > 0 && len(s) <= 63 && strings.Trim(s, letters+"-") == "" && s[0] != '-' && s[len(s)-1] != '-'
}

// Ticket is a one-time public key and what it is good for. Everything in it is bound to what is sealed for it.
type Ticket struct {
	ID ID
	Use
	// Expires is in whole seconds.
	Expires   time.Time
	PublicKey []byte
}

type ticketBody struct {
	Format      int    `json:"format"`
	ID          []byte `json:"id"`
	Purpose     string `json:"purpose"`
	Name        string `json:"name"`
	Scheme      string `json:"scheme"`
	Environment string `json:"environment"`
	Version     uint32 `json:"version"`
	Expires     int64  `json:"expires"`
	PublicKey   []byte `json:"public_key"`
}

// New makes a ticket with a key of its own. Errors: ErrNotAllowed, and another for a use that makes no sense.
func New(use Use, expires time.Time) (t Ticket, private hpke.PrivateKey, err error) {
	if !use.valid() {
		return Ticket{}, nil, errors.New("there is no ticket for such a use")
	}
	err = allowed(func() error {
		private, err = hpke.DHKEM(ecdh.P384()).GenerateKey()
		if err != nil {
			return err
		}
		t = Ticket{Use: use, Expires: expires.UTC().Truncate(time.Second), PublicKey: private.PublicKey().Bytes()}
		_, _ = rand.Read(t.ID[:])
		// That it can be used is found out before it is given away.
		_, err := hpke.Seal(private.PublicKey(), hpke.HKDFSHA384(), hpke.AES256GCM(), t.Info(), nil)
		return err
	})
	if err != nil {
		return Ticket{}, nil, err
	}
	return t, private, nil
}

// allowed turns whatever HPKE says of itself, a panic included, into ErrNotAllowed.
func allowed(do func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = ErrNotAllowed
		}
	}()
	if do() != nil {
		return ErrNotAllowed
	}
	return nil
}

// Info is the HPKE info of all that is sealed for the ticket: each field after its length, so that no two tickets have the same.
func (t Ticket) Info() []byte {
	out := []byte("signerd sealed import v1")
	for _, field := range [][]byte{t.ID[:], []byte(t.Purpose), []byte(t.Name), []byte(t.Scheme), []byte(t.Environment),
		binary.BigEndian.AppendUint32(nil, t.Version), binary.BigEndian.AppendUint64(nil, uint64(t.Expires.Unix())), t.PublicKey} {
		out = binary.BigEndian.AppendUint32(out, uint32(len(field)))
		out = append(out, field...)
	}
	return out
}

// Fingerprint tells this ticket from every other, for people to compare: 128 bits in eight groups.
func (t Ticket) Fingerprint() string {
	sum := sha256.Sum256(t.Info())
	text := hex.EncodeToString(sum[:16])
	var groups []string
	for i := 0; i < len(text); i += 4 {
		groups = append(groups, text[i:i+4])
	}
	return strings.Join(groups, "-")
}

// Text is the ticket as it travels.
func (t Ticket) Text() ([]byte, error) {
	body, err := json.Marshal(ticketBody{format, t.ID[:], string(t.Purpose), t.Name, t.Scheme, t.Environment, t.Version, t.Expires.Unix(), t.PublicKey})
	if err != nil {
		return nil, fmt.Errorf("encoding a ticket: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: typeTicket, Bytes: body}), nil
}

// Parse reads a ticket. Errors: ErrTicket.
func Parse(text []byte) (Ticket, error) {
	body, err := block(text, MaxTicketBytes, typeTicket)
	if err != nil {
		return Ticket{}, ErrTicket
	}
	var b ticketBody
	if err := decode(body, &b); err != nil || b.Format != format || len(b.ID) != idSize || len(b.PublicKey) != pointSize || b.Expires < 0 {
		return Ticket{}, ErrTicket
	}
	if _, err := ecdh.P384().NewPublicKey(b.PublicKey); err != nil {
		return Ticket{}, ErrTicket
	}
	use := Use{Purpose(b.Purpose), b.Name, b.Scheme, b.Environment, b.Version}
	if !use.valid() {
		return Ticket{}, ErrTicket
	}
	return Ticket{ID(b.ID), use, time.Unix(b.Expires, 0).UTC(), b.PublicKey}, nil
}

// block gives the content of a text that is one PEM block and nothing else. It passes through mails and clipboards, which change line
// ends and leave blank lines and a byte order mark around it.
func block(text []byte, limit int, wanted string) ([]byte, error) {
	if len(text) > limit {
		return nil, errors.New("it is too long")
	}
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\ufeff")))
	p, rest := pem.Decode(text)
	if p == nil || p.Type != wanted || len(p.Headers) > 0 || len(bytes.TrimSpace(rest)) > 0 || !bytes.HasPrefix(text, []byte("-----BEGIN "+wanted)) {
		return nil, errors.New("it is not one block")
	}
	return p.Bytes, nil
}

// decode reads exactly one JSON value that holds nothing unknown.
func decode(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return errors.New("its content cannot be read") // not encoding/json's words, which quote it
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("its content does not end")
	}
	return nil
}

// Wipe overwrites all parts of a key.
func Wipe(material map[string][]byte) {
	for part := range maps.Values(material) {
		clear(part)
	}
}
