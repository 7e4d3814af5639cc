package tlsfiles_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/certtest"
	"github.com/signerd/signerd/internal/tlsfiles"
)

var noon = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// fixture is a folder with all files in order.
type fixture struct {
	dir    string
	files  tlsfiles.Files
	ca     *certtest.Authority
	server certtest.Pair
	now    time.Time
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{dir: t.TempDir(), ca: certtest.NewAuthority(t, "clients", noon), now: noon}
	f.server = certtest.NewAuthority(t, "servers", noon).Server(t)
	f.files = tlsfiles.Files{
		Certificate: f.write(t, "cert.pem", f.server.Certificate), Key: f.write(t, "key.pem", f.server.KeyPEM),
		ClientCA: f.write(t, "ca.pem", f.ca.PEM()),
	}
	return f
}

func (f *fixture) write(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(f.dir, name)
	certtest.Replace(t, path, content)
	return path
}

func (f *fixture) load(t testing.TB) *tlsfiles.Source {
	t.Helper()
	s, err := tlsfiles.Load(f.files, func() time.Time { return f.now })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func client(p certtest.Pair) *tlsfiles.Client { return &tlsfiles.Client{Leaf: p.Leaf} }

func TestFilesThatDoNotFitAreNamed(t *testing.T) {
	other := certtest.NewAuthority(t, "another", noon)
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, f *fixture)
		want  string
	}{
		{"no certificate", func(t *testing.T, f *fixture) { f.files.Certificate += ".no" }, "cert.pem.no"},
		{"no key", func(t *testing.T, f *fixture) { f.files.Key += ".no" }, "key.pem.no"},
		{"no authorities", func(t *testing.T, f *fixture) { f.files.ClientCA += ".no" }, "ca.pem.no"},
		{"no revocation list", func(t *testing.T, f *fixture) { f.files.CRLs = []string{"/nonexistent/crl"} }, "/nonexistent/crl"},
		{"another certificate's key", func(t *testing.T, f *fixture) { f.write(t, "key.pem", other.Server(t).KeyPEM) }, "does not match"},
		{"a certificate for a key", func(t *testing.T, f *fixture) { f.write(t, "key.pem", f.server.Certificate) }, "key.pem"},
		{"a key for a certificate", func(t *testing.T, f *fixture) { f.write(t, "cert.pem", f.server.KeyPEM) }, "cert.pem"},
		{"an empty certificate", func(t *testing.T, f *fixture) { f.write(t, "cert.pem", nil) }, "cert.pem"},
		{"half a certificate", func(t *testing.T, f *fixture) {
			f.write(t, "cert.pem", f.server.Certificate[:len(f.server.Certificate)/2])
		}, "cert.pem"},
		{"an authority that is none", func(t *testing.T, f *fixture) { f.write(t, "ca.pem", f.ca.Client(t).Certificate) }, "no authority's"},
		{"a key among the authorities", func(t *testing.T, f *fixture) {
			f.write(t, "ca.pem", append(f.ca.PEM(), f.server.KeyPEM...))
		}, "not a certificate"},
		{"empty authorities", func(t *testing.T, f *fixture) { f.write(t, "ca.pem", nil) }, "holds no certificate"},
		{"another authority's revocation list", func(t *testing.T, f *fixture) {
			f.files.CRLs = []string{f.write(t, "crl", other.CRL(t))}
		}, "none of the client authorities signed it"},
		{"a list by an authority of the same name", func(t *testing.T, f *fixture) {
			f.files.CRLs = []string{f.write(t, "crl", certtest.NewAuthority(t, "clients", noon).CRL(t))}
		}, "none of the client authorities signed it"},
		{"a second list in the file by another", func(t *testing.T, f *fixture) {
			f.files.CRLs = []string{f.write(t, "crl", append(certtest.CRLPEM(f.ca.CRL(t)), certtest.CRLPEM(other.CRL(t))...))}
		}, "none of the client authorities signed it"},
		{"a revocation list that is a certificate", func(t *testing.T, f *fixture) {
			f.files.CRLs = []string{f.write(t, "crl", f.ca.PEM())}
		}, "not a revocation list"},
		{"an empty revocation list", func(t *testing.T, f *fixture) { f.files.CRLs = []string{f.write(t, "crl", nil)} }, "crl"},
		{"a malformed serial", func(t *testing.T, f *fixture) { f.files.RefusedSerials = []string{"1", "x"} }, "hexadecimal"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			tt.spoil(t, f)
			s, err := tlsfiles.Load(f.files, func() time.Time { return noon })
			if err == nil || s != nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			for line := range bytes.Lines(f.server.KeyPEM) {
				if len(line) > 30 && strings.Contains(err.Error(), strings.TrimSpace(string(line))) {
					t.Errorf("the error shows the key: %v", err)
				}
			}
		})
	}
}

func TestASerialHasTheFormsThatOpensslPrints(t *testing.T) {
	for text, want := range map[string]string{
		"0A1B2C": "a1b2c", "0a:1b:2c": "a1b2c", "A1B2C": "a1b2c", "1": "1", "00:01": "1", strings.Repeat("f", 64): strings.Repeat("f", 64),
		"": "", "0": "", "00:00": "", ":": "", "0A:": "", ":0A": "", "0A::1B": "", "A:1B": "", "0A1B:2C": "", "-1": "", "+1": "", "0x1": "",
		"1_0": "", " 1": "", "1\n": "", "g": "", strings.Repeat("f", 65): "",
	} {
		got, err := tlsfiles.ParseSerial(text)
		if (err == nil) != (want != "") || err == nil && got.Text(16) != want {
			t.Errorf("%q: got %v, %v; want %q", text, got, err, want)
		}
	}
}

func TestARevokedCertificateIsRefused(t *testing.T) {
	f := newFixture(t)
	middle := f.ca.Intermediate(t, "middle")
	good, bad, below := f.ca.Client(t), f.ca.Client(t), middle.Client(t)
	other := certtest.NewAuthority(t, "another", noon)
	twin := other.Issue(t, func(c *x509.Certificate) { c.SerialNumber = bad.Leaf.SerialNumber })
	f.write(t, "ca.pem", append(f.ca.PEM(), other.PEM()...))
	chained := func() *tlsfiles.Client {
		return &tlsfiles.Client{Leaf: below.Leaf, Intermediates: []*x509.Certificate{middle.Certificate}}
	}
	both := append(certtest.CRLPEM(other.CRL(t)), certtest.CRLPEM(f.ca.CRL(t, bad.Leaf, middle.Certificate))...)
	for name, tt := range map[string]struct {
		crl         []byte
		serials     []string
		bad, middle error
		twin        error
	}{
		"nothing revoked":         {},
		"by a list in DER":        {crl: f.ca.CRL(t, bad.Leaf), bad: tlsfiles.ErrRevoked},
		"by a list in PEM":        {crl: certtest.CRLPEM(f.ca.CRL(t, bad.Leaf)), bad: tlsfiles.ErrRevoked},
		"by the second of a file": {crl: both, bad: tlsfiles.ErrRevoked, middle: tlsfiles.ErrRevoked},
		"by serial":               {serials: []string{bad.Leaf.SerialNumber.Text(16)}, bad: tlsfiles.ErrRevoked, twin: tlsfiles.ErrRevoked},
		"its authority by serial": {serials: []string{middle.Certificate.SerialNumber.Text(16)}, middle: tlsfiles.ErrRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			files := f.files
			files.RefusedSerials = tt.serials
			if tt.crl != nil {
				files.CRLs = []string{f.write(t, "crl", tt.crl)}
			}
			s, err := tlsfiles.Load(files, func() time.Time { return noon })
			if err != nil {
				t.Fatal(err)
			}
			wants(t, s, client(good), nil)
			wants(t, s, client(bad), tt.bad)
			wants(t, s, client(twin), tt.twin)
			wants(t, s, chained(), tt.middle)
		})
	}
}

// wants asks twice: the second time what was found is remembered.
func wants(t *testing.T, s *tlsfiles.Source, c *tlsfiles.Client, want error) {
	t.Helper()
	for range 2 {
		if err := s.Verify(c); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

func TestACertificateCountsOnlyInItsTime(t *testing.T) {
	f := newFixture(t)
	s := f.load(t)
	c := client(f.ca.Client(t))
	for _, step := range []struct {
		now  time.Time
		want error
	}{
		{c.Leaf.NotBefore.Add(-time.Second), tlsfiles.ErrExpired}, {c.Leaf.NotBefore, nil}, {noon, nil}, {c.Leaf.NotAfter, nil},
		{c.Leaf.NotAfter.Add(time.Second), tlsfiles.ErrExpired}, {noon, nil},
	} {
		f.now = step.now
		wants(t, s, c, step.want)
	}
	// The leaf outlives its authority; the chain does not.
	long := client(f.ca.Issue(t, func(c *x509.Certificate) { c.NotAfter = noon.Add(10_000 * time.Hour) }))
	wants(t, s, long, nil)
	f.now = f.ca.Certificate.NotAfter.Add(time.Second)
	wants(t, s, long, tlsfiles.ErrUntrusted)
}

func TestACertificateForServersAloneIsNoClients(t *testing.T) {
	f := newFixture(t)
	p := f.ca.Issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	wants(t, f.load(t), client(p), tlsfiles.ErrUntrusted)
}

func TestTrustFollowsTheAuthoritiesInForce(t *testing.T) {
	f := newFixture(t)
	s := f.load(t)
	next := certtest.NewAuthority(t, "next", noon)
	old, young := client(f.ca.Client(t)), client(next.Client(t))
	check := func(wantOld, wantYoung error) {
		t.Helper()
		wants(t, s, old, wantOld)
		wants(t, s, young, wantYoung)
	}
	reload := func(authorities []byte) {
		t.Helper()
		f.write(t, "ca.pem", authorities)
		if changed, err := s.ReloadIfChanged(); err != nil || !changed {
			t.Fatalf("got %v, %v", changed, err)
		}
	}
	check(nil, tlsfiles.ErrUntrusted)
	reload(append(f.ca.PEM(), next.PEM()...))
	check(nil, nil)
	reload(next.PEM())
	check(tlsfiles.ErrUntrusted, nil)
}

func TestABadNewFileLeavesTheOldInForce(t *testing.T) {
	f := newFixture(t)
	refused := f.ca.Client(t)
	f.files.CRLs = []string{f.write(t, "crl", f.ca.CRL(t, refused.Leaf))}
	s := f.load(t)
	next := certtest.NewAuthority(t, "next", noon)
	renewed := next.Issue(t, func(c *x509.Certificate) { c.NotAfter = noon.Add(48 * time.Hour) })
	for name, spoil := range map[string]func(){
		"a certificate without its key": func() { f.write(t, "cert.pem", renewed.Certificate) },
		"authorities that are none":     func() { f.write(t, "ca.pem", []byte("nothing")) },
		// The new authorities are good, but the list is not theirs: all or nothing.
		"a list left behind by its authority": func() { f.write(t, "ca.pem", next.PEM()) },
		"a list that is gone":                 func() { _ = os.Remove(f.files.CRLs[0]) },
	} {
		t.Run(name, func(t *testing.T) {
			spoil()
			changed, err := s.ReloadIfChanged()
			if !changed || err == nil {
				t.Fatalf("got %v, %v", changed, err)
			}
			if changed, err := s.ReloadIfChanged(); changed || err != nil {
				t.Errorf("the same bad file is reported again: %v, %v", changed, err)
			}
			if err := s.Reload(); err == nil {
				t.Error("the bad file was taken on demand")
			}
			wants(t, s, client(f.ca.Client(t)), nil)
			wants(t, s, client(refused), tlsfiles.ErrRevoked)
			wants(t, s, client(next.Client(t)), tlsfiles.ErrUntrusted)
			if !s.NotAfter().Equal(f.server.Leaf.NotAfter) {
				t.Error("another certificate is in force")
			}
			f.write(t, "cert.pem", f.server.Certificate)
			f.write(t, "ca.pem", f.ca.PEM())
			f.write(t, "crl", f.ca.CRL(t, refused.Leaf))
			if changed, err := s.ReloadIfChanged(); !changed || err != nil {
				t.Errorf("mended: %v, %v", changed, err)
			}
		})
	}
	f.write(t, "cert.pem", renewed.Certificate)
	f.write(t, "key.pem", renewed.KeyPEM)
	if changed, err := s.ReloadIfChanged(); !changed || err != nil || !s.NotAfter().Equal(renewed.Leaf.NotAfter) {
		t.Errorf("a good new pair: %v, %v, %v", changed, err, s.NotAfter())
	}
	if changed, err := s.ReloadIfChanged(); changed || err != nil {
		t.Errorf("nothing changed: %v, %v", changed, err)
	}
}

func TestWatchingTellsOfEachReading(t *testing.T) {
	f := newFixture(t)
	s := f.load(t)
	told, done, ended := make(chan error), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		s.Watch(done, time.Millisecond, func(err error) { told <- err })
	}()
	f.write(t, "ca.pem", nil)
	if err := <-told; err == nil {
		t.Error("a bad file was taken")
	}
	f.write(t, "ca.pem", f.ca.PEM())
	if err := <-told; err != nil {
		t.Error(err)
	}
	close(done)
	<-ended
}
