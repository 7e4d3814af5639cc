package audit_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/disk/disktest"
)

// live is some life of a log: commits of one and of many, rotation, compression, retention, and a second process. It sleeps on the
// clock of a synctest bubble, so that the log's timers come due; no time passes.
func (w *world) live() *audit.Log {
	l := w.reopen(nil)
	for round := range 3 {
		for i := range 4 {
			_ = w.append(l, fmt.Sprintf("alone-%d-%d", round, i))
		}
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() { _ = w.append(l, fmt.Sprintf("many-%d-%d", round, i)) })
		}
		wg.Wait()
		time.Sleep(1200 * time.Millisecond)
	}
	settle(l)
	l = w.reopen(l)
	for i := range 4 {
		_ = w.append(l, fmt.Sprintf("again-%d", i))
	}
	time.Sleep(1200 * time.Millisecond)
	return l
}

// settle waits, on the bubble's clock, until a log has recovered, and has told of what was refused.
func settle(l *audit.Log) {
	for i := 0; l.Err() != nil && i < 60; i++ {
		time.Sleep(time.Second)
	}
	time.Sleep(1100 * time.Millisecond)
}

// reopen ends one process and begins another, which may have to try, on the bubble's clock, until the disk can be read.
func (w *world) reopen(l *audit.Log) *audit.Log {
	if l != nil {
		w.close(l)
		w.mu.Lock()
		w.told = nil
		w.mu.Unlock()
	}
	for {
		c := w.config
		c.State = w.kept()
		l, err := audit.Open(context.Background(), c)
		if err == nil {
			w.closeAtEnd(l)
			return l
		}
		time.Sleep(time.Second)
	}
}

// faultyWorld is a world for live, in which something happens before each operation that counts.
func faultyWorld(t *testing.T, m *disktest.Mem, counts func(what string) bool, fault func(n int) error) (w *world, ops func() int) {
	w = newWorld(t, m)
	w.config.MaxFileBytes, w.config.Retention = 1500, 2*time.Second
	var mu sync.Mutex
	n := 0
	m.Fault(func(op disktest.Op) error {
		if !counts(op.What) {
			return nil
		}
		mu.Lock()
		k := n
		n++
		mu.Unlock()
		return fault(k)
	})
	return w, func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// kind says which operations a fault is of.
func kind(whats ...string) func(string) bool {
	return func(what string) bool { return len(whats) == 0 || slices.Contains(whats, what) }
}

// fault fails the operation n of a life, if that is one to be failed when k is the first.
type fault struct {
	name   string
	counts func(what string) bool
	at     func(n, k int) error
}

func TestNoFaultOfTheDiskLosesAnAcknowledgedRecord(t *testing.T) {
	for _, f := range []fault{
		{"a full disk", kind("create", "write", "truncate", "rename", "sync"), func(n, k int) error { return failAt(n, k, 1, syscall.ENOSPC) }},
		{"a disk that is full for long", kind("create", "write", "truncate"), func(n, k int) error { return failAt(n, k, 12, syscall.ENOSPC) }},
		{"an I/O error", kind(), func(n, k int) error { return failAt(n, k, 1, syscall.EIO) }},
		{"five I/O errors", kind("create", "write", "truncate", "rename", "remove", "sync", "syncdir", "read"),
			func(n, k int) error { return failAt(n, k, 5, syscall.EIO) }},
		{"short writes", kind("write"), func(n, k int) error { return failAt(n, k, 3, disktest.ErrShort) }},
		{"failed syncs", kind("sync", "syncdir"), func(n, k int) error { return failAt(n, k, 8, syscall.EIO) }},
		{"a disk that hangs", kind(), func(n, k int) error { return hangAt(n, k, nil) }},
		{"a disk that hangs, and fails then", kind("create", "write", "truncate", "rename", "remove", "sync", "syncdir"),
			func(n, k int) error { return hangAt(n, k, syscall.EIO) }},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			for k := 0; ; k++ {
				more := false
				ok := t.Run(fmt.Sprintf("at operation %d", k), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { more = oneFault(t, k, f) })
				})
				if !ok || !more {
					return
				}
			}
		})
	}
}

// hangAt lets one operation take twenty seconds.
func hangAt(n, k int, err error) error {
	if n != k {
		return nil
	}
	time.Sleep(20 * time.Second)
	return err
}

func failAt(n, k, times int, err error) error {
	if k <= n && n < k+times {
		return err
	}
	return nil
}

// oneFault lives with one fault, and says whether there were so many operations.
func oneFault(t *testing.T, k int, f fault) bool {
	m := disktest.New()
	var healed atomic.Bool
	w, ops := faultyWorld(t, m, f.counts, func(n int) error {
		if healed.Load() {
			return nil
		}
		return f.at(n, k)
	})
	l := w.live()
	more := ops() > k
	healed.Store(true)
	settle(l)
	if err := l.Err(); err != nil {
		t.Fatalf("the log did not recover: %v", err)
	}
	// What hangs, and for nobody yet, is noticed by the first who waits for it.
	if err := w.append(l, "perhaps"); err != nil {
		time.Sleep(30 * time.Second)
		settle(l)
	}
	w.must(l, "last")
	synctest.Wait()
	records := w.check(m, l)
	w.checkOutages(records, l)
	w.close(l)
	m.Fault(nil)
	l = w.open()
	if err := l.Err(); err != nil {
		t.Fatalf("the next process: %v", err)
	}
	w.must(l, "next")
	synctest.Wait()
	w.check(m, l)
	w.close(l)
	return more
}

// checkOutages sees that the records of outages tell of all calls that were refused, if none of them were deleted.
func (w *world) checkOutages(records []audit.Record, l *audit.Log) {
	w.t.Helper()
	var told uint64
	for _, r := range records {
		if r.Outage == nil {
			continue
		}
		told += r.Outage.Calls
		if late := r.Outage.Late; late != nil {
			told += late.Until - late.From
		}
	}
	if refused := uint64(len(w.denied)); told < refused && l.First() == 0 || told > refused {
		w.t.Errorf("the log tells of %d refused calls, there were %d", told, refused)
	}
	if n := len(w.told); n > 0 && w.told[n-1] != nil {
		w.t.Errorf("Changed was told last: %v", w.told[n-1])
	}
}

func TestNoLossOfPowerLosesAnAcknowledgedRecord(t *testing.T) {
	for _, c := range []struct {
		name  string
		seeds []uint64
	}{
		{"what was not synced is gone", []uint64{0}},
		{"some of what was not synced is there, in part", []uint64{1, 2, 3}},
	} {
		for _, seed := range c.seeds {
			t.Run(fmt.Sprintf("%s %d", c.name, seed), func(t *testing.T) {
				t.Parallel()
				for k := 0; ; k++ {
					more := false
					ok := t.Run(fmt.Sprintf("at operation %d", k), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { more = oneCrash(t, k, seed) })
					})
					if !ok || !more {
						return
					}
				}
			})
		}
	}
}

// oneCrash lets the power go before one operation, and the next process look at the disk; it says whether there were so many operations.
func oneCrash(t *testing.T, k int, seed uint64) bool {
	var after *world
	var disk *disktest.Mem
	m := disktest.New()
	var w *world
	w, ops := faultyWorld(t, m, kind("create", "write", "truncate", "rename", "remove", "sync", "syncdir"), func(n int) error {
		if n != k {
			return nil
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		var random *rand.Rand
		if seed != 0 {
			random = rand.New(rand.NewPCG(seed, uint64(k)))
		}
		disk = m.Crash(random)
		after = newWorld(t, disk)
		after.state, after.acked = w.state, maps.Clone(w.acked)
		return nil
	})
	w.close(w.live())
	if disk == nil {
		return false
	}
	l := after.open()
	if err := l.Err(); err != nil {
		t.Fatalf("after the loss of power: %v", err)
	}
	after.must(l, "next")
	synctest.Wait()
	after.check(disk, l)
	after.close(l)
	return ops() > k
}
