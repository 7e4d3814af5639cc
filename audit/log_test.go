package audit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/disk/disktest"
	"github.com/signerd/signerd/internal/checkpoint"
)

func TestRecordsAreOnTheDiskInOrderAndTheNextProcessGoesOn(t *testing.T) {
	dir := disk.Dir(t.TempDir())
	w := newWorld(t, dir)
	l := w.open()
	w.must(l, ids("a", 5)...)
	if got := kinds(w.check(dir, l)); got != "file start call call call call call" {
		t.Errorf("the records are %s", got)
	}
	before := l.Tree()
	w.close(l)
	l = w.open()
	w.must(l, "b")
	records := w.check(dir, l)
	if l.Tree().N != before.N+2 || records[before.N].Kind != audit.KindStart || records[before.N].Start.Uncertain != 0 {
		t.Errorf("the next process has %d records, after %d; it began with %+v", l.Tree().N, before.N, records[before.N].Start)
	}
	w.close(l)
	if err := w.append(l, "late"); !errors.Is(err, audit.ErrClosed) || !errors.Is(err, audit.ErrUnavailable) {
		t.Errorf("a closed log says %v", err)
	}
}

func TestManyCallersAtOnceShareSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		w := newWorld(t, m)
		n := syncs(m, "sync", time.Millisecond) // so that the others have come meanwhile, whatever the scheduler does
		l := w.open()
		before := n()
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				for _, id := range ids(fmt.Sprintf("caller-%d", i), 20) {
					if err := w.append(l, id); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if got := n() - before; got > 64*20/3 {
			t.Errorf("%d records took %d syncs", 64*20, got)
		}
		w.check(m, l)
		w.close(l)
	})
}

func TestACallerAloneWaitsForOneSyncAndNoTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		w := newWorld(t, m)
		n := syncs(m, "sync", 0)
		l := w.open()
		before, began := n(), time.Now()
		w.must(l, ids("alone", 50)...)
		if got := n() - before; got != 50 || time.Since(began) != 0 {
			t.Errorf("50 records took %d syncs and %v", got, time.Since(began))
		}
		w.close(l)
	})
}

func TestARecordThatIsTooLongIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		w := newWorld(t, m)
		l := w.open()
		if err := l.Append(t.Context(), &audit.Record{Kind: audit.KindCall, Path: strings.Repeat("x", 1<<17)}); err != nil {
			t.Errorf("a record of 128 KiB: %v", err)
		}
		w.must(l, "a")
		w.check(m, l)
		w.close(l)
	})
}

func TestGrownWaitsForMoreRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, disktest.New())
		l := w.open()
		n := uint64(l.Tree().N)
		if err := l.Grown(t.Context(), n-1); err != nil {
			t.Error(err)
		}
		done := make(chan error, 1)
		go func() { done <- l.Grown(context.Background(), n) }()
		synctest.Wait()
		select {
		case err := <-done:
			t.Errorf("it did not wait: %v", err)
		default:
		}
		w.must(l, "a")
		if err := <-done; err != nil {
			t.Error(err)
		}
		w.close(l)
		if err := l.Grown(t.Context(), 100); !errors.Is(err, audit.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// lines is a sink.
type lines struct{ all []string }

func (l *lines) Line(line []byte) { l.all = append(l.all, string(line)) }

func TestTheSecondSinkGetsEveryLineAndCheckpointInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, disktest.New())
		sink := &lines{}
		w.config.Sink = sink
		l := w.open()
		w.must(l, "a", "b")
		signed, err := l.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c, err := checkpoint.Open(signed, w.config.Signer)
		if err != nil || c.Tree != l.Tree() {
			t.Errorf("the checkpoint has %v, %v; the log has %v", c, err, l.Tree())
		}
		w.close(l)
		if len(sink.all) < 5 || !strings.HasPrefix(sink.all[3], `{"n":3,"kind":"call"`) || !strings.HasPrefix(sink.all[4], `{"checkpoint":"`) {
			t.Errorf("the sink got %q", sink.all)
		}
	})
}

func TestCheckpointsAreTriedAgainAndSigningGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, disktest.New())
		w.keep = errors.New("the keystore is away")
		l := w.open()
		w.must(l, "a")
		time.Sleep(5 * time.Second)
		if err := l.CheckpointErr(); !errors.Is(err, w.keep) {
			t.Errorf("the checkpoint: %v", err)
		}
		w.must(l, "b")
		w.mu.Lock()
		w.keep = nil
		w.mu.Unlock()
		time.Sleep(1100 * time.Millisecond)
		if err := l.CheckpointErr(); err != nil || len(w.kept()) == 0 {
			t.Errorf("after the keystore came back: %v", err)
		}
		w.close(l)
	})
}

func TestOldFilesAreCompressedAndDeletedAndTheirHashesKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		w := newWorld(t, m)
		w.config.MaxFileBytes, w.config.Retention = 2000, time.Hour
		l := w.open()
		w.must(l, ids("old", 40)...)
		synctest.Wait()
		compressed := slices.DeleteFunc(m.Names(), func(name string) bool { return !strings.HasSuffix(name, ".gz") })
		if len(compressed) < 3 || l.ChoresErr() != nil {
			t.Errorf("the files are %v, %v", m.Names(), l.ChoresErr())
		}
		w.check(m, l)
		leaf, err := l.Hashes().ReadHashes([]int64{0})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		w.must(l, ids("new", 10)...)
		time.Sleep(2 * time.Minute)
		if l.First() == 0 || slices.Contains(m.Names(), compressed[0]) {
			t.Errorf("the first is %d; the files are %v", l.First(), m.Names())
		}
		if again, err := l.Hashes().ReadHashes([]int64{0}); err != nil || again[0] != leaf[0] {
			t.Errorf("the hash of a deleted record: %v, %v", again, err)
		}
		w.check(m, l)
		first := l.First()
		w.close(l)
		l = w.open()
		if l.Err() != nil || l.First() != first {
			t.Errorf("the next process: %v, first %d", l.Err(), l.First())
		}
		w.check(m, l)
		w.close(l)
	})
}

func TestAFileIsLeftWhenItIsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		w := newWorld(t, m)
		l := w.open()
		time.Sleep(25 * time.Hour)
		w.must(l, "a")
		if got := kinds(w.check(m, l)); got != "file start file call" {
			t.Errorf("the records are %s", got)
		}
		w.close(l)
	})
}
