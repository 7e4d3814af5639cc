package noah_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"strings"
	"testing"

	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
)

var _ upstream.Scheme = noah.Scheme{}

func TestAnAPIKeyHasNoahsFormAndTheKeysEnvironment(t *testing.T) {
	cut := []string{"api_key: one line end at the end was cut"}
	tests := []struct {
		name, in string
		env      upstream.Environment
		want     string
		notes    []string
		problem  string
	}{
		{"the page's example", "apikey_prod_12345abcdef", upstream.Prod, "apikey_prod_12345abcdef", nil, ""},
		{"a sandbox key", "apikey_sandbox_x", upstream.Sandbox, "apikey_sandbox_x", nil, ""},
		{"a type that is yet to come", "scoped-key_prod_x", upstream.Prod, "scoped-key_prod_x", nil, ""},
		{"underscores in the last part", "apikey_prod_a_b__c_", upstream.Prod, "apikey_prod_a_b__c_", nil, ""},
		{"the name of an environment in the last part", "apikey_prod_sandbox_1", upstream.Prod, "apikey_prod_sandbox_1", nil, ""},
		{"a line end", "apikey_prod_x\r\n", upstream.Prod, "apikey_prod_x", cut, ""},
		{"a prod key for sandbox", "apikey_prod_x", upstream.Sandbox, "", nil, "it belongs to NOAH's prod environment, and this key to sandbox"},
		{"a sandbox key for prod", "apikey_sandbox_x", upstream.Prod, "", nil, "it belongs to NOAH's sandbox environment, and this key to prod"},
		{"an environment in upper case", "apikey_PROD_x", upstream.Prod, "", nil, "neither sandbox nor prod"},
		{"an unknown environment", "apikey_test_x", upstream.Prod, "", nil, "neither sandbox nor prod"},
		{"an empty environment", "apikey__x", upstream.Prod, "", nil, "neither sandbox nor prod"},
		{"an environment at the front", "prod_apikey_x", upstream.Prod, "", nil, "neither sandbox nor prod"},
		{"no type", "_prod_x", upstream.Prod, "", nil, "not of NOAH's form"},
		{"no last part", "apikey_prod_", upstream.Prod, "", nil, "not of NOAH's form"},
		{"two parts", "apikey_prod", upstream.Prod, "", nil, "not of NOAH's form"},
		{"one part", "12345abcdef", upstream.Prod, "", nil, "not of NOAH's form"},
		{"hyphens", "apikey-prod-x", upstream.Prod, "", nil, "not of NOAH's form"},
		{"nothing", "", upstream.Prod, "", nil, "it is empty"},
		{"nothing but a line end", "\n", upstream.Prod, "", nil, "it is empty"},
		{"two line ends", "apikey_prod_x\n\n", upstream.Prod, "", nil, "not visible ASCII"},
		{"a space at the end", "apikey_prod_x ", upstream.Prod, "", nil, "not visible ASCII"},
		{"quotation marks of another language", "apikey_prod_\u201cx\u201d", upstream.Prod, "", nil, "not visible ASCII"},
		{"too many bytes", "apikey_prod_" + strings.Repeat("x", upstream.MaxAPIKeyBytes), upstream.Prod, "", nil, "at most 1024"},
	}
	private := pkcs8PEM(t, newKey(t, elliptic.P256()))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			material, notes, err := noah.Scheme{}.Import(tt.env, upstream.Material{
				upstream.PartPrivateKey: secret.Copy(private),
				upstream.PartAPIKey:     secret.Copy([]byte(tt.in)),
			})
			if tt.problem != "" {
				checkFieldError(t, err, "material.api_key", tt.problem)
				if material != nil || notes != nil {
					t.Error("material or notes came with the error")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := string(material[upstream.PartAPIKey].Reveal()); got != tt.want || !slices.Equal(notes, tt.notes) {
				t.Errorf("got %q with the notes %q", got, notes)
			}
			c := open(t, material)
			if !c.Complete() {
				t.Error("it is not complete")
			}
			request, err := noah.NewRequest(noah.RequestParams{Method: "GET", Path: "/"})
			if err != nil {
				t.Fatal(err)
			}
			if headers, _, err := c.Sign(request, pageTime); err != nil || headers[noah.HeaderAPIKey] != tt.want {
				t.Errorf("the header is %q, %v", headers[noah.HeaderAPIKey], err)
			}
		})
	}
}

func TestMaterialConsistsOfAPrivateKeyAndPerhapsAnAPIKey(t *testing.T) {
	private, apiKey := secret.New(pkcs8PEM(t, newKey(t, elliptic.P384()))), secret.Copy([]byte("apikey_prod_x"))
	tests := []struct {
		name           string
		material       upstream.Material
		field, problem string
	}{
		{"nothing", nil, "material.private_key", "missing or empty"},
		{"an API key alone", upstream.Material{upstream.PartAPIKey: apiKey}, "material.private_key", "missing or empty"},
		{"a part of another scheme", upstream.Material{upstream.PartPrivateKey: private, upstream.PartSecret: apiKey}, "material", "wanted: [private_key api_key]"},
		{"the parts mixed up", upstream.Material{upstream.PartPrivateKey: apiKey, upstream.PartAPIKey: private}, "material.private_key", "no whole PEM block"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := noah.Scheme{}.Import(upstream.Prod, tt.material)
			checkFieldError(t, err, tt.field, tt.problem)
		})
	}
	material, notes, err := noah.Scheme{}.Import(upstream.Prod, upstream.Material{upstream.PartPrivateKey: private})
	if err != nil || len(material) != 1 || notes != nil {
		t.Errorf("a private key alone: got %d parts, the notes %q and %v", len(material), notes, err)
	}
}

func TestAKeyIsGeneratedForOneOfTwoAlgorithms(t *testing.T) {
	for asked, want := range map[string]string{"": noah.ES384, "ES384": noah.ES384, "ES256": noah.ES256} {
		material, err := noah.Scheme{}.Generate(asked)
		if err != nil {
			t.Fatal(err)
		}
		c := open(t, material)
		if c.Algorithm() != want || c.Complete() {
			t.Errorf("%q: it signs with %s, complete is %v", asked, c.Algorithm(), c.Complete())
		}
		if err := c.Prove(); err != nil {
			t.Error(err)
		}
		again, err := noah.Scheme{}.Generate(asked)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(c.PublicKey(), open(t, again).PublicKey()) {
			t.Errorf("%q: two keys are one", asked)
		}
	}
	for _, algorithm := range []string{"ES512", "es384", "RS256", "none", " "} {
		_, err := noah.Scheme{}.Generate(algorithm)
		checkFieldError(t, err, "algorithm", "NOAH keys are ES384 or ES256")
	}
}

func TestOpenRefusesWhatIsNoKey(t *testing.T) {
	for _, material := range []upstream.Material{nil, {upstream.PartPrivateKey: secret.Copy([]byte("canary"))}} {
		_, err := noah.Scheme{}.Open(material)
		checkFieldError(t, err, "material.private_key", "no whole PEM block")
	}
}

func TestAFingerprintNamesThePublicKeyAndNothingElse(t *testing.T) {
	key := newKey(t, elliptic.P384())
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	bare := open(t, upstream.Material{upstream.PartPrivateKey: secret.New(sec1PEM(t, key))})
	full := open(t, upstream.Material{upstream.PartPrivateKey: secret.New(pkcs8PEM(t, key)), upstream.PartAPIKey: secret.Copy([]byte("apikey_prod_x"))})
	for _, pepper := range []secret.Bytes{{}, secret.Copy([]byte("pepper"))} {
		if bare.Fingerprint(pepper) != sha256.Sum256(public) || full.Fingerprint(pepper) != sha256.Sum256(public) {
			t.Error("it is not the hash of the public key")
		}
	}
	clear(bare.PublicKey())
	if !bytes.Equal(bare.PublicKey(), public) {
		t.Error("a caller can change the public key")
	}
}
