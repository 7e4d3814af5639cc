// Package secret holds the one type in which keys, shared secrets and API keys travel through signerd.
//
// It is for every package that touches material. A value prints, logs and marshals as REDACTED; Reveal is the only
// way to the bytes, so that `grep -r 'Reveal()'` lists every place that reads a secret.
package secret

import (
	"bytes"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what a secret prints, logs and marshals as.
const Redacted = "REDACTED"

// Bytes is a secret. The zero value is empty. Copies share the same memory. Reading is safe for concurrent use; Wipe
// is not.
//
// The bytes lie behind two pointers because fmt prints unexported fields without asking their methods: it follows
// one pointer when the verb does not fit, and prints the second as an address.
type Bytes struct{ outer *box }

type box struct{ inner *[]byte }

// New takes ownership of b: the caller must not use it afterwards.
func New(b []byte) Bytes { return Bytes{&box{&b}} }

// Copy makes a secret from a copy of b, which stays the caller's.
func Copy(b []byte) Bytes { return New(bytes.Clone(b)) }

// Reveal gives the bytes themselves, not a copy. They must not be changed, and not be kept longer than needed.
func (s Bytes) Reveal() []byte {
	if s.outer == nil {
		return nil
	}
	return *s.outer.inner
}

// Len is the number of bytes.
func (s Bytes) Len() int {
	if s.outer == nil {
		return 0
	}
	return len(*s.outer.inner)
}

// Equal compares in time that depends on the lengths alone.
func (s Bytes) Equal(o Bytes) bool {
	return subtle.ConstantTimeCompare(s.Reveal(), o.Reveal()) == 1
}

// Wipe overwrites the bytes of this value and of all its copies. The garbage collector may have moved nothing, but the
// program may have copied: wiping shortens a secret's life, it does not promise its end.
func (s Bytes) Wipe() { clear(s.Reveal()) }

// Format answers every verb of fmt.
func (Bytes) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// String answers callers that do not go through fmt.
func (Bytes) String() string { return Redacted }

// LogValue answers slog.
func (Bytes) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText answers encoders of text, and JSON map keys.
func (Bytes) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// MarshalJSON answers encoding/json.
func (Bytes) MarshalJSON() ([]byte, error) { return []byte(`"` + Redacted + `"`), nil }

// MarshalYAML answers YAML encoders.
func (Bytes) MarshalYAML() (any, error) { return Redacted, nil }

// GobEncode answers encoding/gob.
func (Bytes) GobEncode() ([]byte, error) { return []byte(Redacted), nil }
