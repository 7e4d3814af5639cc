// Package checkpoint reads, writes and signs what an audit log promises about itself: checkpoints as C2SP's
// tlog-checkpoint has them, in signed notes.
//
// It is for audit and keystore, which write checkpoints, and for signerctl, which checks them. It keeps no files and knows no
// records.
package checkpoint

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint says what a log held at one moment, and in which state the store of keys was.
type Checkpoint struct {
	// Origin names the log; its signer has the same name.
	Origin string
	// Tree is the number of records and the RFC 6962 hash over them.
	Tree tlog.Tree
	// Store is the store's state that was last known then.
	Store Store
}

// Store is a state of the store of keys: its change counter, and a hash over all its records.
type Store struct {
	Counter uint64
	Root    [32]byte
}

// MaxBytes bounds a signed checkpoint that is read: witnesses may have added signatures.
const MaxBytes = 16 << 10

// ErrInvalid says that a text is no checkpoint, or not one that the key signed.
var ErrInvalid = errors.New("it is no checkpoint of this log: it is malformed, or another key signed it")

// storePrefix begins the extension line that anchors the store.
const storePrefix = "store "

// Text is the checkpoint without a signature.
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\n%s%d %s\n", c.Origin, c.Tree.N, base64.StdEncoding.EncodeToString(c.Tree.Hash[:]),
		storePrefix, c.Store.Counter, hex.EncodeToString(c.Store.Root[:]))
}

// Sign gives the signed note. The signer's name must be the origin.
func (c Checkpoint) Sign(signer note.Signer) ([]byte, error) {
	if signer.Name() != c.Origin {
		return nil, fmt.Errorf("signing a checkpoint of %s: the key is that of %s", c.Origin, signer.Name())
	}
	signed, err := note.Sign(&note.Note{Text: c.Text()}, signer)
	if err != nil {
		return nil, fmt.Errorf("signing a checkpoint: %w", err)
	}
	return signed, nil
}

// Open reads a signed checkpoint of the verifier's log. Signatures of others are passed over. ErrInvalid for everything else.
func Open(signed []byte, verifier note.Verifier) (Checkpoint, error) {
	if len(signed) > MaxBytes {
		return Checkpoint{}, fmt.Errorf("%w (%d bytes)", ErrInvalid, len(signed))
	}
	n, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return Checkpoint{}, ErrInvalid
	}
	c, err := parse(n.Text)
	if err != nil || c.Origin != verifier.Name() {
		return Checkpoint{}, ErrInvalid
	}
	return c, nil
}

func parse(text string) (Checkpoint, error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) < 4 {
		return Checkpoint{}, ErrInvalid
	}
	c := Checkpoint{Origin: lines[0]}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return Checkpoint{}, ErrInvalid
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, ErrInvalid
	}
	c.Tree = tlog.Tree{N: size, Hash: tlog.Hash(root)}
	counter, sum, _ := strings.Cut(strings.TrimPrefix(lines[3], storePrefix), " ")
	if c.Store.Counter, err = strconv.ParseUint(counter, 10, 64); err != nil {
		return Checkpoint{}, ErrInvalid
	}
	root, err = hex.DecodeString(sum)
	if err != nil || len(root) != len(c.Store.Root) {
		return Checkpoint{}, ErrInvalid
	}
	c.Store.Root = [32]byte(root)
	// One spelling: whoever compares texts compares what they say.
	if !strings.HasPrefix(text, c.Text()) || size < 0 {
		return Checkpoint{}, ErrInvalid
	}
	return c, nil
}

// VerifierKey is the public key in the form that note.NewVerifier and C2SP's tools take.
func VerifierKey(origin string, public ed25519.PublicKey) (string, error) {
	return note.NewEd25519VerifierKey(origin, public)
}

// NewSigner signs checkpoints of the log named origin.
func NewSigner(origin string, private ed25519.PrivateKey) (*Signer, error) {
	key, err := VerifierKey(origin, private.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(key)
	if err != nil {
		return nil, err
	}
	return &Signer{v, key, func(text []byte) []byte { return ed25519.Sign(private, text) }}, nil
}

// Signer is a note.Signer, and the verifier of what it signs. It prints as its public key, and is safe for concurrent use.
type Signer struct {
	note.Verifier
	key  string
	sign func(text []byte) []byte // holds the private key, which nothing that prints can reach
}

// Sign implements note.Signer.
func (s *Signer) Sign(text []byte) ([]byte, error) { return s.sign(text), nil }

// VerifierKey is the public half, for outsiders.
func (s *Signer) VerifierKey() string { return s.key }

// String is the public half.
func (s *Signer) String() string { return s.key }
