package server_test

import (
	"net/http"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

// keyChange is a change of the key n, as an operator makes it.
type keyChange func(t *testing.T, r *rig) error

func disableKey(t *testing.T, r *rig) error {
	_, err := r.admin.DisableKey(as(t, operator), &adminv1.DisableKeyRequest{Name: "n"})
	return err
}

func enableKey(t *testing.T, r *rig) error {
	_, err := r.admin.EnableKey(as(t, operator), &adminv1.EnableKeyRequest{Name: "n"})
	return err
}

func disableVersion(t *testing.T, r *rig) error {
	_, err := r.admin.DisableKeyVersion(as(t, operator), &adminv1.DisableKeyVersionRequest{Name: "n", Version: 1})
	return err
}

func enableVersion(t *testing.T, r *rig) error {
	_, err := r.admin.EnableKeyVersion(as(t, operator), &adminv1.EnableKeyVersionRequest{Name: "n", Version: 1})
	return err
}

func importVersion(t *testing.T, r *rig) error {
	_, err := r.admin.ImportKeyVersion(as(t, operator), &adminv1.ImportKeyVersionRequest{Name: "n", Material: map[string][]byte{"credentials": noonFile(t)}})
	return err
}

func activate(version uint32) keyChange {
	return func(t *testing.T, r *rig) error {
		_, err := r.admin.ActivateKeyVersion(as(t, operator), &adminv1.ActivateKeyVersionRequest{Name: "n", Version: version})
		return err
	}
}

func editLabels(t *testing.T, r *rig) error {
	_, err := r.admin.UpdateKey(as(t, operator), &adminv1.UpdateKeyRequest{Name: "n", Labels: map[string]string{"team": "orders"}})
	return err
}

func TestWhatEndsASessionAndWhatDoesNot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		changes []keyChange
		ends    bool
	}{
		{"labels", []keyChange{editLabels}, false},
		{"a version beside the active one", []keyChange{importVersion}, false},
		{"enabling what is enabled", []keyChange{editLabels, enableKey, enableVersion}, false},
		{"activating what is active", []keyChange{editLabels, activate(1)}, false},
		{"the key disabled and enabled", []keyChange{disableKey, enableKey}, true},
		{"the version disabled and enabled", []keyChange{disableVersion, enableVersion}, true},
		{"another version", []keyChange{importVersion, activate(2)}, true},
		{"another version and back", []keyChange{importVersion, activate(2), activate(1)}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var logins atomic.Int32
			r := start(t, setup{gateway: gatewayFunc(func(req *http.Request) (*http.Response, error) {
				logins.Add(1)
				return loggedIn(req)
			})})
			r.importedNoon(t, "n")
			first, err := r.session(t, "n", "")
			must(t, err)
			for _, change := range tt.changes {
				must(t, change(t, r))
			}
			second, err := r.session(t, "n", "")
			must(t, err)
			if ended := second.GetSessionId() != first.GetSessionId(); ended != tt.ends || (logins.Load() == 2) != tt.ends {
				t.Errorf("another session: %t after %d logins, want %t", ended, logins.Load(), tt.ends)
			}
		})
	}
}

func TestADisabledKeyHasNoSession(t *testing.T) {
	t.Parallel()
	for name, disable := range map[string]keyChange{"key": disableKey, "version": disableVersion} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, setup{})
			r.importedNoon(t, "n")
			_, err := r.session(t, "n", "")
			must(t, err)
			must(t, disable(t, r))
			if kept := r.server.Sessions(); len(kept) != 0 {
				t.Errorf("%d sessions are kept", len(kept))
			}
			_, err = r.session(t, "n", "")
			checkRefused(t, err, codes.FailedPrecondition, "KEY_DISABLED")
		})
	}
}

// A change that cannot be anchored is not acknowledged, and holds all the same.
func TestADisablingThatIsNotAcknowledgedEndsTheSession(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNoon(t, "n")
	_, err := r.session(t, "n", "")
	must(t, err)
	r.anchor.broken.Store(true)
	checkRefused(t, disableKey(t, r), codes.Unavailable, "STORE_UNAVAILABLE")
	r.anchor.broken.Store(false)
	if kept := r.server.Sessions(); len(kept) != 0 {
		t.Errorf("%d sessions are kept", len(kept))
	}
}

func TestNothingIsHandedOutOfALoginThatAChangeOvertook(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		changes []keyChange
		code    codes.Code // OK: the session is handed out
		reason  string
	}{
		{"the key is disabled", []keyChange{disableKey}, codes.FailedPrecondition, "KEY_DISABLED"},
		{"the version is disabled", []keyChange{disableVersion}, codes.FailedPrecondition, "KEY_DISABLED"},
		{"the key is disabled and enabled", []keyChange{disableKey, enableKey}, codes.Unavailable, "UPSTREAM_UNAVAILABLE"},
		{"another version is activated", []keyChange{importVersion, activate(2)}, codes.Unavailable, "UPSTREAM_UNAVAILABLE"},
		{"labels are edited", []keyChange{editLabels, importVersion}, codes.OK, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sent, release := make(chan struct{}, 1), make(chan struct{})
			r := start(t, setup{gateway: gatewayFunc(func(req *http.Request) (*http.Response, error) {
				sent <- struct{}{}
				<-release
				return loggedIn(req)
			})})
			r.importedNoon(t, "n")
			type answer struct {
				out *signerdv1.GetNoonSessionResponse
				err error
			}
			got := make(chan answer, 1)
			go func() {
				out, err := r.session(t, "n", "")
				got <- answer{out, err}
			}()
			<-sent
			for _, change := range tt.changes {
				if err := change(t, r); err != nil {
					t.Error(err)
				}
			}
			close(release)
			a := <-got
			if tt.code == codes.OK {
				must(t, a.err)
				return
			}
			checkRefused(t, a.err, tt.code, tt.reason)
			if kept := r.server.Sessions(); len(kept) != 0 || a.out != nil {
				t.Errorf("%d sessions are kept, and the answer is %v", len(kept), a.out)
			}
		})
	}
}

func TestAKeyWhoseGatewayIsNotListedLogsInNowhere(t *testing.T) {
	t.Parallel()
	r := start(t, setup{gateway: gatewayFunc(func(req *http.Request) (*http.Response, error) {
		t.Errorf("a login is sent to %s", req.URL.Host)
		return loggedIn(req)
	})})
	r.imported(t, "n", "noon", prod, map[string][]byte{"credentials": noonFile(t), "base_url": []byte("http://127.0.0.1:1")})
	// More often than logins may be made.
	for range 5 {
		_, err := r.session(t, "n", "")
		checkRefused(t, err, codes.FailedPrecondition, "KEY_DISABLED")
		if delay := retryDelay(err); delay != 0 {
			t.Errorf("RetryInfo says %v, and no wait helps", delay)
		}
	}
}
