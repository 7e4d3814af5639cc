package cli

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/signerd/signerd/internal/killtest"
)

// saveVariable names the file that TestABackupThatIsKilled replaces; saveFrom the one that it copies.
const saveVariable, saveFrom = "SIGNERD_TEST_SAVE_BACKUP", "SIGNERD_TEST_SAVE_FROM"

// TestABackupThatIsKilled is the process that is killed; without the variables there is none.
func TestABackupThatIsKilled(t *testing.T) {
	to := os.Getenv(saveVariable)
	if to == "" {
		return
	}
	content, err := os.ReadFile(os.Getenv(saveFrom))
	if err != nil {
		t.Fatal(err)
	}
	_, err = saveBackup(to, true, func(w io.Writer) error {
		for piece := range bytes.Lines(content) {
			if _, err := w.Write(piece); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestABackupThatIsKilledBeforeAnyOfItsWritesLeavesTheOldFileOrTheNew(t *testing.T) {
	content, _ := testBackup(t)
	from := filepath.Join(t.TempDir(), "from")
	if err := os.WriteFile(from, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, old := range map[string][]byte{"a new file": nil, "a file that is replaced": []byte("old")} {
		t.Run(what, func(t *testing.T) {
			run := func(at int) ([]byte, killtest.Outcome) {
				dir, err := filepath.EvalSymlinks(t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(dir, "backup")
				if old != nil {
					if err := os.WriteFile(path, old, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				out := killtest.Victim{Path: os.Args[0], Args: []string{"-test.run=^TestABackupThatIsKilled$"}, Dir: dir,
					Env: []string{saveVariable + "=" + path, saveFrom + "=" + from, "GORACE=atexit_sleep_ms=0"}}.Run(t, at)
				got, err := os.ReadFile(path)
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
				return got, out
			}
			got, dry := run(0)
			if dry.Failed || len(dry.Points) < 4 || !bytes.Equal(got, content) {
				t.Fatalf("it does not work: %+v", dry)
			}
			for at, point := range dry.Points {
				got, out := run(at + 1)
				if !out.Killed {
					t.Fatalf("at %d, %s: it was not killed there: %+v", at+1, point, out)
				}
				if !bytes.Equal(got, old) && !bytes.Equal(got, content) {
					t.Errorf("killed at %d, %s: the file has %d bytes and is neither the old one nor the new", at+1, point, len(got))
				}
			}
		})
	}
}
