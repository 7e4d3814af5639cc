// Package transittest is the transit engine of a Vault as its API documentation describes it, over TLS on the loopback: one key, whose
// versions it makes and keeps in memory, and one token.
//
// It is for tests of what has its root key there. It was not held against a real Vault.
package transittest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/certtest"
)

// What an engine is asked for.
const (
	Mount = "a/transit"
	Key   = "root"
	Token = "hvs.this-is-a-token-for-tests"
)

// Engine is one engine. It is safe for concurrent use.
type Engine struct {
	authority *certtest.Authority
	pair      tls.Certificate
	address   string

	mu        sync.Mutex
	server    *httptest.Server // nil while it is away
	versions  []cipher.AEAD
	minimum   int
	namespace string
	answer    http.HandlerFunc
	asked     []string
	seen      [][]byte
}

// Start gives an engine that answers until the test ends.
func Start(t testing.TB) *Engine {
	t.Helper()
	e := &Engine{authority: certtest.NewAuthority(t, "vault's", time.Now()), address: "127.0.0.1:0", minimum: 1}
	e.pair = e.authority.Server(t).TLS(t)
	e.Rotate()
	e.Resume(t)
	t.Cleanup(e.Stop)
	return e
}

// URL is what clients connect to; it stays when the engine goes away and comes back.
func (e *Engine) URL() string { return "https://" + e.address }

// CA is the authority of its certificate, PEM.
func (e *Engine) CA() []byte { return e.authority.PEM() }

// Rotate makes another version of the key.
func (e *Engine) Rotate() {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // of 32 bytes it makes one
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.versions = append(e.versions, aead)
}

// SetMinimum raises the version from which it decrypts.
func (e *Engine) SetMinimum(version int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.minimum = version
}

// SetNamespace moves the engine into a namespace, where requests without it do not find it.
func (e *Engine) SetNamespace(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.namespace = name
}

// SetAnswer has it answer otherwise; nil for as it should. Of answers one is made at a time.
func (e *Engine) SetAnswer(answer http.HandlerFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = answer
}

// Asked gives method and path of each request so far.
func (e *Engine) Asked() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.asked)
}

// Seen gives all that it was to encrypt so far.
func (e *Engine) Seen() [][]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.seen)
}

// Stop has it refuse connections.
func (e *Engine) Stop() {
	e.mu.Lock()
	server := e.server
	e.server = nil
	e.mu.Unlock()
	if server != nil {
		server.Close() // waits for answers, which take the lock
	}
}

// Resume has it listen where it did before.
func (e *Engine) Resume(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("tcp", e.address)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(e)
	_ = server.Listener.Close()
	server.Listener = listener
	server.TLS = &tls.Config{Certificates: []tls.Certificate{e.pair}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.server, e.address = server, listener.Addr().String()
}

// ServeHTTP implements http.Handler.
func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = append(e.asked, r.Method+" "+r.URL.Path)
	if e.answer != nil {
		e.answer(w, r)
		return
	}
	var in struct{ Plaintext, Ciphertext string }
	err := json.NewDecoder(r.Body).Decode(&in)
	switch path := strings.TrimPrefix(r.URL.Path, "/v1/"+Mount); {
	case r.Header.Get("X-Vault-Token") != Token:
		Refuse(w, http.StatusForbidden, "permission denied")
	case r.Header.Get("X-Vault-Namespace") != e.namespace:
		Refuse(w, http.StatusNotFound, "no handler for route")
	case r.Method != http.MethodPost && r.Method != http.MethodPut:
		Refuse(w, http.StatusMethodNotAllowed, "unsupported operation")
	case err != nil:
		Refuse(w, http.StatusBadRequest, "error parsing JSON")
	case path == "/encrypt/"+Key:
		e.encrypt(w, in.Plaintext)
	case path == "/decrypt/"+Key:
		e.decrypt(w, in.Ciphertext)
	case strings.HasPrefix(path, "/decrypt/"):
		Refuse(w, http.StatusBadRequest, "encryption key not found")
	default:
		Refuse(w, http.StatusNotFound, "no handler for route")
	}
}

// Refuse answers as Vault tells of errors.
func Refuse(w http.ResponseWriter, code int, text string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{text}})
}

func give(w http.ResponseWriter, fields map[string]any) {
	_ = json.NewEncoder(w).Encode(map[string]any{"request_id": "x", "lease_duration": 0, "data": fields})
}

func (e *Engine) encrypt(w http.ResponseWriter, plaintext string) {
	b, err := base64.StdEncoding.DecodeString(plaintext)
	if err != nil {
		Refuse(w, http.StatusBadRequest, "failed to base64-decode plaintext")
		return
	}
	e.seen = append(e.seen, b)
	n := len(e.versions)
	sealed := e.versions[n-1].Seal(nil, nil, b, nil)
	give(w, map[string]any{"ciphertext": fmt.Sprintf("vault:v%d:%s", n, base64.StdEncoding.EncodeToString(sealed)), "key_version": n})
}

func (e *Engine) decrypt(w http.ResponseWriter, ciphertext string) {
	parts := strings.SplitN(ciphertext, ":", 3)
	if len(parts) != 3 || parts[0] != "vault" || !strings.HasPrefix(parts[1], "v") {
		Refuse(w, http.StatusBadRequest, "invalid ciphertext: no prefix")
		return
	}
	n, err := strconv.Atoi(parts[1][1:])
	sealed, err2 := base64.StdEncoding.DecodeString(parts[2])
	switch {
	case err != nil || err2 != nil || n < 1 || n > len(e.versions):
		Refuse(w, http.StatusBadRequest, "invalid ciphertext: version is too new")
	case n < e.minimum:
		Refuse(w, http.StatusBadRequest, "ciphertext or signature version is disallowed by policy (too old)")
	default:
		b, err := e.versions[n-1].Open(nil, nil, sealed, nil)
		if err != nil {
			Refuse(w, http.StatusBadRequest, "cipher: message authentication failed")
			return
		}
		give(w, map[string]any{"plaintext": base64.StdEncoding.EncodeToString(b)})
	}
}
