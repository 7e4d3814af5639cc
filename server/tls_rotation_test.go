package server_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"

	"github.com/signerd/signerd/internal/certtest"
)

// tlsCallers is how many sign while certificates change.
const tlsCallers = 64

// TestNoRequestFailsWhileCertificatesChange renews the server's certificate under another authority, and then replaces
// the clients' authority the way operators do: trust both, move the clients, trust the new one alone.
func TestNoRequestFailsWhileCertificatesChange(t *testing.T) {
	t.Parallel()
	r := startTLS(t)
	// Clients trust the next server authority before it is used.
	nextServers := certtest.NewAuthority(t, "next servers", r.clock.Now())
	r.roots.AddCert(nextServers.Certificate)
	nextClients := certtest.NewAuthority(t, "next clients", r.clock.Now())

	var inHand atomic.Pointer[tls.Config] // the newest certificate of all callers
	inHand.Store(r.as(t, r.clients.Client(t, orders)))
	rounds := make(chan int)
	stop := make(chan struct{})
	failed, fail := context.WithCancelCause(t.Context())
	defer fail(nil)
	var callers sync.WaitGroup
	for i := range tlsCallers {
		callers.Go(func() {
			if err := signThroughout(t, r.address, &inHand, func() bool {
				select {
				case rounds <- i:
					return true
				case <-stop:
					return false
				}
			}); err != nil {
				fail(fmt.Errorf("caller %d: %w", i, err))
			}
		})
	}
	// Three rounds begun and ended after a change: both an old connection and a new one have met it.
	everybodyMetIt := func() {
		met := make([]int, tlsCallers)
		for left := tlsCallers; left > 0; {
			select {
			case i := <-rounds:
				if met[i]++; met[i] == 3 {
					left--
				}
			case <-failed.Done():
				return
			}
		}
	}
	everybodyMetIt()
	renewed := r.serverCertificate(t, nextServers)
	must(t, r.source.Reload())
	everybodyMetIt()
	r.trust(t, r.clients, nextClients)
	everybodyMetIt()
	inHand.Store(r.as(t, nextClients.Client(t, orders)))
	everybodyMetIt()
	r.trust(t, nextClients)
	everybodyMetIt()
	close(stop)
	callers.Wait()
	must(t, context.Cause(failed))

	conn, err := tls.Dial("tcp", r.address, inHand.Load())
	must(t, err)
	defer func() { _ = conn.Close() }()
	if !conn.ConnectionState().PeerCertificates[0].Equal(renewed.Leaf) {
		t.Error("the old certificate is still shown")
	}
}

// signThroughout signs on a connection that stays and on a new one that then takes its place, round after round.
func signThroughout(t *testing.T, address string, inHand *atomic.Pointer[tls.Config], more func() bool) error {
	var old *grpc.ClientConn
	defer func() {
		if old != nil {
			_ = old.Close()
		}
	}()
	for {
		fresh, err := dialTLS(address, inHand.Load())
		if err != nil {
			return err
		}
		if err := sign(t, fresh); err != nil {
			_ = fresh.Close()
			return fmt.Errorf("on a new connection: %w", err)
		}
		if old != nil {
			err := sign(t, old)
			_ = old.Close()
			if err != nil {
				_ = fresh.Close()
				return fmt.Errorf("on an old connection: %w", err)
			}
		}
		old = fresh
		if !more() {
			return nil
		}
	}
}
