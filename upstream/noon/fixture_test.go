package noon_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"sync"
	"testing"

	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noon"
)

// rsaKey is made once: it takes long with the race detector.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// credentialFile is the file that Noon's console downloads, with a key of our own.
func credentialFile(t testing.TB) []byte {
	t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey())})
	file, err := json.Marshal(map[string]string{
		"key_id": "key-1", "private_key": string(text), "project_code": "PRJ12345",
		"channel_identifier": "user@p12345.idp.noon.partners", "type": "service_account",
	})
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func credentialForTest(t testing.TB) *noon.Credential {
	t.Helper()
	m, _, err := noon.Scheme{}.Import(upstream.Prod, upstream.Material{upstream.PartCredentials: secret.New(credentialFile(t))})
	if err != nil {
		t.Fatal(err)
	}
	c, err := noon.Scheme{}.Open(m)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*noon.Credential)
}
