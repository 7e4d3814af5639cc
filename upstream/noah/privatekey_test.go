package noah_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
)

// Every key in these tests is made while they run: none lies in the repository.

func newKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func sec1PEM(t testing.TB, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return encode("EC PRIVATE KEY", der)
}

func pkcs8PEM(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return encode("PRIVATE KEY", der)
}

// ecParameters is the block that openssl puts before a key without -noout: secp384r1's name.
var ecParameters = encode("EC PARAMETERS", []byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22})

func crlf(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")) }

func TestAPrivateKeyIsReadInEveryFormItComesIn(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P384(), elliptic.P256()} {
		key := newKey(t, curve)
		sec1, pkcs8 := sec1PEM(t, key), pkcs8PEM(t, key)
		tests := []struct {
			name string
			text []byte
		}{
			{"SEC1", sec1},
			{"SEC1 after its EC PARAMETERS", slices.Concat(ecParameters, sec1)},
			{"SEC1 before its EC PARAMETERS", slices.Concat(sec1, ecParameters)},
			{"PKCS #8", pkcs8},
			{"SEC1 with Windows line ends", crlf(sec1)},
			{"SEC1 with EC PARAMETERS and Windows line ends", crlf(slices.Concat(ecParameters, sec1))},
			{"PKCS #8 with Windows line ends", crlf(pkcs8)},
			{"no line end at the end", bytes.TrimSuffix(pkcs8, []byte("\n"))},
			{"blank lines at the end", slices.Concat(sec1, []byte("\n \n\t\r\n"))},
			{"blank lines at the start", slices.Concat([]byte("\n\n"), sec1)},
			{"openssl's remarks before the block", slices.Concat([]byte("Bag Attributes\n    friendlyName: noah\nKey Attributes: <No Attributes>\n"), pkcs8)},
		}
		for _, tt := range tests {
			t.Run(curve.Params().Name+": "+tt.name, func(t *testing.T) {
				got, err := noah.ParsePrivateKey(tt.text)
				if err != nil {
					t.Fatal(err)
				}
				if !got.Equal(key) {
					t.Error("it is another key")
				}
			})
		}
	}
}

func TestEverythingElseThatPeopleMistakeForThePrivateKeyIsNamed(t *testing.T) {
	key := newKey(t, elliptic.P384())
	sec1, pkcs8 := sec1PEM(t, key), pkcs8PEM(t, key)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var xKey *ecdh.PrivateKey
	fips140.WithoutEnforcement(func() { xKey, err = ecdh.X25519().GenerateKey(rand.Reader) })
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 300)
	_, _ = rand.Read(noise)
	half := sec1[:len(sec1)/2]
	tests := []struct {
		name  string
		text  []byte
		found string
	}{
		{"nothing", nil, "no whole PEM block"},
		{"blank lines", []byte("\n\n"), "no whole PEM block"},
		{"DER", public, "no whole PEM block"},
		{"base64 without its frame", bytes.Join(bytes.Split(pkcs8, []byte("\n"))[1:4], []byte("\n")), "no whole PEM block"},
		{"half a file", half, "no whole PEM block"},
		{"a file without its last line", pkcs8[:bytes.LastIndex(pkcs8, []byte("-----END"))], "no whole PEM block"},
		{"line breaks written as backslash and n", bytes.ReplaceAll(pkcs8, []byte("\n"), []byte(`\n`)), "no whole PEM block"},
		{"only the EC PARAMETERS", ecParameters, "no whole PEM block"},
		{"text after the block", slices.Concat(sec1, []byte("apikey\n")), "something follows"},
		{"half a second key", slices.Concat(pkcs8, half), "something follows"},
		{"two keys", slices.Concat(sec1, pkcs8PEM(t, newKey(t, elliptic.P384()))), "more than one PEM block"},
		{"the same key twice", slices.Concat(sec1, pkcs8), "more than one PEM block"},
		{"a key and its public key", slices.Concat(sec1, encode("PUBLIC KEY", public)), "more than one PEM block"},
		{"a damaged key before a whole one", slices.Concat(half, []byte("\n"), pkcs8), "a damaged PEM block beside a whole one"},
		{"the public key", encode("PUBLIC KEY", public), "found a public key"},
		{"a certificate", encode("CERTIFICATE", certificate), "found a certificate"},
		{"a certificate request", encode("CERTIFICATE REQUEST", noise), "found a certificate request"},
		{"an RSA key in PKCS #1", encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), "found an RSA private key"},
		{"an RSA key in PKCS #8", pkcs8PEM(t, rsaKey), "found a private key that is not for ECDSA"},
		{"an Ed25519 key", pkcs8PEM(t, edKey), "found a private key that is not for ECDSA"},
		{"an X25519 key", pkcs8PEM(t, xKey), "found a private key that is not for ECDSA"},
		{"a key of ssh-keygen", encode("OPENSSH PRIVATE KEY", noise), "found a private key in OpenSSH's own format"},
		{"a block of another kind", encode("PGP MESSAGE", noise), "found a PEM block of another kind"},
		{"a P-521 key", sec1PEM(t, newKey(t, elliptic.P521())), "found a key on the curve P-521"},
		{"a P-521 key in PKCS #8", pkcs8PEM(t, newKey(t, elliptic.P521())), "found a key on the curve P-521"},
		{"a P-224 key", sec1PEM(t, newKey(t, elliptic.P224())), "found a key on the curve P-224"},
		{"SEC1 named PKCS #8", bytes.ReplaceAll(sec1, []byte("EC PRIVATE"), []byte("PRIVATE")), "its PRIVATE KEY block is damaged"},
		{"PKCS #8 named SEC1", bytes.ReplaceAll(pkcs8, []byte("PRIVATE"), []byte("EC PRIVATE")), "its EC PRIVATE KEY block is damaged"},
		{"noise in a frame", encode("PRIVATE KEY", noise), "its PRIVATE KEY block is damaged"},
		{"an empty frame", encode("EC PRIVATE KEY", nil), "its EC PRIVATE KEY block is damaged"},
		{"a huge file", slices.Concat(pkcs8, bytes.Repeat([]byte("\n"), 16<<10)), "more than any EC key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// Enforced FIPS 140-3 cannot tell an X25519 key from a damaged one.
			fips140.WithoutEnforcement(func() { checkRefused(t, tt.text, tt.found) })
		})
	}
}

// wanted ends every error about a private key.
const wanted = "wanted an unencrypted P-384 (or P-256) private key in PEM, as `openssl ecparam -name secp384r1 -genkey -noout` writes it"

// checkRefused wants an error that says what was found and what was wanted, and quotes no 8 bytes of the input.
func checkRefused(t *testing.T, text []byte, found string) {
	t.Helper()
	key, err := noah.ParsePrivateKey(text)
	checkFieldError(t, err, "material.private_key", found)
	if key != nil {
		t.Error("a key came with the error")
	}
	said, ok := strings.CutSuffix(err.Error(), wanted)
	if !ok {
		t.Errorf("%q does not say what was wanted", err)
	}
	for line := range strings.FieldsSeq(string(text)) {
		for i := 0; i+8 <= len(line); i++ {
			if strings.Contains(said, line[i:i+8]) {
				t.Fatalf("%q quotes the input", err)
			}
		}
	}
}

// sec1Outline is RFC 5915's, so that a test can put any public key beside a private one.
type sec1Outline struct {
	Version    int
	PrivateKey []byte
	Curve      asn1.ObjectIdentifier `asn1:"optional,explicit,tag:0"`
	PublicKey  asn1.BitString        `asn1:"optional,explicit,tag:1"`
}

func TestThePublicKeyInsideMustBelongToThePrivateKey(t *testing.T) {
	key, other := newKey(t, elliptic.P384()), newKey(t, elliptic.P384())
	d, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	parity := point[len(point)-1] & 1
	x := point[1:49]
	tests := []struct {
		name   string
		public []byte
		fits   bool
	}{
		{"none", nil, true},
		{"its own", point, true},
		{"its own, compressed", append([]byte{2 | parity}, x...), true},
		{"its own, in the hybrid form", append([]byte{6 | parity}, point[1:]...), true},
		{"another key's", foreign, false},
		{"the mirrored one, compressed", append([]byte{3 - parity}, x...), false},
		{"half of its own", point[:40], false},
		{"one byte", []byte{0}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			der, err := asn1.Marshal(sec1Outline{1, d, asn1.ObjectIdentifier{1, 3, 132, 0, 34}, asn1.BitString{Bytes: tt.public, BitLength: 8 * len(tt.public)}})
			if err != nil {
				t.Fatal(err)
			}
			text := encode("EC PRIVATE KEY", der)
			if !tt.fits {
				checkRefused(t, text, "the public key inside does not belong")
				return
			}
			if got, err := noah.ParsePrivateKey(text); err != nil || !got.Equal(key) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Any number makes a private key: only the public key beside it tells a slip from the key that was meant.
func TestNoSingleWrongCharacterMakesAnotherKey(t *testing.T) {
	key := newKey(t, elliptic.P256())
	for _, text := range [][]byte{sec1PEM(t, key), pkcs8PEM(t, key)} {
		for i := range text {
			damaged := bytes.Clone(text)
			damaged[i]++
			if got, err := noah.ParsePrivateKey(damaged); err == nil && !got.Equal(key) {
				t.Errorf("with byte %d of %d changed, it is another key", i, len(text))
			}
		}
	}
}

// With a private key that begins with a zero, a length that is one too great takes in the next byte for it.
func TestAWrongLengthDoesNotHideThePublicKey(t *testing.T) {
	key := newKey(t, elliptic.P256())
	for d, err := key.Bytes(); err != nil || d[0] != 0; d, err = key.Bytes() {
		key = newKey(t, elliptic.P256())
	}
	block, _ := pem.Decode(pkcs8PEM(t, key))
	const length = 35 // of the private key's octet string
	if block.Bytes[length] != 32 {
		t.Fatalf("at %d is %d, and not the private key's length", length, block.Bytes[length])
	}
	block.Bytes[length]++
	if _, err := noah.ParsePrivateKey(pem.EncodeToMemory(block)); err == nil {
		t.Error("another key was taken for it")
	}
}

func TestACanonicalKeyImportsAsItself(t *testing.T) {
	for _, algorithm := range []string{noah.ES384, noah.ES256} {
		generated, err := noah.Scheme{}.Generate(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		imported, notes, err := noah.Scheme{}.Import(upstream.Prod, generated)
		if err != nil {
			t.Fatal(err)
		}
		if len(imported) != 1 || len(notes) > 0 || !imported[upstream.PartPrivateKey].Equal(generated[upstream.PartPrivateKey]) {
			t.Errorf("%s: it changed, with the notes %q", algorithm, notes)
		}
		imported.Wipe()
		if bytes.Count(generated[upstream.PartPrivateKey].Reveal(), []byte{0}) > 0 {
			t.Errorf("%s: the imported key shares its memory with the input", algorithm)
		}
	}
}

func TestEveryFormOfAKeyHasOneCanonicalForm(t *testing.T) {
	key := newKey(t, elliptic.P384())
	want := pkcs8PEM(t, key)
	for _, text := range [][]byte{sec1PEM(t, key), crlf(slices.Concat(ecParameters, sec1PEM(t, key))), append(bytes.Clone(want), "\n\n"...)} {
		imported, _, err := noah.Scheme{}.Import(upstream.Prod, upstream.Material{upstream.PartPrivateKey: secret.New(text)})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(imported[upstream.PartPrivateKey].Reveal(), want) {
			t.Error("it is not PKCS #8 as Go writes it")
		}
	}
}
