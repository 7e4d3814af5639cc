package importticket_test

import (
	"bytes"
	"crypto/hpke"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/importticket"
)

var expires = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newTicket(t testing.TB) (importticket.Ticket, hpke.PrivateKey) {
	t.Helper()
	ticket, private, err := importticket.New(importticket.Use{Purpose: importticket.NewKey, Name: "shop", Scheme: "noba", Environment: "prod"}, expires)
	if err != nil {
		t.Fatal(err)
	}
	return ticket, private
}

func material() map[string][]byte {
	return map[string][]byte{"api_key": []byte("an-api-key"), "secret": []byte("a canary \x00\xff")}
}

func seal(t testing.TB, ticket importticket.Ticket) []byte {
	t.Helper()
	file, err := importticket.Seal(ticket, material())
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestWhatIsSealedForATicketOpensWithItsKeyAlone(t *testing.T) {
	ticket, private := newTicket(t)
	text, err := ticket.Text()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := importticket.Parse(text)
	if err != nil || parsed.Fingerprint() != ticket.Fingerprint() || !bytes.Equal(parsed.Info(), ticket.Info()) {
		t.Fatalf("parsed is %+v, %v", parsed, err)
	}
	file := seal(t, parsed)
	if bytes.Contains(file, []byte("canary")) {
		t.Error("the file shows it")
	}
	got, err := importticket.Open(ticket, private, file)
	if err != nil || !maps.EqualFunc(got, material(), bytes.Equal) {
		t.Errorf("got %q, %v", got, err)
	}
	other, otherPrivate := newTicket(t)
	if _, err := importticket.Open(ticket, otherPrivate, file); !errors.Is(err, importticket.ErrSealed) {
		t.Errorf("with another key: %v", err)
	}
	if _, err := importticket.Open(other, otherPrivate, file); !errors.Is(err, importticket.ErrSealed) {
		t.Errorf("with another ticket: %v", err)
	}
}

// The format is HPKE's own: whoever has the private key needs none of this package to open a file.
func TestASealedFileOpensWithTheStandardLibraryAlone(t *testing.T) {
	ticket, private := newTicket(t)
	p, rest := pem.Decode(seal(t, ticket))
	if p == nil || p.Type != "SIGNERD SEALED IMPORT" || len(rest) > 0 || p.Bytes[0] != 1 || !bytes.Equal(p.Bytes[1:17], ticket.ID[:]) {
		t.Fatal("it is in another form")
	}
	plaintext, err := hpke.Open(private, hpke.HKDFSHA384(), hpke.AES256GCM(), ticket.Info(), p.Bytes[17:])
	if err != nil {
		t.Fatal(err)
	}
	var body struct{ Material map[string][]byte }
	if err := json.Unmarshal(plaintext, &body); err != nil || !maps.EqualFunc(body.Material, material(), bytes.Equal) {
		t.Errorf("got %q, %v", plaintext, err)
	}
}

func TestEverythingInATicketIsBoundToWhatIsSealed(t *testing.T) {
	ticket, private := newTicket(t)
	file := seal(t, ticket)
	for name, change := range map[string]func(*importticket.Ticket){
		"name":        func(c *importticket.Ticket) { c.Name = "shop2" },
		"scheme":      func(c *importticket.Ticket) { c.Scheme = "noah" },
		"environment": func(c *importticket.Ticket) { c.Environment = "sandbox" },
		"purpose":     func(c *importticket.Ticket) { c.Purpose = importticket.NewVersion },
		"version":     func(c *importticket.Ticket) { c.Version = 1 },
		"expiry":      func(c *importticket.Ticket) { c.Expires = c.Expires.Add(time.Second) },
		"boundaries":  func(c *importticket.Ticket) { c.Name, c.Scheme = "shopn", "oba" },
	} {
		changed := ticket
		change(&changed)
		if _, err := importticket.Open(changed, private, file); !errors.Is(err, importticket.ErrSealed) {
			t.Errorf("another %s: %v", name, err)
		}
		if changed.Fingerprint() == ticket.Fingerprint() {
			t.Errorf("another %s has the same fingerprint", name)
		}
	}
}

func TestEveryDamagedByteIsNoticed(t *testing.T) {
	ticket, private := newTicket(t)
	p, _ := pem.Decode(seal(t, ticket))
	for i := range p.Bytes {
		damaged := slices.Clone(p.Bytes)
		damaged[i] ^= 1
		if _, err := importticket.Open(ticket, private, pem.EncodeToMemory(&pem.Block{Type: p.Type, Bytes: damaged})); !errors.Is(err, importticket.ErrSealed) {
			t.Errorf("byte %d: %v", i, err)
		}
		if _, err := importticket.Open(ticket, private, pem.EncodeToMemory(&pem.Block{Type: p.Type, Bytes: p.Bytes[:i]})); !errors.Is(err, importticket.ErrSealed) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
}

func TestATicketNamesWhatCanBeThere(t *testing.T) {
	good, _ := newTicket(t)
	for name, change := range map[string]func(*importticket.Use){
		"no name":                func(u *importticket.Use) { u.Name = "" },
		"a name of 5000 bytes":   func(u *importticket.Use) { u.Name = strings.Repeat("a", 5000) },
		"a name of 64 bytes":     func(u *importticket.Use) { u.Name = strings.Repeat("a", 64) },
		"a name in capitals":     func(u *importticket.Use) { u.Name = "Shop" },
		"a name that steers":     func(u *importticket.Use) { u.Name = "a\x1b[2Jb" },
		"an outer hyphen":        func(u *importticket.Use) { u.Name = "shop-" },
		"no scheme":              func(u *importticket.Use) { u.Scheme = "" },
		"a scheme of 64 bytes":   func(u *importticket.Use) { u.Scheme = strings.Repeat("a", 64) },
		"no environment":         func(u *importticket.Use) { u.Environment = "" },
		"an unknown environment": func(u *importticket.Use) { u.Environment = "production" },
	} {
		ticket := good
		change(&ticket.Use)
		text, err := ticket.Text()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := importticket.Parse(text); !errors.Is(err, importticket.ErrTicket) {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, err := importticket.New(ticket.Use, ticket.Expires); err == nil {
			t.Errorf("%s: a ticket was made", name)
		}
	}
	longest := good
	longest.Name, longest.Scheme = strings.Repeat("a", 63), "of-later-signerds-2"
	text, err := longest.Text()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := importticket.Parse(text); err != nil {
		t.Error(err)
	}
}

func TestWhatIsTooLargeIsRefusedUnread(t *testing.T) {
	ticket, _ := newTicket(t)
	if _, err := importticket.Parse(make([]byte, importticket.MaxTicketBytes+1)); !errors.Is(err, importticket.ErrTicket) {
		t.Errorf("a ticket: %v", err)
	}
	if _, err := importticket.For(make([]byte, importticket.MaxSealedBytes+1)); !errors.Is(err, importticket.ErrSealed) {
		t.Errorf("a file: %v", err)
	}
	if _, err := importticket.Seal(ticket, map[string][]byte{"secret": make([]byte, importticket.MaxMaterialBytes)}); err == nil {
		t.Error("too much was sealed")
	}
	largest, err := importticket.Seal(ticket, map[string][]byte{"a": make([]byte, 65536), "b": make([]byte, 65536), "c": make([]byte, 65536), "d": make([]byte, 65536)})
	if err != nil || len(largest) > importticket.MaxSealedBytes {
		t.Errorf("%d bytes, %v", len(largest), err)
	}
}

func FuzzParse(f *testing.F) {
	ticket, _ := newTicket(f)
	text, err := ticket.Text()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("-----BEGIN SIGNERD IMPORT TICKET-----\ne30=\n-----END SIGNERD IMPORT TICKET-----\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		parsed, err := importticket.Parse(text)
		if err != nil {
			return
		}
		again, err := parsed.Text()
		if err != nil {
			t.Fatal(err)
		}
		// Names that are no UTF-8 do not come out of JSON.
		if back, err := importticket.Parse(again); err != nil || back.Fingerprint() != parsed.Fingerprint() {
			t.Errorf("written again it is %v, %v", back, err)
		}
		if _, err := importticket.Seal(parsed, map[string][]byte{"secret": []byte("x")}); err != nil {
			t.Errorf("a ticket that is taken cannot be sealed for: %v", err)
		}
	})
}

func FuzzOpen(f *testing.F) {
	ticket, private := newTicket(f)
	f.Add(seal(f, ticket))
	f.Add([]byte("-----BEGIN SIGNERD SEALED IMPORT-----\nAQ==\n-----END SIGNERD SEALED IMPORT-----\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, file []byte) {
		id, err := importticket.For(file)
		if err != nil && !errors.Is(err, importticket.ErrSealed) {
			t.Error(err)
		}
		got, openErr := importticket.Open(ticket, private, file)
		switch {
		case openErr == nil && (err != nil || id != ticket.ID || !maps.EqualFunc(got, material(), bytes.Equal)):
			t.Errorf("it opened as %q", got)
		case openErr != nil && !errors.Is(openErr, importticket.ErrSealed):
			t.Error(openErr)
		}
	})
}
