package audit_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/internal/durable"
)

// victimFolder is the environment variable that makes the test binary a process to be killed. It names a folder.
const victimFolder = "SIGNERD_TEST_AUDIT_FOLDER"

const kills = 20

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimFolder); dir != "" {
		fmt.Fprintln(os.Stderr, beVictim(dir))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// folders are those of one log: its own, and the file of its state.
func folders(dir string) (disk.Dir, durable.File) {
	return disk.Dir(filepath.Join(dir, "audit")), durable.File{Path: filepath.Join(dir, "state"), Max: 1 << 20, Mode: 0o600}
}

// beVictim writes records for as long as it lives, and tells those that were acknowledged: "ID NUMBER".
func beVictim(dir string) error {
	fs, state := folders(dir)
	kept, err := state.Read()
	if err != nil {
		return err
	}
	w := newWorld(&testing.B{}, fs)
	w.config.State, w.config.MaxFileBytes = kept, 20_000
	w.config.Keep = func(_ context.Context, b []byte) error { return state.Write(b) }
	l, err := audit.Open(context.Background(), w.config)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	failed := make(chan error, 8)
	for i := range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				r := &audit.Record{Kind: audit.KindCall, ID: fmt.Sprintf("%d-%d-%d", os.Getpid(), i, n)}
				if err := l.Append(context.Background(), r); err != nil {
					failed <- err
					return
				}
				mu.Lock()
				fmt.Println(r.ID, r.N)
				mu.Unlock()
			}
		})
	}
	return <-failed
}

func TestNothingAcknowledgedIsLostWhenTheProcessIsKilled(t *testing.T) {
	dir := t.TempDir()
	folder, state := folders(dir)
	if err := os.Mkdir(string(folder), 0o700); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, folder)
	for range kills {
		killOne(t, w, dir)
		var err error
		if w.state, err = state.Read(); err != nil {
			t.Fatal(err)
		}
		l := w.open()
		if err := l.Err(); err != nil {
			t.Fatalf("after the process was killed: %v", err)
		}
		w.must(l, "after-"+fmt.Sprint(l.Tree().N))
		w.close(l)
		if err := state.Write(w.kept()); err != nil {
			t.Fatal(err)
		}
	}
	l := w.open()
	w.close(l) // so that nothing is compressed while it is read
	w.check(folder, l)
	if len(w.acked) < 2*kills {
		t.Errorf("only %d records were acknowledged", len(w.acked))
	}
}

// killOne starts a process, reads a few of its lines, and kills it.
func killOne(t *testing.T, w *world, dir string) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), victimFolder+"="+dir)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for n := 1 + rand.IntN(400); lines.Scan(); n-- {
		// The last line may be cut.
		if id, number, ok := strings.Cut(lines.Text(), " "); ok {
			var at uint64
			if json.Unmarshal([]byte(number), &at) == nil && n > 0 {
				w.acked[id] = at
			}
		}
		if n == 0 {
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait()
	if said.Len() > 0 {
		t.Fatalf("the process said %s", said.String())
	}
}
