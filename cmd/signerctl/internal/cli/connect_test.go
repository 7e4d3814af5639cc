package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

func TestParseAddress(t *testing.T) {
	for address, want := range map[string]endpoint{
		"unix:///run/signerd/s.sock": {"unix", "/run/signerd/s.sock"},
		"unix:/run/s":                {"unix", "/run/s"},
		"unix:.signerd/signerd.sock": {"unix", ".signerd/signerd.sock"},
		"unix:a:1":                   {"unix", "a:1"},
		"signer.internal:8443":       {"tcp", "signer.internal:8443"},
		"127.0.0.1:1":                {"tcp", "127.0.0.1:1"},
		"[::1]:65535":                {"tcp", "[::1]:65535"},
	} {
		if got, err := parseAddress(address); err != nil || got != want {
			t.Errorf("%q: got %v, %v", address, got, err)
		}
	}
	for _, address := range []string{"unix:", "unix://", "unix://run/s", "/run/s", "./s", "signer", "signer:", ":8443", "signer:0",
		"signer:65536", "signer:https", "https://signer:8443", "dns:///signer:8443", "::1:8443", "signer:8443/x", ""} {
		got, err := parseAddress(address)
		if _, ok := err.(*usageError); !ok {
			t.Errorf("%q: got %v, %v", address, got, err)
		}
	}
}

func statusAnswer() answers {
	return answers{"GetStatus": give(&adminv1.GetStatusResponse{Serving: true})}
}

func TestAddressComesFromFlagThenEnvironmentThenDevelopmentSocket(t *testing.T) {
	first, second := serve(t, statusAnswer()), serve(t, statusAnswer())
	t.Chdir(t.TempDir())
	asked := func(f *fake, args ...string) {
		t.Helper()
		f.mu.Lock()
		before := len(f.requests)
		f.mu.Unlock()
		if r := runIn(t, "", args...); r.code != 0 {
			t.Fatal(r.stderr)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.requests) != before+1 {
			t.Errorf("%q asked another signerd", args)
		}
	}
	t.Setenv(addressVariable, first.address)
	asked(first, "status")
	asked(second, "status", "--address", second.address)

	t.Setenv(addressVariable, "")
	const unknown = "signerctl: status: where signerd listens is not known\nusage: signerctl status\n" +
		"hint: give --address or set SIGNERD_ADDRESS, or run `signerd dev` in this folder: it listens on ./.signerd/signerd.sock\n"
	runIn(t, "", "status").want(t, 2, "", unknown)
	if err := os.Mkdir(".signerd", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(devSocket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	runIn(t, "", "status").want(t, 2, "", unknown)
	if err := os.Remove(devSocket); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(strings.TrimPrefix(first.address, "unix://"), devSocket); err != nil {
		t.Fatal(err)
	}
	asked(first, "status")
	if r := runIn(t, "", "status", "--address", ""); r.code != 2 || !strings.Contains(r.stderr, "--address is empty") {
		t.Errorf("an empty --address: %+v", r)
	}
}

// Without an address, nothing is read: a person would type a secret for nothing.
func TestTheAddressComesBeforeTheInput(t *testing.T) {
	t.Chdir(t.TempDir())
	in := &endless{}
	t.Setenv(addressVariable, "nonsense")
	var stderr strings.Builder
	if code := Main(t.Context(), []string{"key", "activate", "orders", "--version", "1", "--api-key", "-"}, in, &stderr, &stderr); code != 2 || in.read > 0 {
		t.Errorf("exit status %d after reading %d bytes", code, in.read)
	}
}

func TestTLSFlagsAndAddressesBelongTogether(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--address localhost:1", "host:port is spoken to over mutual TLS alone: --tls-cert, --tls-key and --tls-ca are all needed"},
		{"--address localhost:1 --tls-cert x --tls-ca x", "host:port is spoken to over mutual TLS alone"},
		{"--address unix:/run/s --tls-ca x", "--tls-cert, --tls-key and --tls-ca go with host:port, not with a Unix socket"},
		{"--address localhost:1 --tls-cert - --tls-key x --tls-ca -", "--tls-ca and --tls-cert both ask for standard input"},
	} {
		if r := run(t, "", append(strings.Fields(tt.args), "status")...); r.code != 2 || !strings.Contains(r.stderr, tt.want) {
			t.Errorf("%s: got %+v", tt.args, r)
		}
	}
}

// authority issues certificates for one test.
type authority struct {
	t      *testing.T
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	folder string
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, folder: t.TempDir()}
	a.cert, a.key = a.issue("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue writes NAME.crt and NAME.key, signed by the authority, or by itself while there is none.
func (a *authority) issue(name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	check := func(err error) {
		if err != nil {
			a.t.Helper()
			a.t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject = pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	check(err)
	cert, err := x509.ParseCertificate(der)
	check(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	check(err)
	check(os.WriteFile(a.file(name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	check(os.WriteFile(a.file(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	return cert, key
}

func (a *authority) file(name string) string { return filepath.Join(a.folder, name) }

// serveTLS starts a fake signerd on the loopback that wants client certificates.
func serveTLS(t *testing.T, a *authority, maxVersion uint16) (f *fake) {
	t.Helper()
	certificate, err := tls.LoadX509KeyPair(a.file("server.crt"), a.file("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(a.cert)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f = &fake{address: listener.Addr().String(), answers: statusAnswer()}
	f.serveOn(t, listener, grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert, MaxVersion: maxVersion,
	})))
	return f
}

func TestMutualTLS(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	a.issue("server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	client := &x509.Certificate{DNSNames: []string{"ops.internal"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	a.issue("client", client)
	stranger.issue("client", client)
	f := serveTLS(t, a, tls.VersionTLS13)
	old := serveTLS(t, a, tls.VersionTLS12)
	_, port, err := net.SplitHostPort(f.address)
	if err != nil {
		t.Fatal(err)
	}
	const hint = "does signerd serve TLS there, and do the certificates and authorities on both sides belong together?"
	for _, tt := range []struct {
		name, address, cert, key, ca string
		code                         int
		stderr                       []string
	}{
		{"all fits", f.address, a.file("client.crt"), a.file("client.key"), a.file("ca.crt"), 0, nil},
		{"the server's authority is unknown", f.address, a.file("client.crt"), a.file("client.key"), stranger.file("ca.crt"), 1, []string{"unknown authority", hint}},
		{"the server has another name", "localhost:" + port, a.file("client.crt"), a.file("client.key"), a.file("ca.crt"), 1, []string{"x509: ", hint}},
		{"the client's authority is unknown", f.address, stranger.file("client.crt"), stranger.file("client.key"), a.file("ca.crt"), 1, []string{hint}},
		{"the server speaks TLS 1.2 only", old.address, a.file("client.crt"), a.file("client.key"), a.file("ca.crt"), 1, []string{"protocol version", hint}},
		{"another certificate's key", f.address, a.file("client.crt"), a.file("server.key"), a.file("ca.crt"), 1, []string{"loading --tls-cert and --tls-key: tls: private key does not match public key"}},
		{"no certificate in the authorities", f.address, a.file("client.crt"), a.file("client.key"), a.file("client.key"), 1, []string{"loading --tls-ca: it holds no certificate in PEM"}},
		{"no such file", f.address, a.file("none"), a.file("client.key"), a.file("ca.crt"), 1, []string{"reading --tls-cert: no such file"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := run(t, "", "--address", tt.address, "--tls-cert", tt.cert, "--tls-key", tt.key, "--tls-ca", tt.ca, "status", "-o", "json")
			if r.code != tt.code || tt.code == 0 && r.stderr != "" {
				t.Errorf("got %+v", r)
			}
			for _, want := range tt.stderr {
				if !strings.Contains(r.stderr, want) {
					t.Errorf("stderr is %q, want it to have %q", r.stderr, want)
				}
			}
		})
	}
}

func TestNobodyListensOnThePort(t *testing.T) {
	a := newAuthority(t)
	a.issue("client", &x509.Certificate{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	run(t, "", "--address", address, "--tls-cert", a.file("client.crt"), "--tls-key", a.file("client.key"), "--tls-ca", a.file("ca.crt"), "status").want(t, 1, "",
		"signerctl: asking for the status: nothing listens at "+address+"\nhint: "+hintAddress+"\n")
}
