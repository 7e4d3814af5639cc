package noon_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signerd/signerd/upstream/noon"
)

// gateway is a Noon in memory: it counts, and answers as the test says. Virtual time needs a transport without sockets.
// Every sleep in this file is inside synctest, and takes no real time.
type gateway struct {
	mu       sync.Mutex
	logins   []time.Time
	whoamis  int
	accepted bool          // what whoami says
	life     time.Duration // Max-Age of new cookies
	delay    time.Duration // before each answer
	fail     func(n int) (status int, retryAfter string)
}

func (g *gateway) RoundTrip(r *http.Request) (*http.Response, error) {
	g.mu.Lock()
	delay := g.delay
	g.mu.Unlock()
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	answer := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("")), Request: r}
	if strings.HasSuffix(r.URL.Path, "/whoami") {
		g.whoamis++
		answer.Body = io.NopCloser(strings.NewReader(`{"account":"key-1"}`))
		if !g.accepted {
			answer.StatusCode = http.StatusUnauthorized
		}
		return answer, nil
	}
	g.logins = append(g.logins, time.Now())
	if g.fail != nil {
		if status, after := g.fail(len(g.logins)); status != 0 {
			answer.StatusCode = status
			if after != "" {
				answer.Header.Set("Retry-After", after)
			}
			return answer, nil
		}
	}
	c := http.Cookie{Name: "_npsid", Value: "v", Path: "/", MaxAge: int(g.life.Seconds()), Secure: true}
	answer.Header.Add("Set-Cookie", c.String())
	return answer, nil
}

func (g *gateway) count() (logins, whoamis int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.logins), g.whoamis
}

func newBroker(t *testing.T, g *gateway) *noon.Broker {
	t.Helper()
	if g.life == 0 {
		g.life = 30 * 24 * time.Hour
	}
	b := noon.NewBroker(noon.BrokerConfig{Transport: g})
	t.Cleanup(b.Close)
	return b
}

var account = noon.Account{Key: "k", Version: 1, Generation: 7}

func TestAThousandCallersShareOneLogin(t *testing.T) {
	c := credentialForTest(t)
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{delay: time.Second}
		b := newBroker(t, g)
		ids := askMany(t, b, c, 1000, "")
		if len(ids) != 1 {
			t.Errorf("callers got %d sessions", len(ids))
		}
		if logins, _ := g.count(); logins != 1 {
			t.Errorf("%d logins", logins)
		}
		b.Close()
	})
}

// askMany asks at once and returns the set of session ids.
func askMany(t *testing.T, b *noon.Broker, c *noon.Credential, n int, rejected string) map[string]bool {
	t.Helper()
	var mu sync.Mutex
	ids := make(map[string]bool)
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			s, err := b.Session(t.Context(), account, c, rejected)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("session: %v", err)
				return
			}
			ids[s.ID] = true
		})
	}
	all.Wait()
	return ids
}

func TestAThousandReportsOfOneSessionCauseOneLoginOrNone(t *testing.T) {
	c := credentialForTest(t)
	for _, tt := range []struct {
		name     string
		accepted bool
		logins   int
	}{{"whoami no longer accepts it", false, 2}, {"whoami still accepts it", true, 1}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gateway{delay: time.Second, accepted: tt.accepted}
				b := newBroker(t, g)
				first, err := b.Session(t.Context(), account, c, "")
				if err != nil {
					t.Fatal(err)
				}
				ids := askMany(t, b, c, 1000, first.ID)
				if len(ids) != 1 || ids[first.ID] != tt.accepted {
					t.Errorf("callers got %v, the first was %s", ids, first.ID)
				}
				logins, whoamis := g.count()
				if logins != tt.logins || whoamis != 1 {
					t.Errorf("%d logins and %d whoamis, want %d and 1", logins, whoamis, tt.logins)
				}
				b.Close()
			})
		})
	}
}

func TestACallerThatReportsEverySessionStaysWithinTheLimit(t *testing.T) {
	c := credentialForTest(t)
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{delay: 10 * time.Millisecond}
		b := newBroker(t, g)
		rejected := ""
		for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); {
			s, err := b.Session(t.Context(), account, c, rejected)
			switch {
			case err == nil:
				rejected = s.ID
			case !errors.Is(err, noon.ErrRateLimited):
				t.Fatalf("error %v, want ErrRateLimited", err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		logins, _ := g.count()
		if most := 3 + int(10*time.Minute/(20*time.Second)); logins > most || logins < most-1 {
			t.Errorf("%d logins in ten minutes; the limit is %d", logins, most)
		}
		b.Close()
	})
}

func TestACallerThatGivesUpDoesNotCancelTheLogin(t *testing.T) {
	c := credentialForTest(t)
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{delay: 5 * time.Second}
		b := newBroker(t, g)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Session(ctx, account, c, ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if _, err := b.Session(t.Context(), account, c, ""); err != nil {
			t.Error(err)
		}
		if logins, _ := g.count(); logins != 1 {
			t.Errorf("%d logins", logins)
		}
		b.Close()
	})
}

func TestARefusedCredentialIsNotTriedAgainUntilItChanges(t *testing.T) {
	c := credentialForTest(t)
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{fail: func(n int) (int, string) {
			if n == 1 {
				return http.StatusUnauthorized, ""
			}
			return 0, ""
		}}
		b := newBroker(t, g)
		for range 100 {
			_, err := b.Session(t.Context(), account, c, "")
			var retry *noon.RetryError
			if !errors.Is(err, noon.ErrRejectedCredential) || !errors.As(err, &retry) || retry.After <= 0 {
				t.Fatalf("error %v, want ErrRejectedCredential with a time", err)
			}
			time.Sleep(time.Second)
		}
		if logins, _ := g.count(); logins != 1 {
			t.Errorf("%d logins of a refused credential", logins)
		}
		next := account
		next.Version, next.Generation = 2, 8
		if _, err := b.Session(t.Context(), next, c, ""); err != nil {
			t.Errorf("a new version is not tried: %v", err)
		}
		b.Close()
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	c := credentialForTest(t)
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{fail: func(n int) (int, string) {
			if n == 1 {
				return http.StatusTooManyRequests, "120"
			}
			return 0, ""
		}}
		b := newBroker(t, g)
		for start := time.Now(); ; time.Sleep(time.Second) {
			_, err := b.Session(t.Context(), account, c, "")
			if err == nil {
				if waited := time.Since(start); waited < 2*time.Minute {
					t.Errorf("logged in again after %v", waited)
				}
				break
			}
			if !errors.Is(err, noon.ErrUnavailable) {
				t.Fatalf("error %v", err)
			}
		}
		b.Close()
	})
}

func TestALateAnswerNeverReplacesWhatTheKeyHasBecome(t *testing.T) {
	c := credentialForTest(t)
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{delay: 10 * time.Second}
		b := newBroker(t, g)
		old := make(chan error, 1)
		go func() {
			_, err := b.Session(t.Context(), account, c, "")
			old <- err
		}()
		synctest.Wait()
		next := account
		next.Version, next.Generation = 2, 8
		time.Sleep(time.Second)
		s, err := b.Session(t.Context(), next, c, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := <-old; !errors.Is(err, noon.ErrUnavailable) {
			t.Errorf("the caller of the old version got %v", err)
		}
		if again, err := b.Session(t.Context(), next, c, ""); err != nil || again.ID != s.ID {
			t.Errorf("the session changed: %v", err)
		}
		if _, err := b.Session(t.Context(), account, c, ""); err == nil {
			t.Error("a caller that read the key before it changed got a session")
		}
		b.Close()
	})
}

func TestADayOfAFlappingGateway(t *testing.T) {
	c := credentialForTest(t)
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{life: 10 * time.Minute}
		g.fail = func(n int) (int, string) {
			// Down for an hour out of three, and now and then besides.
			if time.Now().Hour()%3 == 1 || n%7 == 0 {
				return http.StatusBadGateway, ""
			}
			g.delay = time.Duration(n%4) * 6 * time.Second // the slowest is beyond the deadline
			return 0, ""
		}
		b := newBroker(t, g)
		served := 0
		for end := time.Now().Add(24 * time.Hour); time.Now().Before(end); {
			s, err := b.Session(t.Context(), account, c, "")
			switch {
			case err == nil:
				served++
				if !time.Now().Before(s.Expires) {
					t.Fatalf("a session that ended %v ago was handed out", time.Since(s.Expires))
				}
			case !errors.Is(err, noon.ErrUnavailable) && !errors.Is(err, noon.ErrRateLimited):
				t.Fatalf("undocumented error: %v", err)
			}
			time.Sleep(7 * time.Second)
		}
		if served == 0 {
			t.Error("no session was ever handed out")
		}
		withinLimit(t, g.logins)
		b.Close()
	})
}

// withinLimit holds every stretch of logins against three at once and one each 20 seconds.
func withinLimit(t *testing.T, logins []time.Time) {
	t.Helper()
	for i := range logins {
		for j := i; j < len(logins); j++ {
			span := logins[j].Sub(logins[i])
			if most := 3 + int(span/(20*time.Second)); j-i+1 > most {
				t.Fatalf("%d logins within %v; the limit is %d", j-i+1, span, most)
			}
		}
	}
}
