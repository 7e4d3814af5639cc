// Package tlsfiles keeps what TLS needs from files in force: certificate, key, client authorities, revocation lists.
//
// It is for cmd/signerd, which says which files and when to look again, and for server, which makes handshakes and asks
// about each request's certificate. A bad new file leaves the old ones in force. It knows no identities.
package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"sync"
	"sync/atomic"
	"time"
)

// maxFileBytes bounds each file.
const maxFileBytes = 4 << 20

// Files says where the material is. Paths are absolute.
type Files struct {
	// Certificate is the server's chain, leaf first, PEM. Key is its private key, PEM.
	Certificate, Key string
	// ClientCA are the authorities that clients' certificates come from, PEM.
	ClientCA string
	// CRLs are revocation lists of those authorities, PEM (any number a file) or DER. Optional.
	CRLs []string
	// RefusedSerials are serial numbers in hexadecimal, with or without colons, whatever the issuer. Optional.
	RefusedSerials []string
}

// Source holds the material in force. It is safe for concurrent use; Verify and handshakes take no lock.
type Source struct {
	now func() time.Time

	reload  sync.Mutex
	files   Files
	stamps  map[string]stamp
	failed  string // the last reading's error, "" if there was none
	current atomic.Pointer[material]
}

// material is one consistent reading of all files. It is immutable.
type material struct {
	config *tls.Config
	leaf   *x509.Certificate
	// authorities are those of roots.
	authorities []*x509.Certificate
	roots       *x509.CertPool
	serials     map[string]struct{}  // refused whatever the issuer
	issuers     map[string][]*issuer // by raw subject
}

// Load reads all files for the first time.
func Load(files Files, now func() time.Time) (*Source, error) {
	s := &Source{now: now}
	if err := s.Replace(files); err != nil {
		return nil, err
	}
	return s, nil
}

// Reload reads all files again, and puts them in force together. On an error what was in force stays so.
func (s *Source) Reload() error {
	s.reload.Lock()
	defer s.reload.Unlock()
	return s.read()
}

// Replace is Reload with other files, which are looked at from then on. On an error the old ones stay, and what they hold.
func (s *Source) Replace(files Files) error {
	s.reload.Lock()
	defer s.reload.Unlock()
	before, stamps, failed := s.files, s.stamps, s.failed
	s.files = files
	err := s.read()
	if err != nil {
		s.files, s.stamps, s.failed = before, stamps, failed
	}
	return err
}

func (s *Source) read() error {
	// The stamps are taken first: a file that changes while it is read is read again at the next look.
	stamps := s.look()
	m, err := s.load()
	s.stamps, s.failed = stamps, ""
	if err != nil {
		s.failed = err.Error()
		return err
	}
	s.current.Store(m)
	return nil
}

func (s *Source) load() (*material, error) {
	certificate, err := loadPair(s.files.Certificate, s.files.Key)
	if err != nil {
		return nil, err
	}
	authorities, err := loadAuthorities(s.files.ClientCA)
	if err != nil {
		return nil, err
	}
	m := &material{authorities: authorities, roots: x509.NewCertPool(), leaf: certificate.Leaf,
		serials: make(map[string]struct{}), issuers: make(map[string][]*issuer)}
	for _, a := range authorities {
		m.roots.AddCert(a)
	}
	for _, text := range s.files.RefusedSerials {
		serial, err := ParseSerial(text)
		if err != nil {
			return nil, err
		}
		m.serials[string(serial.Bytes())] = struct{}{}
	}
	for _, path := range s.files.CRLs {
		if err := m.addCRL(path, authorities); err != nil {
			return nil, err
		}
	}
	m.config = &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{certificate},
		// VerifyConnection verifies, because RequireAndVerifyClientCert would look for a chain among any number of certificates.
		ClientAuth: tls.RequireAnyClientCert,
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := m.chains(state.PeerCertificates, s.now())
			return err
		},
		ClientCAs:  m.roots, // which clients are told of
		NextProtos: []string{"h2"},
		// A resumed session would skip the check against authorities that have changed meanwhile.
		SessionTicketsDisabled: true,
		Time:                   s.now,
	}
	return m, nil
}

// Config is for listeners: each handshake uses what is in force when it begins.
func (s *Source) Config() *tls.Config {
	c := s.current.Load().config.Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current.Load().config, nil }
	return c
}

// NotAfter is when the server's own certificate ends.
func (s *Source) NotAfter() time.Time { return s.current.Load().leaf.NotAfter }
