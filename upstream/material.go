package upstream

import (
	"bytes"
	"slices"

	"github.com/signerd/signerd/internal/secret"
)

// MaxAPIKeyBytes bounds an API key: it travels in a header.
const MaxAPIKeyBytes = 1024

// CheckParts refuses parts that are not wanted and asks for those that are required. Fields are named
// "material.<part>".
func CheckParts(m Material, required, optional []string) error {
	for part := range m {
		if !slices.Contains(required, part) && !slices.Contains(optional, part) {
			return Invalid("material", "it holds a part that this scheme does not have; wanted: %v", append(slices.Clone(required), optional...))
		}
	}
	for _, part := range required {
		if m[part].Len() == 0 {
			return Invalid("material."+part, "it is missing or empty")
		}
	}
	return nil
}

// CutLineEnd removes the one line end that an editor leaves at the end of a file, and says whether there was one.
func CutLineEnd(s secret.Bytes) (secret.Bytes, bool) {
	b := s.Reveal()
	cut, found := bytes.CutSuffix(b, []byte("\n"))
	if found {
		cut, _ = bytes.CutSuffix(cut, []byte("\r"))
	}
	return secret.Copy(cut), found
}

// LineEndNote is the note for a part from which CutLineEnd removed something.
func LineEndNote(part string) string { return part + ": one line end at the end was cut" }

// ImportAPIKey reads an API key as a partner hands it out: visible ASCII, for it travels in a header.
func ImportAPIKey(s secret.Bytes) (secret.Bytes, []string, error) {
	key, cut := CutLineEnd(s)
	var notes []string
	if cut {
		notes = append(notes, LineEndNote(PartAPIKey))
	}
	switch b := key.Reveal(); {
	case len(b) == 0:
		return secret.Bytes{}, nil, Invalid("material."+PartAPIKey, "it is empty")
	case len(b) > MaxAPIKeyBytes:
		return secret.Bytes{}, nil, Invalid("material."+PartAPIKey, "it has %d bytes; an API key has at most %d", len(b), MaxAPIKeyBytes)
	case slices.ContainsFunc(b, func(c byte) bool { return c < 0x21 || c > 0x7e }):
		return secret.Bytes{}, nil, Invalid("material."+PartAPIKey, "it holds a byte that is not visible ASCII (a space, a line break, a control or a non-ASCII character)")
	}
	return key, notes, nil
}
