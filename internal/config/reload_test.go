package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/server"
)

func TestAChangeIsTakenOverOrNeedsARestart(t *testing.T) {
	dir := t.TempDir()
	read := func(text string) *config.Config {
		t.Helper()
		path := filepath.Join(dir, "signerd.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(path, server.Always())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	replaced := func(old, with string) string {
		if !strings.Contains(withTLS, old) {
			t.Fatalf("%q is not there", old)
		}
		return strings.Replace(withTLS, old, with, 1)
	}
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", withTLS, nil},
		{"a default that is written out", withTLS + "log_level: info\nreflection: false\n", nil},
		{"what is taken over", replaced("0A1B2C", "0A1B2D") + "administrators: [unix:uid=1]\nlog_level: warn\nshutdown_timeout: 5s\n", nil},
		{"a next root key of another provider", withTLS + "next_root_key: {kms: {socket: kms.sock}}\n", nil},
		{"a TLS file of another name", replaced("cert.pem", "other.pem"), nil},
		{"another store", replaced("keys.db", "other.db"), []string{"store"}},
		{"another port", replaced("8443", "8444"), []string{"tls.address"}},
		{"two fields, and one that would be taken over", replaced("app.sock}", "app.sock, mode: 0600}") + "limits: {max_message_bytes: 8192}\nlog_level: warn\n",
			[]string{"socket.mode", "limits.max_message_bytes"}},
		{"another gateway", withTLS + "noon: {base_urls: ['https://a.example']}\n", []string{"noon.base_urls"}},
		{"reflection", withTLS + "reflection: true\n", []string{"reflection"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := read(withTLS).NeedsRestart(read(tt.text)); !slices.Equal(got, tt.want) {
				t.Errorf("%v need a restart, want %v", got, tt.want)
			}
		})
	}
}
