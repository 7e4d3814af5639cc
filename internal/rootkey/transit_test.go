package rootkey_test

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/certtest"
	"github.com/signerd/signerd/internal/rootkey"
	"github.com/signerd/signerd/internal/transittest"
)

const token = transittest.Token

// configOf says how to reach an engine, with files of its own.
func configOf(t *testing.T, e *transittest.Engine) rootkey.TransitConfig {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "token"), token+"\n", 0o640)
	write(t, filepath.Join(dir, "ca.pem"), string(e.CA()), 0o600)
	return rootkey.TransitConfig{
		Address: e.URL(), Mount: transittest.Mount, Key: transittest.Key,
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
	v, w := transittest.Start(t), transittest.Start(t)
	return subject{key: open(t, configOf(t, v)), again: open(t, configOf(t, v)), other: open(t, configOf(t, w)), secrets: []string{token}}
}

func TestTransitsVersionsUnwrapUntilTheirMinimumIsRaised(t *testing.T) {
	v := transittest.Start(t)
	key := open(t, configOf(t, v))
	wrapped, err := key.Wrap(t.Context(), []byte(keyring))
	must(t, err)
	v.Rotate()
	if got, err := key.Unwrap(t.Context(), wrapped); err != nil || string(got) != keyring {
		t.Errorf("after a rotation it unwraps as %q (%v)", got, err)
	}
	newer, err := key.Wrap(t.Context(), []byte(keyring))
	must(t, err)
	v.SetMinimum(2)
	if _, err := key.Unwrap(t.Context(), wrapped); !isWrongKey(err) || !strings.Contains(err.Error(), "min_decryption_version") {
		t.Errorf("under the minimum: %v", err)
	}
	if got, err := key.Unwrap(t.Context(), newer); err != nil || string(got) != keyring {
		t.Errorf("over the minimum it unwraps as %q (%v)", got, err)
	}
}

func TestWhatTransitAnswersIsJudgedAndNeverQuoted(t *testing.T) {
	v := transittest.Start(t)
	key := open(t, configOf(t, v))
	wrapped, err := key.Wrap(t.Context(), []byte(keyring))
	must(t, err)
	code := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { transittest.Refuse(w, n, "quoted "+token) }
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
		v.SetAnswer(tt.answer)
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
	elsewhere, v := transittest.Start(t), transittest.Start(t)
	v.SetAnswer(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL()+r.URL.Path, http.StatusTemporaryRedirect)
	})
	_, err := open(t, configOf(t, v)).Wrap(t.Context(), []byte(keyring))
	if !isUnavailable(err) || !strings.Contains(err.Error(), "redirects are not followed") || len(elsewhere.Asked()) > 0 {
		t.Errorf("it ends with %v; elsewhere was asked for %q", err, elsewhere.Asked())
	}
}

func TestTransitAnswersOnlyWithTheRightCertificate(t *testing.T) {
	v := transittest.Start(t)
	c := configOf(t, v)
	write(t, c.CAFile, string(certtest.NewAuthority(t, "another", time.Now()).PEM()), 0o600)
	if _, err := open(t, c).Wrap(t.Context(), []byte(keyring)); !isUnavailable(err) || len(v.Asked()) > 0 {
		t.Errorf("with another authority: %v; it was asked for %q", err, v.Asked())
	}
	write(t, c.CAFile, "no PEM", 0o600)
	if _, err := rootkey.NewTransit(c); err == nil {
		t.Error("authorities that are none are accepted")
	}
}

func TestATokenIsReadForEachRequestFromAFileThatOthersDoNotRead(t *testing.T) {
	v := transittest.Start(t)
	c := configOf(t, v)
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
	v := transittest.Start(t)
	c := configOf(t, v)
	key := open(t, c)
	wrapped, err := key.Wrap(t.Context(), []byte(keyring))
	must(t, err)
	c.Timeout = time.Millisecond
	release := make(chan struct{})
	v.SetAnswer(func(http.ResponseWriter, *http.Request) { <-release })
	if _, err := open(t, c).Unwrap(t.Context(), wrapped); !isUnavailable(err) {
		t.Errorf("of one that never answers: %v", err)
	}
	close(release)
	v.Stop()
	if _, err := key.Unwrap(t.Context(), wrapped); !isUnavailable(err) {
		t.Errorf("of one that is away: %v", err)
	}
}

func TestTransitIsAskedInItsNamespace(t *testing.T) {
	v := transittest.Start(t)
	v.SetNamespace("team/payments")
	c := configOf(t, v)
	if _, err := open(t, c).Wrap(t.Context(), []byte(keyring)); !isUnavailable(err) || !strings.Contains(err.Error(), "is the mount right?") {
		t.Errorf("without the namespace: %v", err)
	}
	c.Namespace = "team/payments"
	key := open(t, c)
	wrapped, err := key.Wrap(t.Context(), []byte(keyring))
	must(t, err)
	if got, err := key.Unwrap(t.Context(), wrapped); err != nil || string(got) != keyring {
		t.Errorf("it unwraps as %q (%v)", got, err)
	}
	if want := "transit:team/payments/a/transit/root"; key.ID() != want {
		t.Errorf("its id is %s, want %s", key.ID(), want)
	}
}

func TestTransitSeesAKeyForEachWrappingAndNeverTheKeyring(t *testing.T) {
	v := transittest.Start(t)
	key := open(t, configOf(t, v))
	for range 2 {
		_, err := key.Wrap(t.Context(), []byte(keyring))
		must(t, err)
	}
	seen := v.Seen()
	if len(seen) != 2 || bytes.Equal(seen[0], seen[1]) {
		t.Fatalf("it saw %d keys, or one twice", len(seen))
	}
	for _, key := range seen {
		if len(key) != 32 || bytes.Contains([]byte(keyring), key) || bytes.Contains(key, []byte(keyring)) {
			t.Errorf("it saw %d bytes", len(key))
		}
	}
}
