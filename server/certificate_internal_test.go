package server

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"net"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestAConnectionClosesItselfAtItsEndAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		conn := newExpiringConn(near, time.Hour)
		opened := time.Now()
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || time.Since(opened) != time.Hour {
			t.Errorf("it ended with %v after %v", err, time.Since(opened))
		}
		_ = conn.Close()
	})
}

func TestAConnectionThatWasClosedLeavesNoTimer(t *testing.T) {
	near, far := net.Pipe()
	defer func() { _ = far.Close() }()
	conn := newExpiringConn(near, time.Hour)
	if err := conn.Close(); err != nil || conn.end.Stop() {
		t.Errorf("the timer still runs (%v)", err)
	}
}

// TestNamesThatCryptoX509ReadsOtherwiseAreNobodys edits what was read: no certificate that crypto/x509 takes today is read in
// two ways, and none shall be that it takes tomorrow.
func TestNamesThatCryptoX509ReadsOtherwiseAreNobodys(t *testing.T) {
	names := func(list ...string) pkix.Extension { // each begins with its identifier octet
		var value []byte
		for _, name := range list {
			value = append(append(value, name[0], byte(len(name)-1)), name[1:]...)
		}
		return pkix.Extension{Id: oidSubjectAltName, Value: append([]byte{0x30, byte(len(value))}, value...)}
	}
	const uri, host, id = "\x86spiffe://example.org/a", "\x82a.internal", "spiffe://example.org/a"
	u, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	other := *u
	other.Host = "example.com"
	trailing := names(uri)
	trailing.Value = append(trailing.Value, 0)
	for _, tt := range []struct {
		name       string
		extensions []pkix.Extension
		uris       []*url.URL
		hosts      []string
		want       string
	}{
		{"a URI", []pkix.Extension{names(uri)}, []*url.URL{u}, nil, id},
		{"a host", []pkix.Extension{names(host)}, nil, []string{"a.internal"}, "dns:a.internal"},
		{"a URI and a host", []pkix.Extension{names(host, uri)}, []*url.URL{u}, []string{"a.internal"}, id},
		{"a URI that only one reads", []pkix.Extension{names(uri)}, nil, nil, ""},
		{"a URI that only the other reads", []pkix.Extension{names(host)}, []*url.URL{u}, []string{"a.internal"}, ""},
		{"another URI", []pkix.Extension{names(uri)}, []*url.URL{&other}, nil, ""},
		{"a host that only one reads", []pkix.Extension{names(uri, host)}, []*url.URL{u}, nil, ""},
		{"another host", []pkix.Extension{names(host)}, nil, []string{"b.internal"}, ""},
		{"a constructed URI beside a good one", []pkix.Extension{names(uri, "\xa6"+id)}, []*url.URL{u}, nil, ""},
		{"a constructed host beside a good URI", []pkix.Extension{names(uri, "\xa2a.internal")}, []*url.URL{u}, nil, ""},
		{"the extension twice", []pkix.Extension{names(uri), names()}, []*url.URL{u}, nil, ""},
		{"something after the names", []pkix.Extension{trailing}, []*url.URL{u}, nil, ""},
		{"no names", nil, []*url.URL{u}, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			extensions := slices.Concat(tt.extensions, []pkix.Extension{{Id: []int{2, 5, 29, 19}}})
			got, err := certificateCaller(&x509.Certificate{Extensions: extensions, URIs: tt.uris, DNSNames: tt.hosts})
			if got.String() != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("got %q and %v, want %q", got, err, tt.want)
			}
		})
	}
}
