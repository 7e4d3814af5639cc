package noon_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/upstream/noon"
)

// answering gives every request the same cookies, as the partner's own host.
type answering []string

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Set-Cookie": a}, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

var cookieNow = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func TestTheSessionIsWhatTheCookiesSay(t *testing.T) {
	c := credentialForTest(t)
	at := func(d time.Duration) string { return cookieNow.Add(d).Format(http.TimeFormat) }
	many := slices.Repeat([]string{"a=1"}, 33)
	tests := []struct {
		name    string
		lines   []string
		cookie  string // the Cookie header; none: no session
		expires time.Duration
	}{
		{"the two seen", []string{"_npsid=a; Path=/; Max-Age=2592000; Secure; HttpOnly", "_nprtnetid=b; Path=/; Max-Age=2592000"}, "_npsid=a; _nprtnetid=b", 22 * time.Hour},
		{"the earliest Max-Age ends it", []string{"a=1; Max-Age=7200", "b=2; Max-Age=3600"}, "a=1; b=2", time.Hour},
		{"an Expires ends it", []string{"a=1; Expires=" + at(2*time.Hour), "b=2"}, "a=1; b=2", 2 * time.Hour},
		{"Max-Age goes before Expires", []string{"a=1; Expires=" + at(-time.Hour) + "; Max-Age=3600"}, "a=1", time.Hour},
		{"no end: the cap", []string{"a=1"}, "a=1", 22 * time.Hour},
		{"a Max-Age beyond all bounds: the cap", []string{"a=1; Max-Age=9000000000000000000"}, "a=1", 22 * time.Hour},
		{"Max-Age 0 deletes", []string{"a=1; Max-Age=0", "b=2"}, "b=2", 22 * time.Hour},
		{"a negative Max-Age deletes", []string{"a=1; Max-Age=-1", "b=2"}, "b=2", 22 * time.Hour},
		{"a past Expires deletes", []string{"a=1; Expires=" + at(-time.Second), "b=2"}, "b=2", 22 * time.Hour},
		{"an Expires of now deletes", []string{"a=1; Expires=" + at(0), "b=2"}, "b=2", 22 * time.Hour},
		{"all deleted: no session", []string{"a=1; Max-Age=0"}, "", 0},
		{"none: no session", nil, "", 0},
		{"set and then deleted", []string{"a=1", "a=; Max-Age=0", "b=2"}, "b=2", 22 * time.Hour},
		{"deleted and then set", []string{"a=; Max-Age=0", "a=2"}, "a=2", 22 * time.Hour},
		{"a later one replaces", []string{"a=1; Max-Age=60", "b=2", "a=3; Max-Age=7200"}, "a=3; b=2", 2 * time.Hour},
		{"another path is another cookie", []string{"a=1; Path=/", "a=2; Path=/x"}, "a=1; a=2", 22 * time.Hour},
		{"names differ by case", []string{"a=1", "A=2"}, "a=1; A=2", 22 * time.Hour},
		{"the host as the domain", []string{"a=1; Domain=noon-api-gateway.noon.partners"}, "a=1", 22 * time.Hour},
		{"the domain above, with a dot, in upper case", []string{"a=1; Domain=.NOON.partners"}, "a=1", 22 * time.Hour},
		{"a whole top-level domain", []string{"a=1; Domain=partners"}, "", 0},
		{"another site", []string{"a=1; Domain=evil.example", "b=2"}, "b=2", 22 * time.Hour},
		{"a site that ends alike", []string{"a=1; Domain=y-gateway.noon.partners"}, "", 0},
		{"a domain below the host", []string{"a=1; Domain=x.noon-api-gateway.noon.partners"}, "", 0},
		{"a foreign deletion does not count", []string{"a=1", "a=; Domain=evil.example; Max-Age=0"}, "a=1", 22 * time.Hour},
		{"a value in quotes", []string{`a="1 2"`}, `a="1 2"`, 22 * time.Hour},
		{"a value with a comma goes back as it came", []string{"a=1,2 3"}, "a=1,2 3", 22 * time.Hour},
		{"an empty value", []string{"a="}, "a=", 22 * time.Hour},
		{"a line break in a value", []string{"a=1\r\nX: y", "b=2"}, "b=2", 22 * time.Hour},
		{"a name with a space", []string{"a b=1", "c=2"}, "c=2", 22 * time.Hour},
		{"33 cookies", many, "", 0},
		{"32 cookies", many[1:], "a=1", 22 * time.Hour},
		{"more than 8 KiB", []string{"a=" + strings.Repeat("x", 5000), "b=" + strings.Repeat("x", 5000)}, "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := noon.NewBroker(noon.BrokerConfig{Transport: answering(tt.lines), Now: func() time.Time { return cookieNow }})
			defer b.Close()
			s, err := b.Session(t.Context(), account, c, "")
			if tt.cookie == "" {
				if s != nil || !errors.Is(err, noon.ErrUnavailable) {
					t.Errorf("got %v, %v", s, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Headers()["Cookie"]; got != tt.cookie {
				t.Errorf("Cookie: %s, want %s", got, tt.cookie)
			}
			if got := s.Expires.Sub(cookieNow); got != tt.expires {
				t.Errorf("it ends after %v, want %v", got, tt.expires)
			}
		})
	}
}

func TestCookiesKeepTheirAttributes(t *testing.T) {
	c := credentialForTest(t)
	b := noon.NewBroker(noon.BrokerConfig{
		Transport: answering{"_npsid=a; Domain=.Noon.Partners; Path=/x; Max-Age=60; Secure; HttpOnly; SameSite=Lax", "b=2"},
		Now:       func() time.Time { return cookieNow },
	})
	defer b.Close()
	s, err := b.Session(t.Context(), account, c, "")
	if err != nil {
		t.Fatal(err)
	}
	got := s.Cookies()
	if one := got[0]; len(got) != 2 || one.Name != "_npsid" || one.Value != "a" || one.Domain != "noon.partners" || one.Path != "/x" ||
		!one.Secure || !one.HttpOnly || one.SameSite != http.SameSiteLaxMode || !one.Expires.Equal(cookieNow.Add(time.Minute)) {
		t.Errorf("got %+v", got)
	}
	if !got[1].Expires.IsZero() || got[1].Secure || got[1].HttpOnly {
		t.Errorf("got %+v", got[1])
	}
	got[0].Value = "changed"
	if s.Cookies()[0].Value != "a" {
		t.Error("a caller can change the session's cookies")
	}
}

func TestTheLifeOfASessionIsCapped(t *testing.T) {
	c := credentialForTest(t)
	b := noon.NewBroker(noon.BrokerConfig{Transport: answering{"a=1; Max-Age=2592000"}, Life: time.Hour, Now: func() time.Time { return cookieNow }})
	defer b.Close()
	s, err := b.Session(t.Context(), account, c, "")
	if err != nil || !s.Expires.Equal(cookieNow.Add(time.Hour)) {
		t.Errorf("got %v, %v", s, err)
	}
}
