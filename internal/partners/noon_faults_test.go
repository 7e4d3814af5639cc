package partners_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/signerd/signerd/internal/partners"
)

// client follows nothing.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func TestNoonFailsAsTold(t *testing.T) {
	n := newNoon(t)
	server := httptest.NewServer(n)
	defer server.Close()
	defer client.CloseIdleConnections()
	tests := []struct {
		fault  partners.Fault
		status int
		check  func(*testing.T, *http.Response)
	}{
		{partners.Unauthorized401, 401, nil},
		{partners.BadRequest400, 400, nil},
		{partners.Error500, 500, nil},
		{partners.TooMany429, 429, func(t *testing.T, r *http.Response) {
			if r.Header.Get("Retry-After") != "30" {
				t.Error("no Retry-After")
			}
		}},
		{partners.HangUp, 200, func(t *testing.T, r *http.Response) {
			if _, err := io.ReadAll(r.Body); err == nil {
				t.Error("the answer came whole")
			}
		}},
		{partners.HugeBody, 200, func(t *testing.T, r *http.Response) {
			if n, err := io.CopyN(io.Discard, r.Body, 4<<20); err != nil {
				t.Errorf("%d bytes: %v", n, err)
			}
		}},
		{partners.Redirect, 307, func(t *testing.T, r *http.Response) {
			if to, err := r.Location(); err != nil || to.Host == "" || strings.HasPrefix(to.Host, "127.") {
				t.Errorf("to %v: %v", to, err)
			}
		}},
		{partners.DeleteCookies, 200, func(t *testing.T, r *http.Response) {
			for _, c := range r.Cookies() {
				if c.MaxAge != -1 {
					t.Errorf("cookie %s has MaxAge %d", c.Name, c.MaxAge)
				}
			}
		}},
		{partners.ManyCookies, 200, func(t *testing.T, r *http.Response) {
			if got := len(r.Header.Values("Set-Cookie")); got != 10_000 {
				t.Errorf("%d cookies", got)
			}
		}},
		{partners.ForeignCookie, 200, func(t *testing.T, r *http.Response) {
			for _, c := range r.Cookies() {
				if c.Domain != "example.invalid" {
					t.Errorf("cookie %s has domain %q", c.Name, c.Domain)
				}
			}
		}},
		{partners.NoFault, 200, func(t *testing.T, r *http.Response) {
			if len(r.Cookies()) != 2 {
				t.Error("no session")
			}
		}},
	}
	for _, tt := range tests {
		t.Run("fault "+string(tt.fault), func(t *testing.T) {
			n.Fail(tt.fault)
			resp, err := client.Do(newLogin().request(t, server.URL))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			if resp.StatusCode != tt.status {
				t.Errorf("answered %d, want %d", resp.StatusCode, tt.status)
			}
			if tt.check != nil {
				tt.check(t, resp)
			}
		})
	}
}

func TestNoonInjectsBytesThatNoHeaderMayHold(t *testing.T) {
	n := newNoon(t)
	server := httptest.NewServer(n)
	defer server.Close()
	defer client.CloseIdleConnections()
	n.Fail(partners.InjectHeader)
	resp, err := client.Do(newLogin().request(t, server.URL))
	if err != nil {
		return // a client may refuse the whole answer
	}
	defer func() { _ = resp.Body.Close() }()
	if lines := strings.Join(resp.Header.Values("Set-Cookie"), ""); !strings.ContainsAny(lines, "\r\x00") {
		t.Errorf("the answer is harmless: %q", lines)
	}
}

func TestASlowNoonHoldsRequestsUntilTheClientGoesOrItIsReleased(t *testing.T) {
	n := newNoon(t)
	n.Fail(partners.Slow)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if resp := answerOf(n, newLogin().request(t, "http://noon.test").WithContext(ctx)); len(resp.Cookies()) != 0 || n.Logins() != 0 {
		t.Error("a client that went got a session")
	}
	done := make(chan int)
	go func() { done <- answerOf(n, newLogin().request(t, "http://noon.test")).StatusCode }()
	n.Fail(partners.NoFault) // whether the request is held by now or not
	if status := <-done; status != http.StatusOK {
		t.Errorf("answered %d after the release", status)
	}
}

func TestNoonPanicsOnAFaultThatIsNone(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	newNoon(t).Fail("earthquake")
}

func TestNoonServesManyAtOnce(t *testing.T) {
	n := newNoon(t)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			resp := answerOf(n, newLogin().request(t, "http://noon.test"))
			answerOf(n, whoamiRequest(t, "http://noon.test", resp.Cookies()))
			n.Fail(partners.NoFault)
			n.Expire()
		})
	}
	all.Wait()
	if n.Logins() != 16 {
		t.Errorf("%d logins", n.Logins())
	}
}
