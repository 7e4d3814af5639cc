package noon_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signerd/signerd/upstream/noon"
)

// Every sleep in this file is inside synctest, and takes no real time.

func named(key string, version uint32, generation uint64) noon.Account {
	return noon.Account{Key: key, Version: version, Generation: generation}
}

func TestManyNamesForOneCredentialMakeNoRoomForMoreLogins(t *testing.T) {
	c := credentialForTest(t)
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{life: time.Minute}
		b := newBroker(t, g)
		for range 600 {
			for i := range 50 {
				_, err := b.Session(t.Context(), named(fmt.Sprint("k", i), 1, uint64(i)), c, "")
				if err != nil && !errors.Is(err, noon.ErrRateLimited) {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Second)
		}
		withinLimit(t, g.logins)
		if logins, _ := g.count(); logins < 30 {
			t.Errorf("%d logins in ten minutes; the limit allows more", logins)
		}
		b.Close()
	})
}

func TestManyNamesForARefusedCredentialTryItOnce(t *testing.T) {
	c := credentialForTest(t)
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{fail: func(int) (int, string) { return http.StatusUnauthorized, "" }}
		b := newBroker(t, g)
		for i := range 280 {
			if _, err := b.Session(t.Context(), named(fmt.Sprint("k", i%50), 1, 1), c, ""); !errors.Is(err, noon.ErrRejectedCredential) {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if logins, _ := g.count(); logins != 1 {
			t.Errorf("%d logins of a refused credential within its back-off", logins)
		}
		// Another credential has refused nobody.
		if _, err := b.Session(t.Context(), named("k0", 2, 2), noon.Another(c, 1, ""), ""); !errors.Is(err, noon.ErrRejectedCredential) {
			t.Error(err)
		}
		if logins, _ := g.count(); logins != 2 {
			t.Errorf("%d logins, want one of each credential", logins)
		}
		b.Close()
	})
}

// backingOff has a gateway that answers every login alike, and makes one.
func backingOff(t *testing.T, status int, c *noon.Credential) (*noon.Broker, *gateway) {
	t.Helper()
	g := &gateway{fail: func(int) (int, string) { return status, "600" }}
	b := newBroker(t, g)
	if _, err := b.Session(t.Context(), account, c, ""); err == nil {
		t.Fatal("the login succeeded")
	}
	return b, g
}

func TestAnEditOfAKeyDoesNotClearItsBackOff(t *testing.T) {
	c := credentialForTest(t)
	for _, status := range []int{http.StatusTooManyRequests, http.StatusUnauthorized} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, g := backingOff(t, status, c)
				edited := account
				for range 280 {
					edited.Generation++
					if edited.Generation%2 == 0 { // disabled and enabled
						b.Drop(edited.Key, edited.Generation)
					}
					if _, err := b.Session(t.Context(), edited, c, ""); err == nil || errors.Is(err, noon.ErrRateLimited) {
						t.Fatalf("got %v", err)
					}
					time.Sleep(time.Second)
				}
				if logins, _ := g.count(); logins != 1 {
					t.Errorf("%d logins within the back-off", logins)
				}
				b.Close()
			})
		})
	}
}

func TestAnAccountsRetryAfterOutlivesItsCredentials(t *testing.T) {
	c := credentialForTest(t)
	synctest.Test(t, func(t *testing.T) {
		b, g := backingOff(t, http.StatusTooManyRequests, c)
		for i := range byte(20) {
			next := named(account.Key, account.Version+uint32(i), account.Generation+uint64(i))
			_, err := b.Session(t.Context(), next, noon.Another(c, i, ""), "")
			var retry *noon.RetryError
			if !errors.Is(err, noon.ErrUnavailable) || !errors.As(err, &retry) || retry.After > 10*time.Minute {
				t.Fatalf("got %v", err)
			}
			time.Sleep(time.Second)
		}
		if logins, _ := g.count(); logins != 1 {
			t.Errorf("%d logins of an account that was told to wait", logins)
		}
		// Another account was told nothing.
		if _, err := b.Session(t.Context(), named("other", 1, 1), noon.Another(c, 99, "PRJ2"), ""); err == nil {
			t.Error("the gateway let it in")
		}
		if logins, _ := g.count(); logins != 2 {
			t.Errorf("%d logins, want one of each account", logins)
		}
		b.Close()
	})
}

// Three logins may be under way at once for one credential, under three names.
func TestALoginThatSucceedsClearsNothingThatAnotherWasTold(t *testing.T) {
	c := credentialForTest(t)
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{delay: time.Second, fail: func(n int) (int, string) {
			if n == 1 {
				return http.StatusTooManyRequests, "600"
			}
			return 0, ""
		}}
		b := newBroker(t, g)
		told := make(chan error, 1)
		go func() {
			_, err := b.Session(t.Context(), named("a", 1, 1), c, "")
			told <- err
		}()
		time.Sleep(time.Millisecond)
		if _, err := b.Session(t.Context(), named("b", 1, 1), c, ""); err != nil {
			t.Errorf("the second login: %v", err)
		}
		if err := <-told; !errors.Is(err, noon.ErrUnavailable) {
			t.Errorf("the first login: %v", err)
		}
		if _, err := b.Session(t.Context(), named("c", 1, 1), c, ""); !errors.Is(err, noon.ErrUnavailable) {
			t.Errorf("a third login within the Retry-After of the first: %v", err)
		}
		b.Close()
	})
}

func TestLimitsForgetWhatCountsNoMore(t *testing.T) {
	c := credentialForTest(t)
	for _, status := range []int{0, http.StatusUnauthorized, http.StatusServiceUnavailable} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gateway{fail: func(int) (int, string) { return status, "" }}
				b := newBroker(t, g)
				for i := range byte(100) {
					_, _ = b.Session(t.Context(), named(fmt.Sprint("k", i), 1, 1), noon.Another(c, i, fmt.Sprint("PRJ", i)), "")
				}
				if n := b.Remembered(); n < 100 {
					t.Errorf("%d are remembered at once", n)
				}
				time.Sleep(time.Hour)
				_, _ = b.Session(t.Context(), named("last", 1, 1), noon.Another(c, 200, "PRJ200"), "")
				if n := b.Remembered(); n > 2 {
					t.Errorf("%d are remembered after an hour", n)
				}
				b.Close()
			})
		})
	}
}
