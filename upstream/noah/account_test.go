package noah_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/partners"
	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
)

// pageTime is the iat of the examples on the page "Request Signing".
var pageTime = time.Unix(1719820231, 0)

// account is a NOAH sandbox account that came about as a real one does: a pair made by signerd, its public half handed
// to the partner, the API key that the partner gave for it.
type account struct {
	*noah.Credential
	publicPEM []byte
	partner   *partners.NOAH
	clock     time.Time
}

func newAccount(t testing.TB, algorithm string) *account {
	t.Helper()
	material, err := noah.Scheme{}.Generate(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	a := &account{clock: pageTime}
	a.partner = partners.NewNOAH("sandbox", func() time.Time { return a.clock })
	a.publicPEM = publicPEM(open(t, material))
	apiKey, err := a.partner.CreateAPIKey(a.publicPEM)
	if err != nil {
		t.Fatal(err)
	}
	material[upstream.PartAPIKey] = secret.New([]byte(apiKey))
	material, _, err = noah.Scheme{}.Import(upstream.Sandbox, material)
	if err != nil {
		t.Fatal(err)
	}
	a.Credential = open(t, material)
	return a
}

func open(t testing.TB, m upstream.Material) *noah.Credential {
	t.Helper()
	credential, err := noah.Scheme{}.Open(m)
	if err != nil {
		t.Fatal(err)
	}
	return credential.(*noah.Credential)
}

func publicPEM(c *noah.Credential) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: c.PublicKey()})
}

// sign gives the headers that signerd would hand out.
func (a *account) sign(t testing.TB, p noah.RequestParams, now time.Time) map[string]string {
	t.Helper()
	request, err := noah.NewRequest(p)
	if err != nil {
		t.Fatal(err)
	}
	headers, _, err := a.Sign(request, now)
	if err != nil {
		t.Fatal(err)
	}
	return headers
}

// ask sends a request to the local partner.
func (a *account) ask(now time.Time, method, target string, body []byte, headers map[string]string) error {
	a.clock = now
	h := make(http.Header)
	for name, value := range headers {
		h.Set(name, value)
	}
	return a.partner.Check(partners.Request{Method: method, Target: target, Header: h, Body: body})
}

// segment decodes one part of a token: 0 is the header, 1 the payload, 2 the signature.
func segment(t testing.TB, token string, i int) []byte {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("the token has %d parts", len(parts))
	}
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

// sorted rewrites a JSON text with its names in order, without white space and in Go's escapes. Numbers keep their
// text, so that 20, 20.0, 2e1 and "20" stay four different things.
func sorted(t testing.TB, text []byte) string {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if decoder.More() {
		t.Fatalf("%s: more than one value", text)
	}
	out, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// checkFieldError wants a *FieldError for the field whose text holds problem.
func checkFieldError(t testing.TB, err error, field, problem string) {
	t.Helper()
	var fieldErr *upstream.FieldError
	if !errors.As(err, &fieldErr) {
		t.Fatalf("got %v, want a *FieldError", err)
	}
	if fieldErr.Field != field || !strings.Contains(fieldErr.Problem, problem) {
		t.Errorf("got %q, want the field %q and %q", err, field, problem)
	}
}
