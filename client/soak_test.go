package client_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/signerd/signerd/client"
	"github.com/signerd/signerd/internal/requestgen"
)

// Requests of TestRandomRequestsAreAccepted: of `make test`, and of `make soak-clients`.
const (
	fewRequests  = 2_000
	manyRequests = 100_000
)

// TestRandomRequestsAreAccepted sends what it makes of a seed, which it prints; SEED gives another run the same.
func TestRandomRequestsAreAccepted(t *testing.T) {
	n := fewRequests
	if os.Getenv("SIGNERD_SOAK") == "1" {
		n = manyRequests
	}
	seed := rand.Uint64()
	if text := os.Getenv("SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("SEED=%d gives these %d requests", seed, n)
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.MaxIdleConnsPerHost = 16
	defer base.CloseIdleConnections()
	send := map[string]sender{
		requestgen.NOAH: {noahURL, roundTripper(t, client.NewNOAH, noahKey, client.Config{BaseURLs: []string{noahURL}, Base: base})},
		requestgen.Noba: {nobaURL, roundTripper(t, client.NewNoba, nobaKey, client.Config{BaseURLs: []string{nobaURL}, Base: base,
			Warn: func(_ *http.Request, warnings []string) { t.Errorf("SEED=%d: a warning: %q", seed, warnings) }})},
	}
	requests := make(chan numbered)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for r := range requests {
				if err := send[r.Partner].send(t, r.Request); err != nil {
					t.Errorf("SEED=%d, request %d, %s %s %.300s with a body of %d bytes: %v", seed, r.number, r.Partner, r.Method, r.Target, len(r.Body), err)
				}
			}
		})
	}
	start := time.Now()
	g := requestgen.New(seed)
	for i := range n {
		if t.Failed() {
			break
		}
		requests <- numbered{g.Next(), i}
	}
	close(requests)
	wg.Wait()
	t.Logf("%d requests in %v", n, time.Since(start).Round(time.Second))
}

type numbered struct {
	requestgen.Request
	number int
}

type sender struct {
	base      string
	transport http.RoundTripper
}

// send wants a request accepted, and its target on the wire as it was made.
func (s sender) send(t *testing.T, r requestgen.Request) error {
	req, err := http.NewRequestWithContext(t.Context(), r.Method, s.base+r.Target, bytes.NewReader(r.Body))
	if err != nil {
		return err
	}
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	if a := read(t, resp); resp.StatusCode != http.StatusOK || r.Method != http.MethodHead && a.Target != r.Target {
		return fmt.Errorf("status %d, the target on the wire %q: %s", resp.StatusCode, a.Target, a.Reason)
	}
	return nil
}
