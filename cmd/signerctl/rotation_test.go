package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/internal/partners"
	"github.com/signerd/signerd/internal/scripttest"
)

// rotation is what the section of a partner in docs/rotation.md needs.
type rotation struct {
	// imported makes the key whose version 1 signs.
	imported []string
	// signed has a request signed and asks the partner about it. It gives the version that signed.
	signed func(context.Context, signerdv1.SignerServiceClient) (uint32, error)
	// answered does what a partner does between the commands; it is called after each.
	answered func(command string)
	// forget makes the partner take the new credential alone.
	forget func()
	// unknown adds a version 3 that the partner knows nothing of; empty where signerd cannot tell.
	unknown string
	// more is what a command needs here and in the documentation does not: where the partner is.
	more map[string]string
}

func TestTheDocumentedRotationsWorkAsWrittenAndNoRequestFails(t *testing.T) {
	doc, err := os.ReadFile("../../docs/rotation.md")
	if err != nil {
		t.Fatal(err)
	}
	bin := scripttest.Build(t)
	for name, prepare := range map[string]func(*testing.T, string) rotation{"NOAH": rotateNOAH, "Noba": rotateNoba, "Noon": rotateNoon} {
		t.Run(name, func(t *testing.T) {
			s := newShell(t, bin)
			r := prepare(t, s.dir)
			for _, command := range r.imported {
				s.run(t, command)
				r.answered(command)
			}
			stop := s.keepSigning(t, r)
			commands := commandsOf(t, string(doc), name)
			if len(commands) < 6 {
				t.Errorf("the section has only %d commands", len(commands))
			}
			for _, command := range commands {
				said := s.run(t, command+r.more[strings.Join(strings.Fields(command)[:3], " ")])
				r.answered(command)
				if m := regexp.MustCompile(`key activate \S+ --version (\d)`).FindStringSubmatch(command); m != nil {
					s.signsNow(t, r, m[1])
					if loggedIn := strings.Contains(said, "has logged in at the partner"); loggedIn != (name == "Noon") {
						t.Errorf("%s said %q", command, said)
					}
				}
			}
			r.forget()
			s.signsNow(t, r, "2")
			if r.unknown != "" {
				s.run(t, r.unknown)
				s.refused(t, "signerctl key activate my-noon --version 3", "it was not activated, and nothing has changed\nhint: the version that was active still is")
				s.signsNow(t, r, "2")
			}
			stop()
			// What was disabled is no way back, until it is enabled.
			s.refused(t, "signerctl key activate "+keyOf(name)+" --version 1", "disabled")
			s.run(t, "signerctl key enable "+keyOf(name)+" --version 1")
			s.run(t, "signerctl key activate "+keyOf(name)+" --version 1")
		})
	}
}

func keyOf(partner string) string { return "my-" + strings.ToLower(partner) }

// commandsOf are those of a section's console blocks.
func commandsOf(t *testing.T, doc, section string) []string {
	t.Helper()
	_, text, ok := strings.Cut(doc, "\n## "+section+"\n")
	if !ok {
		t.Fatalf("there is no section %s", section)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	var out []string
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(block[1]) {
			command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ ")
			if !ok {
				t.Fatalf("a console block holds %q, which is no command", line)
			}
			out = append(out, command)
		}
	}
	return out
}

// shell runs commands in a folder of its own, in which a signerd serves.
type shell struct {
	dir, bin string
	signer   signerdv1.SignerServiceClient
	// partner is held for reading while a request is under way, so that the partner forgets nothing that is.
	partner sync.RWMutex
}

func newShell(t *testing.T, bin string) *shell {
	t.Helper()
	// A socket's path must be short.
	dir, err := os.MkdirTemp("", "sd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Symlink(bin, filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	runLine(t, dir, "bin/signerd dev &")
	conn, err := grpc.NewClient("unix://"+filepath.Join(dir, ".signerd", "signerd.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &shell{dir: dir, bin: bin, signer: signerdv1.NewSignerServiceClient(conn)}
}

func (s *shell) command(t *testing.T, line string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "SIGNERD_ADDRESS=", "GORACE=atexit_sleep_ms=0", "PATH="+s.bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	return cmd.CombinedOutput()
}

func (s *shell) run(t *testing.T, line string) string {
	t.Helper()
	out, err := s.command(t, line)
	if err != nil {
		t.Fatalf("$ %s\n%s%v", line, out, err)
	}
	return string(out)
}

func (s *shell) refused(t *testing.T, line, said string) {
	t.Helper()
	if out, err := s.command(t, line); err == nil || !bytes.Contains(out, []byte(said)) {
		t.Errorf("$ %s\n%s%v, want a refusal that says %q", line, out, err, said)
	}
}

// keepSigning has requests signed until stop is called, and none may fail.
func (s *shell) keepSigning(t *testing.T, r rotation) (stop func()) {
	t.Helper()
	var done atomic.Bool
	var all, begun sync.WaitGroup
	for range 4 {
		begun.Add(1)
		all.Go(func() {
			first := sync.OnceFunc(begun.Done)
			defer first()
			for !done.Load() {
				s.partner.RLock()
				version, err := r.signed(t.Context(), s.signer)
				s.partner.RUnlock()
				if err != nil {
					t.Errorf("a request of version %d failed: %v", version, err)
					return
				}
				first()
			}
		})
	}
	begun.Wait()
	stop = sync.OnceFunc(func() { done.Store(true); all.Wait() })
	t.Cleanup(stop)
	return stop
}

func (s *shell) signsNow(t *testing.T, r rotation, want string) {
	t.Helper()
	// Whoever waits for this lock sees that all requests from before have been answered.
	s.partner.Lock()
	defer s.partner.Unlock()
	version, err := r.signed(t.Context(), s.signer)
	if err != nil || strconv.FormatUint(uint64(version), 10) != want {
		t.Errorf("version %d signs, want %s: %v", version, want, err)
	}
}

func headersOf(headers map[string]string) http.Header {
	out := make(http.Header)
	for name, value := range headers {
		out.Set(name, value)
	}
	return out
}

func writeIn(t *testing.T, dir, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func rotateNOAH(t *testing.T, dir string) rotation {
	var partner atomic.Pointer[partners.NOAH]
	partner.Store(partners.NewNOAH("sandbox", time.Now))
	// created is what the dashboard does: an API key for a public key, once.
	created := func(publicFile, apiKeyFile string) {
		public, err := os.ReadFile(filepath.Join(dir, publicFile))
		if errors.Is(err, os.ErrNotExist) {
			return
		}
		if _, err := os.Stat(filepath.Join(dir, apiKeyFile)); err == nil {
			return
		}
		apiKey, err := partner.Load().CreateAPIKey(public)
		if err != nil {
			t.Fatal(err)
		}
		writeIn(t, dir, apiKeyFile, []byte(apiKey+"\n"))
	}
	return rotation{
		imported: []string{"signerctl key create my-noah --env sandbox", "signerctl key public my-noah > noah-public-1.pem",
			"signerctl key activate my-noah --version 1 --api-key noah-api-key-1"},
		signed: func(ctx context.Context, signer signerdv1.SignerServiceClient) (uint32, error) {
			out, err := signer.SignNoahRequest(ctx, &signerdv1.SignNoahRequestRequest{Key: "my-noah", Method: "GET", Path: "/v1/balances"})
			if err != nil {
				return 0, err
			}
			return out.GetKeyVersion(), partner.Load().Check(partners.Request{Method: "GET", Target: "/v1/balances", Header: headersOf(out.GetHeaders())})
		},
		answered: func(string) {
			created("noah-public-1.pem", "noah-api-key-1")
			created("noah-public-2.pem", "noah-api-key-2")
		},
		forget: func() {
			public, err := os.ReadFile(filepath.Join(dir, "noah-public-2.pem"))
			if err != nil {
				t.Fatal(err)
			}
			apiKey, err := os.ReadFile(filepath.Join(dir, "noah-api-key-2"))
			if err != nil {
				t.Fatal(err)
			}
			next := partners.NewNOAH("sandbox", time.Now)
			if err := next.Register(strings.TrimSpace(string(apiKey)), public); err != nil {
				t.Fatal(err)
			}
			partner.Store(next)
		},
	}
}

func rotateNoba(t *testing.T, dir string) rotation {
	apiKeys, secrets := []string{rand.Text(), rand.Text()}, []string{rand.Text(), rand.Text()}
	var partner atomic.Pointer[partners.Noba]
	knows := func(numbers ...int) {
		next := partners.NewNoba(time.Now)
		for _, i := range numbers {
			next.Register(apiKeys[i], []byte(secrets[i]), true)
		}
		partner.Store(next)
	}
	for i := range apiKeys {
		writeIn(t, dir, fmt.Sprintf("noba-api-key-%d", i+1), []byte(apiKeys[i]))
		writeIn(t, dir, fmt.Sprintf("noba-secret-%d", i+1), []byte(secrets[i]))
	}
	knows(0)
	return rotation{
		imported: []string{"signerctl key import my-noba --scheme noba --env sandbox --api-key noba-api-key-1 --secret noba-secret-1"},
		signed: func(ctx context.Context, signer signerdv1.SignerServiceClient) (uint32, error) {
			out, err := signer.ComputeNobaSignature(ctx, &signerdv1.ComputeNobaSignatureRequest{Key: "my-noba", Method: "GET", Path: "/v1/countries/US"})
			if err != nil {
				return 0, err
			}
			return out.GetKeyVersion(), partner.Load().Check(partners.Request{Method: "GET", Target: "/v1/countries/US", Header: headersOf(out.GetHeaders())})
		},
		answered: func(command string) {
			if strings.HasPrefix(command, "signerctl key rotate") {
				knows(0, 1)
			}
		},
		forget: func() { knows(1) },
	}
}

func rotateNoon(t *testing.T, dir string) rotation {
	partner := partners.NewNoon(time.Now)
	for i := range 3 {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprintf("key-%d", i+1)
		public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			id = "unknown"
		}
		if err := partner.Register(fmt.Sprintf("key-%d", i+1), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), "PRJ12345"); err != nil {
			t.Fatal(err)
		}
		file, err := json.Marshal(map[string]string{"key_id": id, "project_code": "PRJ12345", "type": "service_account",
			"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))})
		if err != nil {
			t.Fatal(err)
		}
		writeIn(t, dir, fmt.Sprintf("noon-credentials-%d.json", i+1), file)
	}
	gateway := httptest.NewServer(partner)
	t.Cleanup(gateway.Close)
	base := " --base-url " + gateway.URL
	var forgotten atomic.Bool
	return rotation{
		imported: []string{"signerctl key import my-noon --scheme noon --env sandbox --credentials noon-credentials-1.json --user-agent Orders/1.0" + base},
		unknown:  "signerctl key rotate my-noon --credentials noon-credentials-3.json" + base,
		more:     map[string]string{"signerctl key rotate": base},
		signed: func(ctx context.Context, signer signerdv1.SignerServiceClient) (uint32, error) {
			out, err := signer.GetNoonSession(ctx, &signerdv1.GetNoonSessionRequest{Key: "my-noon"})
			if err != nil {
				return 0, err
			}
			version := out.GetKeyVersion()
			account, err := whoami(ctx, partner, out.GetHeaders())
			switch {
			case err != nil:
			case account != fmt.Sprintf("key-%d", version):
				err = fmt.Errorf("the session is of %q", account)
			case forgotten.Load() && version == 1:
				err = errors.New("the old key is deactivated")
			}
			return version, err
		},
		answered: func(string) {},
		forget:   func() { forgotten.Store(true) },
	}
}

// whoami asks the partner for the account that a session's headers are for.
func whoami(ctx context.Context, partner http.Handler, headers map[string]string) (string, error) {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/identity/v1/whoami", http.NoBody)
	r.Header = headersOf(headers)
	w := httptest.NewRecorder()
	partner.ServeHTTP(w, r)
	var answer struct{ Account, Reason string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
		return "", fmt.Errorf("it answered %d, %s (%w)", w.Code, answer.Reason, err)
	}
	return answer.Account, nil
}
