// Package recovery holds recovery keys: pairs whose public half the keyring is wrapped to as well, and whose private half stays offline
// until the root key is lost.
//
// It is for cmd/signerd, which hands the halves to keystore. It never sees a record. The wrapping is HPKE (RFC 9180) with DHKEM(P-384,
// HKDF-SHA384), HKDF-SHA384 and AES-256-GCM, each wrapping with a new encapsulated key.
package recovery

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/signerd/signerd/internal/durable"
	"github.com/signerd/signerd/internal/owner"
)

// A file is one line: one of these prefixes, and the key as RFC 9180 serializes it, in base64.
const (
	privatePrefix = "signerd-recovery-private-key-v1:"
	publicPrefix  = "signerd-recovery-public-key-v1:"
	maxFileBytes  = 512
)

// Errors of opening the files.
var (
	// ErrMalformed says that a file does not hold that half of a recovery key.
	ErrMalformed = errors.New("the file does not hold that half of a recovery key as `signerd recovery-key new` writes it")
	// ErrExchangeable says that others than the owner may write a public half, or that it belongs to another user: whoever exchanges it
	// has the keyring wrapped to a key of his own.
	ErrExchangeable = errors.New("the public half of the recovery key can be changed by other users")
)

// ErrNotAllowed says that the cryptography in force cannot do HPKE, as under FIPS 140-3.
var ErrNotAllowed = errors.New("the cryptographic module in force does not allow HPKE, and so no recovery key")

var errUnwrap = errors.New("the wrapped keyring was changed, or wrapped to another recovery key")

func suite() (hpke.KEM, hpke.KDF, hpke.AEAD) {
	return hpke.DHKEM(ecdh.P384()), hpke.HKDFSHA384(), hpke.AES256GCM()
}

var info = []byte("signerd keyring recovery")

// Create makes a new pair in two new files: the private half with mode 0400, the public one with 0644; or none, after an error. It fails
// with fs.ErrExist where one of them is there, and with ErrNotAllowed.
func Create(private, public string) error {
	kem, _, _ := suite()
	key, err := kem.GenerateKey()
	if err != nil {
		return fmt.Errorf("making a recovery key: %w", ErrNotAllowed)
	}
	// That it can be used is found out before it is relied on.
	if _, err := (&Public{key.PublicKey()}).Wrap(context.Background(), nil); err != nil {
		return fmt.Errorf("making a recovery key: %w", err)
	}
	b, err := key.Bytes()
	if err != nil {
		return fmt.Errorf("making a recovery key: %w", err)
	}
	defer clear(b)
	line := append(base64.StdEncoding.AppendEncode([]byte(privatePrefix), b), '\n')
	defer clear(line)
	if err := durable.CreateFile(private, line, 0o400); err != nil {
		return fmt.Errorf("making a recovery key: %w", err)
	}
	line = append(base64.StdEncoding.AppendEncode([]byte(publicPrefix), key.PublicKey().Bytes()), '\n')
	if err := durable.CreateFile(public, line, 0o644); err != nil {
		// It would open nothing that anything is wrapped to.
		return fmt.Errorf("making the public half of a recovery key: %w", errors.Join(err, os.Remove(private)))
	}
	return nil
}

// Public wraps. It is safe for concurrent use.
type Public struct{ key hpke.PublicKey }

// OpenPublic reads the file of a public half. Errors: those of reading it, ErrMalformed, ErrExchangeable.
func OpenPublic(path string) (*Public, error) {
	line, err := read(path, ownersAlone)
	if err != nil {
		return nil, fmt.Errorf("recovery public key %s: %w", path, err)
	}
	b, err := parse(line, publicPrefix)
	if err != nil {
		return nil, fmt.Errorf("recovery public key %s: %w", path, err)
	}
	kem, _, _ := suite()
	key, err := kem.NewPublicKey(b)
	if err != nil {
		return nil, fmt.Errorf("recovery public key %s: %w", path, ErrMalformed)
	}
	return &Public{key}, nil
}

// ID names the pair: it is a hash of the public half.
func (p *Public) ID() string {
	sum := sha256.Sum256(p.key.Bytes())
	return "recovery:" + hex.EncodeToString(sum[:8])
}

// Wrap encrypts what only the private half opens. Errors: ErrNotAllowed.
func (p *Public) Wrap(_ context.Context, plaintext []byte) ([]byte, error) {
	_, kdf, aead := suite()
	wrapped, err := hpke.Seal(p.key, kdf, aead, info, plaintext)
	if err != nil {
		return nil, ErrNotAllowed // whatever HPKE says of itself: with a key and a plaintext nothing else can fail
	}
	return wrapped, nil
}

// Private unwraps. It prints as nothing but its type, and is safe for concurrent use.
type Private struct {
	public *Public
	open   func(wrapped []byte) ([]byte, error) // holds the key, which nothing that prints can reach
}

// OpenPrivate reads the file of a private half. Errors: those of reading it, ErrMalformed, ErrNotAllowed.
func OpenPrivate(path string) (*Private, error) {
	line, err := read(path, checkFile)
	defer clear(line)
	if err != nil {
		return nil, fmt.Errorf("recovery key %s: %w", path, err)
	}
	b, err := parse(line, privatePrefix)
	defer clear(b)
	if err != nil {
		return nil, fmt.Errorf("recovery key %s: %w", path, err)
	}
	kem, kdf, aead := suite()
	key, err := kem.NewPrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("recovery key %s: %w", path, ErrMalformed)
	}
	public := &Public{key.PublicKey()}
	// What may not be opened is not to look like what is damaged.
	if _, err := public.Wrap(context.Background(), nil); err != nil {
		return nil, fmt.Errorf("recovery key %s: %w", path, err)
	}
	open := func(wrapped []byte) ([]byte, error) { return hpke.Open(key, kdf, aead, info, wrapped) }
	return &Private{public, open}, nil
}

// Public is the other half.
func (p *Private) Public() *Public { return p.public }

// ID is that of the public half.
func (p *Private) ID() string { return p.public.ID() }

// Unwrap reverses Wrap; the plaintext is the caller's to wipe.
func (p *Private) Unwrap(_ context.Context, wrapped []byte) ([]byte, error) {
	plaintext, err := p.open(wrapped)
	if err != nil {
		return nil, errUnwrap
	}
	return plaintext, nil
}

// Errors of OpenPrivate about whose the file is.
var (
	// ErrPermissions says that others than the owner may read or write it.
	ErrPermissions = errors.New("the file of a recovery key's private half must have mode 0400 or 0600")
	// ErrOwner says that it belongs to another user.
	ErrOwner = errors.New("the file of a recovery key's private half must belong to the user who uses it, or to root")
)

// read reads a file that check lets pass. What it gives is the caller's to wipe.
func read(path string, check func(fs.FileInfo) error) ([]byte, error) {
	// Without O_NONBLOCK, opening a pipe would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	// The open file is looked at, not the path: nothing can be swapped in between.
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := check(info); err != nil {
		return nil, err
	}
	line, err := durable.ReadAllLimited(f, path, maxFileBytes)
	if errors.Is(err, durable.ErrTooLarge) {
		return nil, ErrMalformed
	}
	return line, err
}

// ownersAlone refuses a public half that others than this user and root can change.
func ownersAlone(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return ErrMalformed
	}
	if err := owner.Alone(info); err != nil {
		return fmt.Errorf("%w: %w", ErrExchangeable, err)
	}
	return nil
}

func checkFile(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return ErrMalformed
	}
	if perm := info.Mode().Perm(); perm != 0o400 && perm != 0o600 {
		return fmt.Errorf("%w; this one has %04o", ErrPermissions, perm)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return ErrOwner
	}
	return nil
}

// parse gives the bytes of a key in a line; they are the caller's to wipe.
func parse(line []byte, prefix string) ([]byte, error) {
	text, ok := bytes.CutPrefix(bytes.TrimRight(line, "\r\n"), []byte(prefix))
	// The decoder would skip line ends inside.
	if !ok || bytes.ContainsAny(text, "\r\n") {
		return nil, ErrMalformed
	}
	b := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(b, text)
	if err != nil {
		clear(b)
		return nil, ErrMalformed
	}
	return b[:n], nil
}
