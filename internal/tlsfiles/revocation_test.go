package tlsfiles_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/certtest"
	"github.com/signerd/signerd/internal/tlsfiles"
)

// extension has an identifier below id-ce (2.5.29), and its value in DER.
func extension(id int, critical bool, value ...byte) pkix.Extension {
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, id}, Critical: critical, Value: value}
}

func TestAListThatSaysLessOrOtherThanItSeemsIsRefused(t *testing.T) {
	const delta, distribution, invalidity, certificateIssuer = 27, 28, 24, 29
	unknown := func(critical bool) pkix.Extension {
		return pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: critical, Value: []byte{5, 0}}
	}
	list := func(extensions ...pkix.Extension) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) { l.ExtraExtensions = extensions }
	}
	entry := func(extensions ...pkix.Extension) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) { l.RevokedCertificateEntries[0].ExtraExtensions = extensions }
	}
	date := append([]byte{0x18, 15}, "20260101000000Z"...)
	url := append([]byte{0x30, 22, 0xa0, 20, 0xa0, 18, 0x86, 16}, "http://a.example"...)
	issuer := append([]byte{0x30, 17, 0x82, 15}, "another.example"...)
	for _, tt := range []struct {
		name string
		edit func(*x509.RevocationList)
		want string // empty: it counts
	}{
		{"a delta", list(extension(delta, true, 2, 1, 1)), "a delta"},
		{"a delta that is not marked critical", list(extension(delta, false, 2, 1, 1)), "a delta"},
		{"an indirect list", list(extension(distribution, true, 0x30, 3, 0x84, 1, 0xff)), "part of the revocations"},
		{"an indirect list that is not marked critical", list(extension(distribution, false, 0x30, 3, 0x84, 1, 0xff)), "part of the revocations"},
		{"some reasons", list(extension(distribution, true, 0x30, 4, 0x83, 2, 6, 0x40)), "part of the revocations"},
		{"attribute certificates", list(extension(distribution, true, 0x30, 3, 0x85, 1, 0xff)), "part of the revocations"},
		{"a scope of tomorrow", list(extension(distribution, true, 0x30, 3, 0x86, 1, 0xff)), "part of the revocations"},
		{"a scope of another class", list(extension(distribution, true, 0x30, 3, 0x41, 1, 0xff)), "part of the revocations"},
		{"a second scope", list(extension(distribution, true, 0x30, 0), extension(distribution, true, 0x30, 3, 0x84, 1, 0xff)), "part of the revocations"},
		{"a scope that is none", list(extension(distribution, true, 5, 0)), "part of the revocations"},
		{"a scope with more behind it", list(extension(distribution, true, 0x30, 0, 5, 0)), "part of the revocations"},
		{"an unknown critical extension", list(unknown(true)), "1.2.3.4"},
		{"an entry's unknown critical extension", entry(unknown(true)), "1.2.3.4"},
		{"an entry of another issuer", entry(extension(certificateIssuer, true, issuer...)), "another issuer"},
		{"an entry of another issuer that is not marked critical", entry(extension(certificateIssuer, false, issuer...)), "another issuer"},
		{"an entry to remove", func(l *x509.RevocationList) { l.RevokedCertificateEntries[0].ReasonCode = 8 }, "a delta"},
		{"an entry to remove among others", func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{
				SerialNumber: big.NewInt(77), RevocationTime: noon, ReasonCode: 8})
		}, "a delta"},

		{"certificates of users", list(extension(distribution, true, 0x30, 3, 0x81, 1, 0xff)), ""},
		{"certificates of authorities", list(extension(distribution, true, 0x30, 3, 0x82, 1, 0xff)), ""},
		{"a place where it is published", list(extension(distribution, true, url...)), ""},
		{"an empty scope", list(extension(distribution, true, 0x30, 0)), ""},
		{"an unknown extension", list(unknown(false)), ""},
		{"an entry's unknown extension", entry(unknown(false)), ""},
		{"an entry with reason and date", func(l *x509.RevocationList) {
			l.RevokedCertificateEntries[0].ReasonCode = 1
			l.RevokedCertificateEntries[0].ExtraExtensions = []pkix.Extension{extension(invalidity, true, date...)}
		}, ""},
		{"an entry on hold", func(l *x509.RevocationList) { l.RevokedCertificateEntries[0].ReasonCode = 6 }, ""},
		{"an entry of tomorrow", func(l *x509.RevocationList) {
			l.RevokedCertificateEntries[0].RevocationTime = noon.Add(50 * time.Hour)
		}, ""},
		{"past its next update", func(l *x509.RevocationList) { l.NextUpdate = noon.Add(-time.Minute) }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			bad := f.ca.Client(t)
			f.files.CRLs = []string{f.write(t, "crl", f.ca.EditedCRL(t, tt.edit, bad.Leaf))}
			s, err := tlsfiles.Load(f.files, func() time.Time { return noon })
			if tt.want == "" && err == nil {
				wants(t, s, client(bad), tlsfiles.ErrRevoked)
				wants(t, s, client(f.ca.Client(t)), nil)
			} else if tt.want == "" || err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "/crl") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestAListCountsForTheKeyThatSignedIt has an authority that was given a new key, and numbers its certificates anew.
func TestAListCountsForTheKeyThatSignedIt(t *testing.T) {
	f := newFixture(t)
	next := certtest.NewAuthority(t, "clients", noon)
	five := func(a *certtest.Authority) certtest.Pair {
		return a.Issue(t, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(5) })
	}
	old, young := five(f.ca), five(next)
	f.write(t, "ca.pem", append(f.ca.PEM(), next.PEM()...))
	below, belowNext := f.ca.Intermediate(t, "below"), next.Intermediate(t, "below")
	chained := func(a *certtest.Authority, p certtest.Pair) *tlsfiles.Client {
		return &tlsfiles.Client{Leaf: p.Leaf, Intermediates: []*x509.Certificate{a.Certificate}}
	}
	for name, tt := range map[string]struct {
		lists            [][]byte
		old, young       error
		below, belowNext error
	}{
		"the old key's list":                  {lists: [][]byte{f.ca.CRL(t, old.Leaf, below.Certificate)}, old: tlsfiles.ErrRevoked, below: tlsfiles.ErrRevoked},
		"the new key's list":                  {lists: [][]byte{next.CRL(t, young.Leaf, belowNext.Certificate)}, young: tlsfiles.ErrRevoked, belowNext: tlsfiles.ErrRevoked},
		"the old key's list of the new key's": {lists: [][]byte{f.ca.CRL(t, belowNext.Certificate)}},
		"both":                                {lists: [][]byte{f.ca.CRL(t, old.Leaf), next.CRL(t, young.Leaf)}, old: tlsfiles.ErrRevoked, young: tlsfiles.ErrRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			var text [][]byte
			for _, l := range tt.lists {
				text = append(text, certtest.CRLPEM(l))
			}
			f.files.CRLs = []string{f.write(t, "crl", bytes.Join(text, nil))}
			s := f.load(t)
			wants(t, s, client(old), tt.old)
			wants(t, s, client(young), tt.young)
			wants(t, s, chained(below, below.Client(t)), tt.below)
			wants(t, s, chained(belowNext, belowNext.Client(t)), tt.belowNext)
		})
	}
}

func TestASignatureThatCannotBeCheckedMayBeTheLists(t *testing.T) {
	f := newFixture(t)
	bad, good := f.ca.Client(t), f.ca.Client(t)
	f.files.CRLs = []string{f.write(t, "crl", f.ca.CRL(t, bad.Leaf))}
	s := f.load(t)
	for _, algorithm := range []x509.SignatureAlgorithm{x509.UnknownSignatureAlgorithm, x509.MD5WithRSA} {
		bad.Leaf.SignatureAlgorithm, good.Leaf.SignatureAlgorithm = algorithm, algorithm
		wants(t, s, client(bad), tlsfiles.ErrRevoked)
		wants(t, s, client(good), tlsfiles.ErrUntrusted)
	}
}

// TestAnAuthorityAmongTheTrustedCanBeRevoked has an intermediate in client_ca, as its own lists need it to be.
func TestAnAuthorityAmongTheTrustedCanBeRevoked(t *testing.T) {
	f := newFixture(t)
	middle := f.ca.Intermediate(t, "middle")
	f.write(t, "ca.pem", append(f.ca.PEM(), middle.PEM()...))
	for name, tt := range map[string]struct {
		crl     []byte
		serials []string
		want    error
	}{
		"not at all":               {crl: f.ca.CRL(t)},
		"by the authority above":   {crl: f.ca.CRL(t, middle.Certificate), want: tlsfiles.ErrRevoked},
		"by serial":                {crl: f.ca.CRL(t), serials: []string{middle.Certificate.SerialNumber.Text(16)}, want: tlsfiles.ErrRevoked},
		"its root by serial":       {crl: f.ca.CRL(t), serials: []string{f.ca.Certificate.SerialNumber.Text(16)}},
		"its root by its own list": {crl: f.ca.CRL(t, f.ca.Certificate)},
	} {
		t.Run(name, func(t *testing.T) {
			f.files.CRLs, f.files.RefusedSerials = []string{f.write(t, "crl", tt.crl)}, tt.serials
			s := f.load(t)
			wants(t, s, client(middle.Client(t)), tt.want)
			wants(t, s, &tlsfiles.Client{Leaf: middle.Client(t).Leaf, Intermediates: []*x509.Certificate{middle.Certificate}}, tt.want)
		})
	}
}

// TestARefusedSerialIsNotHeldAgainstTheRoot would otherwise refuse everyone: roots often have small serials, and so do
// clients.
func TestARefusedSerialIsNotHeldAgainstTheRoot(t *testing.T) {
	f := newFixture(t)
	serial := f.ca.Certificate.SerialNumber
	f.files.RefusedSerials = []string{serial.Text(16)}
	s := f.load(t)
	wants(t, s, client(f.ca.Client(t)), nil)
	twin := f.ca.Issue(t, func(c *x509.Certificate) { c.SerialNumber = serial })
	wants(t, s, client(twin), tlsfiles.ErrRevoked)
	// A list says whom it means: a root that revokes itself is taken at its word.
	f.files.CRLs = []string{f.write(t, "crl", f.ca.CRL(t, f.ca.Certificate))}
	wants(t, f.load(t), client(f.ca.Client(t)), tlsfiles.ErrRevoked)
}
