package server_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/signerd/signerd/audit"
	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/partners"
)

// switchingGateway is a Noon that a test can have fail. It counts logins.
type switchingGateway struct {
	logins atomic.Int32
	answer atomic.Pointer[gatewayFunc]
}

func (g *switchingGateway) RoundTrip(r *http.Request) (*http.Response, error) {
	g.logins.Add(1)
	if answer := g.answer.Load(); answer != nil {
		return (*answer)(r)
	}
	return loggedIn(r)
}

func (g *switchingGateway) is(answer gatewayFunc) { g.answer.Store(&answer) }

// active is the version of the key n that is active.
func (r *rig) active(t testing.TB) uint32 {
	t.Helper()
	out, err := r.admin.GetKey(as(t, operator), &adminv1.GetKeyRequest{Name: "n"})
	must(t, err)
	return out.GetKey().GetActiveVersion()
}

func TestANoonVersionThatCannotLogInIsNotActivated(t *testing.T) {
	t.Parallel()
	status := func(code int) gatewayFunc {
		return func(r *http.Request) (*http.Response, error) { return answered(r, code, nil), nil }
	}
	for _, tt := range []struct {
		name   string
		answer gatewayFunc
		code   codes.Code
		reason string
	}{
		{"it is refused", status(401), codes.FailedPrecondition, "UPSTREAM_REJECTED_CREDENTIAL"},
		{"the login cannot be read", status(400), codes.FailedPrecondition, "UPSTREAM_REJECTED_CREDENTIAL"},
		{"Noon is overloaded", status(429), codes.Unavailable, "UPSTREAM_UNAVAILABLE"},
		{"Noon is broken", status(503), codes.Unavailable, "UPSTREAM_UNAVAILABLE"},
		{"Noon is down", func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }, codes.Unavailable, "UPSTREAM_UNAVAILABLE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := &switchingGateway{}
			r := start(t, setup{gateway: g})
			r.importedNoon(t, "n")
			first, err := r.session(t, "n", "")
			must(t, err)
			must(t, importVersion(t, r))
			generation := r.keys.Lookup("n").Generation
			g.is(tt.answer)
			err = activate(2)(t, r)
			checkRefused(t, err, tt.code, tt.reason)
			if delay := retryDelay(err); delay <= 0 {
				t.Errorf("no RetryInfo, or one of %v", delay)
			}
			if now := r.keys.Lookup("n"); now.Active != 1 || now.Generation != generation {
				t.Errorf("version %d is active at generation %d", now.Active, now.Generation)
			}
			if again, err := r.session(t, "n", ""); err != nil || again.GetSessionId() != first.GetSessionId() {
				t.Errorf("callers got %v, %v", again, err)
			}
			// The limits hold for proofs too: it is not sent again.
			checkRefused(t, activate(2)(t, r), tt.code, tt.reason)
			if got := g.logins.Load(); got != 2 {
				t.Errorf("%d logins were sent", got)
			}
			must(t, activateUnproven(2)(t, r))
			if got := r.active(t); got != 2 {
				t.Errorf("without a login version %d is active", got)
			}
		})
	}
}

func TestWhatCannotBeActivatedIsNotLoggedInWith(t *testing.T) {
	t.Parallel()
	version2 := func(t *testing.T, r *rig) error {
		_, err := r.admin.DisableKeyVersion(as(t, operator), &adminv1.DisableKeyVersionRequest{Name: "n", Version: 2})
		return err
	}
	destroyed := func(t *testing.T, r *rig) error {
		_, err := r.admin.DestroyKeyVersion(as(t, operator), &adminv1.DestroyKeyVersionRequest{Name: "n", Version: 2})
		return err
	}
	freeze := func(t *testing.T, r *rig) error { r.freeze(t, "a test"); return nil }
	for _, tt := range []struct {
		name   string
		before keyChange
		in     *adminv1.ActivateKeyVersionRequest
		code   codes.Code
		reason string
	}{
		{"a disabled version", version2, &adminv1.ActivateKeyVersionRequest{Version: 2}, codes.FailedPrecondition, "KEY_DISABLED"},
		{"one to be destroyed", destroyed, &adminv1.ActivateKeyVersionRequest{Version: 2}, codes.InvalidArgument, "INVALID_REQUEST"},
		{"one that is not there", nil, &adminv1.ActivateKeyVersionRequest{Version: 3}, codes.NotFound, "KEY_NOT_FOUND"},
		{"an API key, which Noon has none of", nil, &adminv1.ActivateKeyVersionRequest{Version: 2, ApiKey: []byte("x")}, codes.InvalidArgument, "INVALID_REQUEST"},
		{"a stale generation", nil, &adminv1.ActivateKeyVersionRequest{Version: 2, Generation: 1}, codes.Aborted, "CONFLICT"},
		{"while all is frozen", freeze, &adminv1.ActivateKeyVersionRequest{Version: 2}, codes.Unavailable, "FROZEN"},
		{"while all is frozen, without a login", freeze, &adminv1.ActivateKeyVersionRequest{Version: 2, SkipLogin: true}, codes.OK, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := &switchingGateway{}
			r := start(t, setup{gateway: g})
			r.importedNoon(t, "n")
			must(t, importVersion(t, r))
			if tt.before != nil {
				must(t, tt.before(t, r))
			}
			tt.in.Name = "n"
			_, err := r.admin.ActivateKeyVersion(as(t, operator), tt.in)
			if tt.code == codes.OK {
				must(t, err)
			} else {
				checkRefused(t, err, tt.code, tt.reason)
			}
			if active := r.active(t); g.logins.Load() != 0 || (active == 2) != (tt.code == codes.OK) {
				t.Errorf("version %d is active after %d logins", active, g.logins.Load())
			}
		})
	}
}

func TestAVersionOfADisabledKeyIsProvenAndHandsNothingOut(t *testing.T) {
	t.Parallel()
	g := &switchingGateway{}
	r := start(t, setup{gateway: g})
	r.importedNoon(t, "n")
	must(t, importVersion(t, r))
	must(t, disableKey(t, r))
	out, err := r.admin.ActivateKeyVersion(as(t, operator), &adminv1.ActivateKeyVersionRequest{Name: "n", Version: 2})
	must(t, err)
	if !out.GetLoggedIn() || g.logins.Load() != 1 || len(r.server.Sessions()) != 0 {
		t.Errorf("logged in: %t, %d logins, %d sessions are kept", out.GetLoggedIn(), g.logins.Load(), len(r.server.Sessions()))
	}
	must(t, enableKey(t, r))
	session, err := r.session(t, "n", "")
	must(t, err)
	if session.GetKeyVersion() != 2 {
		t.Errorf("the session is of version %d", session.GetKeyVersion())
	}
}

func TestWhatChangesDuringAProofIsNotProven(t *testing.T) {
	t.Parallel()
	freeze := func(t *testing.T, r *rig) error { r.freeze(t, "a test"); return nil }
	for _, tt := range []struct {
		name   string
		change keyChange
		code   codes.Code
		reason string
	}{
		{"labels", editLabels, codes.Aborted, "CONFLICT"},
		{"another version", importVersion, codes.Aborted, "CONFLICT"},
		{"all is frozen", freeze, codes.Unavailable, "FROZEN"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sent, release := make(chan struct{}), make(chan struct{})
			g := &switchingGateway{}
			r := start(t, setup{gateway: g})
			r.importedNoon(t, "n")
			must(t, importVersion(t, r))
			g.is(func(req *http.Request) (*http.Response, error) {
				close(sent)
				<-release
				return loggedIn(req)
			})
			got := make(chan error, 1)
			go func() { got <- activate(2)(t, r) }()
			<-sent
			must(t, tt.change(t, r))
			close(release)
			checkRefused(t, <-got, tt.code, tt.reason)
			if active := r.active(t); active != 1 || len(r.server.Sessions()) != 0 {
				t.Errorf("version %d is active, %d sessions are kept", active, len(r.server.Sessions()))
			}
		})
	}
}

func TestAnActivationsLoginIsOnRecordAndSoIsItsAbsence(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNoon(t, "n")
	must(t, importVersion(t, r))
	said := func(change keyChange) string {
		before := len(r.records(t))
		must(t, change(t, r))
		var out []string
		for _, record := range r.records(t)[before:] {
			if record.Version == 0 || record.Key != "n" {
				t.Errorf("on record is %+v", record)
			}
			out = append(out, strings.TrimSpace(string(record.Kind)+" "+record.Operation+" "+record.Note))
		}
		return strings.Join(out, ", ")
	}
	if got, want := said(activate(2)), "intention ActivateKeyVersion, intention NoonLogin, login NoonLogin, call ActivateKeyVersion"; got != want {
		t.Errorf("on record is %s", got)
	}
	if got, want := said(activateUnproven(1)), "intention ActivateKeyVersion without a login, call ActivateKeyVersion without a login"; got != want {
		t.Errorf("on record is %s", got)
	}
	for _, record := range r.records(t) {
		if record.Kind == audit.KindLogin && record.Version != 2 {
			t.Errorf("a login of version %d is on record", record.Version)
		}
	}
}

// localNoon is a partner that knows the given keys of the account, without sockets.
func localNoon(t *testing.T, keyIDs ...string) (*partners.Noon, gatewayFunc) {
	t.Helper()
	key, err := noonKey()
	must(t, err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	must(t, err)
	partner := partners.NewNoon(newClock().Now)
	for _, id := range keyIDs {
		must(t, partner.Register(id, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), "PRJ12345"))
	}
	return partner, func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		partner.ServeHTTP(w, r)
		answer := w.Result()
		answer.Request = r
		return answer, nil
	}
}

// whoami asks the partner for the account that a session's headers are for.
func whoami(t *testing.T, partner http.Handler, headers map[string]string) string {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/identity/v1/whoami", http.NoBody)
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	partner.ServeHTTP(w, r)
	var answer struct{ Account string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Error(err)
	}
	return answer.Account
}

// The session of a proof is what callers get, whether they come before or after the activation is answered.
func TestNoCallFailsWhileANoonKeyIsRotatedAndRolledBack(t *testing.T) {
	t.Parallel()
	partner, gateway := localNoon(t, "key-1", "key-2")
	r := start(t, setup{gateway: gateway})
	r.importedNoon(t, "n")
	_, err := r.admin.ImportKeyVersion(as(t, operator), &adminv1.ImportKeyVersionRequest{
		Name: "n", Material: map[string][]byte{"credentials": noonFileOf(t, "key-2")}})
	must(t, err)

	const callers = 64
	var all, begun sync.WaitGroup
	begun.Add(callers)
	stop := make(chan struct{})
	for range callers {
		all.Go(func() {
			first := sync.OnceFunc(begun.Done)
			defer first()
			for {
				out, err := r.session(t, "n", "")
				if err != nil {
					t.Errorf("a call failed during the rotation: %v", err)
					return
				}
				if account := whoami(t, partner, out.GetHeaders()); account != [...]string{"", "key-1", "key-2"}[out.GetKeyVersion()] {
					t.Errorf("version %d has a session of %q", out.GetKeyVersion(), account)
					return
				}
				first()
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	begun.Wait()
	for i, version := range []uint32{2, 1} {
		out, err := r.admin.ActivateKeyVersion(as(t, operator), &adminv1.ActivateKeyVersionRequest{Name: "n", Version: version})
		must(t, err)
		session, err := r.session(t, "n", "")
		must(t, err)
		if !out.GetLoggedIn() || session.GetKeyVersion() != version {
			t.Errorf("after version %d was activated, %d has the session", version, session.GetKeyVersion())
		}
		if got := partner.Logins(); got != 2+i {
			t.Errorf("%d logins, want %d: the one that proved it serves callers too", got, 2+i)
		}
	}
	close(stop)
	all.Wait()
	if got := partner.Logins(); got != 3 {
		t.Errorf("%d logins in all, want 3", got)
	}
}
