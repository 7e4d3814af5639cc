package audit_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/disk/disktest"
)

// hang makes syncs of files of records wait until release is called.
func hang(m *disktest.Mem) (begin, release func()) {
	var mu sync.Mutex
	var gate chan struct{}
	m.Fault(func(op disktest.Op) error {
		mu.Lock()
		wait := gate
		mu.Unlock()
		if wait != nil && op.What == "sync" && strings.HasPrefix(op.Name, "records-") {
			<-wait
		}
		return nil
	})
	begin = func() {
		mu.Lock()
		defer mu.Unlock()
		gate = make(chan struct{})
	}
	release = func() {
		mu.Lock()
		defer mu.Unlock()
		close(gate)
		gate = nil
	}
	return begin, release
}

func TestOnADiskThatHangsCallersAreRefusedInTimeAndNothingGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		w := newWorld(t, m)
		begin, release := hang(m)
		l := w.open()
		w.must(l, "before")
		begin()
		began := time.Now()
		var wg sync.WaitGroup
		for _, id := range ids("caught", 20) {
			wg.Go(func() {
				if err := w.append(l, id); !errors.Is(err, audit.ErrUnavailable) {
					t.Errorf("record %s: %v", id, err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took != audit.DefaultTimeout {
			t.Errorf("they were refused after %v", took)
		}
		goroutines := runtime.NumGoroutine()
		for _, id := range ids("refused", 500) {
			if err := w.append(l, id); !errors.Is(err, audit.ErrUnavailable) {
				t.Fatalf("record %s: %v", id, err)
			}
		}
		l.Refused()
		if took := time.Since(began); took != audit.DefaultTimeout || runtime.NumGoroutine() > goroutines {
			t.Errorf("after %v there are %d goroutines, before %d", took, runtime.NumGoroutine(), goroutines)
		}
		if !errors.Is(l.Err(), audit.ErrUnavailable) || errors.Is(l.Err(), audit.ErrMissing) {
			t.Errorf("the log says %v", l.Err())
		}
		release()
		synctest.Wait()
		if err := l.Err(); err != nil {
			t.Fatalf("after the disk came back: %v", err)
		}
		w.must(l, "after")
		var outages []*audit.Outage
		late := map[uint64]bool{}
		records := w.check(m, l)
		for _, r := range records {
			if r.Outage != nil {
				outages = append(outages, r.Outage)
			}
			late[r.N] = strings.HasPrefix(r.ID, "caught")
		}
		if len(outages) != 1 || outages[0].Late == nil {
			t.Fatalf("the outages are %+v", outages)
		}
		n := outages[0].Late.Until - outages[0].Late.From
		if outages[0].Calls+n != 521 || !late[outages[0].Late.From] || !late[outages[0].Late.Until-1] || len(w.told) != 2 || w.told[1] != nil {
			t.Errorf("the outage is %+v, late %+v; Changed was told %v", outages[0], outages[0].Late, w.told)
		}
		w.close(l)
	})
}

func TestMoreThanMayWaitIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		w := newWorld(t, m)
		begin, release := hang(m)
		l := w.open()
		begin()
		var wg sync.WaitGroup
		var mu sync.Mutex
		refused := 0
		began := time.Now()
		for range 2*8192 + 100 {
			wg.Go(func() {
				err := l.Append(context.Background(), &audit.Record{Kind: audit.KindCall})
				mu.Lock()
				defer mu.Unlock()
				if err != nil && time.Since(began) == 0 {
					refused++
				}
			})
		}
		synctest.Wait()
		mu.Lock()
		if refused < 100 {
			t.Errorf("%d records were refused at once", refused)
		}
		mu.Unlock()
		release()
		wg.Wait()
		w.close(l)
	})
}

func TestACallerMayLeaveAndCloseEndsInTimeOnADiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		w := newWorld(t, m)
		begin, release := hang(m)
		l := w.open()
		begin()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Append(ctx, &audit.Record{Kind: audit.KindCall}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller with a second: %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close with a second: %v", err)
		}
		release()
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestAFolderThatCannotBeWrittenStopsTheLogBeforeItNeedsAFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		w := newWorld(t, m)
		var mu sync.Mutex
		readOnly := false
		m.Fault(func(op disktest.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if readOnly && (op.What == "writable" || op.What == "create") {
				return errors.New("read-only")
			}
			return nil
		})
		set := func(to bool) {
			mu.Lock()
			defer mu.Unlock()
			readOnly = to
		}
		l := w.open()
		set(true)
		time.Sleep(1100 * time.Millisecond)
		if err := w.append(l, "a"); !errors.Is(err, audit.ErrUnavailable) {
			t.Errorf("a record was written: %v", err)
		}
		time.Sleep(10 * time.Second)
		set(false)
		time.Sleep(3 * time.Second)
		w.must(l, "b")
		w.check(m, l)
		w.close(l)
	})
}
