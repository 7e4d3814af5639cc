package cli

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

func sandboxPEM(t *testing.T, public any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func noahPublic(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return sandboxPEM(t, &key.PublicKey)
}

func TestSandboxUsageErrors(t *testing.T) {
	const usage = "usage: signerctl sandbox KEYS [--listen 127.0.0.1:PORT] [--env-file FILE] [-o text|json]\nhint: `signerctl sandbox --help` tells more\n"
	noah, noba, secret := writeFile(t, noahPublic(t)), writeFile(t, "key-1"), writeFile(t, "a-secret-for-tests")
	f := serve(t, nil)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "no partner has a key: --noah-public or --key for NOAH, --noba-api-key and --noba-secret for Noba, --noon-public for Noon"},
		{[]string{"--noah-api-key", noba}, "--noah-api-key needs --noah-public or --key"},
		{[]string{"--noah-public", noah, "--key", "shop"}, "--noah-public and --key exclude each other: the one is a file, the other asks signerd"},
		{[]string{"--noba-secret", secret}, "--noba-api-key and --noba-secret go together"},
		{[]string{"--noba-strict", "--noah-public", noah}, "--noba-strict needs --noba-api-key and --noba-secret"},
		{[]string{"--noon-public", noah, "--noon-key-id", "k"}, "--noon-public, --noon-key-id and --noon-project go together"},
		{[]string{"--noah-public", noah, "--env-file", "-"}, "--env-file wants the name of a file"},
		{[]string{"--noba-api-key", "-", "--noba-secret", "-"}, "--noba-api-key and --noba-secret both ask for standard input, which can be read once"},
		{[]string{"--noah-public", noah, "--listen", "0.0.0.0:7001"}, "--listen: the local partners listen on loopback alone, such as 127.0.0.1:7001"},
		{[]string{"--noah-public", noah, "--listen", "localhost:7001"}, "--listen: the local partners listen on loopback alone, such as 127.0.0.1:7001"},
		{[]string{"extra"}, "too many arguments: wanted 0, got 1"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			f.run(t, "", append([]string{"sandbox"}, tt.args...)...).want(t, 2, "", "signerctl: sandbox: "+tt.want+"\n"+usage)
		})
	}
	f.wantRequests(t)
}

func TestSandboxTakesNothingElseForAKey(t *testing.T) {
	noah, empty := writeFile(t, noahPublic(t)), writeFile(t, "\n")
	f := serve(t, answers{"GetPublicKey": refuse(codes.FailedPrecondition, "WRONG_SCHEME", "it has no public key")})
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--noah-public", empty}, "signerctl: opening an account at the local NOAH: the public key is not PEM\nhint: --noah-public wants what `signerctl key public NAME` prints\n"},
		{[]string{"--noah-public", noah, "--noah-api-key", empty}, "signerctl: reading --noah-api-key: it is empty\n"},
		{[]string{"--noah-public", noah, "--noah-api-key", writeFile(t, "apikey_prod_x")}, "signerctl: opening an account at the local NOAH: the API key is for prod, this is sandbox\n" +
			"hint: --noah-public wants what `signerctl key public NAME` prints; --noah-api-key an API key of the sandbox\n"},
		{[]string{"--noba-api-key", empty, "--noba-secret", noah}, "signerctl: reading --noba-api-key: it is empty\n"},
		{[]string{"--noba-api-key", noah, "--noba-secret", empty}, "signerctl: reading --noba-secret: it is empty\n"},
		{[]string{"--noon-public", noah, "--noon-key-id", "k", "--noon-project", "p"}, "signerctl: opening an account at the local Noon: the public key is not an RSA key of 2048 bits or more\n" +
			"hint: openssl pkey -in PRIVATE -pubout makes the public half of the credential file's private_key\n"},
		{[]string{"--key", "shop"}, "signerctl: getting the public key of shop: it has no public key\nhint: `signerctl key show shop` tells which partner the key is for\n"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			f.run(t, "", append([]string{"sandbox"}, tt.args...)...).want(t, 1, "", tt.want)
		})
	}
}

// serveSandboxCommand runs the command until the test ends it, and gives its lines.
func serveSandboxCommand(t *testing.T, args ...string) (lines *bufio.Scanner, end func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	read, write := io.Pipe()
	var stderr strings.Builder
	code := make(chan int, 1)
	go func() {
		code <- Main(ctx, args, strings.NewReader(""), write, &stderr)
		_ = write.Close()
	}()
	return bufio.NewScanner(read), func() int {
		cancel()
		go func() { _, _ = io.Copy(io.Discard, read) }()
		got := <-code
		if stderr.Len() > 0 {
			t.Error(stderr.String())
		}
		return got
	}
}

func TestSandboxServesWhatItHasKeysFor(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	f := serve(t, answers{"GetPublicKey": give(&adminv1.GetPublicKeyResponse{Pem: noahPublic(t)})})
	envFile := filepath.Join(t.TempDir(), "env")
	lines, end := serveSandboxCommand(t, "--address", f.address, "sandbox", "--key", "shop", "--noba-api-key", writeFile(t, "key-1\n"), "--noba-secret", writeFile(t, "a-secret-for-tests\r\n"),
		"--noon-public", writeFile(t, sandboxPEM(t, &rsaKey.PublicKey)), "--noon-key-id", "k", "--noon-project", "PRJ1", "--env-file", envFile, "-o", "json")
	env := ""
	for _, partner := range []string{"noah", "noba", "noon"} {
		var listens struct {
			Partner, URL string
			APIKey       string `json:"api_key"`
		}
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &listens) != nil || listens.Partner != partner || strings.HasPrefix(listens.APIKey, "apikey_sandbox_") != (partner == "noah") {
			t.Fatalf("%s: line %q", partner, lines.Text())
		}
		env += strings.ToUpper(partner) + "_URL=" + listens.URL + "\n"
		go func() {
			if resp, err := http.Get(listens.URL + "/v1/%01a?b"); err == nil {
				_ = resp.Body.Close()
			}
		}()
	}
	for range 3 {
		var seen struct {
			Partner, Method, Path, Reason string
			Accepted                      bool
			Status                        int
		}
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &seen) != nil || seen.Accepted || seen.Status != 401 || seen.Reason == "" || seen.Path != "/v1/%01a" || seen.Method != "GET" {
			t.Errorf("line %q", lines.Text())
		}
	}
	if got, err := os.ReadFile(envFile); err != nil || string(got) != env {
		t.Errorf("the env file holds %q (%v), want %q", got, err, env)
	}
	if code := end(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	f.wantRequests(t, &adminv1.GetPublicKeyRequest{Name: "shop"})
}

func TestSandboxTellsPeople(t *testing.T) {
	lines, end := serveSandboxCommand(t, "sandbox", "--noah-public", writeFile(t, noahPublic(t)))
	var url string
	for i, want := range []string{"noah listens at http://127.0.0.1:", "  made an API key for the public key, as the dashboard does: apikey_sandbox_", "  bring it in: signerctl key activate NAME --version 1 --api-key -", "Ctrl-C ends it."} {
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), want) {
			t.Fatalf("line %q, want %q", lines.Text(), want)
		}
		if i == 0 {
			url = strings.TrimPrefix(lines.Text(), "noah listens at ")
		}
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if resp, err := http.Get(url + "/v1/a?q=hidden"); err == nil {
			_ = resp.Body.Close()
		}
	}()
	for _, want := range []string{" noah GET /v1/a refused: headers: X-Api-Key is missing", "  what to do: send the headers of signerd's answer as they are, and see that no proxy or HTTP library drops them"} {
		if !lines.Scan() || !strings.HasSuffix(lines.Text(), want) {
			t.Errorf("line %q, want %q", lines.Text(), want)
		}
	}
	<-answered
	if code := end(); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

func TestTheEnvFileReplacesNothingButAFile(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := os.WriteFile(target, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	f := serve(t, nil)
	for _, path := range []string{link, dir} {
		r := f.run(t, "", "sandbox", "--noah-public", writeFile(t, noahPublic(t)), "--env-file", path)
		if r.code != 1 || r.stderr != "signerctl: writing --env-file: "+path+" is there, and is no regular file\n" {
			t.Errorf("%+v", r)
		}
	}
	if got, err := os.ReadFile(target); err != nil || string(got) != "kept" {
		t.Errorf("the file behind the link holds %q (%v)", got, err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v (%v)", info, err)
	}
}
