package rootkey

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func FuzzParametersHaveOneSpelling(f *testing.F) {
	f.Add(parameters{MinRounds, make([]byte, saltSize)}.encode())
	f.Add([]byte(parametersPrefix + "600000:"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parseParameters(text)
		if err != nil {
			return
		}
		if p.rounds < MinRounds || p.rounds > MaxRounds || len(p.salt) != saltSize {
			t.Errorf("%q is read as %d rounds and %d bytes of salt", text, p.rounds, len(p.salt))
		}
		if got, want := strings.TrimRight(string(text), "\r\n"), strings.TrimRight(string(p.encode()), "\n"); got != want {
			t.Errorf("%q is accepted for %q", got, want)
		}
	})
}

func FuzzEnvelopesHaveOneSpelling(f *testing.F) {
	good, err := json.Marshal(envelope{envelopeFormat, encryptedKey{"k", map[string][]byte{"a.example": {1}}, []byte("c")}, []byte("s")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("{}"))
	f.Add(bytes.ToUpper(good))
	f.Fuzz(func(t *testing.T, wrapped []byte) {
		e, err := parseEnvelope(wrapped)
		if err != nil {
			return
		}
		if again, err := json.Marshal(e); err != nil || !bytes.Equal(again, wrapped) || len(e.Key.Ciphertext) == 0 {
			t.Errorf("%q is accepted", wrapped)
		}
	})
}
