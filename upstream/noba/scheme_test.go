package noba_test

import (
	"bytes"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noba"
)

var _ upstream.Scheme = noba.Scheme{}

func TestASecretIsTakenAsItIsButForOneLineEnd(t *testing.T) {
	longest := strings.Repeat("s", 4096)
	cut := []string{"secret: one line end at the end was cut"}
	tests := []struct {
		name, in, want string
		notes          []string
		problem        string
	}{
		{"as Noba hands it out", "test-secret", "test-secret", nil, ""},
		{"one character", "x", "x", nil, ""},
		{"a space inside", "two words", "two words", nil, ""},
		{"text beyond ASCII", "ключ-ü-😀", "ключ-ü-😀", nil, ""},
		{"hexadecimal stays text", "00ff10AB", "00ff10AB", nil, ""},
		{"base64 stays text", "AAECAw==", "AAECAw==", nil, ""},
		{"a line end", "test-secret\n", "test-secret", cut, ""},
		{"a Windows line end", "test-secret\r\n", "test-secret", cut, ""},
		{"the longest", longest, longest, nil, ""},
		{"the longest with a line end", longest + "\n", longest, cut, ""},
		{"one byte too long", longest + "s", "", nil, "it has 4097 bytes; a secret has at most 4096"},
		{"nothing", "", "", nil, "missing or empty"},
		{"nothing but a line end", "\n", "", nil, "it is empty"},
		{"two line ends", "test-secret\n\n", "", nil, "a line break or another control character"},
		{"a carriage return at the end", "test-secret\r", "", nil, "a line break or another control character"},
		{"a line break inside", "test\nsecret", "", nil, "a line break or another control character"},
		{"a tab at the end", "test-secret\t", "", nil, "a line break or another control character"},
		{"a zero byte", "test\x00secret", "", nil, "a line break or another control character"},
		{"a control character beyond ASCII", "test\u0085secret", "", nil, "a line break or another control character"},
		{"a space at the start", " test-secret", "", nil, "starts or ends with a space"},
		{"a space at the end", "test-secret ", "", nil, "starts or ends with a space"},
		{"a space before the line end", "test-secret \n", "", nil, "starts or ends with a space"},
		{"a space that does not break, at the end", "test-secret\u00a0", "", nil, "starts or ends with a space"},
		{"nothing but spaces", "  ", "", nil, "starts or ends with a space"},
		{"a byte order mark", "\ufefftest-secret", "", nil, "byte order mark"},
		{"bytes that are not UTF-8", "test\xffsecret", "", nil, "it is not UTF-8 text"},
		{"UTF-16", "\xff\xfet\x00e\x00s\x00t\x00", "", nil, "it is not UTF-8 text"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			canonical, notes, err := noba.Scheme{}.Import(upstream.Prod, material(testKey, tt.in))
			if tt.problem != "" {
				checkFieldError(t, err, "material.secret", tt.problem)
				if canonical != nil || notes != nil {
					t.Error("material or notes came with the error")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := string(canonical[upstream.PartSecret].Reveal()); got != tt.want || !slices.Equal(notes, tt.notes) {
				t.Errorf("got %q with the notes %q", got, notes)
			}
			again, notes, err := noba.Scheme{}.Import(upstream.Prod, canonical)
			if err != nil || notes != nil || len(again) != 2 || !again[upstream.PartSecret].Equal(canonical[upstream.PartSecret]) || !again[upstream.PartAPIKey].Equal(canonical[upstream.PartAPIKey]) {
				t.Errorf("what is canonical does not import as itself: %q, %v", notes, err)
			}
		})
	}
}

// The API key's rules are package upstream's and tested there; here it is that they apply.
func TestMaterialConsistsOfAnAPIKeyAndASecret(t *testing.T) {
	tests := []struct {
		name           string
		material       upstream.Material
		field, problem string
	}{
		{"nothing", nil, "material.api_key", "missing or empty"},
		{"no secret", upstream.Material{upstream.PartAPIKey: secret.Copy([]byte("k"))}, "material.secret", "missing or empty"},
		{"no API key", upstream.Material{upstream.PartSecret: secret.Copy([]byte("s"))}, "material.api_key", "missing or empty"},
		{"an empty API key", material("", "s"), "material.api_key", "missing or empty"},
		{"an API key of a line end", material("\n", "s"), "material.api_key", "it is empty"},
		{"an API key with two line ends", material("k\n\n", "s"), "material.api_key", "not visible ASCII"},
		{"an API key with a space", material("k k", "s"), "material.api_key", "not visible ASCII"},
		{"an API key with a control character", material("k\x01", "s"), "material.api_key", "not visible ASCII"},
		{"an API key that is not UTF-8", material("k\xff", "s"), "material.api_key", "not visible ASCII"},
		{"an API key that is too long", material(strings.Repeat("k", 1025), "s"), "material.api_key", "at most 1024"},
		{"a part of another scheme", upstream.Material{upstream.PartPrivateKey: secret.Copy([]byte("p"))}, "material", "wanted: [api_key secret]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := noba.Scheme{}.Import(upstream.Prod, tt.material)
			checkFieldError(t, err, tt.field, tt.problem)
		})
	}
	canonical, notes, err := noba.Scheme{}.Import(upstream.Prod, material("k\n", "s\r\n"))
	want := []string{"api_key: one line end at the end was cut", "secret: one line end at the end was cut"}
	if err != nil || string(canonical[upstream.PartAPIKey].Reveal()) != "k" || string(canonical[upstream.PartSecret].Reveal()) != "s" || !slices.Equal(notes, want) {
		t.Errorf("with two line ends to cut: got the notes %q, %v", notes, err)
	}
}

func TestNobaMakesItsKeysItself(t *testing.T) {
	if m, err := (noba.Scheme{}).Generate(""); !errors.Is(err, upstream.ErrNotGenerated) || m != nil {
		t.Errorf("got %v", err)
	}
}

func TestOpenWantsBothParts(t *testing.T) {
	for field, m := range map[string]upstream.Material{"material.api_key": material("", "s"), "material.secret": material("k", "")} {
		_, err := noba.Scheme{}.Open(m)
		checkFieldError(t, err, field, "missing or empty")
	}
}

func TestACredentialSaysWhatItIs(t *testing.T) {
	c := newCredential(t, testKey, testSecret)
	if c.Algorithm() != "HMAC-SHA256" || !c.Complete() || c.PublicKey() != nil {
		t.Errorf("got %s, %v, %v", c.Algorithm(), c.Complete(), c.PublicKey())
	}
	if err := c.Prove(); err != nil {
		t.Error(err)
	}
}

func TestAFingerprintNamesTheSecretUnderThePepper(t *testing.T) {
	pepper, other := secret.Copy([]byte("pepper")), secret.Copy([]byte("another"))
	fingerprint := newCredential(t, testKey, testSecret).Fingerprint(pepper)
	if fingerprint != newCredential(t, "another-key", testSecret).Fingerprint(pepper) {
		t.Error("it depends on the API key")
	}
	if fingerprint == newCredential(t, testKey, "another-secret").Fingerprint(pepper) {
		t.Error("two secrets have one fingerprint")
	}
	if fingerprint == newCredential(t, testKey, testSecret).Fingerprint(other) {
		t.Error("it does not depend on the pepper")
	}
}

func TestNoPrinterShowsACredential(t *testing.T) {
	const apiKey, shared = "Canary7Key", "Canary8Secret"
	c := newCredential(t, apiKey, shared)
	type holder struct {
		Exported *noba.Credential
		hidden   *noba.Credential
		Value    noba.Credential
		value    noba.Credential
		Any      any
	}
	h := holder{c, c, *c, *c, c}
	var out bytes.Buffer
	for _, v := range []any{c, *c, h, &h, []any{c, h}, map[string]any{"k": h}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%08b", "%T", "%p", "%c", "%U", "%e"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		if j, err := json.Marshal(v); err == nil {
			out.Write(j)
		}
		_ = gob.NewEncoder(&out).Encode(v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
	}
	for _, canary := range []string{apiKey, shared} {
		for _, leak := range []string{canary, hex.EncodeToString([]byte(canary)), strings.Trim(fmt.Sprint([]byte(canary)), "[]")} {
			if strings.Contains(strings.ToLower(out.String()), strings.ToLower(leak)) {
				t.Errorf("the output holds %s", leak)
			}
		}
	}
	if out.Len() < 1000 {
		t.Error("nothing was printed")
	}
}
