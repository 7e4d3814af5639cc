package tlsfiles_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/certtest"
	"github.com/signerd/signerd/internal/tlsfiles"
)

// lookalikes are authorities with the name of f's, and keys that take long to verify with.
func lookalikes(t testing.TB, n int) []*x509.Certificate {
	t.Helper()
	var out []*x509.Certificate
	for i := range n {
		key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: "clients"},
			NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

// TestWhatWasFoundIsRemembered counts memory: looking for a chain takes some, whatever comes of it.
func TestWhatWasFoundIsRemembered(t *testing.T) {
	f := newFixture(t)
	middle := f.ca.Intermediate(t, "middle")
	listed, below := f.ca.Client(t), middle.Client(t)
	f.files.CRLs = []string{f.write(t, "crl", f.ca.CRL(t, listed.Leaf, middle.Certificate))}
	s := f.load(t)
	for name, tt := range map[string]struct {
		client *tlsfiles.Client
		want   error
	}{
		"a client that is trusted":      {client(f.ca.Client(t)), nil},
		"a client that is revoked":      {client(listed), tlsfiles.ErrRevoked},
		"an authority that is revoked":  {&tlsfiles.Client{Leaf: below.Leaf, Intermediates: []*x509.Certificate{middle.Certificate}}, tlsfiles.ErrRevoked},
		"an authority that is not ours": {client(certtest.NewAuthority(t, "another", noon).Client(t)), tlsfiles.ErrUntrusted},
		"one that looks like ours": {&tlsfiles.Client{Leaf: certtest.NewAuthority(t, "clients", noon).Client(t).Leaf,
			Intermediates: lookalikes(t, 5)}, tlsfiles.ErrUntrusted},
		"more intermediates than are taken": {&tlsfiles.Client{Leaf: f.ca.Client(t).Leaf, Intermediates: lookalikes(t, 6)}, tlsfiles.ErrUntrusted},
	} {
		t.Run(name, func(t *testing.T) {
			wants(t, s, tt.client, tt.want)
			if n := testing.AllocsPerRun(100, func() { _ = s.Verify(tt.client) }); n > 0 {
				t.Errorf("%v allocations a request", n)
			}
		})
	}
}

func TestWhatWasFoundIsForgottenWhenItMayHaveChanged(t *testing.T) {
	f := newFixture(t)
	s := f.load(t)
	from, to := noon.Add(time.Hour), noon.Add(2*time.Hour)
	brief := f.ca.EditedIntermediate(t, "brief", func(c *x509.Certificate) { c.NotBefore, c.NotAfter = from, to })
	c := &tlsfiles.Client{Leaf: brief.Client(t).Leaf, Intermediates: []*x509.Certificate{brief.Certificate}}
	young := certtest.NewAuthority(t, "young", noon.Add(2*time.Hour)) // from
	early := client(young.Issue(t, func(c *x509.Certificate) { c.NotBefore = noon }))
	f.write(t, "ca.pem", append(f.ca.PEM(), young.PEM()...))
	looks(t, s, true, "")
	for _, step := range []struct {
		now          time.Time
		brief, early error
	}{
		{noon, tlsfiles.ErrUntrusted, tlsfiles.ErrUntrusted},
		{from.Add(-time.Nanosecond), tlsfiles.ErrUntrusted, tlsfiles.ErrUntrusted},
		{from, nil, nil},
		{noon, tlsfiles.ErrUntrusted, tlsfiles.ErrUntrusted}, // the clock was wrong
		{to, nil, nil},
		{to.Add(time.Nanosecond), tlsfiles.ErrUntrusted, nil},
		{to, nil, nil},
	} {
		f.now = step.now
		wants(t, s, c, step.brief)
		wants(t, s, early, step.early)
	}
	f.write(t, "crl", f.ca.CRL(t, brief.Certificate))
	files := f.files
	files.CRLs = []string{f.dir + "/crl"}
	if err := s.Replace(files); err != nil {
		t.Fatal(err)
	}
	wants(t, s, c, tlsfiles.ErrRevoked)
	if err := s.Replace(f.files); err != nil {
		t.Fatal(err)
	}
	wants(t, s, c, nil)
}

func TestOfWhatAClientShowsItsChainIsKept(t *testing.T) {
	f := newFixture(t)
	s := f.load(t)
	middle := f.ca.Intermediate(t, "middle")
	leaf := middle.Client(t).Leaf
	strange := lookalikes(t, 5)
	for _, tt := range []struct {
		name  string
		shown []*x509.Certificate
		kept  []*x509.Certificate
		want  string // empty: it is taken
	}{
		{"the chain", []*x509.Certificate{leaf, middle.Certificate}, []*x509.Certificate{middle.Certificate}, ""},
		{"the chain among others", slices.Concat([]*x509.Certificate{leaf}, strange[:4], []*x509.Certificate{middle.Certificate}),
			[]*x509.Certificate{middle.Certificate}, ""},
		{"no chain", append([]*x509.Certificate{leaf}, strange...), nil, "unknown authority"},
		{"too much", slices.Concat([]*x509.Certificate{leaf, middle.Certificate}, strange), nil, "at most 5"},
		{"an authority for a client", []*x509.Certificate{f.ca.Certificate}, nil, ""},
		{"nothing", nil, nil, "no trusted authority"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := s.Client(tt.shown)
			if tt.want != "" {
				if c != nil || !errors.Is(err, tlsfiles.ErrUntrusted) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v and %v", c, err)
				}
				return
			}
			if err != nil || c.Leaf != tt.shown[0] || !slices.Equal(c.Intermediates, tt.kept) {
				t.Fatalf("got %v and %v", c, err)
			}
			wants(t, s, c, nil)
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	f := newFixture(b)
	listed := f.ca.Client(b)
	f.files.CRLs = []string{f.write(b, "crl", f.ca.CRL(b, listed.Leaf))}
	s := f.load(b)
	for name, c := range map[string]*tlsfiles.Client{
		"trusted":   client(f.ca.Client(b)),
		"revoked":   client(listed),
		"untrusted": {Leaf: certtest.NewAuthority(b, "clients", noon).Client(b).Leaf, Intermediates: lookalikes(b, 5)},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_ = s.Verify(c)
			}
		})
	}
}
