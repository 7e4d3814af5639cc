//go:build clients

package clients

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/certtest"
	"github.com/signerd/signerd/internal/partners"
)

// caller is who the examples are over TLS.
const caller = "spiffe://clients.test/example"

// installation is a signerd that serves, and three partners.
type installation struct {
	dir, address, signerctl string
	urls                    map[string]string

	mu    sync.Mutex
	count map[string]int
}

func (in *installation) path(name string) string { return filepath.Join(in.dir, name) }

// accepted is how many requests each partner has accepted, Noon's logins aside.
func (in *installation) accepted() map[string]int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return maps.Clone(in.count)
}

func (in *installation) partners() []string {
	environment := []string{"PARTNERS=noah,noba,noon"}
	for name, url := range in.urls {
		environment = append(environment, strings.ToUpper(name)+"_URL="+url, strings.ToUpper(name)+"_KEY="+name+"-app")
	}
	return environment
}

func (in *installation) overSocket() []string {
	return append(in.partners(), "SIGNERD_ADDRESS=unix://"+in.path("app.sock"))
}

func (in *installation) overTLS() []string {
	return append(in.partners(), "SIGNERD_ADDRESS="+in.address, "SIGNERD_TLS_CA="+in.path("server-ca.pem"),
		"SIGNERD_TLS_CERT="+in.path("client.pem"), "SIGNERD_TLS_KEY="+in.path("client.key"))
}

// install builds the programs, starts signerd and the partners, and makes a key for each.
func install(t *testing.T) *installation {
	t.Helper()
	dir, err := os.MkdirTemp("", "sc") // short, for the sockets
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	in := &installation{dir: dir, signerctl: filepath.Join(dir, "signerctl"), urls: map[string]string{}, count: map[string]int{}}
	for _, program := range []string{"signerd", "signerctl"} {
		out, err := exec.CommandContext(t.Context(), "go", "build", "-o", in.path(program), "github.com/signerd/signerd/cmd/"+program).CombinedOutput()
		if err != nil {
			t.Fatalf("building %s: %v\n%s", program, err, out)
		}
	}
	noah, noba, noon := partners.NewNOAH("sandbox", time.Now), partners.NewNoba(time.Now), partners.NewNoon(time.Now)
	in.serve(t, "noah", noah)
	in.serve(t, "noba", noba)
	in.serve(t, "noon", noon)
	in.start(t)
	in.importKeys(t, noah, noba, noon)
	return in
}

// serve starts a partner and counts what it accepts.
func (in *installation) serve(t *testing.T, name string, partner http.Handler) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		partner.ServeHTTP(seen, r)
		if seen.status == http.StatusOK && !strings.HasSuffix(r.URL.Path, "/login") {
			in.mu.Lock()
			in.count[name]++
			in.mu.Unlock()
		}
	}))
	t.Cleanup(server.Close)
	in.urls[name] = server.URL
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// start configures signerd, and waits until it serves.
func (in *installation) start(t *testing.T) {
	t.Helper()
	clients, servers := certtest.NewAuthority(t, "clients", time.Now()), certtest.NewAuthority(t, "servers", time.Now())
	server := servers.Issue(t, func(c *x509.Certificate) {
		c.IPAddresses, c.DNSNames = []net.IP{net.IPv4(127, 0, 0, 1)}, []string{"localhost"}
	})
	client := clients.Client(t, caller)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	in.address = free.Addr().String()
	must(t, free.Close())
	for name, content := range map[string][]byte{
		"server.pem": server.Certificate, "server.key": server.KeyPEM, "client-ca.pem": clients.PEM(),
		"client.pem": client.Certificate, "client.key": client.KeyPEM, "server-ca.pem": servers.PEM(),
		"signerd.yaml": fmt.Appendf(nil, `store: keys.db
anchor: anchor
root_key: {file: root.key}
audit: {dir: audit}
socket: {path: app.sock}
admin_socket: {path: admin.sock}
tls: {address: %q, certificate: server.pem, key: server.key, client_ca: client-ca.pem}
noon: {base_urls: [%q]}
administrators: ["unix:uid=%d"]
`, in.address, in.urls["noon"], os.Geteuid()),
	} {
		must(t, os.WriteFile(in.path(name), content, 0o600))
	}
	if out, err := exec.CommandContext(t.Context(), in.path("signerd"), "init", "--config", in.path("signerd.yaml")).CombinedOutput(); err != nil {
		t.Fatalf("signerd init: %v\n%s", err, out)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, in.path("signerd"), "--config", in.path("signerd.yaml"))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	var log bytes.Buffer
	cmd.Stderr = &log
	must(t, cmd.Start())
	t.Cleanup(func() {
		stop()
		if err := cmd.Wait(); err != nil && ctx.Err() == nil || t.Failed() {
			t.Logf("signerd ended with %v and logged:\n%s", err, log.Bytes()[max(0, log.Len()-4<<10):])
		}
	})
	watch, err := healthpb.NewHealthClient(in.dial(t)).Watch(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	for err == nil {
		var said *healthpb.HealthCheckResponse
		if said, err = watch.Recv(); err == nil && said.GetStatus() == healthpb.HealthCheckResponse_SERVING {
			return
		}
	}
	t.Fatalf("signerd does not serve: %v", err)
}

func (in *installation) dial(t *testing.T) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+in.path("admin.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// importKeys makes an account at each partner, and lets the examples use it.
func (in *installation) importKeys(t *testing.T, noah *partners.NOAH, noba *partners.Noba, noon *partners.Noon) {
	t.Helper()
	conn := in.dial(t)
	_, err := adminv1.NewPolicyServiceClient(conn).SetPolicy(t.Context(), &adminv1.SetPolicyRequest{Policy: &adminv1.Policy{Rules: []*adminv1.PolicyRule{{
		Name: "examples", Effect: adminv1.PolicyEffect_POLICY_EFFECT_ALLOW, Callers: []string{caller, fmt.Sprintf("unix:uid=%d", os.Geteuid())},
		Keys: []string{"*"}, Operations: []string{"*"},
	}}}})
	must(t, err)

	pair, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	apiKey, err := noah.CreateAPIKey(publicPEM(t, &pair.PublicKey))
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(pair)
	must(t, err)
	in.importKey(t, conn, "noah", map[string][]byte{
		"private_key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "api_key": []byte(apiKey),
	})

	nobaKey, nobaSecret := rand.Text(), rand.Text()
	noba.Register(nobaKey, []byte(nobaSecret), true)
	in.importKey(t, conn, "noba", map[string][]byte{"api_key": []byte(nobaKey), "secret": []byte(nobaSecret)})

	account, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	must(t, noon.Register("key-1", publicPEM(t, &account.PublicKey), "PRJ12345"))
	file, err := json.Marshal(map[string]string{"key_id": "key-1", "project_code": "PRJ12345", "type": "service_account",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(account)}))})
	must(t, err)
	in.importKey(t, conn, "noon", map[string][]byte{"credentials": file, "user_agent": []byte("Example/1.0"), "base_url": []byte(in.urls["noon"])})
}

func (in *installation) importKey(t *testing.T, conn *grpc.ClientConn, partner string, material map[string][]byte) {
	t.Helper()
	_, err := adminv1.NewKeyServiceClient(conn).ImportKey(t.Context(), &adminv1.ImportKeyRequest{
		Name: partner + "-app", Scheme: partner, Environment: adminv1.Environment_ENVIRONMENT_SANDBOX, Material: material})
	must(t, err)
}

func publicPEM(t *testing.T, public any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// tampering is a change of one byte between an example and its partner.
type tampering struct {
	partner, part, cause string
	change               func(r *http.Request, body []byte) []byte
}

var tamperings = []tampering{
	{"noah", "body", "body", func(_ *http.Request, body []byte) []byte {
		return bytes.Replace(body, []byte("10.50"), []byte("10.51"), 1)
	}},
	{"noah", "query", "query", func(r *http.Request, body []byte) []byte {
		r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "PageSize=20", "PageSize=21", 1)
		return body
	}},
	{"noah", "path", "path", func(r *http.Request, body []byte) []byte {
		r.URL.Path = strings.Replace(r.URL.Path, "/fiat", "/fiaT", 1)
		return body
	}},
	{"noba", "body", "body", func(_ *http.Request, body []byte) []byte { return bytes.Replace(body, []byte("100"), []byte("900"), 1) }},
	{"noba", "path", "path", func(r *http.Request, body []byte) []byte {
		r.URL.Path = strings.Replace(r.URL.Path, "/v1/", "/v2/", 1)
		return body
	}},
}

// between is a proxy in front of a partner that changes what passes; captured gives the last request as it went on.
func (in *installation) between(t *testing.T, how tampering) (captured func() []byte, address string) {
	t.Helper()
	target, err := url.Parse(in.urls[how.partner])
	must(t, err)
	var mu sync.Mutex
	var last []byte
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		body, err := io.ReadAll(p.In.Body)
		if err != nil {
			return // the partner refuses what is cut
		}
		body = how.change(p.Out, body)
		p.Out.Body, p.Out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		mu.Lock()
		defer mu.Unlock()
		last = fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n", p.Out.Method, p.Out.URL.RequestURI(), target.Host)
		for name, values := range p.Out.Header {
			for _, v := range values {
				last = fmt.Appendf(last, "%s: %s\r\n", name, v)
			}
		}
		last = fmt.Appendf(last, "Content-Length: %d\r\n\r\n%s", len(body), body)
	}}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return func() []byte {
		mu.Lock()
		defer mu.Unlock()
		if _, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(last))); err != nil {
			t.Fatalf("nothing went through the proxy: %v", err)
		}
		return last
	}, server.URL
}
