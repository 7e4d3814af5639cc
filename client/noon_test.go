package client_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/signerd/signerd/client"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

// noonClient has a key of its own.
func noonClient(t *testing.T) *http.Client {
	t.Helper()
	name := strings.ToLower(rand.Text())
	if err := importNoonKey(name); err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: roundTripper(t, client.NewNoon, name, client.Config{BaseURLs: []string{noonURL}})}
}

func TestManyRequestsShareALoginAndARejectedSessionIsReplaced(t *testing.T) {
	c := noonClient(t)
	all := func() {
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				resp, err := c.Post(noonURL+"/v1/orders", "application/json", strings.NewReader("{}"))
				if err != nil {
					t.Error(err)
					return
				}
				if a := read(t, resp); resp.StatusCode != http.StatusOK {
					t.Errorf("status %d: %s", resp.StatusCode, a.Reason)
				}
			})
		}
		wg.Wait()
	}
	before := noon.Logins()
	all()
	if n := noon.Logins() - before; n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
	before = noon.Logins()
	noon.Expire()
	all()
	if n := noon.Logins() - before; n != 1 {
		t.Errorf("%d logins after the sessions had ended, want 1", n)
	}
}

func TestABodyThatCannotBeSentAgainIsNotAndTheNextRequestHasANewSession(t *testing.T) {
	c := noonClient(t)
	once := func() int {
		resp, err := c.Post(noonURL+"/v1/orders", "application/json", io.MultiReader(strings.NewReader("{}")))
		if err != nil {
			t.Fatal(err)
		}
		read(t, resp)
		return resp.StatusCode
	}
	if got := once(); got != http.StatusOK {
		t.Fatalf("status %d", got)
	}
	noon.Expire()
	if got := once(); got != http.StatusUnauthorized {
		t.Errorf("status %d, want 401: nothing is left of the body", got)
	}
	if got := once(); got != http.StatusOK {
		t.Errorf("status %d after that", got)
	}
}

func TestAKeyThatNoonRefusesIsAnErrorAndNoAnswer(t *testing.T) {
	c := &http.Client{Transport: roundTripper(t, client.NewNoon, noahKey, client.Config{BaseURLs: []string{noonURL}})}
	_, err := c.Get(noonURL + "/identity/v1/whoami")
	own := (*client.Error)(nil)
	if !errors.As(err, &own) || own.Reason != "WRONG_SCHEME" {
		t.Errorf("got %v", err)
	}
}

// sessionsOf is a signerd that gives the sessions 1, 2, 3… of a gateway, each one good for life.
type sessionsOf struct {
	gateway string
	life    time.Duration
	fixed   bool          // it gives session 1 whatever happens
	arrived chan struct{} // gets a value from each call, where there is one
	hold    chan struct{} // calls wait until it is closed

	mu       sync.Mutex
	rejected []string
	err      error
}

func (s *sessionsOf) Invoke(ctx context.Context, _ string, in, out any, _ ...grpc.CallOption) error {
	if s.hold != nil {
		s.arrived <- struct{}{}
		select {
		case <-s.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rejected = append(s.rejected, in.(*signerdv1.GetNoonSessionRequest).GetRejectedSessionId())
	if s.err != nil {
		return s.err
	}
	id := strconv.Itoa(len(s.rejected))
	if s.fixed {
		id = "1"
	}
	proto.Merge(out.(proto.Message), &signerdv1.GetNoonSessionResponse{
		Headers:   map[string]string{"Cookie": "_npsid=" + id + "; _nprtnetid=n" + id, "User-Agent": "Example/1.0"},
		Cookies:   []*signerdv1.NoonCookie{{Name: "_npsid"}, {Name: "_nprtnetid"}},
		BaseUrl:   s.gateway,
		SessionId: id, ExpireTime: timestamppb.New(time.Now().Add(s.life)),
	})
	return nil
}

func (*sessionsOf) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errBroken
}

func (s *sessionsOf) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.rejected...)
}

// gateway accepts what its function says, and tells what it was sent.
func gateway(t *testing.T, accepts func(*http.Request) bool) (address string, sent func() []http.Header) {
	t.Helper()
	var mu sync.Mutex
	var headers []http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		headers = append(headers, r.Header.Clone())
		mu.Unlock()
		if !accepts(r) {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []http.Header {
		mu.Lock()
		defer mu.Unlock()
		return append([]http.Header(nil), headers...)
	}
}

func everything(*http.Request) bool { return true }
func nothing(*http.Request) bool    { return false }

func newNoon(t *testing.T, s *sessionsOf) *http.Client {
	t.Helper()
	tr, err := client.NewNoon(s, noonKey, client.Config{BaseURLs: []string{s.gateway}})
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: tr}
}

// get gives the status of a request.
func get(t *testing.T, c *http.Client, req *http.Request) int {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func newRequest(t *testing.T, address string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, address+"/v1/x", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestTheSessionsCookiesStandBesideTheRequestsOwn(t *testing.T) {
	address, sent := gateway(t, everything)
	req := newRequest(t, address)
	req.Header["Cookie"] = []string{"lang=en; _npsid=old", "theme=dark"}
	req.Header.Set("User-Agent", "Other/1.0")
	get(t, newNoon(t, &sessionsOf{gateway: address, life: time.Hour}), req)
	h := sent()[0]
	if got, want := strings.Join(h["Cookie"], "|"), "_npsid=1; _nprtnetid=n1; lang=en; theme=dark"; got != want {
		t.Errorf("the cookies are %q, want %q", got, want)
	}
	if got := h.Get("User-Agent"); got != "Example/1.0" {
		t.Errorf("the User-Agent is %q", got)
	}
	if strings.Contains(strings.Join(req.Header["Cookie"], ";"), "n1") {
		t.Error("the caller's request was changed")
	}
}

func TestASessionIsAskedForOnceUntilItExpires(t *testing.T) {
	address, _ := gateway(t, everything)
	for _, tt := range []struct {
		name string
		life time.Duration
		want int
	}{{"one that lasts", time.Hour, 1}, {"one that is over", -time.Second, 3}} {
		t.Run(tt.name, func(t *testing.T) {
			s := &sessionsOf{gateway: address, life: tt.life}
			c := newNoon(t, s)
			for range 3 {
				if got := get(t, c, newRequest(t, address)); got != http.StatusOK {
					t.Errorf("status %d", got)
				}
			}
			if got := s.asked(); len(got) != tt.want || strings.Join(got, "") != "" {
				t.Errorf("signerd was asked %q", got)
			}
		})
	}
}

func TestARequestIsRetriedOnceAfterA401(t *testing.T) {
	notTheFirst := func(r *http.Request) bool {
		c, err := r.Cookie("_npsid")
		return err == nil && c.Value != "1"
	}
	t.Run("with the session that took the rejected one's place", func(t *testing.T) {
		address, sent := gateway(t, notTheFirst)
		s := &sessionsOf{gateway: address, life: time.Hour}
		if got := get(t, newNoon(t, s), newRequest(t, address)); got != http.StatusOK || len(sent()) != 2 {
			t.Errorf("status %d after %d requests", got, len(sent()))
		}
		if got := strings.Join(s.asked(), ","); got != ",1" {
			t.Errorf("signerd was asked about %q", got)
		}
	})
	t.Run("and not a second time", func(t *testing.T) {
		address, sent := gateway(t, nothing)
		if got := get(t, newNoon(t, &sessionsOf{gateway: address, life: time.Hour}), newRequest(t, address)); got != http.StatusUnauthorized || len(sent()) != 2 {
			t.Errorf("status %d after %d requests", got, len(sent()))
		}
	})
	t.Run("but not with the same session", func(t *testing.T) {
		address, sent := gateway(t, nothing)
		s := &sessionsOf{gateway: address, life: time.Hour, fixed: true}
		if got := get(t, newNoon(t, s), newRequest(t, address)); got != http.StatusUnauthorized || len(sent()) != 1 {
			t.Errorf("status %d after %d requests", got, len(sent()))
		}
	})
	t.Run("and the refusal of a new session is the error", func(t *testing.T) {
		address := ""
		s := &sessionsOf{life: time.Hour}
		address, _ = gateway(t, func(*http.Request) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.err = status.Error(codes.Unavailable, "Noon is not available")
			return false
		})
		s.gateway = address
		_, err := newNoon(t, s).Do(newRequest(t, address))
		if st, ok := status.FromError(err); !ok || st.Code() != codes.Unavailable {
			t.Errorf("got %v", err)
		}
	})
}

func TestManyRejectionsOfOneSessionAskSignerdOnce(t *testing.T) {
	address, _ := gateway(t, func(r *http.Request) bool { return !strings.Contains(r.Header.Get("Cookie"), "_npsid=1;") })
	s := &sessionsOf{gateway: address, life: time.Hour}
	c := newNoon(t, s)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got := get(t, c, newRequest(t, address)); got != http.StatusOK {
				t.Errorf("status %d", got)
			}
		})
	}
	wg.Wait()
	if got := strings.Join(s.asked(), ","); got != ",1" {
		t.Errorf("signerd was asked about %q", got)
	}
}

func TestARequestThatGoesAwayDoesNotTakeTheCallForASessionWithIt(t *testing.T) {
	address, _ := gateway(t, everything)
	s := &sessionsOf{gateway: address, life: time.Hour, arrived: make(chan struct{}, 2), hold: make(chan struct{})}
	c := newNoon(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := c.Do(newRequest(t, address).WithContext(ctx))
		gone <- err
	}()
	<-s.arrived
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(s.hold)
	if got := get(t, c, newRequest(t, address)); got != http.StatusOK || len(s.asked()) != 1 {
		t.Errorf("status %d after %d calls", got, len(s.asked()))
	}
}

func TestASessionOfAnotherGatewayIsNotSent(t *testing.T) {
	address, sent := gateway(t, everything)
	tr, err := client.NewNoon(&sessionsOf{gateway: "https://noon-api-gateway.noon.partners", life: time.Hour}, noonKey, client.Config{BaseURLs: []string{address}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.RoundTrip(newRequest(t, address)); !errors.Is(err, client.ErrOtherHost) || len(sent()) != 0 {
		t.Errorf("got %v after %d requests", err, len(sent()))
	}
}
