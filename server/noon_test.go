package server_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

// gatewayFunc is a Noon gateway without sockets.
type gatewayFunc func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f gatewayFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answered(r *http.Request, code int, header http.Header) *http.Response {
	return &http.Response{StatusCode: code, Header: header, Body: io.NopCloser(strings.NewReader("")), Request: r}
}

// loggedIn answers every request with a session.
func loggedIn(r *http.Request) (*http.Response, error) {
	return answered(r, http.StatusOK, http.Header{"Set-Cookie": {
		"_npsid=one; Path=/; Max-Age=2592000; Secure; HttpOnly", "_nprtnetid=two; Path=/; Domain=noon.partners"}}), nil
}

// noonKey is one for all tests: making one takes long.
var noonKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// noonFile is the credential file as Noon's console downloads it.
func noonFile(t testing.TB) []byte {
	t.Helper()
	return noonFileOf(t, "key-1")
}

// noonFileOf is that of one of the account's keys.
func noonFileOf(t testing.TB, keyID string) []byte {
	t.Helper()
	key, err := noonKey()
	must(t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	file, err := json.Marshal(map[string]string{"key_id": keyID, "private_key": string(text), "project_code": "PRJ12345", "type": "service_account"})
	must(t, err)
	return file
}

func (r *rig) importedNoon(t testing.TB, name string) {
	t.Helper()
	r.imported(t, name, "noon", prod, map[string][]byte{"credentials": noonFile(t), "user_agent": []byte("Orders/1.0")})
}

func (r *rig) session(t testing.TB, name, rejected string) (*signerdv1.GetNoonSessionResponse, error) {
	t.Helper()
	return r.signer.GetNoonSession(as(t, operator), &signerdv1.GetNoonSessionRequest{Key: name, RejectedSessionId: rejected})
}

func TestASessionComesWithAllThatARequestNeeds(t *testing.T) {
	t.Parallel()
	var logins atomic.Int32
	r := start(t, setup{gateway: gatewayFunc(func(req *http.Request) (*http.Response, error) {
		logins.Add(1)
		return loggedIn(req)
	})})
	r.importedNoon(t, "n")
	out, err := r.session(t, "n", "")
	must(t, err)
	if got := out.GetHeaders(); got["Cookie"] != "_npsid=one; _nprtnetid=two" || got["User-Agent"] != "Orders/1.0" || len(got) != 2 {
		t.Errorf("headers %v", got)
	}
	if c := out.GetCookies(); len(c) != 2 || c[0].GetName() != "_npsid" || c[0].GetPath() != "/" || !c[0].GetSecure() || !c[0].GetHttpOnly() ||
		c[0].GetExpireTime() == nil || c[1].GetDomain() != "noon.partners" || c[1].GetExpireTime() != nil {
		t.Errorf("cookies %v", c)
	}
	if out.GetBaseUrl() != "https://noon-api-gateway.noon.partners" || out.GetKeyVersion() != 1 || out.GetSessionId() == "" ||
		out.GetRecordId() == "" || !out.GetExpireTime().AsTime().After(r.clock.Now()) {
		t.Errorf("answer %v", out)
	}
	again, err := r.session(t, "n", "")
	must(t, err)
	if again.GetSessionId() != out.GetSessionId() || logins.Load() != 1 {
		t.Errorf("a second caller got another session (%d logins)", logins.Load())
	}
}

func TestWhatNoonAnswersBecomesADocumentedStatus(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		gateway gatewayFunc
		code    codes.Code
		reason  string
	}{
		{"it refuses the credential", func(r *http.Request) (*http.Response, error) { return answered(r, 401, nil), nil }, codes.FailedPrecondition, "UPSTREAM_REJECTED_CREDENTIAL"},
		{"it cannot read the login", func(r *http.Request) (*http.Response, error) { return answered(r, 400, nil), nil }, codes.FailedPrecondition, "UPSTREAM_REJECTED_CREDENTIAL"},
		{"it is overloaded", func(r *http.Request) (*http.Response, error) { return answered(r, 429, nil), nil }, codes.Unavailable, "UPSTREAM_UNAVAILABLE"},
		{"it is broken", func(r *http.Request) (*http.Response, error) { return answered(r, 500, nil), nil }, codes.Unavailable, "UPSTREAM_UNAVAILABLE"},
		{"it sends elsewhere", func(r *http.Request) (*http.Response, error) {
			return answered(r, 302, http.Header{"Location": {"https://elsewhere.example/"}}), nil
		}, codes.Unavailable, "UPSTREAM_UNAVAILABLE"},
		{"it sets no cookie", func(r *http.Request) (*http.Response, error) { return answered(r, 200, nil), nil }, codes.Unavailable, "UPSTREAM_UNAVAILABLE"},
		{"it is down", func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }, codes.Unavailable, "UPSTREAM_UNAVAILABLE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, setup{gateway: tt.gateway})
			r.importedNoon(t, "n")
			_, err := r.session(t, "n", "")
			checkRefused(t, err, tt.code, tt.reason)
			if delay := retryDelay(err); delay <= 0 {
				t.Errorf("no RetryInfo, or one of %v", delay)
			}
		})
	}
}

func TestACallerThatReportsEverySessionIsHeldBack(t *testing.T) {
	t.Parallel()
	r := start(t, setup{gateway: gatewayFunc(func(req *http.Request) (*http.Response, error) {
		if strings.HasSuffix(req.URL.Path, "/whoami") {
			return answered(req, 401, nil), nil
		}
		return loggedIn(req)
	})})
	r.importedNoon(t, "n")
	rejected := ""
	for range 3 {
		out, err := r.session(t, "n", rejected)
		must(t, err)
		rejected = out.GetSessionId()
	}
	_, err := r.session(t, "n", rejected)
	checkRefused(t, err, codes.ResourceExhausted, "RATE_LIMITED")
	if delay := retryDelay(err); delay <= 0 || delay > 20*time.Second {
		t.Errorf("RetryInfo says %v", delay)
	}
}

// checkRefused holds an error against its code and reason.
func checkRefused(t *testing.T, err error, code codes.Code, reason string) {
	t.Helper()
	st := status.Convert(err)
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetReason() == reason && info.GetMetadata()["record_id"] != "" && st.Code() == code {
			return
		}
	}
	t.Errorf("got %v with %v, want %v and %s", st.Code(), st.Details(), code, reason)
}

func retryDelay(err error) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			return retry.GetRetryDelay().AsDuration()
		}
	}
	return 0
}

func invalidNoon() []invalid {
	var out []invalid
	for _, s := range wrongNames {
		out = append(out, invalid{"key " + s, &signerdv1.GetNoonSessionRequest{Key: s}, "key"})
	}
	return append(out, invalid{"an id that is too long", &signerdv1.GetNoonSessionRequest{Key: "n", RejectedSessionId: strings.Repeat("x", 65)}, "rejected_session_id"})
}

func TestANoonKeysPublicHalfIsThatOfItsFile(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNoon(t, "n")
	out, err := r.admin.GetPublicKey(as(t, operator), &adminv1.GetPublicKeyRequest{Name: "n"})
	must(t, err)
	key, err := noonKey()
	must(t, err)
	block, _ := pem.Decode([]byte(out.GetPem()))
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	must(t, err)
	if !key.PublicKey.Equal(parsed) {
		t.Error("the PEM is another key's")
	}
	var jwk struct{ Kty, N, E, Alg string }
	must(t, json.Unmarshal([]byte(out.GetJwk()), &jwk))
	if n, err := base64.RawURLEncoding.DecodeString(jwk.N); err != nil || key.N.Cmp(new(big.Int).SetBytes(n)) != 0 || jwk.Kty != "RSA" || jwk.E != "AQAB" || jwk.Alg != "RS256" {
		t.Errorf("the JWK is %s", out.GetJwk())
	}
}
