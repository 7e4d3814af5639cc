package killtest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/signerd/signerd/internal/killtest"
)

// folder is the environment variable that makes the test binary the victim.
const folder = "SIGNERD_TEST_KILL_FOLDER"

func TestMain(m *testing.M) {
	dir := os.Getenv(folder)
	if dir == "" {
		os.Exit(m.Run())
	}
	fmt.Println("begun")
	err := os.WriteFile(filepath.Join(dir, "a"), []byte("a"), 0o600)
	if err == nil {
		err = os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "b"))
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(os.TempDir(), filepath.Base(dir)), nil, 0o600) // does not count
	}
	if err == nil {
		err = os.Remove(filepath.Join(os.TempDir(), filepath.Base(dir)))
	}
	if err == nil {
		err = os.Remove(filepath.Join(dir, "b"))
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ended")
	os.Exit(0)
}

func TestAProcessIsKilledBeforeEachOfItsChanges(t *testing.T) {
	points := []string{"create a", "write a", "rename a", "remove b"}
	left := []string{"", "a:", "a:a", "b:a", ""} // at each of them, and at the end
	for at := range len(points) + 1 {
		dir, err := filepath.EvalSymlinks(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		out := killtest.Victim{Path: os.Args[0], Env: []string{folder + "=" + dir}, Dir: dir}.Run(t, (at+1)%(len(points)+1))
		whole := at == len(points)
		if out.Failed || out.Killed == whole || !slices.Equal(out.Points, points[:min(at+1, len(points))]) {
			t.Errorf("killed at %d: %+v", at+1, out)
		}
		if want := map[bool]string{false: "begun\n", true: "begun\nended\n"}[whole]; out.Output != want {
			t.Errorf("killed at %d it said %q", at+1, out.Output)
		}
		got := ""
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			content, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			got += e.Name() + ":" + string(content)
		}
		if got != left[at] {
			t.Errorf("killed at %d it left %q, want %q", at+1, got, left[at])
		}
	}
}
