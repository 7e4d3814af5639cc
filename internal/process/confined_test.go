package process

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/internal/certtest"
	"github.com/signerd/signerd/internal/partners"
)

func TestAConfinedSignerdGoesOnWorking(t *testing.T) {
	clients, servers := certtest.NewAuthority(t, "clients", time.Now()), certtest.NewAuthority(t, "servers", time.Now())
	port, metrics := freePort(t), freePort(t)
	gateway := partners.NewNoon(time.Now)
	noon := httptest.NewServer(gateway)
	defer noon.Close()
	renew := func(s *signerd) *x509.Certificate {
		pair := servers.Server(t)
		certtest.Replace(t, s.path("tls/cert.pem"), pair.Certificate)
		certtest.Replace(t, s.path("tls/key.pem"), pair.KeyPEM)
		return pair.Leaf
	}
	s := start(t, fmt.Sprintf(`audit: {dir: ../log, max_file_bytes: 1048576}
tls: {address: %q, certificate: ../tls/cert.pem, key: ../tls/key.pem, client_ca: ../tls/ca.pem}
metrics: {address: %q}
noon: {base_urls: [%q]}
`, port, metrics, noon.URL), func(s *signerd) {
		renew(s)
		certtest.Replace(t, s.path("tls/ca.pem"), clients.PEM())
	})
	// A kernel without Landlock has nothing more to hold it to.
	t.Log(s.logged(t, `"msg":"confined`))

	t.Run("it writes the store and replaces the anchor", func(t *testing.T) {
		before := inode(t, s.path("anchor/anchor"))
		s.importKey(t, "noba", "noba", map[string][]byte{"api_key": []byte(rand.Text()), "secret": []byte(rand.Text())})
		if inode(t, s.path("anchor/anchor")) == before {
			t.Error("the anchor is the same file as before")
		}
	})
	t.Run("it logs in at Noon", func(t *testing.T) {
		account, _ := noonAccount(t, gateway, noon.URL)
		s.importKey(t, "noon", "noon", account)
		_, err := signerdv1.NewSignerServiceClient(s.conn).GetNoonSession(t.Context(), &signerdv1.GetNoonSessionRequest{Key: "noon"})
		must(t, err)
	})
	t.Run("it begins files of records and compresses them", func(t *testing.T) {
		signer := signerdv1.NewSignerServiceClient(s.conn)
		var compressed []string
		for len(compressed) == 0 && !t.Failed() {
			var calling sync.WaitGroup
			for range 50 {
				calling.Go(func() {
					for range 20 {
						if _, err := signer.ComputeNobaSignature(t.Context(), &signerdv1.ComputeNobaSignatureRequest{Key: "noba", Method: "GET", Path: "/v1"}); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			calling.Wait()
			var err error
			compressed, err = filepath.Glob(s.path("log/records-*.gz"))
			must(t, err)
		}
		s.verify(t.Context(), t)
	})
	t.Run("it takes configuration and TLS files that were replaced", func(t *testing.T) {
		leaf := renew(s)
		text, err := os.ReadFile(s.path("etc/signerd.yaml"))
		must(t, err)
		certtest.Replace(t, s.path("etc/signerd.yaml"), append(text, "shutdown_timeout: 20s\n"...))
		must(t, s.cmd.Process.Signal(syscall.SIGHUP))
		if line := s.logged(t, "configuration is"); !strings.Contains(line, "is in force") {
			t.Fatal(line)
		}
		roots := x509.NewCertPool()
		roots.AddCert(servers.Certificate)
		conn, err := tls.Dial("tcp", port, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13,
			Certificates: []tls.Certificate{clients.Client(t, "spiffe://example.org/orders").TLS(t)}})
		must(t, err)
		defer func() { _ = conn.Close() }()
		if !conn.ConnectionState().PeerCertificates[0].Equal(leaf) {
			t.Error("it shows another certificate")
		}
	})
	t.Run("it measures itself", func(t *testing.T) {
		answer, err := http.Get("http://" + metrics + "/metrics")
		must(t, err)
		defer func() { _ = answer.Body.Close() }()
		text, err := io.ReadAll(answer.Body)
		must(t, err)
		for _, name := range []string{"process_open_fds", "process_resident_memory_bytes"} {
			if !strings.Contains(string(text), "\n"+name+" ") {
				t.Errorf("there is no %s", name)
			}
		}
	})
	t.Run("it leaves no core, and starts nothing with more rights", func(t *testing.T) {
		for file, want := range map[string]string{"limits": "Max core file size        0                    0", "status": "NoNewPrivs:\t1"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.cmd.Process.Pid, file))
			if must(t, err); !strings.Contains(string(text), want) {
				t.Errorf("%s does not say %q:\n%s", file, want, text)
			}
		}
	})
	_, err := adminv1.NewSystemServiceClient(s.conn).GetStatus(t.Context(), &adminv1.GetStatusRequest{})
	must(t, err)
	if rest := s.stop(t); strings.Contains(rest, "permission denied") {
		t.Errorf("something was denied:\n%s", rest)
	}
	if left, err := os.ReadDir(s.path("run")); err != nil || len(left) > 0 {
		t.Errorf("sockets stay behind: %v (%v)", left, err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var info syscall.Stat_t
	must(t, syscall.Stat(path, &info))
	return info.Ino
}

// noonAccount is a service account that the local gateway knows.
func noonAccount(t *testing.T, gateway *partners.Noon, url string) (material map[string][]byte, key *rsa.PrivateKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	must(t, err)
	const keyID, project = "process-key", "PRJ12345"
	must(t, gateway.Register(keyID, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), project))
	file, err := json.Marshal(map[string]string{"key_id": keyID, "project_code": project, "type": "service_account",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))})
	must(t, err)
	return map[string][]byte{"credentials": file, "user_agent": []byte("Process/1.0"), "base_url": []byte(url)}, key
}
