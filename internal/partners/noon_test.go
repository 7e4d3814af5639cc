package partners_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/partners"
)

func TestNoonAcceptsAGoodLoginAndSetsTwoCookies(t *testing.T) {
	n := newNoon(t)
	resp := answerOf(n, newLogin().request(t, "http://noon.test"))
	if body := bodyOf(t, resp); resp.StatusCode != http.StatusOK || body != "" {
		t.Fatalf("answered %d %q", resp.StatusCode, body)
	}
	cookies := resp.Cookies()
	if len(cookies) != 2 || cookies[0].Name != "_npsid" || cookies[1].Name != "_nprtnetid" || cookies[0].Value == cookies[1].Value {
		t.Fatalf("cookies %v", cookies)
	}
	for _, c := range cookies {
		if c.MaxAge != 2592000 || c.Path != "/" || !c.HttpOnly || c.Secure || len(c.Value) < 20 {
			t.Errorf("cookie %+v", c)
		}
	}
	if n.Logins() != 1 {
		t.Errorf("%d logins", n.Logins())
	}
	who := answerOf(n, whoamiRequest(t, "http://noon.test", cookies))
	if body := bodyOf(t, who); who.StatusCode != http.StatusOK || !strings.Contains(body, `"account":"key-1"`) {
		t.Errorf("whoami answered %d %s", who.StatusCode, body)
	}
}

func TestNoonChecksTheLogin(t *testing.T) {
	at := clock.Unix()
	claims := func(sub string, iat any, jti string) func(*login) {
		return func(l *login) { l.claim = noonClaims(sub, fmt.Sprint(iat), jti) }
	}
	body := func(text string) func(*login) {
		return func(l *login) { l.body = func(string) string { return text } }
	}
	tests := []struct {
		name   string
		bend   func(*login)
		status int
		reason string
	}{
		{"another method", func(l *login) { l.method = http.MethodPut }, 400, "a login is a POST"},
		{"a query", func(l *login) { l.target += "?a=1" }, 400, "no query"},
		{"no User-Agent", func(l *login) { l.header["User-Agent"] = nil }, 400, "User-Agent"},
		{"no Content-Type", func(l *login) { l.header.Del("Content-Type") }, 400, "Content-Type"},
		{"a form", func(l *login) { l.header.Set("Content-Type", "text/plain") }, 400, "not application/json"},
		{"a body that is not JSON", body("token=x"), 400, "not valid JSON"},
		{"a body that is an array", body("[]"), 400, "not a JSON object"},
		{"a field twice", body(`{"token":"a","token":"b","default_project_code":"x"}`), 400, "twice"},
		{"no token", body(`{"default_project_code":"x"}`), 400, "no token"},
		{"no project", body(`{"token":"x"}`), 400, "no default_project_code"},
		{"a project that is a number", body(`{"token":"x","default_project_code":1}`), 400, "it must be a string"},
		{"a field too many", body(`{"token":"x","default_project_code":"p","a":1}`), 400, "nobody asked for"},
		{"a body beyond the limit", body(strings.Repeat(" ", 1<<17)), 400, "too long"},
		{"a token of two segments", body(`{"token":"a.b","default_project_code":"p"}`), 401, "2 segments"},
		{"the project of another", func(l *login) {
			l.body = func(token string) string { return `{"token":"` + token + `","default_project_code":"PRJ9"}` }
		}, 401, "not the project"},
		{"alg none", func(l *login) { l.tokenHeader = `{"alg":"none","typ":"JWT"}` }, 401, "must be RS256"},
		{"alg HS256", func(l *login) { l.tokenHeader = `{"alg":"HS256","typ":"JWT"}` }, 401, "must be RS256"},
		{"alg PS256", func(l *login) { l.tokenHeader = `{"alg":"PS256","typ":"JWT"}` }, 401, "must be RS256"},
		{"no typ", func(l *login) { l.tokenHeader = `{"alg":"RS256"}` }, 401, "no typ"},
		{"a key of the sender's own", func(l *login) { l.tokenHeader = `{"alg":"RS256","typ":"JWT","jku":"x"}` }, 401, "nobody asked for"},
		{"an audience", func(l *login) { l.claim = strings.Replace(l.claim, "{", `{"aud":"x",`, 1) }, 401, "nobody asked for"},
		{"no jti", func(l *login) { l.claim = fmt.Sprintf(`{"sub":"key-1","iat":%d}`, at) }, 401, "no jti"},
		{"an unknown key", claims("key-2", at, newUUID()), 401, "no known key id"},
		{"iat with a fraction", claims(noonKeyID, fmt.Sprintf("%d.5", at), newUUID()), 401, "whole number"},
		{"iat with an exponent", claims(noonKeyID, "1e9", newUUID()), 401, "whole number"},
		{"iat as a string", claims(noonKeyID, `"1"`, newUUID()), 401, "it must be a number"},
		{"iat at the edge of the past", claims(noonKeyID, at-300, newUUID()), 200, ""},
		{"iat at the edge of the future", claims(noonKeyID, at+300, newUUID()), 200, ""},
		{"iat too old", claims(noonKeyID, at-301, newUUID()), 401, "from now"},
		{"iat too new", claims(noonKeyID, at+301, newUUID()), 401, "from now"},
		{"iat in milliseconds", claims(noonKeyID, at*1000, newUUID()), 401, "from now"},
		{"iat at the end of numbers", claims(noonKeyID, int64(-1<<63), newUUID()), 401, "from now"},
		{"jti without hyphens", claims(noonKeyID, at, strings.ReplaceAll(newUUID(), "-", "")), 401, "UUID"},
		{"jti of version 1", claims(noonKeyID, at, "2f1f0f3a-5d1c-11ee-8c99-0242ac120002"), 401, "UUID"},
		{"jti of another variant", claims(noonKeyID, at, "2f1f0f3a-5d1c-41ee-cc99-0242ac120002"), 401, "UUID"},
		{"a signature with a bit turned", func(l *login) {
			l.signature = func(b []byte) []byte { b[9] ^= 1; return b }
		}, 401, "does not verify"},
		{"a signature cut short", func(l *login) { l.signature = func(b []byte) []byte { return b[:255] } }, 401, "does not verify"},
		{"a charset", func(l *login) { l.header.Set("Content-Type", "application/json; charset=utf-8") }, 200, ""},
	}
	n := newNoon(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLogin()
			tt.bend(l)
			before := n.Logins()
			resp := answerOf(n, l.request(t, "http://noon.test"))
			if text := bodyOf(t, resp); resp.StatusCode != tt.status || !strings.Contains(text, tt.reason) {
				t.Errorf("answered %d %s; want %d, %s", resp.StatusCode, text, tt.status, tt.reason)
			}
			accepted := tt.status == http.StatusOK
			if (len(resp.Cookies()) > 0) != accepted || (n.Logins() > before) != accepted {
				t.Errorf("cookies %v, logins %d after %d", resp.Cookies(), n.Logins(), before)
			}
		})
	}
}

func TestNoonTakesATokenOnce(t *testing.T) {
	n := newNoon(t)
	l := newLogin()
	l.body = func(string) string { return `{"token":"x.y.z","default_project_code":"p"}` }
	if resp := answerOf(n, l.request(t, "http://noon.test")); resp.StatusCode != 401 {
		t.Fatalf("answered %d", resp.StatusCode)
	}
	l.body = newLogin().body
	for _, want := range []int{200, 401, 401} {
		resp := answerOf(n, l.request(t, "http://noon.test"))
		if text := bodyOf(t, resp); resp.StatusCode != want || want == 401 && !strings.Contains(text, "used before") {
			t.Errorf("answered %d %s, want %d", resp.StatusCode, text, want)
		}
	}
}

func TestNoonWantsBothCookiesOfALiveSession(t *testing.T) {
	at := clock
	n := partners.NewNoon(func() time.Time { return at })
	if err := n.Register(noonKeyID, publicPEM(t, &noonKey().PublicKey), noonProject); err != nil {
		t.Fatal(err)
	}
	one := answerOf(n, newLogin().request(t, "http://noon.test")).Cookies()
	two := answerOf(n, newLogin().request(t, "http://noon.test")).Cookies()
	check := func(name string, cookies []*http.Cookie, userAgent string, status int) {
		t.Helper()
		r := whoamiRequest(t, "http://noon.test", cookies)
		r.Header.Set("User-Agent", userAgent)
		if resp := answerOf(n, r); resp.StatusCode != status {
			t.Errorf("%s: answered %d, want %d", name, resp.StatusCode, status)
		}
	}
	check("both", one, "test/1", 200)
	check("no User-Agent", one, "", 401)
	check("none", nil, "test/1", 401)
	check("the first alone", one[:1], "test/1", 401)
	check("the second alone", one[1:], "test/1", 401)
	check("two sessions mixed", []*http.Cookie{one[0], two[1]}, "test/1", 401)
	check("one twice", []*http.Cookie{one[0], one[0], one[1]}, "test/1", 401)
	at = at.Add(30*24*time.Hour - time.Second)
	check("a second before the end", one, "test/1", 200)
	at = at.Add(time.Second)
	check("at the end", one, "test/1", 401)
	at = clock
	n.Expire()
	check("after Expire", two, "test/1", 401)
}

func TestNoonRegistersRSAPublicKeysOnly(t *testing.T) {
	good := publicPEM(t, &noonKey().PublicKey)
	small := &rsa.PublicKey{N: noonKey().Primes[0], E: 65537} // 1024 bits
	tests := []struct {
		name, keyID, project string
		pem                  []byte
		want                 string // part of the error; empty for none
	}{
		{"a good key", "k", "p", good, ""},
		{"no key id", "", "p", good, "empty"},
		{"no project", "k", "", good, "empty"},
		{"not PEM", "k", "p", []byte("x"), "not PEM"},
		{"a private key", "k", "p", bytes.ReplaceAll(good, []byte("PUBLIC"), []byte("PRIVATE")), "must be"},
		{"two keys", "k", "p", append(bytes.Clone(good), good...), "after the public key"},
		{"an EC key", "k", "p", publicPEM(t, &newKey(t, elliptic.P256()).PublicKey), "not an RSA key"},
		{"a key of 1024 bits", "k", "p", publicPEM(t, small), "not an RSA key of 2048"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			checkReason(t, partners.NewNoon(nil).Register(tt.keyID, tt.pem, tt.project), tt.want)
		})
	}
}

func TestNoonNeverSaysTheSameCookieTwice(t *testing.T) {
	n := newNoon(t)
	seen := map[string]bool{rand.Text(): true}
	for range 5 {
		for _, c := range answerOf(n, newLogin().request(t, "http://noon.test")).Cookies() {
			if seen[c.Value] {
				t.Error("a cookie's value came twice")
			}
			seen[c.Value] = true
		}
	}
}
