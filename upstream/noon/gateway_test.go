package noon_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signerd/signerd/upstream/noon"
)

// transport is a gateway without sockets.
type transport func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answerWith(r *http.Request, status int, header http.Header, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}
}

func cookie(line string) http.Header { return http.Header{"Set-Cookie": {line}} }

// slowly is a body that takes its time.
type slowly struct{ left time.Duration }

// Read implements io.Reader; its sleep is synctest's.
func (s *slowly) Read([]byte) (int, error) {
	time.Sleep(s.left)
	s.left = 0
	return 0, io.EOF
}

// Close implements io.Closer.
func (*slowly) Close() error { return nil }

func TestASessionsLifeCountsFromWhenTheLoginWasSent(t *testing.T) {
	c := credentialForTest(t)
	for _, tt := range []struct {
		name   string
		maxAge string
		left   time.Duration // 0: no session
	}{{"it outlives its answer", "60", 46 * time.Second}, {"it ends before its answer is read", "10", 0}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := noon.NewBroker(noon.BrokerConfig{Transport: transport(func(r *http.Request) (*http.Response, error) {
					time.Sleep(7 * time.Second)
					resp := answerWith(r, http.StatusOK, cookie("a=1; Max-Age="+tt.maxAge), "")
					resp.Body = &slowly{7 * time.Second}
					return resp, nil
				})})
				defer b.Close()
				s, err := b.Session(t.Context(), account, c, "")
				if tt.left == 0 {
					if s != nil || !errors.Is(err, noon.ErrUnavailable) {
						t.Errorf("got %v, %v", s, err)
					}
					return
				}
				if err != nil || time.Until(s.Expires) != tt.left {
					t.Errorf("it ends at %v (%v), want in %v", s, err, tt.left)
				}
			})
		})
	}
}

func TestNoRetryAfterIsForgottenOrEndless(t *testing.T) {
	c := credentialForTest(t)
	for _, tt := range []struct {
		value       string
		least, most time.Duration
	}{
		{"600", 10 * time.Minute, 10 * time.Minute},
		{"2147483647", time.Hour, time.Hour},
		{"2147483648", time.Hour, time.Hour},
		{"99999999999999999999", time.Hour, time.Hour},
		{"Wed, 21 Oct 2300 07:28:00 GMT", time.Hour, time.Hour},
		{"Wed, 21 Oct 1998 07:28:00 GMT", time.Second, 3 * time.Second},
		{"-5", time.Second, 3 * time.Second},
		{"1.5", time.Second, 3 * time.Second},
		{"soon", time.Second, 3 * time.Second},
	} {
		t.Run(tt.value, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, &gateway{fail: func(int) (int, string) { return http.StatusServiceUnavailable, tt.value }})
				_, err := b.Session(t.Context(), account, c, "")
				var retry *noon.RetryError
				if !errors.As(err, &retry) || retry.After < tt.least || retry.After > tt.most {
					t.Errorf("got %v, want between %v and %v", retry, tt.least, tt.most)
				}
				b.Close()
			})
		})
	}
}

func TestRetryAfterOfWhoamiIsHonoured(t *testing.T) {
	c := credentialForTest(t)
	synctest.Test(t, func(t *testing.T) {
		var whoamis atomic.Int32
		b := noon.NewBroker(noon.BrokerConfig{Transport: transport(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/whoami") {
				whoamis.Add(1)
				return answerWith(r, http.StatusTooManyRequests, http.Header{"Retry-After": {"600"}}, ""), nil
			}
			return answerWith(r, http.StatusOK, cookie("a=1; Max-Age=86400"), ""), nil
		})})
		defer b.Close()
		s, err := b.Session(t.Context(), account, c, "")
		if err != nil {
			t.Fatal(err)
		}
		for left := 10 * time.Minute; left > 0; left -= time.Second {
			_, err := b.Session(t.Context(), account, c, s.ID)
			var retry *noon.RetryError
			if !errors.Is(err, noon.ErrUnavailable) || !errors.As(err, &retry) || retry.After != left {
				t.Fatalf("got %v, want ErrUnavailable for %v", err, left)
			}
			time.Sleep(time.Second)
		}
		if whoamis.Load() != 1 {
			t.Errorf("whoami was asked %d times within its Retry-After", whoamis.Load())
		}
		if _, err := b.Session(t.Context(), account, c, s.ID); !errors.Is(err, noon.ErrUnavailable) || whoamis.Load() != 2 {
			t.Errorf("after it: %v, %d whoamis", err, whoamis.Load())
		}
	})
}

func TestOnlyAnAccountIsAYesOfWhoami(t *testing.T) {
	c := credentialForTest(t)
	for _, tt := range []struct {
		body string
		yes  bool
	}{
		{`{"account":"key-1"}`, true},
		{` { "username" : "x", "projects" : [] } ` + "\n", true},
		{"<html>please log in", false},
		{"", false},
		{"{}", false},
		{"null", false},
		{`"key-1"`, false},
		{"[]", false},
		{`{"account":"key-1"`, false},
	} {
		t.Run(tt.body, func(t *testing.T) {
			b := noon.NewBroker(noon.BrokerConfig{Transport: transport(func(r *http.Request) (*http.Response, error) {
				return answerWith(r, http.StatusOK, cookie("a=1"), tt.body), nil
			})})
			defer b.Close()
			s, err := b.Session(t.Context(), account, c, "")
			if err != nil {
				t.Fatal(err)
			}
			again, err := b.Session(t.Context(), account, c, s.ID)
			if tt.yes && (err != nil || again.ID != s.ID) || !tt.yes && !errors.Is(err, noon.ErrUnavailable) {
				t.Errorf("got %v, %v", again, err)
			}
		})
	}
}

func TestOnlyWhatIsDocumentedRefusesACredential(t *testing.T) {
	c := credentialForTest(t)
	for status, want := range map[int]error{
		400: noon.ErrRejectedCredential, 401: noon.ErrRejectedCredential,
		// A firewall before the gateway says 403, and knows no credential.
		403: noon.ErrUnavailable, 404: noon.ErrUnavailable, 201: noon.ErrUnavailable, 204: noon.ErrUnavailable, 407: noon.ErrUnavailable,
		429: noon.ErrUnavailable, 500: noon.ErrUnavailable, 503: noon.ErrUnavailable,
	} {
		b := noon.NewBroker(noon.BrokerConfig{Transport: transport(func(r *http.Request) (*http.Response, error) {
			return answerWith(r, status, cookie("a=1"), ""), nil
		})})
		if _, err := b.Session(t.Context(), account, c, ""); !errors.Is(err, want) {
			t.Errorf("%d: got %v, want %v", status, err, want)
		}
		b.Close()
	}
}
