package server_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"testing"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// publicKey reads a public key in PEM.
func publicKey(t testing.TB, text string) (key *ecdsa.PublicKey, der []byte) {
	t.Helper()
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" || len(rest) > 0 {
		t.Fatalf("%q is no public key", text)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	must(t, err)
	return parsed.(*ecdsa.PublicKey), block.Bytes
}

func sha256OfPEM(t testing.TB, text string) string {
	t.Helper()
	_, der := publicKey(t, text)
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// shortCoordinate makes a key one of whose coordinates starts with a zero byte, which a careless encoder drops.
func shortCoordinate(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	for {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		must(t, err)
		point, err := key.PublicKey.Bytes()
		must(t, err)
		if half := len(point) / 2; point[1] == 0 || point[1+half] == 0 {
			return key
		}
	}
}

func TestAPublicKeyIsTheSameInEveryForm(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	for alg, curve := range map[string]elliptic.Curve{"ES384": elliptic.P384(), "ES256": elliptic.P256()} {
		t.Run(alg, func(t *testing.T) {
			a := noahFrom(t, shortCoordinate(t, curve), sandbox)
			name := map[string]string{"ES384": "p384", "ES256": "p256"}[alg]
			key := r.imported(t, name, "noah", sandbox, a.material())
			out, err := r.admin.GetPublicKey(as(t, operator), &adminv1.GetPublicKeyRequest{Name: name})
			must(t, err)
			got, der := publicKey(t, out.GetPem())
			if !got.Equal(&a.private.PublicKey) || out.GetPem() != string(a.publicPEM(t)) {
				t.Error("the PEM is another key's")
			}
			sum := sha256.Sum256(der)
			if want := hex.EncodeToString(sum[:]); out.GetSha256() != want || key.GetVersions()[0].GetPublicKeySha256() != want {
				t.Errorf("the hash is %s, and %s in the key; want %s", out.GetSha256(), key.GetVersions()[0].GetPublicKeySha256(), want)
			}
			if out.GetAlgorithm() != alg || out.GetVersion() != 1 {
				t.Errorf("got %v", out)
			}
			if got := fromJWK(t, out.GetJwk(), alg); !got.Equal(&a.private.PublicKey) {
				t.Error("the JWK is another key's")
			}
		})
	}
}

// fromJWK reads a key as RFC 7517 and RFC 7518, section 6.2, have it, and refuses any other member.
func fromJWK(t *testing.T, text, alg string) *ecdsa.PublicKey {
	t.Helper()
	var jwk struct{ Kty, Crv, X, Y, Alg, Use string }
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	dec.DisallowUnknownFields()
	must(t, dec.Decode(&jwk))
	curve := map[string]elliptic.Curve{"P-384": elliptic.P384(), "P-256": elliptic.P256()}[jwk.Crv]
	if curve == nil || jwk.Kty != "EC" || jwk.Use != "sig" || jwk.Alg != alg {
		t.Fatalf("JWK %s", text)
	}
	point := []byte{4}
	for _, coordinate := range []string{jwk.X, jwk.Y} {
		b, err := base64.RawURLEncoding.Strict().DecodeString(coordinate)
		must(t, err)
		if len(b) != (curve.Params().BitSize+7)/8 {
			t.Errorf("a coordinate has %d bytes", len(b))
		}
		point = append(point, b...)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	must(t, err)
	return key
}

func TestThePublicKeyIsThatOfTheVersionAskedFor(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	ctx := as(t, operator)
	made, err := r.admin.CreateKey(ctx, &adminv1.CreateKeyRequest{Name: "a", Environment: sandbox})
	must(t, err)
	next, err := r.admin.CreateKeyVersion(ctx, &adminv1.CreateKeyVersionRequest{Name: "a"})
	must(t, err)
	pems := map[uint32]string{1: made.GetPublicKeyPem(), 2: next.GetPublicKeyPem()}
	if pems[1] == pems[2] {
		t.Fatal("both versions have the same key")
	}
	is := func(asked, want uint32) {
		t.Helper()
		out, err := r.admin.GetPublicKey(ctx, &adminv1.GetPublicKeyRequest{Name: "a", Version: asked})
		must(t, err)
		if out.GetVersion() != want || out.GetPem() != pems[want] {
			t.Errorf("asked for version %d: got %d, want %d", asked, out.GetVersion(), want)
		}
	}
	is(1, 1)
	is(2, 2)
	is(0, 2) // none is active: the newest
	_, err = r.admin.ActivateKeyVersion(ctx, &adminv1.ActivateKeyVersionRequest{Name: "a", Version: 1, ApiKey: []byte("apikey_sandbox_x")})
	must(t, err)
	is(0, 1)
	is(2, 2)
	_, err = r.admin.DisableKey(ctx, &adminv1.DisableKeyRequest{Name: "a"})
	must(t, err)
	is(0, 1)
}
