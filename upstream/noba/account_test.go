package noba_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/partners"
	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noba"
)

// Made up for these tests; no account knows them.
const (
	testKey    = "test-key"
	testSecret = "test-secret"
)

// testTime is the clock of every test that does not say another.
var testTime = time.UnixMilli(1719820231000)

func material(apiKey, shared string) upstream.Material {
	return upstream.Material{upstream.PartAPIKey: secret.Copy([]byte(apiKey)), upstream.PartSecret: secret.Copy([]byte(shared))}
}

// newCredential goes the way of a real one: imported, then opened.
func newCredential(t testing.TB, apiKey, shared string) *noba.Credential {
	t.Helper()
	canonical, _, err := noba.Scheme{}.Import(upstream.Sandbox, material(apiKey, shared))
	if err != nil {
		t.Fatal(err)
	}
	credential, err := noba.Scheme{}.Open(canonical)
	if err != nil {
		t.Fatal(err)
	}
	return credential.(*noba.Credential)
}

// ask sends a request to a local partner that knows the API key with the secret, and verifies over the exact bytes.
func ask(now time.Time, apiKey, shared, method, target string, body []byte, headers map[string]string) error {
	partner := partners.NewNoba(func() time.Time { return now })
	partner.Register(apiKey, []byte(shared), true)
	h := make(http.Header)
	for name, value := range headers {
		h.Set(name, value)
	}
	return partner.Check(partners.Request{Method: method, Target: target, Header: h, Body: body})
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
