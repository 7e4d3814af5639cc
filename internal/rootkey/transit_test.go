package rootkey_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/certtest"
	"github.com/signerd/signerd/internal/rootkey"
)

const token = "hvs.this-is-a-token-for-tests"

// vault is a transit engine as Vault's API documentation describes it, with one key.
type vault struct {
	t         *testing.T
	authority *certtest.Authority
	server    *httptest.Server

	mu       sync.Mutex
	versions []*rootkey.File
	minimum  int
	// answer takes the place of every answer, if set.
	answer http.HandlerFunc
	// asked are the paths that were.
	asked []string
}

func startVault(t *testing.T) *vault {
	t.Helper()
	v := &vault{t: t, authority: certtest.NewAuthority(t, "vault's", time.Now()), minimum: 1}
	v.rotate()
	v.server = httptest.NewUnstartedServer(v)
	v.server.TLS = &tls.Config{Certificates: []tls.Certificate{v.authority.Server(t).TLS(t)}}
	v.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	v.server.StartTLS()
	t.Cleanup(v.server.Close)
	return v
}

func (v *vault) rotate() {
	_, key := newKey(v.t)
	v.versions = append(v.versions, key)
}

func (v *vault) set(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change()
}

func (v *vault) config(t *testing.T) rootkey.TransitConfig {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "token"), token+"\n", 0o640)
	write(t, filepath.Join(dir, "ca.pem"), string(v.authority.PEM()), 0o600)
	return rootkey.TransitConfig{
		Address: v.server.URL, Mount: "a/transit", Key: "root",
		TokenFile: filepath.Join(dir, "token"), CAFile: filepath.Join(dir, "ca.pem"), Timeout: patience,
	}
}

func open(t *testing.T, c rootkey.TransitConfig) *rootkey.Transit {
	t.Helper()
	key, err := rootkey.NewTransit(c)
	must(t, err)
	return key
}

func openTransits(t *testing.T) subject {
	v, w := startVault(t), startVault(t)
	return subject{key: open(t, v.config(t)), again: open(t, v.config(t)), other: open(t, w.config(t)), secrets: []string{token}}
}

func (v *vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked = append(v.asked, r.Method+" "+r.URL.Path)
	if v.answer != nil {
		v.answer(w, r)
		return
	}
	var in struct{ Plaintext, Ciphertext string }
	err := json.NewDecoder(r.Body).Decode(&in)
	switch {
	case r.Header.Get("X-Vault-Token") != token:
		refuse(w, http.StatusForbidden, "permission denied")
	case r.Method != http.MethodPost && r.Method != http.MethodPut:
		refuse(w, http.StatusMethodNotAllowed, "unsupported operation")
	case err != nil:
		refuse(w, http.StatusBadRequest, "error parsing JSON")
	case r.URL.Path == "/v1/a/transit/encrypt/root":
		v.encrypt(w, in.Plaintext)
	case r.URL.Path == "/v1/a/transit/decrypt/root":
		v.decrypt(w, in.Ciphertext)
	case strings.HasPrefix(r.URL.Path, "/v1/a/transit/decrypt/"):
		refuse(w, http.StatusBadRequest, "encryption key not found")
	default:
		refuse(w, http.StatusNotFound, "no handler for route")
	}
}

func refuse(w http.ResponseWriter, code int, text string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{text}})
}

func data(w http.ResponseWriter, fields map[string]any) {
	_ = json.NewEncoder(w).Encode(map[string]any{"request_id": "x", "lease_duration": 0, "data": fields})
}

func (v *vault) encrypt(w http.ResponseWriter, plaintext string) {
	b, err := base64.StdEncoding.DecodeString(plaintext)
	if err != nil {
		refuse(w, http.StatusBadRequest, "failed to base64-decode plaintext")
		return
	}
	n := len(v.versions)
	sealed, err := v.versions[n-1].Wrap(context.Background(), b)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "internal error")
		return
	}
	data(w, map[string]any{"ciphertext": fmt.Sprintf("vault:v%d:%s", n, base64.StdEncoding.EncodeToString(sealed)), "key_version": n})
}

func (v *vault) decrypt(w http.ResponseWriter, ciphertext string) {
	parts := strings.SplitN(ciphertext, ":", 3)
	if len(parts) != 3 || parts[0] != "vault" || !strings.HasPrefix(parts[1], "v") {
		refuse(w, http.StatusBadRequest, "invalid ciphertext: no prefix")
		return
	}
	n, err := strconv.Atoi(parts[1][1:])
	sealed, err2 := base64.StdEncoding.DecodeString(parts[2])
	switch {
	case err != nil || err2 != nil || n < 1 || n > len(v.versions):
		refuse(w, http.StatusBadRequest, "invalid ciphertext: version is too new")
	case n < v.minimum:
		refuse(w, http.StatusBadRequest, "ciphertext or signature version is disallowed by policy (too old)")
	default:
		b, err := v.versions[n-1].Unwrap(context.Background(), sealed)
		if err != nil {
			refuse(w, http.StatusBadRequest, "cipher: message authentication failed")
			return
		}
		data(w, map[string]any{"plaintext": base64.StdEncoding.EncodeToString(b)})
	}
}

func TestTransitsVersionsUnwrapUntilTheirMinimumIsRaised(t *testing.T) {
	v := startVault(t)
	key := open(t, v.config(t))
	wrapped, err := key.Wrap(t.Context(), []byte(keyring))
	must(t, err)
	v.set(v.rotate)
	if got, err := key.Unwrap(t.Context(), wrapped); err != nil || string(got) != keyring {
		t.Errorf("after a rotation it unwraps as %q (%v)", got, err)
	}
	newer, err := key.Wrap(t.Context(), []byte(keyring))
	must(t, err)
	v.set(func() { v.minimum = 2 })
	if _, err := key.Unwrap(t.Context(), wrapped); !isWrongKey(err) || !strings.Contains(err.Error(), "min_decryption_version") {
		t.Errorf("under the minimum: %v", err)
	}
	if got, err := key.Unwrap(t.Context(), newer); err != nil || string(got) != keyring {
		t.Errorf("over the minimum it unwraps as %q (%v)", got, err)
	}
}

func TestWhatTransitAnswersIsJudgedAndNeverQuoted(t *testing.T) {
	v := startVault(t)
	key := open(t, v.config(t))
	wrapped, err := key.Wrap(t.Context(), []byte(keyring))
	must(t, err)
	code := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { refuse(w, n, "quoted "+token) }
	}
	says := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
	}
	for _, tt := range []struct {
		name        string
		answer      http.HandlerFunc
		unavailable bool
		says        string
	}{
		{"400", code(400), false, "does not decrypt it"},
		{"401", code(401), true, "401"},
		{"403", code(403), true, "the token is not valid"},
		{"404", code(404), true, "is the mount right?"},
		{"412", code(412), true, "412"},
		{"429", code(429), true, "too much to do"},
		{"472, a standby for disaster recovery", code(472), true, "472"},
		{"500", code(500), true, "500"},
		{"502", code(502), true, "502"},
		{"503", code(503), true, "it is sealed"},
		{"nothing", says(""), true, "no answer of transit"},
		{"HTML", says("<html>" + token), true, "no answer of transit"},
		{"no data", says("{}"), true, "no answer of transit"},
		{"a plaintext that is no base64", says(`{"data":{"plaintext":"quoted!"}}`), true, "no answer of transit"},
		{"no plaintext", says(`{"data":{}}`), false, ""},
		{"another plaintext", says(`{"data":{"plaintext":"` + base64.StdEncoding.EncodeToString(make([]byte, 32)) + `"}}`), false, ""},
		{"an endless answer", func(w http.ResponseWriter, _ *http.Request) {
			for chunk := bytes.Repeat([]byte(" "), 4096); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, true, "too long"},
		{"an answer cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("{"))
		}, true, "cut off"},
		{"large headers", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Large", strings.Repeat("x", 64<<10))
		}, true, "cannot be asked"},
	} {
		v.set(func() { v.answer = tt.answer })
		got, err := key.Unwrap(t.Context(), wrapped)
		if err == nil || got != nil || isUnavailable(err) != tt.unavailable || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v (unavailable %t)", tt.name, err, isUnavailable(err))
		}
		if err != nil && (strings.Contains(err.Error(), token) || strings.Contains(err.Error(), "quoted")) {
			t.Errorf("%s: the answer is quoted", tt.name)
		}
	}
}

func TestTransitsRedirectsAreNotFollowed(t *testing.T) {
	elsewhere, v := startVault(t), startVault(t)
	v.answer = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.config(t).Address+r.URL.Path, http.StatusTemporaryRedirect)
	}
	_, err := open(t, v.config(t)).Wrap(t.Context(), []byte(keyring))
	if !isUnavailable(err) || !strings.Contains(err.Error(), "redirects are not followed") || len(elsewhere.asked) > 0 {
		t.Errorf("it ends with %v; elsewhere was asked for %q", err, elsewhere.asked)
	}
}

func TestTransitAnswersOnlyWithTheRightCertificate(t *testing.T) {
	v := startVault(t)
	c := v.config(t)
	write(t, c.CAFile, string(certtest.NewAuthority(t, "another", time.Now()).PEM()), 0o600)
	if _, err := open(t, c).Wrap(t.Context(), []byte(keyring)); !isUnavailable(err) || len(v.asked) > 0 {
		t.Errorf("with another authority: %v; it was asked for %q", err, v.asked)
	}
	write(t, c.CAFile, "no PEM", 0o600)
	if _, err := rootkey.NewTransit(c); err == nil {
		t.Error("authorities that are none are accepted")
	}
}

func TestATokenIsReadForEachRequestFromAFileThatOthersDoNotRead(t *testing.T) {
	v := startVault(t)
	c := v.config(t)
	key := open(t, c)
	for _, tt := range []struct {
		name, text string
		mode       os.FileMode
		works      bool
	}{
		{"a token", token, 0o600, true},
		{"a group's", token + "\n", 0o640, true},
		{"an old one", "hvs.expired", 0o600, false},
		{"everybody's", token, 0o644, false},
		{"one that the group writes", token, 0o660, false},
		{"an empty file", "", 0o600, false},
		{"two lines", token + "\nX-Other: " + token, 0o600, false},
		{"a long one", strings.Repeat("t", 5000), 0o600, false},
	} {
		write(t, c.TokenFile, tt.text, tt.mode)
		_, err := key.Wrap(t.Context(), []byte(keyring))
		if (err == nil) != tt.works || err != nil && !isUnavailable(err) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err != nil && strings.Contains(err.Error(), token) {
			t.Errorf("%s: the error holds the token", tt.name)
		}
	}
	must(t, os.Remove(c.TokenFile))
	if _, err := key.Wrap(t.Context(), []byte(keyring)); !isUnavailable(err) {
		t.Errorf("without a file: %v", err)
	}
}

func TestATransitThatIsAwayOrSlowIsUnavailable(t *testing.T) {
	v := startVault(t)
	c := v.config(t)
	key := open(t, c)
	wrapped, err := key.Wrap(t.Context(), []byte(keyring))
	must(t, err)
	c.Timeout = time.Millisecond
	release := make(chan struct{})
	v.set(func() { v.answer = func(http.ResponseWriter, *http.Request) { <-release } })
	if _, err := open(t, c).Unwrap(t.Context(), wrapped); !isUnavailable(err) {
		t.Errorf("of one that never answers: %v", err)
	}
	close(release)
	v.server.Close()
	if _, err := key.Unwrap(t.Context(), wrapped); !isUnavailable(err) {
		t.Errorf("of one that is away: %v", err)
	}
}
