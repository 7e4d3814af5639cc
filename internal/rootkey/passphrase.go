package rootkey

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/signerd/signerd/internal/durable"
	"github.com/signerd/signerd/internal/secret"
)

// A parameter file is one line: this prefix, the rounds, a colon, and the salt in base64. It is no secret, but without it the
// passphrase opens nothing.
const (
	parametersPrefix = "signerd-passphrase-v1:pbkdf2-hmac-sha256:"
	saltSize         = 32
)

// Bounds of the rounds of PBKDF2. Fewer would make guessing cheap; more would be a start that never ends.
const (
	MinRounds = 600_000
	MaxRounds = 100_000_000
)

// Bounds of a passphrase, in bytes.
const (
	MinPassphraseBytes = 15
	MaxPassphraseBytes = 1024
)

// Errors of passphrases.
var (
	// ErrParameters says that a file holds no parameters as `signerd init` writes them.
	ErrParameters = errors.New("the file does not hold the parameters of a passphrase as `signerd init` writes them")
	// ErrPassphrase says that something cannot be a passphrase.
	ErrPassphrase = fmt.Errorf("a passphrase is one line of %d to %d bytes", MinPassphraseBytes, MaxPassphraseBytes)
)

// Passphrase is a root key made from a passphrase by PBKDF2-HMAC-SHA256. It implements keystore.RootKey, and is safe for concurrent use.
// Another passphrase, or other parameters, make a key of another ID.
type Passphrase struct{ local }

type parameters struct {
	rounds int
	salt   []byte
}

// CreateParameters writes a new random salt and the rounds of PBKDF2 to a new file with mode 0400. It fails with fs.ErrExist if there is one.
func CreateParameters(path string) error {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt)
	return durable.CreateFile(path, parameters{MinRounds, salt}.encode(), 0o400)
}

func (p parameters) encode() []byte {
	return fmt.Appendf(nil, "%s%d:%s\n", parametersPrefix, p.rounds, base64.StdEncoding.EncodeToString(p.salt))
}

// OpenPassphrase makes the root key, which takes some tenths of a second; it wipes the passphrase. Errors: fs.ErrNotExist,
// ErrParameters, ErrPassphrase. Whether it is the right passphrase shows when it is to unwrap something.
func OpenPassphrase(parametersFile string, passphrase secret.Bytes) (*Passphrase, error) {
	defer passphrase.Wipe()
	if err := checkPassphrase(passphrase.Reveal()); err != nil {
		return nil, err
	}
	text, err := durable.ReadLimited(parametersFile, maxFileBytes)
	if errors.Is(err, durable.ErrTooLarge) || errors.Is(err, durable.ErrNotRegular) {
		return nil, fmt.Errorf("%s: %w", parametersFile, ErrParameters)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the parameters of the passphrase: %w", err)
	}
	p, err := parseParameters(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", parametersFile, err)
	}
	// The string is a copy that cannot be wiped: pbkdf2 takes nothing else.
	key, err := pbkdf2.Key(sha256.New, string(passphrase.Reveal()), p.salt, p.rounds, keySize)
	if err != nil {
		return nil, fmt.Errorf("making a root key of the passphrase: %w", err)
	}
	defer clear(key)
	l, err := newLocal("passphrase", key)
	if err != nil {
		return nil, err
	}
	return &Passphrase{l}, nil
}

// checkPassphrase quotes nothing.
func checkPassphrase(p []byte) error {
	if len(p) < MinPassphraseBytes || len(p) > MaxPassphraseBytes || bytes.ContainsAny(p, "\r\n\x00") {
		return ErrPassphrase
	}
	return nil
}

// parseParameters accepts one spelling only.
func parseParameters(text []byte) (parameters, error) {
	rest, ok := strings.CutPrefix(string(text), parametersPrefix)
	number, salt, colon := strings.Cut(strings.TrimRight(rest, "\r\n"), ":")
	if !ok || !colon || strings.ContainsAny(salt, "\r\n") {
		return parameters{}, ErrParameters
	}
	rounds, err := strconv.Atoi(number)
	if err != nil || strconv.Itoa(rounds) != number {
		return parameters{}, ErrParameters
	}
	if rounds < MinRounds || rounds > MaxRounds {
		return parameters{}, fmt.Errorf("%w: the rounds are outside %d to %d", ErrParameters, MinRounds, MaxRounds)
	}
	p := parameters{rounds: rounds}
	if p.salt, err = base64.StdEncoding.Strict().DecodeString(salt); err != nil || len(p.salt) != saltSize {
		return parameters{}, ErrParameters
	}
	return p, nil
}
