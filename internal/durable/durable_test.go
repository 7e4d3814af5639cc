package durable_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/signerd/signerd/internal/durable"
)

// wantFolder fails unless the folder holds exactly these files, each with this content.
func wantFolder(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if _, ok := want[entry.Name()]; !ok {
			t.Errorf("%s was left behind", entry.Name())
		}
	}
	for name, content := range want {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != content {
			t.Errorf("%s holds %.40q (%v), want %.40q", name, got, err, content)
		}
	}
}

func TestWriteFileMakesAndReplacesAFileAndLeavesNothingElse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, content := range []string{"first", "", strings.Repeat("much longer ", 1<<16), "short"} {
		if err := durable.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		wantFolder(t, dir, map[string]string{"file": content})
	}
}

func TestTheFileHasTheModeItWasGivenWhateverItHadBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, mode := range []fs.FileMode{0o600, 0o400, 0o644, 0o666, 0o600} {
		if err := durable.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("the mode is %v (%v), want %v", info.Mode(), err, mode)
		}
	}
}

func TestWhenTheFolderTakesNoFileNothingIsMade(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "missing", "x"), filepath.Join(dir, "file", "x")} {
		for what, write := range map[string]func(string, []byte, fs.FileMode) error{"WriteFile": durable.WriteFile, "CreateFile": durable.CreateFile} {
			if err := write(path, []byte("new"), 0o600); err == nil || errors.Is(err, fs.ErrExist) {
				t.Errorf("%s to %s: %v, want an error that says why", what, path, err)
			}
		}
	}
	wantFolder(t, dir, map[string]string{"file": "old"})
}

func TestWhenAFileCannotBeReplacedTheOldOneStays(t *testing.T) {
	// No temporary name beside this one fits into a file system's 255 bytes.
	long := strings.Repeat("n", 250)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, long), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(filepath.Join(dir, long), []byte("new"), 0o600); err == nil {
		t.Error("WriteFile to a name that is too long succeeded")
	}
	wantFolder(t, dir, map[string]string{long: "old"})

	// A folder cannot be replaced by a file: the rename fails, after all is written.
	dir = t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "taken", "by a folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(filepath.Join(dir, "taken"), []byte("new"), 0o600); err == nil {
		t.Error("WriteFile over a folder succeeded")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || !entries[0].IsDir() {
		t.Errorf("the folder holds %v (%v), want what was there alone", entries, err)
	}
}

func TestReadersSeeTheOldContentOrTheNewNeverAPart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	contents := [][]byte{bytes.Repeat([]byte("a"), 1<<16), bytes.Repeat([]byte("b"), 1<<10)}
	if err := durable.WriteFile(path, contents[0], 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				got, err := os.ReadFile(path)
				if err != nil || !bytes.Equal(got, contents[0]) && !bytes.Equal(got, contents[1]) {
					t.Errorf("a reader sees %d bytes, %.10q (%v)", len(got), got, err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range 50 {
		if err := durable.WriteFile(path, contents[i%2], 0o600); err != nil {
			t.Error(err)
		}
	}
	close(done)
	readers.Wait()
}

func TestCreateFileMakesAFileWithItsMode(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := durable.CreateFile(path, []byte("new"), 0o400); err != nil {
		t.Fatal(err)
	}
	wantFolder(t, dir, map[string]string{"file": "new"})
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o400 {
		t.Errorf("the mode is %v (%v), want 0400", info.Mode(), err)
	}
}

func TestCreateFileReplacesNothing(t *testing.T) {
	for what, prepare := range map[string]func(path string) error{
		"a file":                     func(path string) error { return os.WriteFile(path, []byte("old"), 0o600) },
		"an empty file":              func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a folder":                   func(path string) error { return os.Mkdir(path, 0o700) },
		"a symbolic link to nothing": func(path string) error { return os.Symlink("nowhere", path) },
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "file")
		if err := prepare(path); err != nil {
			t.Fatal(err)
		}
		before, _ := os.Lstat(path)
		if err := durable.CreateFile(path, []byte("new"), 0o600); !errors.Is(err, fs.ErrExist) {
			t.Errorf("over %s: %v, want fs.ErrExist", what, err)
		}
		after, err := os.Lstat(path)
		if err != nil || !os.SameFile(before, after) || after.Size() != before.Size() {
			t.Errorf("%s was replaced (%v)", what, err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("beside %s: %v (%v), want nothing", what, entries, err)
		}
	}
}

func TestCreateFileTouchesNoNeighbour(t *testing.T) {
	dir := t.TempDir()
	neighbours := map[string]string{"file.new": "precious", "file.tmp": "precious", ".file": "precious"}
	for name, content := range neighbours {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := durable.CreateFile(filepath.Join(dir, "file"), []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	neighbours["file"] = "new"
	wantFolder(t, dir, neighbours)
}

func TestOfManyThatCreateOneFileOneWinsAndItsContentIsThere(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		path := filepath.Join(dir, "file")
		contents := []string{"one", "two", "three", "four"}
		winners := make(chan string, len(contents))
		start := make(chan struct{})
		var wg sync.WaitGroup
		for _, content := range contents {
			wg.Go(func() {
				<-start
				switch err := durable.CreateFile(path, []byte(content), 0o600); {
				case err == nil:
					winners <- content
				case !errors.Is(err, fs.ErrExist):
					t.Errorf("CreateFile: %v, want fs.ErrExist", err)
				}
			})
		}
		close(start)
		wg.Wait()
		if len(winners) != 1 {
			t.Fatalf("%d of %d succeeded, want 1", len(winners), len(contents))
		}
		wantFolder(t, dir, map[string]string{"file": <-winners})
	}
}

func TestReadLimitedReadsUpToItsLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for size, want := range map[int]error{0: nil, 1: nil, 99: nil, 100: nil, 101: durable.ErrTooLarge, 1 << 20: durable.ErrTooLarge} {
		content := bytes.Repeat([]byte("x"), size)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := durable.ReadLimited(path, 100)
		if !errors.Is(err, want) || want == nil && !bytes.Equal(got, content) || want != nil && got != nil {
			t.Errorf("%d bytes with a limit of 100: %d bytes, %v, want %v", size, len(got), err, want)
		}
	}
	if _, err := durable.ReadLimited(path+".missing", 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v, want fs.ErrNotExist", err)
	}
	if _, err := durable.ReadLimited(t.TempDir(), 100); err == nil {
		t.Error("a folder was read")
	}
}

func TestReadAllLimitedReadsNoFurtherThanItMust(t *testing.T) {
	endless := &counting{}
	if _, err := durable.ReadAllLimited(endless, "endless", 100); !errors.Is(err, durable.ErrTooLarge) {
		t.Errorf("an endless reader: %v, want ErrTooLarge", err)
	}
	if endless.read > 101 {
		t.Errorf("of an endless reader %d bytes were read, want 101", endless.read)
	}
	broken := errors.New("broken")
	if _, err := durable.ReadAllLimited(io.MultiReader(strings.NewReader("some"), iotest.ErrReader(broken)), "name", 100); !errors.Is(err, broken) {
		t.Errorf("a broken reader: %v, want its error", err)
	}
}

// counting is long enough to be taken for endless, and counts what was read of it.
type counting struct{ read int }

func (c *counting) Read(p []byte) (int, error) {
	if c.read > 1<<20 {
		return 0, io.EOF
	}
	c.read += len(p)
	return len(p), nil
}

func TestAFileReadsWhatItWroteAndNothingWhenThereIsNone(t *testing.T) {
	f := durable.File{Path: filepath.Join(t.TempDir(), "anchor"), Max: 8, Mode: 0o600}
	if got, err := f.Read(); got != nil || err != nil {
		t.Errorf("before it was written: %q, %v, want nil alone", got, err)
	}
	for _, content := range []string{"12345678", "", "123"} {
		if err := f.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, err := f.Read(); got == nil || string(got) != content || err != nil {
			t.Errorf("read %q (%v), want %q and not nil: the file is there", got, err, content)
		}
	}
	if err := f.Write([]byte("123456789")); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Read(); got != nil || !errors.Is(err, durable.ErrTooLarge) {
		t.Errorf("larger than Max: %q, %v, want ErrTooLarge", got, err)
	}
	f.Path = filepath.Join(f.Path, "below a file")
	if _, err := f.Read(); err == nil {
		t.Error("a path below a file reads as no file")
	}
}

func TestSyncDirNeedsAFolder(t *testing.T) {
	dir := t.TempDir()
	if err := durable.SyncDir(dir); err != nil {
		t.Error(err)
	}
	if err := durable.SyncDir(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing folder: %v, want fs.ErrNotExist", err)
	}
}
