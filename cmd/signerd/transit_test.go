package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/certtest"
)

// transit encrypts nothing: internal/rootkey has a faithful one.
func transit(w http.ResponseWriter, r *http.Request) {
	var in struct{ Plaintext, Ciphertext string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Header.Get("X-Vault-Token") != "t" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]string{
		"ciphertext": "vault:v1:" + in.Plaintext, "plaintext": strings.TrimPrefix(in.Ciphertext, "vault:v1:"),
	}})
}

func TestInitAndCheckAskATransit(t *testing.T) {
	authority := certtest.NewAuthority(t, "vault's", time.Now())
	s := httptest.NewUnstartedServer(http.HandlerFunc(transit))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{authority.Server(t).TLS(t)}}
	s.StartTLS()
	t.Cleanup(s.Close)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"ca.pem": string(authority.PEM()), "token": "t\n",
		"signerd.yaml": fmt.Sprintf("store: s/keys.db\nanchor: anchor\nroot_key: {transit: {address: '%s', key: root, token_file: token, ca_file: ca.pem}}\n"+
			"audit: {dir: audit}\nsocket: {path: a.sock}\nadmin_socket: {path: b.sock}\n", s.URL),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "s"), 0o700); err != nil {
		t.Fatal(err)
	}
	signerd := func(command string) (code int, out string) {
		var b bytes.Buffer
		code = run(t.Context(), []string{command, "--config", filepath.Join(dir, "signerd.yaml")}, &b, &b)
		return code, b.String()
	}
	if code, out := signerd("init"); code != 0 || strings.Contains(out, "made the root key") || !strings.Contains(out, "made the empty store") {
		t.Errorf("init ends with %d and says\n%s", code, out)
	}
	if code, out := signerd("check"); code != 0 || !strings.Contains(out, "ok       root key and store") {
		t.Errorf("check ends with %d and says\n%s", code, out)
	}
	s.Close()
	if code, out := signerd("check"); code == 0 || !strings.Contains(out, "the root key is not available") {
		t.Errorf("without the transit, check ends with %d and says\n%s", code, out)
	}
}
