package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"time"

	"google.golang.org/grpc"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/partners"
)

// totalKeys is how many keys each signerd holds, and kinds of which kind; the first of each kind is measured.
const totalKeys = 100

var kinds = []struct {
	name string
	keys int
}{{nameES384, 45}, {nameES256, 20}, {nameNoba, 30}, {nameNoon, 5}}

func keyName(kind string, i int) string { return fmt.Sprintf("%s-%d", kind, i) }

// accounts are what partners handed out, made for this run alone.
type accounts struct {
	es384, es256        *ecdsa.PrivateKey // of the keys that are measured
	nobaKey, nobaSecret string
	gateway             *httptest.Server
	noon                *partners.Noon
	imports             []*adminv1.ImportKeyRequest // the same into each signerd
}

func newAccounts() (*accounts, error) {
	a := &accounts{noon: partners.NewNoon(time.Now)}
	a.gateway = httptest.NewServer(a.noon)
	for _, kind := range kinds {
		for i := range kind.keys {
			scheme, material, err := a.newMaterial(kind.name, i)
			if err != nil {
				a.gateway.Close()
				return nil, err
			}
			a.imports = append(a.imports, &adminv1.ImportKeyRequest{
				Name: keyName(kind.name, i), Scheme: scheme, Environment: adminv1.Environment_ENVIRONMENT_SANDBOX, Material: material,
			})
		}
	}
	return a, nil
}

func (a *accounts) newMaterial(kind string, i int) (scheme string, material map[string][]byte, err error) {
	switch kind {
	case nameES384:
		material, err = newNOAH(elliptic.P384(), i, &a.es384)
		return "noah", material, err
	case nameES256:
		material, err = newNOAH(elliptic.P256(), i, &a.es256)
		return "noah", material, err
	case nameNoba:
		apiKey, secret := rand.Text(), rand.Text()
		if i == 0 {
			a.nobaKey, a.nobaSecret = apiKey, secret
		}
		return "noba", map[string][]byte{"api_key": []byte(apiKey), "secret": []byte(secret)}, nil
	default:
		material, err = a.newNoon(keyName(kind, i))
		return "noon", material, err
	}
}

// newNOAH makes an account; the first of its kind is kept in first.
func newNOAH(curve elliptic.Curve, i int, first **ecdsa.PrivateKey) (map[string][]byte, error) {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		return nil, err
	}
	if i == 0 {
		*first = key
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		"private_key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "api_key": []byte("bench_sandbox_" + rand.Text()),
	}, nil
}

// newNoon makes what the partner's console does: a service account, and its credential file.
func (a *accounts) newNoon(keyID string) (map[string][]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	const project = "PRJ12345"
	if err := a.noon.Register(keyID, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), project); err != nil {
		return nil, fmt.Errorf("the local Noon refused the public key: %w", err)
	}
	file, err := json.Marshal(map[string]string{
		"key_id": keyID, "project_code": project, "type": "service_account",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
	})
	if err != nil {
		return nil, err
	}
	return map[string][]byte{"credentials": file, "user_agent": []byte("Bench/1.0"), "base_url": []byte(a.gateway.URL)}, nil
}

// importInto brings every key into a signerd.
func (a *accounts) importInto(ctx context.Context, conn *grpc.ClientConn) error {
	if len(a.imports) != totalKeys {
		return fmt.Errorf("there are %d keys, not %d", len(a.imports), totalKeys)
	}
	keys := adminv1.NewKeyServiceClient(conn)
	for _, in := range a.imports {
		if _, err := keys.ImportKey(ctx, in, grpc.WaitForReady(true)); err != nil {
			return fmt.Errorf("importing %s: %w", in.GetName(), err)
		}
	}
	return nil
}
