package secret_test

import (
	"bytes"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/signerd/signerd/internal/secret"
)

const canary = "canary-in-a-secret"

// holder has a secret in every kind of place that a printer may walk into.
type holder struct {
	Exported secret.Bytes
	hidden   secret.Bytes
	Pointer  *secret.Bytes
	Map      map[string]secret.Bytes
	hiddenIn map[string]secret.Bytes
	Slice    []secret.Bytes
	Any      any
}

// element is what encoders of named types take.
type element struct{ S secret.Bytes }

func TestNoPrinterShowsASecret(t *testing.T) {
	s := secret.New([]byte(canary))
	h := holder{s, s, &s, map[string]secret.Bytes{"k": s}, map[string]secret.Bytes{"k": s}, []secret.Bytes{s}, s}
	var outputs []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p", "%c", "%U", "%08b"} {
		outputs = append(outputs, fmt.Sprintf(verb, s), fmt.Sprintf(verb, &s), fmt.Sprintf(verb, h), fmt.Sprintf(verb, &h))
	}
	var buf bytes.Buffer
	slog.New(slog.NewJSONHandler(&buf, nil)).Info("x", "s", s, "h", h, "p", &s)
	slog.New(slog.NewTextHandler(&buf, nil)).Info("x", "s", s, "h", h, "p", &s)
	outputs = append(outputs, buf.String(), fmt.Errorf("wrapped: %v %w", s, fmt.Errorf("%v", h)).Error())
	j, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	y, err := yaml.Marshal(map[string]any{"s": s})
	if err != nil {
		t.Fatal(err)
	}
	x, err := xml.Marshal(element{s})
	if err != nil {
		t.Fatal(err)
	}
	var g bytes.Buffer
	if err := gob.NewEncoder(&g).Encode(element{s}); err != nil {
		t.Fatal(err)
	}
	outputs = append(outputs, string(j), string(y), string(x), g.String())
	for _, out := range outputs {
		lower := strings.ToLower(out)
		for _, form := range []string{canary, hex.EncodeToString([]byte(canary)), fmt.Sprint([]byte(canary))[1:20]} {
			if strings.Contains(lower, form) {
				t.Errorf("output shows the secret as %q", form)
			}
		}
	}
	if !strings.Contains(string(j), `"Exported":"REDACTED"`) {
		t.Errorf("JSON says %s, want REDACTED", j)
	}
}

func TestEqualComparesContents(t *testing.T) {
	a, b := secret.Copy([]byte("same")), secret.Copy([]byte("same"))
	if !a.Equal(b) || a.Equal(secret.New([]byte("else"))) || !(secret.Bytes{}).Equal(secret.New(nil)) {
		t.Error("Equal does not compare contents")
	}
}

func TestWipeReachesEveryCopy(t *testing.T) {
	a := secret.New([]byte("gone"))
	b := a
	a.Wipe()
	if !bytes.Equal(b.Reveal(), make([]byte, 4)) {
		t.Error("a copy still holds the bytes")
	}
}
