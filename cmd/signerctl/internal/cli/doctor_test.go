package cli

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crypto/tls"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/internal/certtest"
)

const (
	sessionCookie = "_npsid=a-cookie-that-nobody-may-see"
	freshCookie   = "_npsid=another-cookie-that-nobody-may-see"
)

// tlsPartner serves TLS on loopback and gives its address and a file with its authority.
func tlsPartner(t *testing.T, handler http.HandlerFunc) (address, authorities string) {
	t.Helper()
	authority := certtest.NewAuthority(t, "Test Authority", time.Now())
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{authority.Issue(t, func(c *x509.Certificate) {
		c.DNSNames = []string{"localhost"}
		c.IPAddresses = authority.Server(t).Leaf.IPAddresses
	}).TLS(t)}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL, writeFile(t, string(authority.PEM()))
}

// doctorKey is a key that is well; edit changes what is wrong with it.
func doctorKey(scheme string, edit func(*adminv1.Key)) *adminv1.GetKeyResponse {
	k := &adminv1.Key{
		Name: "shop", Scheme: scheme, Environment: adminv1.Environment_ENVIRONMENT_SANDBOX, Enabled: true, ActiveVersion: 2,
		Versions: []*adminv1.KeyVersion{
			{Number: 1, State: adminv1.KeyVersionState_KEY_VERSION_STATE_DESTROYED, Algorithm: "ES384"},
			{Number: 2, State: adminv1.KeyVersionState_KEY_VERSION_STATE_ENABLED, Algorithm: "ES384"}},
	}
	if edit != nil {
		edit(k)
	}
	return &adminv1.GetKeyResponse{Key: k}
}

var well = give(&adminv1.GetStatusResponse{Serving: true, Version: "1.2.3"})

func TestDoctorFindsAKeyThatIsWell(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "")
	t.Setenv("https_proxy", "")
	address, authorities := tlsPartner(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	f := serve(t, answers{"GetStatus": well, "GetKey": give(doctorKey("noba", nil))})
	r := f.run(t, "", "doctor", "shop", "--partner-url", address, "--partner-ca", authorities)
	if r.code != 0 || r.stderr != "" {
		t.Errorf("%+v", r)
	}
	for _, line := range []string{
		"ok       signerd  it serves, version 1.2.3\n",
		"ok       key      noba, sandbox, enabled\n",
		"ok       version  version 2 is active (ES384)\n",
		"ok       expiry   no expiry date of version 2 is noted\n",
		"ok       proxy    none\n",
		"skipped  dns      127.0.0.1 is an address, not a name\n",
		"ok       tls      TLS 1.3, certificate of 127.0.0.1 from Test Authority, valid until ",
		"ok       clock    this machine and the partner differ by 5s at most\n",
	} {
		if !strings.Contains(r.stdout, line) {
			t.Errorf("no %q in\n%s", line, r.stdout)
		}
	}
}

func TestDoctorFindsWhatIsWrongWithAKey(t *testing.T) {
	address, authorities := tlsPartner(t, func(http.ResponseWriter, *http.Request) {})
	state := func(s adminv1.KeyVersionState) func(*adminv1.Key) {
		return func(k *adminv1.Key) { k.Versions[1].State = s }
	}
	expires := func(in time.Duration) func(*adminv1.Key) {
		return func(k *adminv1.Key) { k.Versions[1].ExpireTime = timestamppb.New(time.Now().Add(in)) }
	}
	for _, tt := range []struct {
		name    string
		status  func(context.Context, proto.Message) (proto.Message, error)
		key     func(context.Context, proto.Message) (proto.Message, error)
		finding string
		advice  string
	}{
		{"disabled", well, give(doctorKey("noah", func(k *adminv1.Key) { k.Enabled = false })), "key: an operator has disabled the key", "signerctl key enable shop"},
		{"no active version", well, give(doctorKey("noah", func(k *adminv1.Key) { k.ActiveVersion = 0 })), "version: no version is active", "signerctl key activate shop --version N"},
		{"active version disabled", well, give(doctorKey("noah", state(adminv1.KeyVersionState_KEY_VERSION_STATE_DISABLED))), "version: version 2 is active, but DISABLED", "signerctl key enable shop --version 2"},
		{"active version to be destroyed", well, give(doctorKey("noah", func(k *adminv1.Key) {
			state(adminv1.KeyVersionState_KEY_VERSION_STATE_DISABLED)(k)
			k.Versions[1].DestroyTime = timestamppb.Now()
		})), "version: version 2 is active, but DISABLED, and is to be destroyed", "signerctl key restore shop --version 2"},
		{"active version destroyed", well, give(doctorKey("noah", state(adminv1.KeyVersionState_KEY_VERSION_STATE_DESTROYED))), "version: version 2 is active, but DESTROYED", "gone for good"},
		{"expiring", well, give(doctorKey("noah", expires(29*24*time.Hour))), "expiry: version 2 expires at the partner at ", "signerctl key rotate shop, then"},
		{"expired", well, give(doctorKey("noba", expires(-time.Hour))), "expiry: version 2 expired at the partner at ", "signerctl key rotate shop with its files"},
		{"frozen", give(&adminv1.GetStatusResponse{Serving: true, Freeze: &adminv1.FreezeState{Reason: "laptop stolen"}}), give(doctorKey("noah", nil)), "signerd: an operator has stopped all signing", "signerctl unfreeze"},
		{"not serving", give(&adminv1.GetStatusResponse{Reason: "waiting for the root key"}), give(doctorKey("noah", nil)), "signerd: it does not serve: waiting for the root key", "signerctl status"},
		{"nothing recorded", give(&adminv1.GetStatusResponse{Serving: true, AuditFault: "disk full"}), give(doctorKey("noah", nil)), "signerd: it hands nothing out, as nothing can be recorded: disk full", "audit acknowledge"},
		{"no such key", well, refuse(codes.NotFound, "KEY_NOT_FOUND", "there is no such key"), "key: it cannot be looked at: there is no such key", "signerctl key list"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := serve(t, answers{"GetStatus": tt.status, "GetKey": tt.key})
			wantOneFault(t, f.run(t, "", "doctor", "shop", "--partner-url", address, "--partner-ca", authorities, "-o", "json"), tt.finding, tt.advice)
		})
	}
}

func TestDoctorSaysWhatToDoAboutASignerdThatHangs(t *testing.T) {
	f := serve(t, answers{"GetStatus": func(ctx context.Context, _ proto.Message) (proto.Message, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	wantOneFault(t, f.run(t, "", "doctor", "shop", "--timeout", "20ms", "-o", "json"), "signerd: it cannot be asked: no answer came from", "see that it is signerd that listens there")
}

// wantOneFault reads the JSON of a doctor that found one fault, given as "CHECK: TEXT".
func wantOneFault(t *testing.T, r result, finding, advice string) {
	t.Helper()
	var report struct {
		Well     bool
		Findings []struct{ Check, Result, Text, Advice string }
	}
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		t.Fatalf("%v\n%+v", err, r)
	}
	if r.code != 1 || report.Well || r.stderr != "signerctl: looking at key shop: 1 fault to be mended, named above\n" {
		t.Errorf("exit status %d, well: %v, stderr %q", r.code, report.Well, r.stderr)
	}
	for _, f := range report.Findings {
		if f.Result == "fault" && (!strings.HasPrefix(f.Check+": "+f.Text, finding) || !strings.Contains(f.Advice, advice)) {
			t.Errorf("found %+v, want %q and the advice %q", f, finding, advice)
		}
	}
}

func TestDoctorSaysThatSignerdCannotBeAsked(t *testing.T) {
	nobody := "unix://" + filepath.Join(t.TempDir(), "s")
	r := run(t, "", "--address", nobody, "doctor", "shop", "-o", "json")
	wantOneFault(t, r, "signerd: it cannot be asked: there is no socket", "is signerd running?")
	if !strings.Contains(r.stdout, "--partner-url URL looks at the way to it all the same") {
		t.Error(r.stdout)
	}
}

// Applications may see their key, and not signerd's status.
func TestDoctorNeedsNoStatus(t *testing.T) {
	address, authorities := tlsPartner(t, func(http.ResponseWriter, *http.Request) {})
	f := serve(t, answers{"GetStatus": refuse(codes.PermissionDenied, "DENIED", "not allowed"), "GetKey": give(doctorKey("noah", nil))})
	if r := f.run(t, "", "doctor", "shop", "--partner-url", address, "--partner-ca", authorities); r.code != 0 || !strings.Contains(r.stdout, "note     signerd      it answers, but not whether it serves: not allowed") {
		t.Errorf("%+v", r)
	}
}

func TestDoctorDoesNotKnowNobasHost(t *testing.T) {
	f := serve(t, answers{"GetStatus": well, "GetKey": give(doctorKey("noba", nil))})
	wantOneFault(t, f.run(t, "", "doctor", "shop", "-o", "json"), "partner: Noba's host is not documented", "--partner-url https://HOST")
}

func TestDoctorTellsAHostOfTheOtherEnvironment(t *testing.T) {
	// The proxy is what answers: nothing is looked up, and nothing leaves this machine.
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(proxy.Close)
	t.Setenv("HTTPS_PROXY", "http://user:letmein@"+proxy.Listener.Addr().String())
	t.Setenv("NO_PROXY", "")
	f := serve(t, answers{"GetStatus": well, "GetKey": give(doctorKey("noah", nil))})
	r := f.run(t, "", "doctor", "shop", "--partner-url", "https://api.noah.com")
	if r.code != 1 || strings.Contains(r.stdout+r.stderr, "letmein") {
		t.Errorf("%+v", r)
	}
	for _, want := range []string{
		"the key is for sandbox, but api.noah.com is the host of prod, which answers 401",
		"requests to api.noah.com go through http://" + proxy.Listener.Addr().String(),
		"the proxy refuses to connect to api.noah.com:443: it answered 403",
	} {
		if !strings.Contains(strings.ReplaceAll(r.stdout, "api.noah.com:443", "api.noah.com"), strings.ReplaceAll(want, "api.noah.com:443", "api.noah.com")) {
			t.Errorf("no %q in\n%s", want, r.stdout)
		}
	}
	// Without --partner-url the host is the environment's own.
	if r := f.run(t, "", "doctor", "shop"); !strings.Contains(r.stdout, "requests go to api.sandbox.noah.com") {
		t.Errorf("%+v", r)
	}
}

func TestDoctorAsksNoonsWhoami(t *testing.T) {
	var base, authorities string
	session := func(id, cookie string) *signerdv1.GetNoonSessionResponse {
		return &signerdv1.GetNoonSessionResponse{SessionId: id, BaseUrl: base, Headers: map[string]string{"Cookie": cookie, "User-Agent": "robot/1.0"}}
	}
	accepts := ""
	base, authorities = tlsPartner(t, func(w http.ResponseWriter, r *http.Request) {
		switch cookie := r.Header.Get("Cookie"); {
		case r.Method == http.MethodHead && cookie == "":
		case r.Method != http.MethodGet || r.URL.Path != "/identity/v1/whoami" || r.Header.Get("User-Agent") != "robot/1.0":
			t.Errorf("asked %s %s %v", r.Method, r.URL, r.Header)
		case !strings.Contains(accepts, cookie):
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	for _, tt := range []struct {
		name, accepts string
		again         func(context.Context, proto.Message) (proto.Message, error)
		code          int
		finding       string
	}{
		{"accepted", sessionCookie, nil, 0, "ok       whoami   the gateway accepts the session\n"},
		{"ended, and another accepted", freshCookie, give(session("ses-2", freshCookie)), 0, "note     whoami   the gateway had ended the session (401); signerd got another, and that is accepted\n"},
		{"both refused", "", give(session("ses-2", freshCookie)), 1, "FAULT    whoami   the gateway refuses the session with 401\n"},
		{"refused here alone", "", give(session("ses-1", sessionCookie)), 1, "FAULT    whoami   the gateway refuses the session with 401 from this machine, and accepts it from signerd's\n"},
		{"no other", "", refuse(codes.FailedPrecondition, "UPSTREAM_REJECTED_CREDENTIAL", "Noon refuses the credential"), 1, "FAULT    whoami   the gateway refuses the session with 401, and signerd has no other: Noon refuses the credential\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			accepts = tt.accepts
			f := serve(t, answers{"GetStatus": well, "GetKey": give(doctorKey("noon", nil)), "GetNoonSession": func(ctx context.Context, m proto.Message) (proto.Message, error) {
				if m.(*signerdv1.GetNoonSessionRequest).GetRejectedSessionId() == "ses-1" {
					return tt.again(ctx, m)
				}
				return session("ses-1", sessionCookie), nil
			}})
			r := f.run(t, "", "doctor", "shop", "--partner-ca", authorities)
			if r.code != tt.code || !strings.Contains(r.stdout, tt.finding) || strings.Contains(r.stdout+r.stderr, "nobody-may-see") {
				t.Errorf("exit status %d, want %q in\n%s%s", r.code, tt.finding, r.stdout, r.stderr)
			}
		})
	}
	t.Run("elsewhere", func(t *testing.T) {
		other, _ := tlsPartner(t, func(_ http.ResponseWriter, r *http.Request) {
			if len(r.Cookies()) > 0 {
				t.Error("the session went to another host")
			}
		})
		f := serve(t, answers{"GetStatus": well, "GetKey": give(doctorKey("noon", nil)), "GetNoonSession": give(session("ses-1", sessionCookie))})
		plain := httptest.NewServer(http.NotFoundHandler())
		t.Cleanup(plain.Close)
		for _, url := range []string{other, plain.URL} {
			if r := f.run(t, "", "doctor", "shop", "--partner-ca", authorities, "--partner-url", url); r.code != 1 {
				t.Errorf("%+v", r)
			}
		}
	})
	t.Run("no login", func(t *testing.T) {
		f := serve(t, answers{"GetStatus": well, "GetKey": give(doctorKey("noon", nil)), "GetNoonSession": refuse(codes.FailedPrecondition, "UPSTREAM_REJECTED_CREDENTIAL", "Noon refuses the credential")})
		r := f.run(t, "", "doctor", "shop", "--partner-ca", authorities, "--partner-url", base, "-o", "json")
		wantOneFault(t, r, "login: signerd has no session: Noon refuses the credential", "signerctl key rotate shop")
	})
	t.Run("no login, and no address", func(t *testing.T) {
		t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // nothing is asked outside
		f := serve(t, answers{"GetStatus": well, "GetKey": give(doctorKey("noon", nil)), "GetNoonSession": refuse(codes.Unavailable, "UPSTREAM_UNAVAILABLE", "Noon is down")})
		r := f.run(t, "", "doctor", "shop")
		if r.code != 1 || !strings.Contains(r.stdout, "without a session it is not known which gateway the key is for; Noon's own is looked at") {
			t.Errorf("%+v", r)
		}
	})
	t.Run("a key that cannot log in", func(t *testing.T) {
		f := serve(t, answers{"GetStatus": well, "GetKey": give(doctorKey("noon", func(k *adminv1.Key) { k.Enabled = false }))})
		wantOneFault(t, f.run(t, "", "doctor", "shop", "--partner-ca", authorities, "--partner-url", base, "-o", "json"), "key: an operator has disabled", "enable")
	})
}

func TestDoctorTakesNoOtherAddresses(t *testing.T) {
	const usage = "usage: signerctl doctor NAME [--partner-url URL] [--partner-ca FILE] [--timeout 10s] [-o text|json]\nhint: `signerctl doctor --help` tells more\n"
	f := serve(t, nil)
	for _, url := range []string{"api.noah.com", "ftp://x", "https://", "https://user:letmein@x", "https://x/path", "https://x?q=letmein", "https://x/#letmein", "https://letmein\x7f"} {
		f.run(t, "", "doctor", "shop", "--partner-url", url).want(t, 2, "", "signerctl: doctor: --partner-url is not of the form https://HOST or https://HOST:PORT\n"+usage)
	}
	f.run(t, "", "doctor", "shop", "--partner-url", "https://127.0.0.1:65536").want(t, 2, "", "signerctl: doctor: the port of --partner-url is larger than 65535\n"+usage)
	f.run(t, "", "doctor").want(t, 2, "", "signerctl: doctor: NAME is missing\n"+usage)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.run(t, "", "doctor", "shop", "--partner-ca", empty).want(t, 1, "", "signerctl: loading --partner-ca: it holds no certificate in PEM\n")
	f.wantRequests(t)
}
