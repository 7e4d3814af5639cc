package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/disk/disktest"
	"github.com/signerd/signerd/audit/reader"
	"github.com/signerd/signerd/audit/segment"
)

func records(m *disktest.Mem) []string {
	return slices.DeleteFunc(m.Names(), func(name string) bool { return !strings.HasPrefix(name, "records-") })
}

// An attacker deletes an old file, and acknowledges that in a line that it adds after the last one.
func TestAForgedAcknowledgementIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		w, l, old, current, _ := settled(t, m)
		n := l.Tree().N
		w.close(l)
		_ = m.Remove(old)
		forged := fmt.Sprintf(`{"n":%d,"kind":"acknowledgement","record_id":"x","time":"2026-01-01T00:00:00.000000Z","caller":"operator","acknowledgement":{"note":"known","missing":[{"from":0,"until":%d}]}}`+"\n", n, n)
		m.Put(current, append(slices.Clone(m.Read(current)), forged...))
		l = w.open()
		if !errors.Is(l.Err(), audit.ErrMissing) {
			t.Errorf("the loss was acknowledged by a line that nobody signed: %v, gaps %v", l.Err(), l.Gaps())
		}
	})
}

// An attacker makes old files look older than retention, lets signerd delete them, and puts the line back.
func TestAForgedTimeDoesNotMakeRetentionDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		w, l, _, _, _ := settled(t, m)
		w.close(l)
		names := records(m)
		w.config.Retention = 24 * time.Hour
		for _, name := range names[1 : len(names)-1] {
			if strings.HasSuffix(name, ".gz") {
				first, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(name, "records-"), ".jsonl.gz"), 10, 64)
				lines, err := segment.Open(m, segment.Segment{First: first, Compressed: true}, 0)
				if err != nil {
					t.Fatal(err)
				}
				var text []byte
				for {
					line, err := lines.Next()
					if err != nil {
						break
					}
					text = append(append(text, line...), '\n')
				}
				_ = m.Remove(name)
				name = strings.TrimSuffix(name, ".gz")
				m.Put(name, text)
			}
			text := m.Read(name)
			i := bytes.Index(text, []byte(`"time":"`)) + len(`"time":"`)
			m.Put(name, slices.Concat(text[:i], []byte("1970"), text[i+4:]))
		}
		l = w.open()
		w.must(l, ids("later", 3)...)
		time.Sleep(2 * time.Minute) // of the bubble's clock
		synctest.Wait()
		if l.First() != 0 {
			t.Errorf("retention deleted all before %d, which is not old", l.First())
		}
	})
}

// The folder belongs to another log: nothing of it may be removed.
func TestFilesOfAnotherLogAreNotRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		w := newWorld(t, m)
		l := w.open()
		w.must(l, ids("a", 5)...)
		w.close(l)
		before := m.Read(records(m)[0])
		other := newWorld(t, m)
		other.config.Signer = signerOf(t, "log.example/other", 2)
		l = other.open()
		time.Sleep(5 * time.Second) // of the bubble's clock
		if !errors.Is(l.Err(), audit.ErrMissing) {
			t.Errorf("the log says %v", l.Err())
		}
		other.close(l)
		if !bytes.Equal(m.Read(records(m)[0]), before) {
			t.Error("another log's records were removed")
		}
	})
}

func TestANumberThatIsTooLargeForAnyLogIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		w, l, _, _, _ := settled(t, m)
		w.close(l)
		const n = 1<<63 - 1
		edge := make([]string, 63)
		for i := range edge {
			edge[i] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
		}
		texts, _ := json.Marshal(edge)
		m.Put(segment.Segment{First: n}.Name(), fmt.Appendf(nil, `{"n":%d,"kind":"file","record_id":"","time":"2026-01-01T00:00:00.000000Z","file":{"origin":"%s","edge":%s}}`+"\n", uint64(n), origin, texts))
		l = w.open()
		if err := l.Err(); err != nil {
			if _, err := l.Acknowledge(t.Context(), audit.Record{}); err != nil {
				t.Errorf("acknowledging: %v", err)
			}
		}
		w.must(l, "after")
	})
}

// What is missing at the start can be looked at before it is acknowledged.
func TestALogWithMissingRecordsCanBeRead(t *testing.T) {
	for _, what := range []string{"old", "hashes", "current"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := disktest.New()
				w, l, old, current, _ := settled(t, m)
				w.close(l)
				_ = m.Remove(map[string]string{"old": old, "hashes": "hashes", "current": current}[what])
				l = w.open()
				if !errors.Is(l.Err(), audit.ErrMissing) {
					t.Fatal(l.Err())
				}
				s := reader.Source{FS: m, Tree: l.Tree, Hashes: l.Hashes(), Gaps: l.Gaps, First: l.First}
				report, err := s.Verify(t.Context(), reader.Want{Live: true}, nil)
				if err != nil || report.Fault == nil {
					t.Errorf("verifying: %+v, %v", report.Fault, err)
				}
				_, err = s.Prove(1, tlog.Tree{})
				t.Log(report.Fault, err)
				if _, err := l.Acknowledge(t.Context(), audit.Record{}); err != nil {
					t.Errorf("acknowledging: %v", err)
				}
				w.must(l, "after")
				w.close(l)
			})
		})
	}
}

// The keystore's disk hangs, and with it Keep: records go on, whatever their number.
func TestAKeepThatHangsDoesNotStopTheLog(t *testing.T) {
	defer audit.SetMaxUnsynced(audit.SetMaxUnsynced(100))
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		w := newWorld(t, m)
		release := make(chan struct{})
		w.config.Keep = func(ctx context.Context, _ []byte) error {
			<-release
			return nil
		}
		l := w.open()
		time.Sleep(2 * time.Second) // of the bubble's clock
		w.must(l, ids("a", 500)...)
		close(release)
		w.check(m, l)
	})
}

// Links, folders and pipes in the folder: neither do they keep signerd from starting, nor from being told so.
func TestWhatIsNoFileIsPutAside(t *testing.T) {
	for name, make := range map[string]func(string) error{
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
		"pipe":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"link":   func(path string) error { return os.Symlink("/etc/passwd", path) },
	} {
		for _, place := range []string{"extra", "old", "current"} {
			t.Run(name+" "+place, func(t *testing.T) {
				dir := t.TempDir()
				w := newWorld(t, disk.Dir(dir))
				w.config.MaxFileBytes = 2000
				l := w.open()
				w.must(l, ids("a", 30)...)
				w.close(l)
				entries, _ := os.ReadDir(dir)
				var names []string
				for _, e := range entries {
					if strings.HasPrefix(e.Name(), "records-") {
						names = append(names, e.Name())
					}
				}
				at := map[string]string{"extra": segment.Segment{First: 9999}.Name(), "old": names[1], "current": names[len(names)-1]}[place]
				_ = os.Rename(dir+"/"+at, dir+"/moved")
				if err := make(dir + "/" + at); err != nil {
					t.Fatal(err)
				}
				l = w.open()
				if !errors.Is(l.Err(), audit.ErrMissing) {
					t.Fatalf("the log says %v", l.Err())
				}
				if _, err := l.Acknowledge(t.Context(), audit.Record{}); err != nil {
					t.Fatalf("acknowledging: %v", err)
				}
				w.must(l, "after")
				if _, err := os.Lstat(dir + "/" + at + ".unfit"); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Records that somebody wrote while signerd was stopped are not its own.
func TestRecordsAfterTheEndAreNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		w, l, _, current, _ := settled(t, m)
		n := l.Tree().N
		w.close(l)
		forged := fmt.Sprintf(`{"n":%d,"kind":"call","record_id":"x","time":"2026-01-01T00:00:00.000000Z","caller":"unix:uid=1000","code":"OK"}`+"\n", n)
		m.Put(current, append(slices.Clone(m.Read(current)), forged...))
		l = w.open()
		if !errors.Is(l.Err(), audit.ErrMissing) || l.Tree().N < n {
			t.Fatalf("a record that nobody wrote is in the log: %v", l.Err())
		}
		if _, err := l.Acknowledge(t.Context(), audit.Record{Acknowledgement: &audit.Acknowledgement{Note: "seen"}}); err != nil {
			t.Fatal(err)
		}
		w.must(l, "after")
		w.again(m, l)
	})
}

// A process that is killed before its first checkpoint has written them itself.
func TestRecordsAfterAnEndAndABeginningAreBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := disktest.New()
		w, l, _, _, _ := settled(t, m)
		w.close(l)
		l = w.open()
		w.must(l, "killed")
		killed, state := m.Clone(), w.kept()
		w.close(l)
		w.config.FS, w.state = killed, state
		l = w.open()
		if l.Err() != nil {
			t.Fatal(l.Err())
		}
		w.must(l, "next")
		w.check(killed, l)
	})
}
