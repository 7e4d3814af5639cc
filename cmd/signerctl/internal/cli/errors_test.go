package cli

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestRefusalsComeWithAHint(t *testing.T) {
	tests := map[string]struct {
		code codes.Code
		hint string
	}{
		"INVALID_REQUEST":              {codes.InvalidArgument, "correct what is named above; the command's --help shows the form"},
		"NO_IDENTITY":                  {codes.Unauthenticated, "signerd could not tell who you are: on a Unix socket your user id counts, over TLS the client certificate's one name"},
		"DENIED":                       {codes.PermissionDenied, "ask whoever sets the policy for a rule; they can find this call by record rec-1"},
		"KEY_NOT_FOUND":                {codes.NotFound, "`signerctl key list` shows the keys, `signerctl key show orders` one key's versions"},
		"WRONG_SCHEME":                 {codes.FailedPrecondition, "`signerctl key show orders` tells which partner the key is for"},
		"KEY_DISABLED":                 {codes.FailedPrecondition, "`signerctl key show orders` tells what is disabled; `signerctl key enable orders [--version N]` lets it sign again"},
		"VERSION_DESTROYED":            {codes.FailedPrecondition, "its material is gone for good; `signerctl key show orders` tells the other versions, `signerctl key activate orders --version N` makes one sign"},
		"NO_ACTIVE_VERSION":            {codes.FailedPrecondition, "`signerctl key activate orders --version N` makes a version sign; a PENDING one also needs --api-key FILE"},
		"KEY_EXISTS":                   {codes.AlreadyExists, "choose another name, or add a version to the key with `signerctl key rotate orders`"},
		"CONFLICT":                     {codes.Aborted, "the key has changed since you looked: see `signerctl key show orders` and decide again"},
		"RATE_LIMITED":                 {codes.ResourceExhausted, "try again later"},
		"TICKET_REFUSED":               {codes.FailedPrecondition, "a new ticket is needed, and the secrets sealed for it: `signerctl import-ticket --help` tells which ticket goes with which command"},
		"TOO_MANY_TICKETS":             {codes.ResourceExhausted, "tickets are gone when they are used, or their time is over; a restart of signerd drops them all"},
		"FIPS_REFUSED":                 {codes.FailedPrecondition, "import the secrets without sealing them, from a machine that may see them: `signerctl key import --help`"},
		"FROZEN":                       {codes.Unavailable, "an operator has stopped all signing: `signerctl status` tells who and why, `signerctl unfreeze` lets it go on"},
		"STORE_UNAVAILABLE":            {codes.Unavailable, "signerd cannot use its store at the moment; its log and `signerctl status` tell why"},
		"AUDIT_UNAVAILABLE":            {codes.Unavailable, "signerd does nothing it cannot put on record; `signerctl status` tells why it cannot, often a full disk; where records are missing, see `signerctl audit acknowledge --help`"},
		"NOTHING_MISSING":              {codes.FailedPrecondition, "there is nothing to acknowledge; `signerctl audit verify` tells whether anything else is wrong"},
		"UPSTREAM_REJECTED_CREDENTIAL": {codes.FailedPrecondition, "it may be tried again later; if the partner has withdrawn it, `signerctl key rotate orders --credentials FILE` and then `signerctl key activate` bring a new one"},
		"UPSTREAM_UNAVAILABLE":         {codes.Unavailable, "the partner is down, slow or out of signerd's reach; try again later"},
		"INTERNAL":                     {codes.Internal, "the cause is in signerd's log, with record rec-1"},
	}
	for reason := range reasonHints {
		if _, ok := tests[reason]; !ok {
			t.Errorf("the hint for %s is not tested", reason)
		}
	}
	for reason, tt := range tests {
		t.Run(reason, func(t *testing.T) {
			f := serve(t, answers{"EnableKey": refuse(tt.code, reason, "the message")})
			f.run(t, "", "key", "enable", "orders").want(t, 1, "", "signerctl: enabling key orders: the message\nhint: "+tt.hint+"\n")
		})
	}
}

func TestRefusalsNameTheFields(t *testing.T) {
	f := serve(t, answers{"CreateKey": refuse(codes.InvalidArgument, "INVALID_REQUEST", "the request is not valid",
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: "name", Description: "it is too long"},
			{Field: "labels", Description: "it has\na line break"},
		}})})
	f.run(t, "", "key", "create", "orders", "--env", "prod").want(t, 1, "", `signerctl: creating key orders: the request is not valid
  name: it is too long
  "labels: it has\na line break"
hint: correct what is named above; the command's --help shows the form
`)
}

func TestOneWrongFieldIsNamedOnce(t *testing.T) {
	f := serve(t, answers{"GetKey": refuse(codes.InvalidArgument, "INVALID_REQUEST", "name: it is too long",
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "name", Description: "it is too long"}}})})
	f.run(t, "", "key", "show", "orders").want(t, 1, "", "signerctl: showing key orders: name: it is too long\nhint: "+reasonHints["INVALID_REQUEST"]+"\n")
}

func TestRateLimitTellsWhenToTryAgain(t *testing.T) {
	f := serve(t, answers{"SignNoahRequest": refuse(codes.ResourceExhausted, "RATE_LIMITED", "too many requests",
		&errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)})})
	f.run(t, "", "sign", "noah", "orders", "GET", "/").want(t, 1, "",
		"signerctl: signing a request with key orders: too many requests\nhint: try again in 1.5s\n")
}

func TestHintsTellWhenToTryAgain(t *testing.T) {
	for _, tt := range []struct {
		code   codes.Code
		reason string
		delay  time.Duration
		want   string
	}{
		{codes.ResourceExhausted, "RATE_LIMITED", 13*time.Second + time.Nanosecond, "try again in 14s"},
		{codes.ResourceExhausted, "RATE_LIMITED", 9*time.Second + 910*time.Millisecond, "try again in 10s"},
		{codes.ResourceExhausted, "RATE_LIMITED", time.Nanosecond, "try again in 100ms"},
		{codes.ResourceExhausted, "RATE_LIMITED", 0, "try again now"},
		{codes.ResourceExhausted, "RATE_LIMITED", -time.Hour, "try again now"},
		{codes.Unavailable, "UPSTREAM_UNAVAILABLE", 2*time.Second + 123456*time.Microsecond, "the partner is down, slow or out of signerd's reach; try again in 2.2s"},
		{codes.FailedPrecondition, "UPSTREAM_REJECTED_CREDENTIAL", 5*time.Minute + 41*time.Second + 1, "it may be tried again in 5m42s; if the partner has withdrawn it, `signerctl key rotate robot --credentials FILE` and then `signerctl key activate` bring a new one"},
	} {
		t.Run(tt.reason+" "+tt.delay.String(), func(t *testing.T) {
			f := serve(t, answers{"GetNoonSession": refuse(tt.code, tt.reason, "the message", &errdetails.RetryInfo{RetryDelay: durationpb.New(tt.delay)})})
			f.run(t, "", "session", "noon", "robot").want(t, 1, "", "signerctl: getting the session of key robot: the message\nhint: "+tt.want+"\n")
		})
	}
}

// Without a key in hand, hints name none.
func TestHintsWithoutAKey(t *testing.T) {
	f := serve(t, answers{"ListKeys": refuse(codes.Aborted, "CONFLICT", "stale")})
	f.run(t, "", "key", "list").want(t, 1, "",
		"signerctl: listing the keys: stale\nhint: the key has changed since you looked: see `signerctl key show NAME` and decide again\n")
}

func TestRefusalsOfNewerServers(t *testing.T) {
	f := serve(t, answers{
		"GetKey": refuse(codes.FailedPrecondition, "NOT_KNOWN_YET", "something new"),
		"GetStatus": func(context.Context, proto.Message) (proto.Message, error) {
			s, err := status.New(codes.Internal, "from elsewhere").WithDetails(&errdetails.ErrorInfo{Domain: "proxy", Reason: "INTERNAL"})
			if err != nil {
				return nil, err
			}
			return nil, s.Err()
		},
	})
	f.run(t, "", "key", "show", "orders").want(t, 1, "", "signerctl: showing key orders: something new\n")
	f.run(t, "", "status").want(t, 1, "", "signerctl: asking for the status: from elsewhere\n")
}

func TestServicesThatAreElsewhere(t *testing.T) {
	f := serve(t, nil)
	socket := strings.TrimPrefix(f.address, "unix://")
	f.run(t, "", "key", "list").want(t, 1, "", "signerctl: listing the keys: what listens at "+socket+" does not offer this\n"+
		"hint: signerd serves key, policy, audit and status on its admin socket, and may serve sign and session elsewhere: give --address the other one\n")
}

func TestSocketsThatDoNotAnswer(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	listener, err := net.Listen("unix", "left-behind")
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = listener.Close()
	for _, tt := range []struct{ address, want string }{
		{"unix:none", "there is no socket none\nhint: " + hintAddress},
		{"unix://" + filepath.Join(dir, "none"), "there is no socket " + filepath.Join(dir, "none") + "\nhint: " + hintAddress},
		{"unix:left-behind", "nothing listens at left-behind\nhint: " + hintAddress},
	} {
		run(t, "", "--address", tt.address, "status").want(t, 1, "", "signerctl: asking for the status: "+tt.want+"\n")
	}
}

func TestSocketOfOthers(t *testing.T) {
	call := &callError{
		status: status.New(codes.Unavailable, "connection error"),
		dial:   &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)},
		server: endpoint{"unix", "/run/s"},
	}
	message, _, hint := call.explain("")
	if message != "you may not open the socket /run/s" || hint != "`ls -l /run/s` shows who may; ask to join that group" {
		t.Errorf("got %q, %q", message, hint)
	}
}

func TestSocketThatHangsUp(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	r := run(t, "", "--address", "unix://"+socket, "status")
	if r.code != 1 || !strings.HasSuffix(r.stderr, "\nhint: signerd closed the connection; "+hintUnknown+"\n") {
		t.Errorf("exit status %d, stderr %q", r.code, r.stderr)
	}
}

// wait answers when the caller has given up.
func wait(ctx context.Context, _ proto.Message) (proto.Message, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestTimeout(t *testing.T) {
	f := serve(t, answers{"DisableKey": wait})
	f.run(t, "", "key", "disable", "orders", "--timeout", "50ms").want(t, 1, "", "signerctl: disabling key orders: no answer came from "+
		strings.TrimPrefix(f.address, "unix://")+" within 50ms\nhint: "+hintUnknown+"; --timeout sets how long to wait\n")
}

func TestInterrupt(t *testing.T) {
	f := serve(t, answers{"DisableKey": func(ctx context.Context, req proto.Message) (proto.Message, error) {
		// The call is on its way, and so signerctl listens for the signal.
		if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
			return nil, err
		}
		return wait(ctx, req)
	}})
	f.run(t, "", "key", "disable", "orders").want(t, 1, "", "signerctl: disabling key orders: interrupted before an answer came\nhint: "+hintUnknown+"\n")
}

func TestOutputThatCannotBeWritten(t *testing.T) {
	f := serve(t, noahAnswer("apikey_sandbox_k"))
	var stderr strings.Builder
	code := Main(t.Context(), []string{"--address", f.address, "sign", "noah", "orders", "GET", "/"}, strings.NewReader(""), brokenPipe{}, &stderr)
	result{code: code, stderr: stderr.String()}.want(t, 1, "", "signerctl: writing the output: broken pipe\n")
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, syscall.EPIPE }
