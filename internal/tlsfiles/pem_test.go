package tlsfiles_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/signerd/signerd/internal/certtest"
	"github.com/signerd/signerd/internal/tlsfiles"
)

// damages spoil the last of a file's blocks, each in a way that pem.Decode passes over.
var damages = map[string]func(text string) string{
	"cut within the block":      func(text string) string { return text[:len(text)-60] },
	"cut within its END":        func(text string) string { return text[:len(text)-4] },
	"cut within its BEGIN":      func(text string) string { return text[:strings.LastIndex(text, "-----BEGIN ")+8] },
	"cut within BEGIN's dashes": func(text string) string { return text[:strings.LastIndex(text, "-----BEGIN ")+1] },
	"a stray character":         func(text string) string { return text[:len(text)-70] + "!" + text[len(text)-69:] },
	"its END misspelt":          func(text string) string { return text[:len(text)-8] + "X-----\n" },
	"its END indented":          func(text string) string { return replaceLast(text, "-----END ", " -----END ") },
	"its END missing a dash":    func(text string) string { return replaceLast(text, "-----END ", "----END ") },
	"its END gone":              func(text string) string { return text[:strings.LastIndex(text, "-----END ")] },
	"its BEGIN misspelt":        func(text string) string { return replaceLast(text, "-----BEGIN ", "-----BEGN ") },
	"its BEGIN missing a dash":  func(text string) string { return replaceLast(text, "-----BEGIN ", "----BEGIN ") },
	"its BEGIN on a line with the block before": func(text string) string {
		return replaceLast(text, "\n-----BEGIN ", "-----BEGIN ")
	},
	"both its lines misspelt": func(text string) string {
		return replaceLast(replaceLast(text, "-----BEGIN ", "-----BEGN "), "-----END ", "-----ND ")
	},
	"zeros in its place": func(text string) string {
		at := strings.LastIndex(text, "-----BEGIN ")
		return text[:at] + strings.Repeat("\x00", len(text)-at)
	},
}

func replaceLast(text, old, with string) string {
	at := strings.LastIndex(text, old)
	return text[:at] + with + text[at+len(old):]
}

func TestADamagedBlockIsNotPassedOver(t *testing.T) {
	f := newFixture(t)
	other := certtest.NewAuthority(t, "another", noon)
	refused, trusted := other.Client(t), other.Client(t)
	servers := certtest.NewAuthority(t, "servers", noon).Intermediate(t, "between").Server(t)
	good := map[string][]byte{
		"cert.pem": servers.Certificate,
		// A key file often has parameters before the key.
		"key.pem": append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), servers.KeyPEM...),
		"ca.pem":  append(f.ca.PEM(), other.PEM()...),
		"crl":     append(certtest.CRLPEM(f.ca.CRL(t)), certtest.CRLPEM(other.CRL(t, refused.Leaf))...),
	}
	for name, content := range good {
		f.write(t, name, content)
	}
	f.files.CRLs = []string{f.dir + "/crl"}
	s := f.load(t)
	for file, whole := range good {
		for damage, spoil := range damages {
			t.Run(file+", "+damage, func(t *testing.T) {
				defer f.write(t, file, whole)
				f.write(t, file, []byte(spoil(string(whole))))
				err := s.Reload()
				if err == nil || !strings.Contains(err.Error(), file) {
					t.Errorf("got %v", err)
				}
				for line := range bytes.Lines(servers.KeyPEM) {
					if err != nil && len(line) > 30 && strings.Contains(err.Error(), strings.TrimSpace(string(line))) {
						t.Errorf("the error shows the key: %v", err)
					}
				}
				wants(t, s, client(refused), tlsfiles.ErrRevoked)
				wants(t, s, client(trusted), nil)
			})
		}
	}
	// What can be read, and what it says cannot.
	for name, spoil := range map[string]struct{ file, content string }{
		"an intermediate that is no certificate": {"cert.pem", string(servers.Certificate) + "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"},
		"an intermediate under another title":    {"cert.pem", strings.ReplaceAll(replaceLast(string(servers.Certificate), "BEGIN CERT", "BEGIN X509 CERT"), "D CERTIFICATE-----\n", "D X509 CERTIFICATE-----\n")},
		"two lists in DER":                       {"crl", string(f.ca.CRL(t)) + string(other.CRL(t, refused.Leaf))},
		"two lists in one block":                 {"crl", string(certtest.CRLPEM(append(f.ca.CRL(t), other.CRL(t, refused.Leaf)...)))},
	} {
		t.Run(name, func(t *testing.T) {
			defer f.write(t, spoil.file, good[spoil.file])
			f.write(t, spoil.file, []byte(spoil.content))
			if err := s.Reload(); err == nil || !strings.Contains(err.Error(), spoil.file) {
				t.Errorf("got %v", err)
			}
			wants(t, s, client(refused), tlsfiles.ErrRevoked)
		})
	}
}

// explanation is what openssl writes with -text before each block, and people beside it.
const explanation = `# The authority of the clients: do not lose it.
Certificate Revocation List (CRL):
        Version 2 (0x1)
        Issuer: CN = clients
        CRL extensions:
            X509v3 CRL Number: 
                1
    Serial Number: 0A1B2C3D4E5F60718293A4B5C6D7E8F9
    Signature Value:
        30:45:02:21:00:d6:0b:9c:27:5c:1f:2d:7a:0e:1d:57:62:47:
`

func TestTextBesideTheBlocksIsAllowed(t *testing.T) {
	f := newFixture(t)
	other := certtest.NewAuthority(t, "another", noon)
	first, second := f.ca.Client(t), other.Client(t)
	explain := func(blocks ...[]byte) []byte {
		var out []byte
		for _, b := range blocks {
			out = append(append(append(out, explanation...), b...), "\n\n"...)
		}
		return append(out, "the end"...)
	}
	crlf := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")) }
	for name, change := range map[string]func([]byte) []byte{
		"as it is":       func(b []byte) []byte { return b },
		"with CR and LF": crlf,
	} {
		t.Run(name, func(t *testing.T) {
			f.write(t, "cert.pem", change(explain(f.server.Certificate)))
			f.write(t, "key.pem", change(explain(f.server.KeyPEM)))
			f.write(t, "ca.pem", change(explain(f.ca.PEM(), other.PEM())))
			f.files.CRLs = []string{f.write(t, "crl", change(explain(certtest.CRLPEM(f.ca.CRL(t, first.Leaf)), certtest.CRLPEM(other.CRL(t, second.Leaf)))))}
			s := f.load(t)
			wants(t, s, client(first), tlsfiles.ErrRevoked)
			wants(t, s, client(second), tlsfiles.ErrRevoked)
			wants(t, s, client(other.Client(t)), nil)
		})
	}
	// Certificate and key in one file.
	f.files.Key = f.files.Certificate
	f.write(t, "cert.pem", append(f.server.KeyPEM, f.server.Certificate...))
	if s := f.load(t); !s.NotAfter().Equal(f.server.Leaf.NotAfter) {
		t.Error("another certificate is in force")
	}
}

// TestNoBeginningOfTwoListsIsTakenForOne cuts a file everywhere, as a writer that does not rename may leave it.
func TestNoBeginningOfTwoListsIsTakenForOne(t *testing.T) {
	f := newFixture(t)
	first := certtest.CRLPEM(f.ca.CRL(t))
	whole := append(bytes.Clone(first), certtest.CRLPEM(f.ca.CRL(t, f.ca.Client(t).Leaf))...)
	f.files.CRLs = []string{f.write(t, "crl", whole)}
	s := f.load(t)
	for cut := range whole {
		f.write(t, "crl", whole[:cut])
		// Nothing shows that a whole list was to be followed by another. The line feed at the end may be missing.
		complete := cut == len(first)-1 || cut == len(first) || cut == len(whole)-1
		if err := s.Reload(); (err == nil) != complete {
			t.Fatalf("%d of %d bytes: %v", cut, len(whole), err)
		}
	}
}
