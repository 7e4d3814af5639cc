package audit_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/disk/disktest"
	"github.com/signerd/signerd/internal/checkpoint"
)

// damage is what somebody does to the files of a log: old is the name of a compressed one, plain that of one that is left but not
// compressed, current that of the last.
type damage struct {
	name string
	do   func(m *disktest.Mem, old, current string)
	// missing is how many records are, of an old file of old and a current one of current; all is of all.
	missing func(old, current, all uint64) uint64
}

var damages = []damage{
	{"the current file is deleted", func(m *disktest.Mem, _, current string) { _ = m.Remove(current) },
		func(_, current, _ uint64) uint64 { return current }},
	{"an old file is deleted", func(m *disktest.Mem, old, _ string) { _ = m.Remove(old) },
		func(old, _, _ uint64) uint64 { return old }},
	{"an old file is cut short", func(m *disktest.Mem, old, _ string) { m.Cut(old, 15) },
		func(old, _, _ uint64) uint64 { return old }},
	{"the current file is cut in its last line", func(m *disktest.Mem, _, current string) { m.Cut(current, len(m.Read(current))-5) },
		func(_, _, _ uint64) uint64 { return 1 }},
	{"the current file is cut after its first line", func(m *disktest.Mem, _, current string) {
		m.Cut(current, 1+slices.Index(m.Read(current), '\n'))
	}, func(_, current, _ uint64) uint64 { return current - 1 }},
	{"the current file is empty", func(m *disktest.Mem, _, current string) { m.Cut(current, 0) },
		func(_, current, _ uint64) uint64 { return current }},
	{"the current file is renamed", func(m *disktest.Mem, _, current string) { _ = m.Rename(current, "elsewhere") },
		func(_, current, _ uint64) uint64 { return current }},
	{"the hashes are deleted", func(m *disktest.Mem, _, _ string) { _ = m.Remove("hashes") },
		func(_, _, _ uint64) uint64 { return 0 }},
	{"the hashes are cut short", func(m *disktest.Mem, _, _ string) { m.Cut("hashes", 70) },
		func(_, _, _ uint64) uint64 { return 0 }},
	{"the folder is emptied", func(m *disktest.Mem, _, _ string) {
		for _, name := range m.Names() {
			_ = m.Remove(name)
		}
	}, func(_, _, all uint64) uint64 { return all }},
}

// settled is a log with compressed files and a current one of more than a line, its state kept.
func settled(t *testing.T, m *disktest.Mem) (w *world, l *audit.Log, old, current string, sizes [3]uint64) {
	w = newWorld(t, m)
	w.config.MaxFileBytes = 2000
	l = w.open()
	w.must(l, ids("a", 30)...)
	w.config.MaxFileBytes = 1 << 20
	w.close(l)
	l = w.open()
	w.must(l, ids("b", 5)...)
	synctest.Wait()
	if _, err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	names := slices.DeleteFunc(m.Names(), func(name string) bool { return !strings.HasPrefix(name, "records-") })
	old, current = names[1], names[len(names)-1]
	var firsts []uint64
	for _, r := range w.check(m, l) {
		if r.Kind == audit.KindFile {
			firsts = append(firsts, r.N)
		}
	}
	all := uint64(l.Tree().N)
	if !strings.HasSuffix(old, ".gz") {
		t.Fatalf("the files are %v", names)
	}
	return w, l, old, current, [3]uint64{firsts[2] - firsts[1], all - firsts[len(firsts)-1], all}
}

func length(ranges []audit.Range) (n uint64) {
	for _, r := range ranges {
		n += r.Until - r.From
	}
	return n
}

// acknowledge sees that the log asks for it, that it helps, and that nothing asks again.
func (w *world) acknowledge(m *disktest.Mem, l *audit.Log, want uint64) {
	w.t.Helper()
	if err := l.Err(); !errors.Is(err, audit.ErrMissing) || !errors.Is(err, audit.ErrUnavailable) {
		w.t.Fatalf("the log says %v", err)
	}
	if err := w.append(l, "before"); !errors.Is(err, audit.ErrMissing) {
		w.t.Fatalf("a record was written: %v", err)
	}
	time.Sleep(3 * time.Second)
	if err := l.Err(); !errors.Is(err, audit.ErrMissing) {
		w.t.Fatalf("after a while the log says %v", err)
	}
	missing, err := l.Acknowledge(w.t.Context(), audit.Record{ID: "ack", Caller: "operator", Acknowledgement: &audit.Acknowledgement{Note: "known"}})
	if err != nil || length(missing) != want {
		w.t.Fatalf("acknowledged as missing: %v, want %d records; %v", missing, want, err)
	}
	if _, err := l.Acknowledge(w.t.Context(), audit.Record{}); !errors.Is(err, audit.ErrNothingMissing) {
		w.t.Errorf("once more: %v", err)
	}
	time.Sleep(3 * time.Second)
	w.must(l, "after")
	var told *audit.Record
	for _, r := range w.check(m, l) {
		if r.Kind == audit.KindAcknowledgement {
			told = &r
		}
	}
	if told == nil || told.Caller != "operator" || told.Acknowledgement.Note != "known" || length(told.Acknowledgement.Missing) != want {
		w.t.Errorf("the acknowledgement is %+v", told)
	}
	if want > 0 && length(l.Gaps()) != want {
		w.t.Errorf("the gaps are %v, want %d records", l.Gaps(), want)
	}
}

// again opens the log again, and sees that it asks for nothing.
func (w *world) again(m *disktest.Mem, l *audit.Log) {
	w.t.Helper()
	w.close(l)
	for range 2 {
		l = w.open()
		if err := l.Err(); err != nil {
			w.t.Fatalf("the next process: %v", err)
		}
		w.must(l, "next-"+time.Now().String())
		time.Sleep(2 * time.Second)
		w.check(m, l)
		w.close(l)
	}
}

func TestWhatIsMissingIsFoundWhileTheLogRuns(t *testing.T) {
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := disktest.New()
				w, l, old, current, n := settled(t, m)
				d.do(m, old, current)
				time.Sleep(1100 * time.Millisecond)
				w.acknowledge(m, l, d.missing(n[0], n[1], n[2]))
				w.again(m, l)
			})
		})
	}
}

func TestWhatIsMissingOfTheCurrentFileIsFoundByTheNextRecord(t *testing.T) {
	for _, d := range damages {
		if !strings.HasPrefix(d.name, "the current file") {
			continue
		}
		t.Run(d.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := disktest.New()
				w, l, old, current, n := settled(t, m)
				d.do(m, old, current)
				if err := w.append(l, "at once"); !errors.Is(err, audit.ErrMissing) {
					t.Fatalf("a record was written: %v", err)
				}
				w.acknowledge(m, l, d.missing(n[0], n[1], n[2]))
				w.again(m, l)
			})
		})
	}
}

func TestWhatIsMissingIsFoundByTheNextProcess(t *testing.T) {
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := disktest.New()
				w, l, old, current, n := settled(t, m)
				w.close(l)
				d.do(m, old, current)
				l = w.open()
				w.acknowledge(m, l, d.missing(n[0], n[1], n[2]))
				w.again(m, l)
			})
		})
	}
}

func TestAnAcknowledgementThatWasNotKeptIsFoundInTheLog(t *testing.T) {
	for _, d := range damages[:6] {
		t.Run(d.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := disktest.New()
				w, l, old, current, n := settled(t, m)
				w.close(l)
				d.do(m, old, current)
				w.keep = errors.New("the keystore is away")
				l = w.open()
				w.acknowledge(m, l, d.missing(n[0], n[1], n[2]))
				w.close(l)
				w.keep = nil
				w.again(m, w.open())
			})
		})
	}
}

func TestACurrentFileThatWasReplacedByItsCopyIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		w, l, _, current, _ := settled(t, m)
		m.Put(current, m.Read(current))
		if err := w.append(l, "at once"); !errors.Is(err, audit.ErrMissing) {
			t.Fatalf("a record was written: %v", err)
		}
		w.acknowledge(m, l, 0)
		w.again(m, l)
	})
}

func TestAFolderThatWasRolledBackIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		w, l, _, _, _ := settled(t, m)
		backup, size := m.Clone(), l.Tree().N
		w.must(l, ids("c", 7)...)
		w.close(l)
		w.config.FS = backup
		l = w.open()
		if !errors.Is(l.Err(), audit.ErrMissing) {
			t.Fatalf("the log says %v, with %d records", l.Err(), size)
		}
		w.acknowledge(backup, l, 7)
		w.again(backup, l)
	})
}

func TestAStateOfAnotherLogIsNotAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		w, l, _, _, _ := settled(t, m)
		w.close(l)
		c := w.config
		c.State = w.state
		for name, signer := range map[string]*checkpoint.Signer{
			"another key": signerOf(t, origin, 2), "another origin": signerOf(t, "log.example/other", 1),
		} {
			c.Signer = signer
			if _, err := audit.Open(context.Background(), c); !errors.Is(err, audit.ErrState) {
				t.Errorf("%s: %v", name, err)
			}
		}
		other := disktest.New()
		v, l2, _, _, _ := settled(t, other)
		v.must(l2, "more")
		v.close(l2)
		w.state = v.state
		l = w.open()
		if !errors.Is(l.Err(), audit.ErrMissing) {
			t.Errorf("with the state of another log of the same key: %v", l.Err())
		}
		w.close(l)
	})
}

func TestAnAnchorThatTheLogDoesNotHoldIsFound(t *testing.T) {
	for name, alter := range map[string]func(c *checkpoint.Checkpoint){
		"of another log":             func(c *checkpoint.Checkpoint) { c.Origin = "log.example/other" },
		"of another tree":            func(c *checkpoint.Checkpoint) { c.Tree.Hash[0]++ },
		"of more records":            func(c *checkpoint.Checkpoint) { c.Tree.N += 3 },
		"of another tree that was":   func(c *checkpoint.Checkpoint) { c.Tree.N -= 3 },
		"of a log that has no state": func(c *checkpoint.Checkpoint) { c.Tree.N += 1000 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := disktest.New()
				w, l, _, _, _ := settled(t, m)
				w.close(l)
				w.config.Anchor = checkpoint.Checkpoint{Origin: origin, Tree: l.Tree()}
				l = w.open()
				if l.Err() != nil {
					t.Fatalf("with the right anchor: %v", l.Err())
				}
				w.close(l)
				alter(&w.config.Anchor)
				l = w.open()
				if !errors.Is(l.Err(), audit.ErrMissing) {
					t.Errorf("the log says %v", l.Err())
				}
				if _, err := l.Acknowledge(t.Context(), audit.Record{}); err != nil {
					t.Errorf("acknowledging: %v", err)
				}
				w.must(l, "after")
				w.check(m, l)
				w.close(l)
			})
		})
	}
}

func TestAnAcknowledgementThatFailsCanBeTriedAgain(t *testing.T) {
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			for _, restart := range []bool{false, true} {
				for k, more := 0, true; more; k++ {
					synctest.Test(t, func(t *testing.T) { more = oneFailedAcknowledgement(t, d, restart, k) })
				}
			}
		})
	}
}

// oneFailedAcknowledgement fails one operation of Acknowledge, and says whether there were so many.
func oneFailedAcknowledgement(t *testing.T, d damage, restart bool, k int) bool {
	m := disktest.New()
	w, l, old, current, n := settled(t, m)
	if restart {
		w.close(l)
	}
	d.do(m, old, current)
	if restart {
		l = w.open()
	}
	time.Sleep(1100 * time.Millisecond)
	var mu sync.Mutex
	left := k
	m.Fault(func(disktest.Op) error {
		mu.Lock()
		defer mu.Unlock()
		left--
		if left == -1 {
			return syscall.EIO
		}
		return nil
	})
	_, err := l.Acknowledge(t.Context(), audit.Record{ID: "failed", Acknowledgement: &audit.Acknowledgement{}})
	mu.Lock()
	more := left < 0
	left = -2
	mu.Unlock()
	if err == nil { // what failed was of the checkpoint after it, if anything
		time.Sleep(5 * time.Second)
		w.must(l, "after")
		if want := d.missing(n[0], n[1], n[2]); length(l.Gaps()) != want {
			t.Errorf("at operation %d: the gaps are %v, want %d records", k, l.Gaps(), want)
		}
		w.check(m, l)
	} else {
		w.acknowledge(m, l, d.missing(n[0], n[1], n[2]))
	}
	w.again(m, l)
	return more
}
