package noah_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/signerd/signerd/internal/interop"
	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
)

func TestKeysOfOpensslImportWithThePublicKeyThatOpensslGives(t *testing.T) {
	for _, curve := range []struct{ name, algorithm string }{{"secp384r1", noah.ES384}, {"prime256v1", noah.ES256}} {
		ecparam := func(more ...string) []byte {
			return interop.OpenSSL(t, nil, append([]string{"ecparam", "-name", curve.name, "-genkey"}, more...)...)
		}
		convert := func(args ...string) []byte { return interop.OpenSSL(t, ecparam("-noout"), args...) }
		withParameters := ecparam()
		if !bytes.Contains(withParameters, []byte("EC PARAMETERS")) {
			t.Fatal("openssl wrote no EC PARAMETERS")
		}
		tests := []struct {
			name string
			text []byte
		}{
			{"ecparam -genkey -noout, as the partner's page has it", ecparam("-noout")},
			{"ecparam -genkey", withParameters},
			{"ecparam -genkey, with Windows line ends", crlf(withParameters)},
			{"pkcs8 -topk8 -nocrypt", convert("pkcs8", "-topk8", "-nocrypt")},
			{"genpkey", interop.OpenSSL(t, nil, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:"+curve.name)},
			{"ec -no_public", convert("ec", "-no_public")},
			{"ec -conv_form compressed", convert("ec", "-conv_form", "compressed")},
			{"ec -conv_form hybrid", convert("ec", "-conv_form", "hybrid")},
		}
		for _, tt := range tests {
			t.Run(curve.name+": "+tt.name, func(t *testing.T) {
				material, notes, err := noah.Scheme{}.Import(upstream.Sandbox, upstream.Material{upstream.PartPrivateKey: secret.Copy(tt.text)})
				if err != nil {
					t.Fatal(err)
				}
				if len(notes) > 0 {
					t.Errorf("got the notes %q", notes)
				}
				c := open(t, material)
				if c.Algorithm() != curve.algorithm {
					t.Errorf("it signs with %s", c.Algorithm())
				}
				public := interop.OpenSSL(t, tt.text, "pkey", "-pubout", "-outform", "DER", "-ec_conv_form", "uncompressed")
				if !bytes.Equal(c.PublicKey(), public) {
					t.Error("openssl gives another public key")
				}
				if again := interop.OpenSSL(t, material[upstream.PartPrivateKey].Reveal(), "pkey", "-pubout", "-outform", "DER"); !bytes.Equal(again, public) {
					t.Error("openssl reads another key from the canonical form")
				}
			})
		}
	}
}

func TestKeysOfOpensslThatNoahDoesNotTakeAreRefused(t *testing.T) {
	good := interop.OpenSSL(t, nil, "ecparam", "-name", "secp384r1", "-genkey", "-noout")
	bitcoin := interop.OpenSSL(t, nil, "ecparam", "-name", "secp256k1", "-genkey", "-noout")
	tests := []struct {
		name  string
		text  []byte
		found string
	}{
		{"secp256k1", bitcoin, "of an unknown curve"},
		{"secp256k1 in PKCS #8", interop.OpenSSL(t, bitcoin, "pkcs8", "-topk8", "-nocrypt"), "of an unknown kind"},
		{"explicit curve parameters", interop.OpenSSL(t, good, "ec", "-param_enc", "explicit"), "of an unknown curve"},
		{"brainpool", interop.OpenSSL(t, nil, "ecparam", "-name", "brainpoolP384r1", "-genkey"), "of an unknown curve"},
		{"P-521", interop.OpenSSL(t, nil, "ecparam", "-name", "secp521r1", "-genkey"), "the curve P-521"},
		{"P-224", interop.OpenSSL(t, nil, "ecparam", "-name", "secp224r1", "-genkey"), "the curve P-224"},
		{"SEC1 under a passphrase", interop.OpenSSL(t, good, "ec", "-aes128", "-passout", "pass:test"), "an encrypted private key"},
		{"PKCS #8 under a passphrase", interop.OpenSSL(t, good, "pkcs8", "-topk8", "-passout", "pass:test"), "an encrypted private key"},
		{"the public key", interop.OpenSSL(t, good, "ec", "-pubout"), "a public key"},
		{"RSA", interop.OpenSSL(t, nil, "genrsa", "-traditional", "1024"), "an RSA private key"},
		{"Ed25519", interop.OpenSSL(t, nil, "genpkey", "-algorithm", "ed25519"), "not for ECDSA"},
		{"Ed448", interop.OpenSSL(t, nil, "genpkey", "-algorithm", "ed448"), "of an unknown kind"},
		{"a key and the public key that was made from it", slices.Concat(good, interop.OpenSSL(t, good, "ec", "-pubout")), "more than one PEM block"},
		{"openssl's text beside the key", interop.OpenSSL(t, good, "pkey", "-text"), "something follows"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { checkRefused(t, tt.text, tt.found) })
	}
}
