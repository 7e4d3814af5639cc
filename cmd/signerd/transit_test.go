package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signerd/signerd/internal/transittest"
)

func TestInitAndCheckAskATransit(t *testing.T) {
	engine := transittest.Start(t)
	engine.SetNamespace("team")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"ca.pem": string(engine.CA()), "token": transittest.Token + "\n",
		"signerd.yaml": fmt.Sprintf("store: s/keys.db\nanchor: anchor\nroot_key: {transit: {address: '%s', namespace: team, mount: %s, key: %s, token_file: token, ca_file: ca.pem}}\n"+
			"audit: {dir: audit}\nsocket: {path: a.sock}\nadmin_socket: {path: b.sock}\nconfinement: off # it would hold for all tests\n", engine.URL(), transittest.Mount, transittest.Key),
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
	engine.Stop()
	if code, out := signerd("check"); code == 0 || !strings.Contains(out, "the root key is not available") {
		t.Errorf("without the transit, check ends with %d and says\n%s", code, out)
	}
}
