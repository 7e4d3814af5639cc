package checkpoint_test

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/internal/checkpoint"
)

const origin = "signerd/0123456789abcdef"

func signer(t testing.TB, name string) *checkpoint.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := checkpoint.NewSigner(name, private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func example() checkpoint.Checkpoint {
	return checkpoint.Checkpoint{Origin: origin, Tree: tlog.Tree{N: 12, Hash: tlog.Hash{1, 2}}, Store: checkpoint.Store{Counter: 7, Root: [32]byte{3}}}
}

func TestASignedCheckpointOpensAsItWas(t *testing.T) {
	s := signer(t, origin)
	signed, err := example().Sign(s)
	if err != nil {
		t.Fatal(err)
	}
	// With the key as outsiders get it, and by the library's own reader.
	verifier, err := note.NewVerifier(s.VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	got, err := checkpoint.Open(signed, verifier)
	if err != nil || got != example() {
		t.Errorf("got %+v, %v", got, err)
	}
	lines := strings.Split(string(signed), "\n")
	if lines[0] != origin || lines[1] != "12" || lines[2] != "AQIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" || !strings.HasPrefix(lines[3], "store 7 03000") || lines[4] != "" || !strings.HasPrefix(lines[5], "— "+origin+" ") {
		t.Errorf("it is written as\n%s", signed)
	}
}

func TestWhatTheKeyDidNotSignIsNoCheckpoint(t *testing.T) {
	s := signer(t, origin)
	signed, err := example().Sign(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := checkpoint.Open(signed, signer(t, origin)); !errors.Is(err, checkpoint.ErrInvalid) {
		t.Errorf("by another key: %v", err)
	}
	if _, err := example().Sign(signer(t, "signerd/other")); err == nil {
		t.Error("a key of another log signs it")
	}
	for i := range signed {
		spoilt := append([]byte(nil), signed...)
		spoilt[i] ^= 1
		if got, err := checkpoint.Open(spoilt, s); err == nil && got != example() {
			t.Errorf("with byte %d changed it says %+v", i, got)
		}
	}
	if _, err := checkpoint.Open(append(signed, make([]byte, checkpoint.MaxBytes)...), s); !errors.Is(err, checkpoint.ErrInvalid) {
		t.Errorf("without end: %v", err)
	}
	for name, text := range map[string]string{
		"no store":               origin + "\n12\nAQIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
		"a negative size":        origin + "\n-12\nAQIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nstore 7 " + strings.Repeat("0", 64) + "\n",
		"a size spelt otherwise": origin + "\n012\nAQIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nstore 7 " + strings.Repeat("0", 64) + "\n",
		"half a hash":            origin + "\n12\nAQIAAAAAAAAAAAAAAAAAAA==\nstore 7 " + strings.Repeat("0", 64) + "\n",
		"another origin":         "signerd/other\n12\nAQIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nstore 7 " + strings.Repeat("0", 64) + "\n",
	} {
		signed, err := note.Sign(&note.Note{Text: text}, s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := checkpoint.Open(signed, s); !errors.Is(err, checkpoint.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWitnessesAndFurtherLinesAreNoFault(t *testing.T) {
	s := signer(t, origin)
	signed, err := note.Sign(&note.Note{Text: example().Text() + "something that later versions say\n"}, s, signer(t, "witness.example"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := checkpoint.Open(signed, s); err != nil || got != example() {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestASignerShowsNoSecret(t *testing.T) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := checkpoint.NewSigner(origin, private)
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{string(private.Seed()), fmt.Sprintf("%x", private.Seed()), fmt.Sprintf("%d", private.Seed()[:4]), fmt.Sprint(private.Seed()[:4])}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	printed := string(text)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		printed += fmt.Sprintf(verb, s) + fmt.Sprintf(verb, *s)
	}
	for _, secret := range secrets {
		if strings.Contains(printed, strings.Trim(secret, "[]")) {
			t.Errorf("a signer prints its seed")
		}
	}
}

func FuzzOpen(f *testing.F) {
	s := signer(f, origin)
	signed, err := example().Sign(s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Add([]byte(example().Text()))
	f.Add([]byte("\n\n— x y\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := checkpoint.Open(b, s); err == nil && c != example() {
			t.Errorf("%q is taken as %+v", b, c)
		}
	})
}
