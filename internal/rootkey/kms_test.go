package rootkey_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	kmsv2 "k8s.io/kms/apis/v2"

	"github.com/signerd/signerd/internal/rootkey"
)

// patience bounds what is not waited for.
const patience = 30 * time.Second

var buildPlugin = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "signerd-kms-file")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "signerd-kms-file")
	out, err := exec.Command("go", "build", "-o", program, "github.com/signerd/signerd/cmd/signerd-kms-file").CombinedOutput()
	if err != nil {
		err = errors.Join(err, errors.New(string(out)))
	}
	return program, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if program, err := buildPlugin(); err == nil {
		_ = os.RemoveAll(filepath.Dir(program))
	}
	os.Exit(code)
}

// plugin is a running signerd-kms-file.
type plugin struct{ program, keys, socket string }

// startPlugin makes a key and starts a process; stop kills it.
func startPlugin(t *testing.T) (p plugin, stop func()) {
	t.Helper()
	program, err := buildPlugin()
	must(t, err)
	dir := t.TempDir()
	p = plugin{program, dir, filepath.Join(dir, "kms.sock")}
	p.rotate(t)
	return p, p.start(t)
}

func (p plugin) rotate(t *testing.T) {
	t.Helper()
	must(t, exec.CommandContext(t.Context(), p.program, "--keys", p.keys, "--rotate").Run())
}

func (p plugin) start(t *testing.T) (stop func()) {
	t.Helper()
	cmd := exec.Command(p.program, "--keys", p.keys, "--socket", p.socket)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	stop = sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	t.Cleanup(stop)
	_, err = bufio.NewReader(out).ReadString('\n')
	must(t, err)
	return stop
}

func openPlugins(t *testing.T) subject {
	one, _ := startPlugin(t)
	two, _ := startPlugin(t)
	return subject{key: rootkey.NewKMS(one.socket, patience), again: rootkey.NewKMS(one.socket, patience), other: rootkey.NewKMS(two.socket, patience)}
}

func TestAPluginThatIsAwayIsUnavailableUntilItComesBack(t *testing.T) {
	p, stop := startPlugin(t)
	k := rootkey.NewKMS(p.socket, patience)
	wrapped, err := k.Wrap(t.Context(), []byte(keyring))
	must(t, err)
	stop()
	for what, err := range map[string]error{
		"Wrap":   second(k.Wrap(t.Context(), []byte(keyring))),
		"Unwrap": second(k.Unwrap(t.Context(), wrapped)),
		"Status": second(k.Status(t.Context())),
	} {
		if !isUnavailable(err) || isWrongKey(err) || !strings.Contains(err.Error(), p.socket) {
			t.Errorf("%s: %v", what, err)
		}
	}
	p.start(t)
	if got, err := k.Unwrap(t.Context(), wrapped); err != nil || string(got) != keyring {
		t.Errorf("afterwards it unwraps as %q (%v)", got, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestWhatAnotherPluginsKeyWrappedIsToldApart(t *testing.T) {
	one, _ := startPlugin(t)
	two, _ := startPlugin(t)
	wrapped, err := rootkey.NewKMS(one.socket, patience).Wrap(t.Context(), []byte(keyring))
	must(t, err)
	if _, err := rootkey.NewKMS(two.socket, patience).Unwrap(t.Context(), wrapped); !isWrongKey(err) {
		t.Errorf("it is refused with %v", err)
	}
}

func TestANewKeyIDIsNoticedAndTheOldKeyStillUnwraps(t *testing.T) {
	p, stop := startPlugin(t)
	k := rootkey.NewKMS(p.socket, patience)
	wrapped, err := k.Wrap(t.Context(), []byte(keyring))
	must(t, err)
	before, err := k.Status(t.Context())
	must(t, err)
	if k.KeyID() != before {
		t.Errorf("the keyring's key_id is %q, the plugin's %q", k.KeyID(), before)
	}

	type said struct {
		keyID string
		well  bool
	}
	ticks, told := make(chan time.Time), make(chan said, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		k.Watch(ctx, ticks, func(keyID string, err error) { told <- said{keyID, err == nil} })
	}()
	ticks <- time.Time{} // nothing has changed
	ticks <- time.Time{}
	if len(told) > 0 {
		t.Errorf("it tells %+v though nothing has changed", <-told)
	}
	p.rotate(t)
	ticks <- time.Time{}
	after := <-told
	if after.keyID == before || after.keyID == "" || !after.well {
		t.Errorf("after a rotation it tells %+v", after)
	}
	stop()
	ticks <- time.Time{}
	if got := <-told; got.well {
		t.Errorf("of a dead plugin it tells %+v", got)
	}
	p.start(t)
	ticks <- time.Time{}
	if got := <-told; got != after {
		t.Errorf("of one that is back it tells %+v", got)
	}
	cancel()
	<-ended
	if got, err := k.Unwrap(t.Context(), wrapped); err != nil || string(got) != keyring || k.KeyID() != before {
		t.Errorf("after the rotation it unwraps as %q (%v)", got, err)
	}
}

// rude is a plugin that answers what a test wants.
type rude struct {
	kmsv2.UnimplementedKeyManagementServiceServer
	status  *kmsv2.StatusResponse
	encrypt *kmsv2.EncryptResponse
	decrypt *kmsv2.DecryptResponse
	refuse  error
	// asked is what Decrypt was asked for last.
	asked *kmsv2.DecryptRequest
}

func (r *rude) Status(context.Context, *kmsv2.StatusRequest) (*kmsv2.StatusResponse, error) {
	return r.status, nil
}

func (r *rude) Encrypt(_ context.Context, in *kmsv2.EncryptRequest) (*kmsv2.EncryptResponse, error) {
	if r.decrypt == nil {
		r.decrypt = &kmsv2.DecryptResponse{Plaintext: in.GetPlaintext()}
	}
	return r.encrypt, r.refuse
}

func (r *rude) Decrypt(_ context.Context, in *kmsv2.DecryptRequest) (*kmsv2.DecryptResponse, error) {
	r.asked = in
	return r.decrypt, r.refuse
}

func polite() *rude {
	return &rude{
		status:  &kmsv2.StatusResponse{Version: "v2", Healthz: "ok", KeyId: "k"},
		encrypt: &kmsv2.EncryptResponse{Ciphertext: []byte("c"), KeyId: "k", Annotations: map[string][]byte{"a.example": []byte("1")}},
	}
}

func serveKMS(t *testing.T, r kmsv2.KeyManagementServiceServer) *rootkey.KMS {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	must(t, err)
	s := grpc.NewServer()
	kmsv2.RegisterKeyManagementServiceServer(s, r)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return rootkey.NewKMS(socket, patience)
}

func TestAPluginsAnnotationsAndKeyIDAreGivenBack(t *testing.T) {
	r := polite()
	k := serveKMS(t, r)
	wrapped, err := k.Wrap(t.Context(), []byte(keyring))
	must(t, err)
	if _, err := k.Unwrap(t.Context(), wrapped); err != nil || r.asked.GetKeyId() != "k" || string(r.asked.GetAnnotations()["a.example"]) != "1" || r.asked.GetUid() == "" {
		t.Errorf("the plugin was asked for %v (%v)", r.asked, err)
	}
}

func TestAPluginThatBreaksTheProtocolWrapsNothing(t *testing.T) {
	for name, change := range map[string]func(*rude){
		"another version":         func(r *rude) { r.status.Version = "v1beta1" },
		"not well":                func(r *rude) { r.status.Healthz = "secret details" },
		"no key_id in its status": func(r *rude) { r.status.KeyId = "" },
		"no key_id":               func(r *rude) { r.encrypt.KeyId = "" },
		"a long key_id":           func(r *rude) { r.encrypt.KeyId = strings.Repeat("k", 1024) },
		"no ciphertext":           func(r *rude) { r.encrypt.Ciphertext = nil },
		"a long ciphertext":       func(r *rude) { r.encrypt.Ciphertext = make([]byte, 1024) },
		"a short annotation name": func(r *rude) { r.encrypt.Annotations = map[string][]byte{"a": nil} },
		"long annotations":        func(r *rude) { r.encrypt.Annotations = map[string][]byte{"a.example": make([]byte, 32<<10)} },
		"a longer answer":         func(r *rude) { r.encrypt.Annotations = map[string][]byte{"a.example": make([]byte, 128<<10)} },
		"a lost key":              func(r *rude) { r.decrypt = &kmsv2.DecryptResponse{Plaintext: make([]byte, 32)} },
		"an error":                func(r *rude) { r.refuse = status.Error(codes.Unavailable, "secret details") },
	} {
		r := polite()
		change(r)
		wrapped, err := serveKMS(t, r).Wrap(t.Context(), []byte(keyring))
		if err == nil || wrapped != nil || strings.Contains(err.Error(), "secret details") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// openPlugin answers what it was asked to encrypt.
type openPlugin struct {
	rude
	answer func(plaintext []byte) *kmsv2.EncryptResponse
}

func (p *openPlugin) Encrypt(_ context.Context, in *kmsv2.EncryptRequest) (*kmsv2.EncryptResponse, error) {
	p.decrypt = &kmsv2.DecryptResponse{Plaintext: in.GetPlaintext()}
	return p.answer(in.GetPlaintext()), nil
}

func TestAPluginThatDoesNotEncryptWrapsNothing(t *testing.T) {
	for name, answer := range map[string]func([]byte) *kmsv2.EncryptResponse{
		"plaintext": func(b []byte) *kmsv2.EncryptResponse { return &kmsv2.EncryptResponse{Ciphertext: b} },
		"plaintext in between": func(b []byte) *kmsv2.EncryptResponse {
			return &kmsv2.EncryptResponse{Ciphertext: slices.Concat([]byte("v1"), b, []byte("!"))}
		},
		"plaintext in base64": func(b []byte) *kmsv2.EncryptResponse {
			return &kmsv2.EncryptResponse{Ciphertext: base64.StdEncoding.AppendEncode([]byte("v1:"), b)}
		},
		"plaintext in annotation": func(b []byte) *kmsv2.EncryptResponse {
			return &kmsv2.EncryptResponse{Ciphertext: []byte("c"), Annotations: map[string][]byte{"a.example": b}}
		},
	} {
		p := &openPlugin{*polite(), func(b []byte) *kmsv2.EncryptResponse {
			out := answer(b)
			out.KeyId = "k"
			return out
		}}
		if wrapped, err := serveKMS(t, p).Wrap(t.Context(), []byte(keyring)); err == nil || wrapped != nil {
			t.Errorf("%s: it wraps %d bytes, from which anybody unwraps the keyring", name, len(wrapped))
		}
	}
}

func TestAPluginsRefusalIsJudgedByItsCodeAndItsStatus(t *testing.T) {
	for _, tt := range []struct {
		name        string
		code        codes.Code
		status      *kmsv2.StatusResponse
		unavailable bool
		wrong       bool
	}{
		{"down", codes.Unavailable, polite().status, true, false},
		{"not allowed", codes.PermissionDenied, polite().status, true, false},
		{"refused, and not well", codes.Unknown, &kmsv2.StatusResponse{Version: "v2", Healthz: "no"}, true, false},
		{"refused by another key", codes.InvalidArgument, &kmsv2.StatusResponse{Version: "v2", Healthz: "ok", KeyId: "other"}, false, true},
		{"failed, and says that it is well", codes.Unknown, polite().status, true, false},
		{"failed inside, and says that it is well", codes.Internal, polite().status, true, false},
		{"failed after its key was rotated", codes.Unknown, &kmsv2.StatusResponse{Version: "v2", Healthz: "ok", KeyId: "other"}, true, false},
		{"refused by the same key", codes.InvalidArgument, polite().status, false, false},
	} {
		r := polite()
		k := serveKMS(t, r)
		wrapped, err := k.Wrap(t.Context(), []byte(keyring))
		must(t, err)
		r.refuse, r.status = status.Error(tt.code, "secret details"), tt.status
		_, err = k.Unwrap(t.Context(), wrapped)
		if err == nil || isUnavailable(err) != tt.unavailable || isWrongKey(err) != tt.wrong || strings.Contains(err.Error(), "secret details") {
			t.Errorf("%s: %v (unavailable %t, wrong key %t)", tt.name, err, isUnavailable(err), isWrongKey(err))
		}
	}
}
