package noon_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signerd/signerd/upstream/noon"
)

func TestAnEditOfAKeyKeepsItsSession(t *testing.T) {
	c := credentialForTest(t)
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{}
		b := newBroker(t, g)
		first, err := b.Session(t.Context(), account, c, "")
		if err != nil {
			t.Fatal(err)
		}
		edited := account
		for range 20 {
			edited.Generation++
			if s, err := b.Session(t.Context(), edited, c, ""); err != nil || s.ID != first.ID {
				t.Fatalf("generation %d: got %v, %v", edited.Generation, s, err)
			}
		}
		// A caller that read the key before the edits has the same key.
		if s, err := b.Session(t.Context(), account, c, ""); err != nil || s.ID != first.ID {
			t.Errorf("got %v, %v", s, err)
		}
		b.Close()
	})
}

func TestAnEditOfAKeyKeepsALoginThatIsUnderWay(t *testing.T) {
	c := credentialForTest(t)
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{delay: time.Second}
		b := newBroker(t, g)
		got := make(chan *noon.Session, 1)
		go func() {
			s, err := b.Session(t.Context(), account, c, "")
			if err != nil {
				t.Error(err)
			}
			got <- s
		}()
		synctest.Wait()
		edited := account
		edited.Generation++
		s, err := b.Session(t.Context(), edited, c, "")
		if first := <-got; err != nil || first == nil || s.ID != first.ID {
			t.Errorf("got %v, %v", s, err)
		}
		if logins, _ := g.count(); logins != 1 {
			t.Errorf("%d logins", logins)
		}
		b.Close()
	})
}

func TestAnotherVersionOrCredentialEndsTheSession(t *testing.T) {
	c := credentialForTest(t)
	for _, tt := range []struct {
		name       string
		account    noon.Account
		credential *noon.Credential
	}{
		{"another version", named("k", 2, 8), c},
		{"another credential", named("k", 1, 8), noon.Another(c, 1, "")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, &gateway{})
				first, err := b.Session(t.Context(), account, c, "")
				if err != nil {
					t.Fatal(err)
				}
				if s, err := b.Session(t.Context(), tt.account, tt.credential, ""); err != nil || s.ID == first.ID {
					t.Errorf("got %v, %v", s, err)
				}
				if s, err := b.Session(t.Context(), account, c, ""); !errors.Is(err, noon.ErrKeyChanged) {
					t.Errorf("a caller that knows the key as it was got %v, %v", s, err)
				}
				b.Close()
			})
		})
	}
}

func TestDropEndsWhatOlderGenerationsBroughtAbout(t *testing.T) {
	c := credentialForTest(t)
	at := func(generation uint64) noon.Account { return named("k", 1, generation) }
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &gateway{})
		b.Drop("nobody", 1)
		first, err := b.Session(t.Context(), at(7), c, "")
		if err != nil {
			t.Fatal(err)
		}
		b.Drop("k", 7)
		if s, err := b.Session(t.Context(), at(7), c, ""); err != nil || s.ID != first.ID {
			t.Errorf("a session of the generation itself is gone: %v, %v", s, err)
		}
		b.Drop("k", 8)
		if len(b.Stats()) != 0 {
			t.Error("the session is kept")
		}
		if _, err := b.Session(t.Context(), at(7), c, ""); !errors.Is(err, noon.ErrKeyChanged) {
			t.Errorf("a caller that knows the key as it was before got %v", err)
		}
		second, err := b.Session(t.Context(), at(9), c, "")
		if err != nil || second.ID == first.ID {
			t.Errorf("got %v, %v", second, err)
		}
		// The news of an older change comes late.
		b.Drop("k", 8)
		if s, err := b.Session(t.Context(), at(9), c, ""); err != nil || s.ID != second.ID {
			t.Errorf("got %v, %v", s, err)
		}
		b.Close()
	})
}

func TestDropKeepsBackAnAnswerThatIsUnderWay(t *testing.T) {
	c := credentialForTest(t)
	for _, tt := range []struct {
		name   string
		report bool // a session is reported, so that whoami is asked first
	}{{"a login", false}, {"a verdict and a login", true}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gateway{}
				b := newBroker(t, g)
				rejected := ""
				if tt.report {
					s, err := b.Session(t.Context(), account, c, "")
					if err != nil {
						t.Fatal(err)
					}
					rejected = s.ID
				}
				g.mu.Lock()
				g.delay = time.Second
				g.mu.Unlock()
				got := make(chan error, 1)
				go func() {
					_, err := b.Session(t.Context(), account, c, rejected)
					got <- err
				}()
				synctest.Wait()
				b.Drop(account.Key, account.Generation+1)
				if err := <-got; !errors.Is(err, noon.ErrKeyChanged) || !errors.Is(err, noon.ErrUnavailable) {
					t.Errorf("the waiting caller got %v", err)
				}
				if len(b.Stats()) != 0 {
					t.Error("a session is kept")
				}
				b.Close()
			})
		})
	}
}

func TestAnAbandonedExchangeIsAnsweredAtOnceAndKeepsNothing(t *testing.T) {
	c := credentialForTest(t)
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{}
		b := newBroker(t, g)
		b.Abandon() // nothing yet
		g.mu.Lock()
		g.delay = time.Second
		g.mu.Unlock()
		began := time.Now()
		got := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := b.Session(t.Context(), account, c, "")
				got <- err
			}()
		}
		synctest.Wait()
		b.Abandon()
		for range 2 {
			if err := <-got; !errors.Is(err, noon.ErrKeyChanged) {
				t.Errorf("a waiting caller got %v", err)
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("they waited %v", took)
		}
		time.Sleep(2 * time.Second)
		if len(b.Stats()) != 0 {
			t.Error("what the login brought is kept")
		}
		if _, err := b.Session(t.Context(), account, c, ""); err != nil {
			t.Errorf("the next login: %v", err)
		}
		b.Close()
	})
}
