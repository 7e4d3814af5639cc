package noon_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noon"
)

// canary stands in every input that must not come back in an error.
const canary = "canary7value"

func pemOf(blockType string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der}))
}

func pkcs1(key *rsa.PrivateKey) string {
	return pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
}

func pkcs8(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("PRIVATE KEY", der)
}

func fileWith(t testing.TB, keyID, privateKey, projectCode string) []byte {
	t.Helper()
	file, err := json.Marshal(map[string]string{"key_id": keyID, "private_key": privateKey, "project_code": projectCode})
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// withMember puts a member in front of those of a JSON object.
func withMember(file []byte, name, value string) []byte {
	return append([]byte(`{"`+name+`":"`+value+`",`), file[1:]...)
}

func importFile(file []byte) (upstream.Material, []string, error) {
	return noon.Scheme{}.Import(upstream.Prod, upstream.Material{upstream.PartCredentials: secret.Copy(file)})
}

// checkFieldError wants a *FieldError of field that says want and quotes nothing.
func checkFieldError(t *testing.T, err error, field, want string) {
	t.Helper()
	var fieldErr *upstream.FieldError
	switch {
	case !errors.As(err, &fieldErr):
		t.Errorf("error %v", err)
	case fieldErr.Field != field || !strings.Contains(fieldErr.Problem, want):
		t.Errorf("error %q, want %s: %s", err, field, want)
	case strings.Contains(err.Error(), canary):
		t.Errorf("%q quotes the input", err)
	}
}

func TestImportReadsEveryFormOfTheKey(t *testing.T) {
	one, eight := pkcs1(rsaKey()), pkcs8(t, rsaKey())
	tests := []struct {
		name, key string
		notes     int
	}{
		{"PKCS#1", one, 0},
		{"PKCS#8", eight, 0},
		{"without a last line break", strings.TrimSpace(eight), 0},
		{"CRLF", strings.ReplaceAll(eight, "\n", "\r\n"), 0},
		{`literal \n pairs`, strings.ReplaceAll(eight, "\n", `\n`), 1},
		{`literal \r\n pairs`, strings.ReplaceAll(one, "\n", `\r\n`), 1},
		{`literal \n pairs beside line breaks`, strings.ReplaceAll(one, "\n", `\n`+"\n"), 1},
	}
	var first []byte
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, notes, err := importFile(fileWith(t, "key-1", tt.key, "PRJ1"))
			if err != nil {
				t.Fatal(err)
			}
			if len(notes) != tt.notes || tt.notes > 0 && !strings.Contains(notes[0], `\n pairs`) {
				t.Errorf("notes %q", notes)
			}
			canonical := m[upstream.PartCredentials].Reveal()
			if first == nil {
				first = bytes.Clone(canonical)
			}
			if !bytes.Equal(canonical, first) {
				t.Error("the canonical form differs from that of another form of the same key")
			}
			again, notes, err := noon.Scheme{}.Import(upstream.Prod, m)
			if err != nil || len(notes) != 0 {
				t.Fatalf("canonical material: %v, %q", err, notes)
			}
			for part, b := range m {
				if !again[part].Equal(b) {
					t.Errorf("canonical %s changes", part)
				}
			}
			c, err := noon.Scheme{}.Open(m)
			if err != nil || c.Prove() != nil || c.Algorithm() != "RS256" || !c.Complete() {
				t.Errorf("opened as %v: %v", c, err)
			}
		})
	}
}

func TestImportRefusesOtherCredentialFiles(t *testing.T) {
	var small *rsa.PrivateKey
	var err error
	fips140.WithoutEnforcement(func() { small, err = rsa.GenerateKey(rand.Reader, 1024) })
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := pkcs8(t, rsaKey())
	oldEncrypted := strings.Replace(pkcs1(rsaKey()), "KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n", 1)
	tests := []struct {
		name string
		file []byte
		want string
	}{
		{"nothing", nil, ""},
		{"not JSON", []byte(canary), "not the JSON credential file"},
		{"an array", []byte(`["` + canary + `"]`), "not the JSON credential file"},
		{"a field of another type", []byte(`{"key_id":1,"private_key":"` + canary + `"}`), "not the JSON credential file"},
		{"text behind the file", append(fileWith(t, "k", good, "P"), canary...), "not the JSON credential file"},
		{"a byte order mark", append([]byte("\ufeff"), fileWith(t, canary, good, "P")...), "byte order mark"},
		{"UTF-16", []byte("\xff\xfe{\x00"), "byte order mark"},
		{"a name twice", withMember(fileWith(t, "k", good, "P"), "key_id", canary), "has a name twice"},
		{"a name twice that is not read", withMember(withMember(fileWith(t, "k", good, "P"), "type", canary), "type", "x"), "has a name twice"},
		{"a name in both cases", withMember(fileWith(t, "k", good, "P"), "KEY_ID", canary), "in another case"},
		{"a name in both cases, of which one is no ASCII", withMember(fileWith(t, "k", good, "P"), "\u212aey_id", canary), "in another case"},
		{"a name in another case alone", bytes.Replace(fileWith(t, canary, good, "P"), []byte("project_code"), []byte("Project_Code"), 1), "in another case"},
		{"no key_id", fileWith(t, "", good, canary), "no key_id"},
		{"no private_key", fileWith(t, canary, "", "P"), "no private_key"},
		{"no project_code", fileWith(t, canary, good, ""), "no project_code"},
		{"a control character in key_id", fileWith(t, canary+"\n", good, "P"), "control character"},
		{"a control character in project_code", fileWith(t, "k", good, canary+"\x7f"), "control character"},
		{"a long key_id", fileWith(t, strings.Repeat("k", 600), good, "P"), "too long"},
		{"no PEM", fileWith(t, "k", canary, "P"), "no whole PEM block"},
		{"PEM cut short", fileWith(t, "k", good[:len(good)/2], "P"), "no whole PEM block"},
		{"text behind the PEM", fileWith(t, "k", good+canary, "P"), "something follows"},
		{"RSA of 1024 bits in PKCS#1", fileWith(t, "k", pkcs1(small), "P"), "1024 bits"},
		{"RSA of 1024 bits in PKCS#8", fileWith(t, "k", pkcs8(t, small), "P"), "1024 bits"},
		{"an EC key", fileWith(t, "k", pkcs8(t, ec), "P"), "not an RSA private key"},
		{"a public key", fileWith(t, "k", pemOf("PUBLIC KEY", []byte{1}), "P"), "not an RSA private key"},
		{"a damaged PKCS#1 key", fileWith(t, "k", pemOf("RSA PRIVATE KEY", []byte(canary)), "P"), "damaged"},
		{"a damaged PKCS#8 key", fileWith(t, "k", pemOf("PRIVATE KEY", []byte(canary)), "P"), "damaged"},
		{"an encrypted PKCS#8 key", fileWith(t, "k", pemOf("ENCRYPTED PRIVATE KEY", []byte(canary)), "P"), "encrypted"},
		{"an encrypted PKCS#1 key", fileWith(t, "k", oldEncrypted, "P"), "encrypted"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := importFile(tt.file)
			checkFieldError(t, err, "material.credentials", tt.want)
		})
	}
}

func TestImportChecksTheUserAgent(t *testing.T) {
	tests := []struct{ name, in, out, problem string }{
		{"none means the default", "", noon.DefaultUserAgent, ""},
		{"visible ASCII with spaces", "Shop/1.0 (ops; x@y)", "Shop/1.0 (ops; x@y)", ""},
		{"a last line break of an editor", "Shop/1.0\r\n", "Shop/1.0", ""},
		{"the longest", strings.Repeat("a", 256), strings.Repeat("a", 256), ""},
		{"one byte more", strings.Repeat("a", 257), "", "257 bytes"},
		{"a line break inside", canary + "\r\nX: y", "", "not visible ASCII"},
		{"a tab", canary + "\tx", "", "not visible ASCII"},
		{"beyond ASCII", canary + "é", "", "not visible ASCII"},
		{"NUL", canary + "\x00", "", "not visible ASCII"},
		{"a space in front", " " + canary, "", "space"},
		{"a space behind", canary + " ", "", "space"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, _, err := noon.Scheme{}.Import(upstream.Prod, upstream.Material{
				upstream.PartCredentials: secret.New(credentialFile(t)), upstream.PartUserAgent: secret.New([]byte(tt.in)),
			})
			if tt.problem != "" {
				checkFieldError(t, err, "material.user_agent", tt.problem)
			} else if err != nil || string(m[upstream.PartUserAgent].Reveal()) != tt.out {
				t.Errorf("got %q, %v", m[upstream.PartUserAgent].Reveal(), err)
			}
		})
	}
}

func TestImportChecksTheBaseURL(t *testing.T) {
	listed := noon.Destinations{BaseURLs: []string{"https://noon.example:8443", "http://127.0.0.1:9000"}}
	loopback := noon.Destinations{LoopbackHTTP: true}
	tests := []struct {
		name         string
		destinations noon.Destinations
		in, out      string // no out: refused
	}{
		{"none means the partner's", noon.Destinations{}, "", noon.DefaultBaseURL},
		{"the partner's own", noon.Destinations{}, noon.DefaultBaseURL, noon.DefaultBaseURL},
		{"with a slash and in upper case", listed, "https://NOON-api-gateway.noon.partners/", noon.DefaultBaseURL},
		{"a listed one", listed, "https://noon.example:8443", "https://noon.example:8443"},
		{"a listed one on another port", listed, "https://noon.example", ""},
		{"one not listed", noon.Destinations{}, "https://" + canary + ".example", ""},
		{"a host that starts as the partner's", listed, noon.DefaultBaseURL + "." + canary + ".example", ""},
		{"a host below the partner's", listed, "https://" + canary + ".noon-api-gateway.noon.partners", ""},
		{"user info", listed, "https://" + canary + "@noon.example:8443", ""},
		{"the partner as user info", listed, noon.DefaultBaseURL + "@" + canary + ".example", ""},
		{"a path", listed, noon.DefaultBaseURL + "/" + canary, ""},
		{"a query", listed, noon.DefaultBaseURL + "?" + canary, ""},
		{"an empty query", listed, noon.DefaultBaseURL + "?", ""},
		{"a fragment", listed, noon.DefaultBaseURL + "#" + canary, ""},
		{"a line break", listed, noon.DefaultBaseURL + "\n", ""},
		{"no scheme", listed, canary + ".example", ""},
		{"another scheme", listed, "ftp://noon.example:8443", ""},
		{"plain http to the partner", loopback, "http://noon-api-gateway.noon.partners", ""},
		{"plain http to loopback in dev", loopback, "http://127.0.0.1:1234", "http://127.0.0.1:1234"},
		{"plain http to loopback of version 6 in dev", loopback, "http://[::1]:1234", "http://[::1]:1234"},
		{"plain http to loopback otherwise", noon.Destinations{}, "http://127.0.0.1:1234", ""},
		{"plain http to localhost, which is a name", loopback, "http://localhost:1234", ""},
		{"plain http to a host of the network", loopback, "http://10.0.0.1", ""},
		{"https to loopback, not listed", loopback, "https://127.0.0.1:1234", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, _, err := noon.Scheme{Destinations: tt.destinations}.Import(upstream.Prod, upstream.Material{
				upstream.PartCredentials: secret.New(credentialFile(t)), upstream.PartBaseURL: secret.New([]byte(tt.in)),
			})
			if tt.out == "" {
				checkFieldError(t, err, "material.base_url", "")
			} else if err != nil || string(m[upstream.PartBaseURL].Reveal()) != tt.out {
				t.Errorf("got %q, %v", m[upstream.PartBaseURL].Reveal(), err)
			}
		})
	}
}
