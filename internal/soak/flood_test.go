package soak

import (
	"context"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/signerd/signerd/audit"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/internal/certtest"
)

const (
	signingCaller  = "spiffe://soak.test/signing"
	floodingCaller = "spiffe://soak.test/flooding"
	signers        = 4
	// mostGrowth is what all that the flooding caller does may add to the log.
	mostGrowth = 10 << 20
)

// flood is how one caller floods signerd, and how much of its throughput another one keeps.
type flood struct {
	connections, outstanding int
	calls                    int64
	leastShare               float64
}

func TestAFloodOfRefusedCallsNeitherFillsTheLogNorStopsOtherCallers(t *testing.T) {
	alone, calls, more := int64(500), int64(20_000), int64(5000)
	if soak {
		alone, calls, more = 10_000, 1_000_000, 100_000
	}
	for _, f := range []flood{
		{4, 512, calls, 0.8},
		{10, 2048, more, 0.5}, // more than a caller may have under way
	} {
		t.Run(fmt.Sprintf("%d at once", f.outstanding), func(t *testing.T) { f.test(t, alone) })
	}
}

// test has another caller sign before, during and after the flood; alone is how often, before and after.
func (f flood) test(t *testing.T, alone int64) {
	s, signing, flooding := installTLS(t)
	s.start(t)
	s.serving(t)
	admin := s.dial(t, "admin.sock")
	setFirstPolicy(t, admin, signingCaller, fmt.Sprintf("unix:uid=%d", os.Geteuid()))
	importNOAH(t, admin, "es384", elliptic.P384())

	callers := []*grpc.ClientConn{signing(), signing()}
	s.sign(t, callers, alone/5, nil) // until everything is warm
	before := s.sign(t, callers, alone, nil)
	empty := folderBytes(t, s.path("audit"))
	over, share := make(chan struct{}), make(chan rate, 1)
	var signingOn sync.WaitGroup
	t.Cleanup(signingOn.Wait) // whatever fails before it is over
	signingOn.Go(func() { share <- s.sign(t, callers, 0, over) })
	began, idle := time.Now(), s.cpu(t)
	denied, excess := f.run(t, flooding)
	took, used := time.Since(began), s.cpu(t)-idle
	close(over)
	during := <-share
	s.verify(t, admin)
	full := folderBytes(t, s.path("audit"))
	after := s.sign(t, callers, alone, nil)
	s.stop(t)

	var refused, counted uint64
	var bytes, records int
	for _, r := range readLog(t, s.path("audit"), 0) {
		if r.Caller != floodingCaller {
			continue
		}
		records++
		bytes += r.bytes
		switch {
		case r.Kind == audit.KindExcess:
			counted += r.Excess.Calls
		case r.Kind == audit.KindCall && r.Code == codes.PermissionDenied.String() && r.Reason == "DENIED" && r.Decision == "deny":
			refused++
		default:
			t.Errorf("on record is %+v", r.Record)
		}
	}
	t.Logf("%d refused calls in %v (%.0f/s): %d answered and recorded one by one, %d together",
		f.calls, took.Round(time.Millisecond), float64(f.calls)/took.Seconds(), refused, counted)
	t.Logf("the log grew by %s in %d records of the flooding caller; its folder, with everybody's, by %s",
		mebibytes(bytes), records, mebibytes(full-empty))
	t.Logf("signatures: %v alone, %v during the flood (%.1f %%), %v afterwards; signerd's CPU during the flood: %.2f cores",
		before, during, 100*during.perSecond/before.perSecond, after, used.Seconds()/took.Seconds())
	if denied != refused || excess != counted || denied+excess != uint64(f.calls) {
		t.Errorf("of %d calls, %d were denied and %d were in excess; on record are %d and %d", f.calls, denied, excess, refused, counted)
	}
	if bytes >= mostGrowth {
		t.Errorf("the flood added %d bytes to the log", bytes)
	}
	if soak && during.perSecond < f.leastShare*before.perSecond {
		t.Errorf("another caller kept %.1f %% of its throughput", 100*during.perSecond/before.perSecond)
	}
}

// installTLS makes a signerd that also serves over TLS, and gives what connects two callers to it.
func installTLS(t *testing.T) (s *signerd, signing, flooding func() *grpc.ClientConn) {
	t.Helper()
	clients, servers := certtest.NewAuthority(t, "clients", time.Now()), certtest.NewAuthority(t, "servers", time.Now())
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, free.Close())
	s = install(t, fmt.Sprintf(`audit: {dir: audit}
tls: {address: %q, certificate: server.pem, key: server.key, client_ca: ca.pem}`, free.Addr()))
	server := servers.Server(t)
	for name, content := range map[string][]byte{"server.pem": server.Certificate, "server.key": server.KeyPEM, "ca.pem": clients.PEM()} {
		must(t, os.WriteFile(s.path(name), content, 0o600))
	}
	roots := x509.NewCertPool()
	roots.AddCert(servers.Certificate)
	caller := func(name string) func() *grpc.ClientConn {
		config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{clients.Client(t, name).TLS(t)}}
		return func() *grpc.ClientConn {
			return dial(t, "passthrough:///"+free.Addr().String(), credentials.NewTLS(config))
		}
	}
	return s, caller(signingCaller), caller(floodingCaller)
}

// rate is how fast answers came.
type rate struct{ perSecond float64 }

func (r rate) String() string { return fmt.Sprintf("%.0f/s", r.perSecond) }

// sign has the signing callers sign one request after the other, so many times or, with over, until that is closed.
func (s *signerd) sign(t *testing.T, conns []*grpc.ClientConn, times int64, over <-chan struct{}) rate {
	request := &signerdv1.SignNoahRequestRequest{Key: "es384", Method: "GET", Path: "/v1/things"}
	var calling sync.WaitGroup
	var begun, done atomic.Int64
	began := time.Now()
	for i := range signers {
		client := signerdv1.NewSignerServiceClient(conns[i%len(conns)])
		calling.Go(func() {
			for over != nil || begun.Add(1) <= times {
				select {
				case <-over: // never, where it is nil
					return
				default:
				}
				if _, err := client.SignNoahRequest(t.Context(), request, grpc.WaitForReady(true)); err != nil {
					t.Errorf("another caller than the one that floods hears %v", err)
					return
				}
				done.Add(1)
			}
		})
	}
	calling.Wait()
	return rate{float64(done.Load()) / time.Since(began).Seconds()}
}

// run makes the calls, and says how they were refused.
func (f flood) run(t *testing.T, connect func() *grpc.ClientConn) (denied, excess uint64) {
	t.Helper()
	var conns []*grpc.ClientConn
	for range f.connections {
		conns = append(conns, connect())
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	request := &signerdv1.SignNoahRequestRequest{Key: "es384", Method: "GET", Path: "/v1/things"}
	var calling sync.WaitGroup
	var begun atomic.Int64
	var forbidden, limited atomic.Uint64
	for i := range f.outstanding {
		client := signerdv1.NewSignerServiceClient(conns[i%len(conns)])
		calling.Go(func() {
			for begun.Add(1) <= f.calls && ctx.Err() == nil {
				switch _, err := client.SignNoahRequest(ctx, request, grpc.WaitForReady(true)); status.Code(err) {
				case codes.PermissionDenied:
					forbidden.Add(1)
				case codes.ResourceExhausted:
					limited.Add(1)
				default:
					cancel(fmt.Errorf("the flooding caller hears %w", errors.Join(err, errors.New("which is no refusal"))))
				}
			}
		})
	}
	calling.Wait()
	if ctx.Err() != nil {
		t.Error(context.Cause(ctx))
	}
	return forbidden.Load(), limited.Load()
}
