package noon_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/signerd/signerd/internal/partners"
	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noon"
)

// serve starts a gateway, and gives a broker and a credential that trust it and nobody else.
func serve(t *testing.T, handler http.Handler, overTLS bool) (*noon.Broker, *noon.Credential) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	config := noon.BrokerConfig{Destinations: noon.Destinations{LoopbackHTTP: true}}
	if overTLS {
		server.EnableHTTP2 = true
		server.StartTLS()
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		config.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		config.Destinations = noon.Destinations{BaseURLs: []string{server.URL}}
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	b := noon.NewBroker(config)
	t.Cleanup(b.Close)
	scheme := noon.Scheme{Destinations: config.Destinations}
	m, _, err := scheme.Import(upstream.Prod, upstream.Material{
		upstream.PartCredentials: secret.New(credentialFile(t)), upstream.PartBaseURL: secret.New([]byte(server.URL)),
		upstream.PartUserAgent: secret.New([]byte("Shop/1.0")),
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := scheme.Open(m)
	if err != nil {
		t.Fatal(err)
	}
	return b, c.(*noon.Credential)
}

func newPartner(t *testing.T) *partners.Noon {
	t.Helper()
	n := partners.NewNoon(nil)
	if err := n.Register("key-1", publicPEM(t), "PRJ12345"); err != nil {
		t.Fatal(err)
	}
	return n
}

func publicPEM(t *testing.T) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: credentialForTest(t).PublicKey()})
}

// bothWays runs a test over plain loopback and over TLS, with a gateway that offers HTTP/2.
func bothWays(t *testing.T, test func(t *testing.T, overTLS bool)) {
	t.Helper()
	t.Run("plain", func(t *testing.T) { test(t, false) })
	t.Run("TLS", func(t *testing.T) { test(t, true) })
}

func TestThePartnerAcceptsTheBroker(t *testing.T) {
	bothWays(t, func(t *testing.T, overTLS bool) {
		n := newPartner(t)
		b, c := serve(t, n, overTLS)
		s, err := b.Session(t.Context(), account, c, "")
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Cookies()) != 2 || s.Cookies()[0].Secure != overTLS || s.Headers()["User-Agent"] != "Shop/1.0" {
			t.Errorf("headers and cookies are not what was set: %d cookies", len(s.Cookies()))
		}
		if again, err := b.Session(t.Context(), account, c, s.ID); err != nil || again.ID != s.ID {
			t.Errorf("a session that whoami accepts was replaced: %v", err)
		}
	})
}

func TestASessionThatThePartnerEndedIsReplaced(t *testing.T) {
	n := newPartner(t)
	b, c := serve(t, n, true)
	s, err := b.Session(t.Context(), account, c, "")
	if err != nil {
		t.Fatal(err)
	}
	n.Expire()
	again, err := b.Session(t.Context(), account, c, s.ID)
	if err != nil || again.ID == s.ID || n.Logins() != 2 {
		t.Errorf("got %v, %v after %d logins", again, err, n.Logins())
	}
}

func TestAHostileGatewayGivesNoSession(t *testing.T) {
	for fault, want := range map[partners.Fault]error{
		partners.Unauthorized401: noon.ErrRejectedCredential, partners.BadRequest400: noon.ErrRejectedCredential,
		partners.TooMany429: noon.ErrUnavailable, partners.Error500: noon.ErrUnavailable,
		partners.HangUp: noon.ErrUnavailable, partners.HugeBody: noon.ErrUnavailable, partners.Redirect: noon.ErrUnavailable,
		partners.InjectHeader: noon.ErrUnavailable, partners.DeleteCookies: noon.ErrUnavailable,
		partners.ManyCookies: noon.ErrUnavailable, partners.ForeignCookie: noon.ErrUnavailable,
	} {
		t.Run(string(fault), func(t *testing.T) {
			bothWays(t, func(t *testing.T, overTLS bool) {
				n := newPartner(t)
				n.Fail(fault)
				b, c := serve(t, n, overTLS)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				s, err := b.Session(t.Context(), account, c, "")
				runtime.ReadMemStats(&after)
				var retry *noon.RetryError
				if s != nil || !errors.Is(err, want) || !errors.As(err, &retry) || retry.After <= 0 {
					t.Errorf("got %v, %v; want %v", s, err, want)
				}
				if err != nil && strings.Contains(err.Error(), "bait") {
					t.Errorf("%q quotes a cookie", err)
				}
				// The gateway's own 10,000 cookies are in this, too.
				if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
					t.Errorf("it took %d bytes of memory", took)
				}
				if len(b.Stats()) != 0 {
					t.Error("the broker keeps a session")
				}
			})
		})
	}
}

func TestAHostileGatewayGivesNoVerdictOnASession(t *testing.T) {
	for _, fault := range []partners.Fault{partners.TooMany429, partners.Error500, partners.HangUp, partners.HugeBody, partners.Redirect} {
		t.Run(string(fault), func(t *testing.T) {
			n := newPartner(t)
			b, c := serve(t, n, true)
			s, err := b.Session(t.Context(), account, c, "")
			if err != nil {
				t.Fatal(err)
			}
			n.Fail(fault)
			if got, err := b.Session(t.Context(), account, c, s.ID); got != nil || !errors.Is(err, noon.ErrUnavailable) {
				t.Errorf("got %v, %v", got, err)
			}
			if n.Logins() != 1 {
				t.Errorf("%d logins", n.Logins())
			}
		})
	}
}

func TestATokenReachesNoOtherHost(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			var reached atomic.Int32
			other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
			defer other.Close()
			b, c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.SetCookie(w, &http.Cookie{Name: "_npsid", Value: "bait"})
				http.Redirect(w, r, other.URL+r.URL.Path, status)
			}), false)
			if s, err := b.Session(t.Context(), account, c, ""); s != nil || !errors.Is(err, noon.ErrUnavailable) {
				t.Errorf("got %v, %v", s, err)
			}
			if reached.Load() != 0 {
				t.Error("the redirect was followed")
			}
		})
	}
}

func TestALoginGoesNowhereThatTheBrokerDoesNotAllow(t *testing.T) {
	n := newPartner(t)
	_, c := serve(t, n, false)
	var recorded atomic.Int32
	strict := noon.NewBroker(noon.BrokerConfig{
		LoginStarting: func(noon.Account) (func(noon.Outcome, error), error) {
			recorded.Add(1)
			return nil, nil
		},
	})
	defer strict.Close()
	// More often than logins may be made: what is not sent is not counted.
	for range 10 {
		s, err := strict.Session(t.Context(), account, c, "")
		if s != nil || !errors.Is(err, noon.ErrDestination) || errors.Is(err, noon.ErrUnavailable) || n.Logins() != 0 {
			t.Errorf("got %v, %v", s, err)
		}
		if retry := (*noon.RetryError)(nil); errors.As(err, &retry) {
			t.Errorf("trying again after %v is said to help", retry.After)
		}
	}
	if recorded.Load() != 0 {
		t.Errorf("%d times a login was recorded that was never sent", recorded.Load())
	}
}

func TestAGatewayWithAnotherCertificateGetsNoToken(t *testing.T) {
	n := newPartner(t)
	_, c := serve(t, n, true)
	b := noon.NewBroker(noon.BrokerConfig{Destinations: noon.Destinations{BaseURLs: []string{c.BaseURL()}}})
	defer b.Close()
	if s, err := b.Session(t.Context(), account, c, ""); s != nil || !errors.Is(err, noon.ErrUnavailable) || n.Logins() != 0 {
		t.Errorf("got %v, %v", s, err)
	}
}

func TestCloseEndsALoginThatHangs(t *testing.T) {
	n := newPartner(t)
	n.Fail(partners.Slow)
	arrived := make(chan struct{}, 1)
	b, c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		n.ServeHTTP(w, r)
	}), false)
	failed := make(chan error, 1)
	go func() {
		_, err := b.Session(context.Background(), account, c, "")
		failed <- err
	}()
	<-arrived
	b.Close()
	if err := <-failed; !errors.Is(err, noon.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}
