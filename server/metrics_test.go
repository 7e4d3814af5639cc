package server_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

// counted is Metrics that remembers.
type counted struct {
	mu         sync.Mutex
	calls      []string
	refused    []string
	shadows    []string
	handshakes chan struct{}
	changed    chan struct{}
}

func (c *counted) Call(operation, code, scheme string, _ time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, operation+" "+code+" "+scheme)
}

func (c *counted) Refused(code string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = append(c.refused, code)
	if c.changed != nil {
		c.changed <- struct{}{}
	}
}

func (c *counted) Shadow(effect string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shadows = append(c.shadows, effect)
}

func (c *counted) Login(string) {}

func (c *counted) HandshakeFailed() {
	if c.handshakes != nil {
		c.handshakes <- struct{}{}
	}
}

func TestEveryRequestIsCountedOnce(t *testing.T) {
	t.Parallel()
	m := &counted{changed: make(chan struct{}, 8)}
	r := start(t, setup{metrics: m})
	r.importedNoba(t, "n")
	sign := func(uid uint32, key string) {
		_, _ = r.signer.ComputeNobaSignature(as(t, uid), &signerdv1.ComputeNobaSignatureRequest{Key: key, Method: "GET", Path: "/v1"})
	}
	sign(operator, "n")
	sign(stranger, "n")
	sign(operator, "absent")
	_, _ = r.signer.ComputeNobaSignature(as(t, operator), &signerdv1.ComputeNobaSignatureRequest{Key: "n", Method: "POST", Path: "/", Body: make([]byte, 5<<20)})
	<-m.changed
	m.mu.Lock()
	defer m.mu.Unlock()
	want := "ImportKey OK |ComputeNobaSignature OK noba|ComputeNobaSignature PermissionDenied |ComputeNobaSignature NotFound "
	if got := strings.Join(m.calls, "|"); got != want {
		t.Errorf("calls %q, want %q", got, want)
	}
	if got := strings.Join(m.refused, "|"); got != "ResourceExhausted" {
		t.Errorf("refused %q", got)
	}
}

func TestUnknownMethodsAreCounted(t *testing.T) {
	t.Parallel()
	m := &counted{changed: make(chan struct{}, 8)}
	r := start(t, setup{metrics: m})
	for _, path := range []string{"/signerd.v1.SignerService/Nothing", "/signerd.v9.Nothing/Nothing"} {
		err := r.conn.Invoke(as(t, operator), path, &signerdv1.GetNoonSessionRequest{}, &signerdv1.GetNoonSessionResponse{})
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v", path, err)
		}
		<-m.changed
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if got := strings.Join(m.refused, "|"); got != "Unimplemented|Unimplemented" || len(m.calls) > 0 {
		t.Errorf("refused %q, calls %q", got, m.calls)
	}
}
