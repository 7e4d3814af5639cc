package partners_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/signerd/signerd/internal/partners"
)

const (
	noonLoginPath = "/identity/public/v1/api/login"
	noonWhoami    = "/identity/v1/whoami"
	noonProject   = "PRJ12345"
	noonKeyID     = "key-1"
)

// noonKey is made once: it takes long with the race detector.
var noonKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func newNoon(t testing.TB) *partners.Noon {
	t.Helper()
	n := partners.NewNoon(now)
	if err := n.Register(noonKeyID, publicPEM(t, &noonKey().PublicKey), noonProject); err != nil {
		t.Fatal(err)
	}
	return n
}

// login is a login in the making; a test bends one thing of a good one.
type login struct {
	method, target     string
	header             http.Header
	tokenHeader, claim string
	signature          func([]byte) []byte
	body               func(token string) string
}

func newLogin() *login {
	return &login{
		method: http.MethodPost, target: noonLoginPath,
		header:      http.Header{"Content-Type": {"application/json"}, "User-Agent": {"test/1"}},
		tokenHeader: `{"alg":"RS256","typ":"JWT"}`,
		claim:       noonClaims(noonKeyID, fmt.Sprint(clock.Unix()), newUUID()),
		signature:   func(b []byte) []byte { return b },
		body: func(token string) string {
			return `{"token":"` + token + `","default_project_code":"` + noonProject + `"}`
		},
	}
}

func noonClaims(sub, iat, jti string) string {
	return fmt.Sprintf(`{"sub":%q,"iat":%s,"jti":%q}`, sub, iat, jti)
}

func newUUID() string {
	var u [16]byte
	_, _ = rand.Read(u[:])
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

func (l *login) token(t testing.TB) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(l.tokenHeader)) + "." + encode([]byte(l.claim))
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, noonKey(), crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + encode(l.signature(signature))
}

func (l *login) request(t testing.TB, base string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), l.method, base+l.target, strings.NewReader(l.body(l.token(t))))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = l.header
	return r
}

// answerOf runs a handler without sockets.
func answerOf(handler http.Handler, r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w.Result()
}

// whoamiRequest asks with cookies.
func whoamiRequest(t testing.TB, base string, cookies []*http.Cookie) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+noonWhoami, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", "test/1")
	for _, c := range cookies {
		r.AddCookie(c)
	}
	return r
}

func bodyOf(t testing.TB, resp *http.Response) string {
	t.Helper()
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
