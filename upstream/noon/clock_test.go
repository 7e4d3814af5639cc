package noon_test

import (
	"net/http"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/signerd/signerd/upstream/noon"
)

// twoClocks is t with the wall clock and the monotonic clock moved apart, as sleep and an administrator move them. No
// API of package time makes such a time.
func twoClocks(t time.Time, wall, monotonic time.Duration) time.Time {
	t = t.Add(wall)
	field := reflect.ValueOf(&t).Elem().FieldByName("ext")
	ext := (*int64)(unsafe.Pointer(field.UnsafeAddr()))
	*ext += int64(monotonic - wall)
	return t
}

func TestASessionEndsByWhicheverClockIsAhead(t *testing.T) {
	c := credentialForTest(t)
	start := time.Now()
	if probe := twoClocks(start, time.Hour, time.Minute); probe.Sub(start) != time.Minute || probe.Round(0).Sub(start.Round(0)) != time.Hour {
		t.Fatal("package time keeps its clocks in another way than this test knows")
	}
	for _, tt := range []struct {
		name            string
		wall, monotonic time.Duration
		ended           bool
	}{
		{"both say it lives", 20 * time.Minute, 20 * time.Minute, false},
		{"both say it ended", 2 * time.Hour, 2 * time.Hour, true},
		{"the machine slept", 2 * time.Hour, 20 * time.Minute, true},
		{"the wall clock was set back", -5 * time.Hour, 2 * time.Hour, true},
		{"the wall clock was set back a little", -5 * time.Hour, 20 * time.Minute, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := start
			b := noon.NewBroker(noon.BrokerConfig{
				Transport: transport(func(r *http.Request) (*http.Response, error) {
					return answerWith(r, http.StatusOK, cookie("a=1; Max-Age=3600"), ""), nil
				}),
				Now: func() time.Time { return now },
			})
			defer b.Close()
			s, err := b.Session(t.Context(), account, c, "")
			if err != nil {
				t.Fatal(err)
			}
			if want := start.Round(0).Add(time.Hour); s.Expires != want {
				t.Errorf("it ends at %v, want %v", s.Expires, want)
			}
			now = twoClocks(start, tt.wall, tt.monotonic)
			again, err := b.Session(t.Context(), account, c, "")
			if err != nil || (again.ID != s.ID) != tt.ended || (len(b.Stats()) == 0) {
				t.Errorf("another session: %t (%v), want %t", again.ID != s.ID, err, tt.ended)
			}
		})
	}
}
