package upstream_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
)

func TestOneLineEndIsCut(t *testing.T) {
	tests := []struct {
		name, in, want string
		cut            bool
	}{
		{"nothing to cut", "key", "key", false},
		{"a line feed", "key\n", "key", true},
		{"a carriage return and a line feed", "key\r\n", "key", true},
		{"the second of two line feeds alone", "key\n\n", "key\n", true},
		{"no carriage return without a line feed", "key\r", "key\r", false},
		{"no second carriage return", "key\r\r\n", "key\r", true},
		{"no line feed inside", "k\ney", "k\ney", false},
		{"nothing but a line feed", "\n", "", true},
		{"nothing at all", "", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := secret.Copy([]byte(tt.in))
			out, cut := upstream.CutLineEnd(in)
			if got := string(out.Reveal()); got != tt.want || cut != tt.cut {
				t.Fatalf("got %q, %v", got, cut)
			}
			out.Wipe()
			if string(in.Reveal()) != tt.in {
				t.Error("the result shares its memory with the input")
			}
		})
	}
}

func TestAnAPIKeyIsVisibleASCII(t *testing.T) {
	longest := strings.Repeat("k", upstream.MaxAPIKeyBytes)
	note := []string{"api_key: one line end at the end was cut"}
	tests := []struct {
		name, in, want string
		notes          []string
		problem        string
	}{
		{"as the partner shows it", "apikey_prod_12345abcdef", "apikey_prod_12345abcdef", nil, ""},
		{"every visible character", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~09azAZ", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~09azAZ", nil, ""},
		{"a line end, which is cut and said", "key\n", "key", note, ""},
		{"a Windows line end, which is cut and said", "key\r\n", "key", note, ""},
		{"the longest", longest, longest, nil, ""},
		{"the longest with a line end", longest + "\n", longest, note, ""},
		{"one byte too long", longest + "k", "", nil, "it has 1025 bytes"},
		{"nothing", "", "", nil, "it is empty"},
		{"nothing but a line end", "\n", "", nil, "it is empty"},
		{"two line ends", "key\n\n", "", nil, "not visible ASCII"},
		{"a carriage return", "key\r", "", nil, "not visible ASCII"},
		{"a space at the start", " key", "", nil, "not visible ASCII"},
		{"a space at the end", "key ", "", nil, "not visible ASCII"},
		{"a space inside", "k ey", "", nil, "not visible ASCII"},
		{"a tab", "k\tey", "", nil, "not visible ASCII"},
		{"a line break inside, where a header would end", "key\nX-Header: 1", "", nil, "not visible ASCII"},
		{"a zero byte", "k\x00ey", "", nil, "not visible ASCII"},
		{"a delete character", "k\x7fey", "", nil, "not visible ASCII"},
		{"a letter beyond ASCII", "kéy", "", nil, "not visible ASCII"},
		{"a byte order mark", "\ufeffkey", "", nil, "not visible ASCII"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key, notes, err := upstream.ImportAPIKey(secret.Copy([]byte(tt.in)))
			if tt.problem != "" {
				checkFieldError(t, err, "material.api_key", tt.problem)
				if key.Len() > 0 || notes != nil {
					t.Error("a key or a note came with the error")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := string(key.Reveal()); got != tt.want {
				t.Errorf("got %q", got)
			}
			if !slices.Equal(notes, tt.notes) {
				t.Errorf("got the notes %q", notes)
			}
		})
	}
}

func TestMaterialHasThePartsOfItsScheme(t *testing.T) {
	some, none := secret.Copy([]byte("canary")), secret.Bytes{}
	tests := []struct {
		name           string
		material       upstream.Material
		field, problem string
	}{
		{"all parts", upstream.Material{"secret": some, "api_key": some}, "", ""},
		{"the required part alone", upstream.Material{"secret": some}, "", ""},
		{"an optional part that is empty is the scheme's to judge", upstream.Material{"secret": some, "api_key": none}, "", ""},
		{"no material", nil, "material.secret", "missing or empty"},
		{"a required part missing", upstream.Material{"api_key": some}, "material.secret", "missing or empty"},
		{"a required part empty", upstream.Material{"secret": none}, "material.secret", "missing or empty"},
		{"a part of another scheme", upstream.Material{"secret": some, "private_key": some}, "material", "wanted: [secret api_key]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := upstream.CheckParts(tt.material, []string{"secret"}, []string{"api_key"})
			if tt.field == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			checkFieldError(t, err, tt.field, tt.problem)
		})
	}
}

func TestWipeOverwritesEveryPart(t *testing.T) {
	m := upstream.Material{"secret": secret.Copy([]byte("abc")), "api_key": secret.Copy([]byte("de"))}
	kept := [][]byte{m["secret"].Reveal(), m["api_key"].Reveal()}
	m.Wipe()
	if !bytes.Equal(kept[0], make([]byte, 3)) || !bytes.Equal(kept[1], make([]byte, 2)) {
		t.Errorf("left: %q", kept)
	}
}

func TestThereAreTwoEnvironments(t *testing.T) {
	for e, want := range map[upstream.Environment]bool{"sandbox": true, "prod": true, "": false, "PROD": false, "production": false, "sandbox ": false} {
		if e.Valid() != want {
			t.Errorf("%q: got %v", e, !want)
		}
	}
}

func TestAFieldErrorNamesItsField(t *testing.T) {
	err := upstream.Invalid("path", "it has %d bytes", 3)
	checkFieldError(t, err, "path", "it has 3 bytes")
	if err.Error() != "path: it has 3 bytes" {
		t.Errorf("got %q", err)
	}
	if errors.Is(err, upstream.ErrNotGenerated) {
		t.Error("it is another error too")
	}
}
