package client_test

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
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/signerd/signerd/client"
	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/partners"
)

// What all tests share: the real signerd, the local partners, and a key for each.
var (
	signerd    *grpc.ClientConn
	target     string // of signerd
	noahURL    string
	nobaURL    string
	noonURL    string
	noon       *partners.Noon
	noahServer *partners.NOAH
	nobaServer *partners.Noba
)

const (
	noahKey = "noah-app"
	nobaKey = "noba-app"
	noonKey = "noon-app"
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "sc") // short, for the socket
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program := filepath.Join(dir, "signerd")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/signerd/signerd/cmd/signerd").CombinedOutput(); err != nil {
		return 1, fmt.Errorf("building signerd: %w\n%s", err, out)
	}
	stop, err := start(program, dir)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	target = "unix://" + filepath.Join(dir, "signerd.sock")
	if signerd, err = client.Dial(target); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, signerd.Close()) }()
	noahServer, nobaServer, noon = partners.NewNOAH("sandbox", time.Now), partners.NewNoba(time.Now), partners.NewNoon(time.Now)
	nobaServer.Strict = true
	for url, partner := range map[*string]http.Handler{&noahURL: noahServer, &nobaURL: nobaServer, &noonURL: noon} {
		server := httptest.NewServer(partner)
		defer server.Close()
		*url = server.URL
	}
	if err := importKeys(); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// start starts `signerd dev` and waits until it says that it serves.
func start(program, dir string) (stop func() error, err error) {
	cmd := exec.Command(program, "dev", "--dir", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "is serving") {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return func() error {
				if err := cmd.Process.Signal(os.Interrupt); err != nil {
					return err
				}
				return cmd.Wait()
			}, nil
		}
	}
	return nil, fmt.Errorf("signerd did not start: %w\n%s", cmd.Wait(), log.Bytes())
}

// importKeys makes an account at each partner.
func importKeys() error {
	pair, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return err
	}
	public, private, err := pemPair(&pair.PublicKey, pair)
	if err != nil {
		return err
	}
	apiKey, err := noahServer.CreateAPIKey(public)
	if err != nil {
		return err
	}
	secret := rand.Text()
	nobaServer.Register("the-api-key", []byte(secret), true)
	for _, key := range []*adminv1.ImportKeyRequest{
		{Name: noahKey, Scheme: "noah", Material: map[string][]byte{"private_key": private, "api_key": []byte(apiKey)}},
		{Name: nobaKey, Scheme: "noba", Material: map[string][]byte{"api_key": []byte("the-api-key"), "secret": []byte(secret)}},
	} {
		if err := importKey(key); err != nil {
			return err
		}
	}
	return importNoonKey(noonKey)
}

// importNoonKey makes a service account whose key's name is name. signerd bounds how often each logs in.
func importNoonKey(name string) error {
	pair, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, private, err := pemPair(&pair.PublicKey, pair)
	if err != nil {
		return err
	}
	if err := noon.Register("id-"+name, public, "PRJ12345"); err != nil {
		return err
	}
	credentials, err := json.Marshal(map[string]string{"key_id": "id-" + name, "project_code": "PRJ12345", "private_key": string(private)})
	if err != nil {
		return err
	}
	return importKey(&adminv1.ImportKeyRequest{Name: name, Scheme: "noon",
		Material: map[string][]byte{"credentials": credentials, "user_agent": []byte("Example/1.0"), "base_url": []byte(noonURL)}})
}

func importKey(in *adminv1.ImportKeyRequest) error {
	in.Environment = adminv1.Environment_ENVIRONMENT_SANDBOX
	if _, err := adminv1.NewKeyServiceClient(signerd).ImportKey(context.Background(), in); err != nil {
		return fmt.Errorf("importing %s: %w", in.GetName(), err)
	}
	return nil
}

func pemPair(public, private any) (publicPEM, privatePEM []byte, err error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, nil, err
	}
	privateDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: privateDER}), nil
}
