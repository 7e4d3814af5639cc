package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/signerd/signerd/internal/partners"
)

// setUpNoon makes what Noon's console does: a service account, and its credential file.
func (d *demo) setUpNoon() error {
	step("a Noon credential file, imported as the partner's console downloads it")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	const keyID, project = "demo-key", "PRJ12345"
	file, err := json.Marshal(map[string]string{
		"key_id": keyID, "project_code": project, "type": "service_account",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
	})
	if err != nil {
		return err
	}
	path := filepath.Join(d.dir, "noon-credentials.json")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		return err
	}
	gateway := partners.NewNoon(time.Now)
	if err := gateway.Register(keyID, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), project); err != nil {
		return fmt.Errorf("the local Noon refused the public key: %w", err)
	}
	d.noon = httptest.NewServer(gateway)
	_, err = d.signerctl(nil, "key", "import", "demo-noon", "--scheme", "noon", "--env", "sandbox",
		"--credentials", path, "--user-agent", "Demo/1.0", "--base-url", d.noon.URL)
	return err
}
