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
	everyVisible := ""
	for b := byte(0x21); b < 0x7f; b++ {
		if b != ';' {
			everyVisible += string(b)
		}
	}
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
		{"a past Expires of two digits deletes", []string{"a=1; Expires=Thursday, 01-Jan-70 00:00:10 GMT", "b=2"}, "b=2", 22 * time.Hour},
		{"an Expires of the first day of all deletes", []string{"a=1; Expires=Mon, 01 Jan 0001 00:00:00 GMT", "b=2"}, "b=2", 22 * time.Hour},
		{"an Expires of a year before all dates deletes", []string{"a=1; Expires=Sat, 01 Jan 1600 00:00:00 GMT", "b=2"}, "b=2", 22 * time.Hour},
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
		{"a line break in a value", []string{"a=1\r\nX: y", "b=2"}, "", 0},
		{"a zero byte in an attribute", []string{"a=1; Path=/\x00", "b=2"}, "", 0},
		{"a name with a space goes back as it came", []string{"a b=1", "c=2"}, "a b=1; c=2", 22 * time.Hour},
		{"JSON as the value", []string{`_npsid={"u":1}; Path=/; Max-Age=3600`, "_nprtnetid=b"}, `_npsid={"u":1}; _nprtnetid=b`, time.Hour},
		{"every visible byte in a value", []string{"a=" + everyVisible}, "a=" + everyVisible, 22 * time.Hour},
		{"a letter beyond ASCII in a value", []string{"_npsid=caf\u00e9; Path=/", "b=2"}, "", 0},
		{"a letter beyond ASCII in a name", []string{"caf\u00e9=1", "b=2"}, "", 0},
		{"a letter beyond ASCII in a path", []string{"a=1; Path=/caf\u00e9", "b=2"}, "", 0},
		{"a letter beyond ASCII in what is deleted", []string{"a=caf\u00e9; Max-Age=0", "b=2"}, "b=2", 22 * time.Hour},
		{"a letter beyond ASCII in what is another site's", []string{"a=caf\u00e9; Domain=evil.example", "b=2"}, "b=2", 22 * time.Hour},
		{"no name", []string{"=1", "2", "", "b=2"}, "b=2", 22 * time.Hour},
		{"spaces around everything", []string{"  a =  1  ;  max-AGE = 3600 ; path = / "}, "a=1", time.Hour},
		{"the last attribute of a name counts", []string{"a=1; Max-Age=60; Max-Age=3600; Domain=evil.example; Domain=noon.partners"}, "a=1", time.Hour},
		{"no domain is the host's own", []string{"a=1", "a=; Domain=noon-api-gateway.noon.partners; Max-Age=0", "b=2"}, "b=2", 22 * time.Hour},
		{"Max-Age with a zero in front", []string{"a=1; Max-Age=0600"}, "a=1", 10 * time.Minute},
		{"Max-Age of zeros", []string{"a=1; Max-Age=000", "b=2"}, "b=2", 22 * time.Hour},
		{"Max-Age beyond 64 bits", []string{"a=1; Max-Age=99999999999999999999"}, "a=1", 22 * time.Hour},
		{"Max-Age below 64 bits", []string{"a=1; Max-Age=-99999999999999999999", "b=2"}, "b=2", 22 * time.Hour},
		{"Max-Age that is no number does not count", []string{"a=1; Max-Age=+0; Expires=" + at(time.Hour)}, "a=1", time.Hour},
		{"an empty Max-Age does not count", []string{"a=1; Max-Age="}, "a=1", 22 * time.Hour},
		{"an Expires that is no date counts as an hour", []string{"a=1; Expires=never", "b=2"}, "a=1; b=2", time.Hour},
		{"Max-Age goes before an Expires that is no date", []string{"a=1; Expires=never; Max-Age=7200"}, "a=1", 2 * time.Hour},
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

func TestCookieDatesInEveryFormThatServersSend(t *testing.T) {
	at := func(year int, month time.Month, day, hour, minute, second int) time.Time {
		return time.Date(year, month, day, hour, minute, second, 0, time.UTC)
	}
	long := time.Unix(0, 0)
	for _, tt := range []struct {
		in   string
		want time.Time // zero: no date
	}{
		{"Wed, 01 Jul 2026 13:02:03 GMT", at(2026, 7, 1, 13, 2, 3)},
		{"Wed, 1 Jul 2026 13:02:03 GMT", at(2026, 7, 1, 13, 2, 3)},
		{"Wed, 01-Jul-2026 13:02:03 GMT", at(2026, 7, 1, 13, 2, 3)},
		{"Wednesday, 01-Jul-26 13:02:03 GMT", at(2026, 7, 1, 13, 2, 3)},
		{"Wed Jul  1 13:02:03 2026", at(2026, 7, 1, 13, 2, 3)},
		{"01 Jul 2026 13:02:03 GMT", at(2026, 7, 1, 13, 2, 3)},
		{"2026 13:02:03 1 july", at(2026, 7, 1, 13, 2, 3)},
		{"13:02:03 1 july 2026", at(2026, 7, 1, 13, 2, 3)},
		{"01 JUL 2026 1:2:3", at(2026, 7, 1, 1, 2, 3)},
		{"1st July 2026 01:02:03Z", at(2026, 7, 1, 1, 2, 3)},
		{"Thursday, 01-Jan-70 00:00:10 GMT", at(1970, 1, 1, 0, 0, 10)},
		{"Thu, 01-Jan-70 00:00:10 GMT", at(1970, 1, 1, 0, 0, 10)},
		{"Thu Jan  1 00:00:10 1970", at(1970, 1, 1, 0, 0, 10)},
		{"31 Dec 99 23:59:59", at(1999, 12, 31, 23, 59, 59)},
		{"31 Dec 69 23:59:59", at(2069, 12, 31, 23, 59, 59)},
		{"Mon, 01 Jan 0001 00:00:00 GMT", at(2001, 1, 1, 0, 0, 0)},
		{"Sat, 01 Jan 1600 00:00:00 GMT", long},
		{"01 Jan 1601 00:00:00", at(1601, 1, 1, 0, 0, 0)},
		{"29 Feb 2028 00:00:00", at(2028, 2, 29, 0, 0, 0)},
		{"29 Feb 2027 00:00:00", time.Time{}},
		{"32 Jan 2027 00:00:00", time.Time{}},
		{"0 Jan 2027 00:00:00", time.Time{}},
		{"1 Jan 2027 24:00:00", time.Time{}},
		{"1 Jan 2027 23:60:00", time.Time{}},
		{"1 Jan 2027 23:59:60", time.Time{}},
		{"1 Jan 2027 23:59", time.Time{}},
		{"1 Jan 2027 001:00:00", time.Time{}},
		{"1 Jan 02027 00:00:00", time.Time{}},
		{"1 Foo 2027 00:00:00", time.Time{}},
		{"1 Jan 00:00:00", time.Time{}},
		{"", time.Time{}},
		{"0", time.Time{}},
		{"-1", time.Time{}},
	} {
		if got, ok := noon.ParseCookieDate(tt.in); ok == tt.want.IsZero() || !got.Equal(tt.want) {
			t.Errorf("%q is read as %v (%t), want %v", tt.in, got, ok, tt.want)
		}
	}
}
