package process

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/internal/partners"
)

// A thief gets the store, its anchor, the audit log, what signerd logs, and a backup.
func TestWhatAThiefFindsHoldsNoSecret(t *testing.T) {
	gateway := partners.NewNoon(time.Now)
	noon := httptest.NewServer(gateway)
	defer noon.Close()
	s := start(t, fmt.Sprintf("audit: {dir: ../log, query_values: true}\nlog_level: debug\nnoon: {base_urls: [%q]}\n", noon.URL), nil)
	shared, apiKey := []byte(rand.Text()+rand.Text()), []byte("soak_sandbox_"+rand.Text()+rand.Text())
	s.importKey(t, "noba", "noba", map[string][]byte{"api_key": apiKey, "secret": shared})
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	scalar, err := key.Bytes()
	must(t, err)
	s.importKey(t, "noah", "noah", map[string][]byte{"api_key": []byte("soak_sandbox_" + rand.Text()), "private_key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})})
	account, private := noonAccount(t, gateway, noon.URL)
	s.importKey(t, "noon", "noon", account)
	signer := signerdv1.NewSignerServiceClient(s.conn)
	_, err = signer.ComputeNobaSignature(t.Context(), &signerdv1.ComputeNobaSignatureRequest{Key: "noba", Method: "GET", Path: "/v1"})
	must(t, err)
	_, err = signer.SignNoahRequest(t.Context(), &signerdv1.SignNoahRequestRequest{Key: "noah", Method: "GET", Path: "/v1"})
	must(t, err)
	session, err := signer.GetNoonSession(t.Context(), &signerdv1.GetNoonSessionRequest{Key: "noon"})
	must(t, err)

	loot := map[string][]byte{"the backup": s.backup(t), "its own log": []byte(s.stop(t))}
	for _, folder := range []string{"store", "anchor", "log"} {
		must(t, filepath.WalkDir(s.path(folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			loot[path], err = os.ReadFile(path)
			return err
		}))
	}
	if len(loot) < 5 {
		t.Errorf("there are only %d files", len(loot))
	}
	for _, c := range []canary{
		{"Noba secret", shared}, {"API key", apiKey[len("soak_sandbox_"):]}, {"NOAH private key", scalar}, {"Noon private key", private.D.Bytes()},
		{"Noon private key", private.Primes[0].Bytes()}, {"Noon session cookie", []byte(session.GetCookies()[0].GetValue())}, {"root key", keyIn(t, s.path("etc/root.key"))},
	} {
		for where, content := range loot {
			if forms := found(content, c.secret); len(forms) > 0 {
				t.Errorf("%s holds the %s: %v", where, c.name, forms)
			}
		}
	}
}

// backup is one of all keys, as signerd streams it.
func (s *signerd) backup(t *testing.T) (out []byte) {
	t.Helper()
	stream, err := adminv1.NewSystemServiceClient(s.conn).Backup(t.Context(), &adminv1.BackupRequest{})
	must(t, err)
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) && len(out) > 0 {
			return out
		}
		must(t, err)
		out = append(out, part.GetData()...)
	}
}
