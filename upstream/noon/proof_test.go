package noon_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signerd/signerd/upstream/noon"
)

func TestAProofLeavesTheSessionAloneUntilItIsAdopted(t *testing.T) {
	c := credentialForTest(t)
	next := noon.Another(c, 1, "")
	for _, tt := range []struct {
		name   string
		before bool // a caller of the new version comes before it is adopted
		settle func(*noon.Proof)
		logins int // after a caller of the new version has its session
	}{
		{"adopted", false, func(p *noon.Proof) { p.Adopt(8) }, 2},
		{"adopted after the first caller", true, func(p *noon.Proof) { p.Adopt(8) }, 2},
		{"adopted twice", false, func(p *noon.Proof) { p.Adopt(8); p.Adopt(8); p.Discard() }, 2},
		{"discarded", false, func(p *noon.Proof) { p.Discard() }, 3},
		{"discarded and adopted", false, func(p *noon.Proof) { p.Discard(); p.Adopt(8) }, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gateway{}
				b := newBroker(t, g)
				first, err := b.Session(t.Context(), account, c, "")
				if err != nil {
					t.Fatal(err)
				}
				p, err := b.Prove(t.Context(), named("k", 2, 7), next)
				if err != nil {
					t.Fatal(err)
				}
				if s, err := b.Session(t.Context(), account, c, ""); err != nil || s.ID != first.ID {
					t.Errorf("while it is proven callers get %v, %v", s, err)
				}
				if tt.before {
					if s, err := b.Session(t.Context(), named("k", 2, 8), next, ""); err != nil || s.ID == first.ID {
						t.Errorf("the first caller got %v, %v", s, err)
					}
				}
				tt.settle(p)
				if got := len(b.Stats()); got != 1 {
					t.Errorf("%d sessions are kept", got)
				}
				b.Drop("k", 8)
				s, err := b.Session(t.Context(), named("k", 2, 8), next, "")
				if err != nil || s.ID == first.ID {
					t.Errorf("callers of the new version got %v, %v", s, err)
				}
				if logins, _ := g.count(); logins != tt.logins {
					t.Errorf("%d logins, want %d", logins, tt.logins)
				}
				if _, err := b.Session(t.Context(), account, c, ""); !errors.Is(err, noon.ErrKeyChanged) {
					t.Errorf("a caller of the old version got %v", err)
				}
				b.Close()
			})
		})
	}
}

func TestAProofThatIsGivenUpIsAnsweredAtOnceAndKeepsNothing(t *testing.T) {
	c := credentialForTest(t)
	for _, tt := range []struct {
		name   string
		giveUp func(*noon.Broker, context.CancelFunc)
		want   error
	}{
		{"the key was disabled", func(b *noon.Broker, _ context.CancelFunc) { b.Drop("k", 8) }, noon.ErrKeyChanged},
		{"all is frozen", func(b *noon.Broker, _ context.CancelFunc) { b.Abandon() }, noon.ErrKeyChanged},
		{"its caller left", func(_ *noon.Broker, leave context.CancelFunc) { leave() }, context.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gateway{delay: time.Second}
				b := newBroker(t, g)
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				began := time.Now()
				got := make(chan error, 1)
				go func() {
					_, err := b.Prove(ctx, named("k", 2, 7), c)
					got <- err
				}()
				synctest.Wait()
				tt.giveUp(b, leave)
				if err := <-got; !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if took := time.Since(began); took != 0 {
					t.Errorf("it waited %v", took)
				}
				time.Sleep(2 * time.Second)
				if _, err := b.Session(t.Context(), named("k", 2, 9), c, ""); err != nil {
					t.Error(err)
				}
				if logins, _ := g.count(); logins != 2 {
					t.Errorf("%d logins: what the proof brought was kept", logins)
				}
				b.Close()
			})
		})
	}
}

func TestAProvenSessionIsForgottenWhenTheKeyIsDropped(t *testing.T) {
	c := credentialForTest(t)
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{}
		b := newBroker(t, g)
		p, err := b.Prove(t.Context(), named("k", 2, 7), c)
		if err != nil {
			t.Fatal(err)
		}
		b.Drop("k", 8)
		p.Adopt(9)
		if len(b.Stats()) != 0 {
			t.Error("it is kept")
		}
		if _, err := b.Prove(t.Context(), named("k", 2, 7), c); !errors.Is(err, noon.ErrKeyChanged) {
			t.Errorf("a proof of the key as it was before: %v", err)
		}
		b.Close()
	})
}

func TestProofsStayWithinTheLimitsOfLogins(t *testing.T) {
	c := credentialForTest(t)
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{}
		b := newBroker(t, g)
		for range 3 {
			p, err := b.Prove(t.Context(), named("k", 2, 7), c)
			if err != nil {
				t.Fatal(err)
			}
			p.Discard()
		}
		var told *noon.RetryError
		if _, err := b.Prove(t.Context(), named("k", 2, 7), c); !errors.Is(err, noon.ErrRateLimited) || !errors.As(err, &told) {
			t.Errorf("the fourth at once: %v", err)
		}
		if logins, _ := g.count(); logins != 3 {
			t.Errorf("%d logins", logins)
		}
		b.Close()
	})
}

func TestAProofThatFailsSaysWhyAndKeepsNothing(t *testing.T) {
	c := credentialForTest(t)
	for status, want := range map[int]error{
		http.StatusUnauthorized: noon.ErrRejectedCredential, http.StatusBadRequest: noon.ErrRejectedCredential,
		http.StatusTooManyRequests: noon.ErrUnavailable, http.StatusBadGateway: noon.ErrUnavailable,
	} {
		synctest.Test(t, func(t *testing.T) {
			g := &gateway{fail: func(int) (int, string) { return status, "" }}
			b := newBroker(t, g)
			for range 2 { // the second is held back
				p, err := b.Prove(t.Context(), named("k", 2, 7), c)
				var told *noon.RetryError
				if p != nil || !errors.Is(err, want) || !errors.As(err, &told) {
					t.Errorf("%d: got %v, %v, want %v", status, p, err, want)
				}
			}
			if logins, _ := g.count(); logins != 1 || len(b.Stats()) != 0 {
				t.Errorf("%d: %d logins, %d sessions", status, logins, len(b.Stats()))
			}
			b.Close()
		})
	}
}

func TestAProofThatCannotBeRecordedIsNotSent(t *testing.T) {
	c := credentialForTest(t)
	g := &gateway{}
	refused := errors.New("no room")
	var asked noon.Account
	b := noon.NewBroker(noon.BrokerConfig{Transport: g, LoginStarting: func(a noon.Account) (func(noon.Outcome, error), error) {
		asked = a
		return nil, refused
	}})
	defer b.Close()
	if _, err := b.Prove(t.Context(), named("k", 2, 7), c); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	if logins, _ := g.count(); logins != 0 || asked != named("k", 2, 7) {
		t.Errorf("%d logins were sent, asked about %v", logins, asked)
	}
}
