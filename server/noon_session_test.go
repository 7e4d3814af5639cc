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

// activateUnproven does without the login.
func activateUnproven(version uint32) keyChange {
	return func(t *testing.T, r *rig) error {
		_, err := r.admin.ActivateKeyVersion(as(t, operator), &adminv1.ActivateKeyVersionRequest{Name: "n", Version: version, SkipLogin: true})
		return err
	}
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
		logins  int32
	}{
		{"labels", []keyChange{editLabels}, false, 1},
		{"a version beside the active one", []keyChange{importVersion}, false, 1},
		{"enabling what is enabled", []keyChange{editLabels, enableKey, enableVersion}, false, 1},
		{"activating what is active", []keyChange{editLabels, activate(1)}, false, 1},
		{"the key disabled and enabled", []keyChange{disableKey, enableKey}, true, 2},
		{"the version disabled and enabled", []keyChange{disableVersion, enableVersion}, true, 2},
		{"another version", []keyChange{importVersion, activate(2)}, true, 2},
		{"another version and back", []keyChange{importVersion, activate(2), activate(1)}, true, 3},
		{"another version without a login", []keyChange{importVersion, activateUnproven(2)}, true, 2},
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
			if ended := second.GetSessionId() != first.GetSessionId(); ended != tt.ends || logins.Load() != tt.logins {
				t.Errorf("another session: %t after %d logins, want %t after %d", ended, logins.Load(), tt.ends, tt.logins)
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
		reason  string // empty: a session is handed out,
		version uint32 // of this version,
		logins  int32  // after so many logins
	}{
		{"the key is disabled", []keyChange{disableKey}, "KEY_DISABLED", 0, 1},
		{"the version is disabled", []keyChange{disableVersion}, "KEY_DISABLED", 0, 1},
		{"another version is activated", []keyChange{importVersion, activate(2)}, "", 2, 2},
		{"another version is activated without a login", []keyChange{importVersion, activateUnproven(2)}, "", 2, 2},
		{"labels are edited", []keyChange{editLabels, importVersion}, "", 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sent, release := make(chan struct{}), make(chan struct{})
			var logins atomic.Int32
			r := start(t, setup{gateway: gatewayFunc(func(req *http.Request) (*http.Response, error) {
				if logins.Add(1) == 1 {
					close(sent)
					<-release
				}
				return loggedIn(req)
			})})
			r.importedNoon(t, "n")
			type answer struct {
				out *signerdv1.GetNoonSessionResponse
				err error
			}
			const callers = 64
			got := make(chan answer, callers)
			for range callers {
				go func() {
					out, err := r.session(t, "n", "")
					got <- answer{out, err}
				}()
			}
			<-sent
			for _, change := range tt.changes {
				if err := change(t, r); err != nil {
					t.Error(err)
				}
			}
			answers := make([]answer, callers)
			if tt.logins == 1 {
				close(release)
			}
			for i := range answers {
				answers[i] = <-got // whatever becomes of the first login
			}
			if tt.logins > 1 {
				close(release)
			}
			if logins.Load() != tt.logins {
				t.Errorf("%d logins, want %d", logins.Load(), tt.logins)
			}
			for _, a := range answers {
				switch {
				case tt.reason != "":
					checkRefused(t, a.err, codes.FailedPrecondition, tt.reason)
				case a.err != nil || a.out.GetKeyVersion() != tt.version:
					t.Errorf("the session is of version %d, want %d: %v", a.out.GetKeyVersion(), tt.version, a.err)
				}
			}
			if kept := r.server.Sessions(); tt.reason != "" && len(kept) != 0 {
				t.Errorf("%d sessions are kept", len(kept))
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
