// Package interop runs implementations that are independent of signerd's own, so that tests can hold signerd's
// output against them: the JavaScript libraries of the partners' own examples, and openssl. Only tests import it.
//
// The libraries are those of package-lock.json; `npm ci` in this folder installs them.
package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// runTime is how long one program may run before it is ended and the test fails.
const runTime = 2 * time.Minute

// Node runs one script of this package (such as "noah.js") with lines on its standard input and returns its output
// lines, one for each input line. What a line holds is said at the head of the script. All lines go to one process:
// starting it costs more than most work it does, so callers collect their inputs first.
//
// Without Node, or with other packages installed than package-lock.json names, the test is skipped and told why; with
// CI=true in the environment it fails instead. A failure never quotes the lines, which may hold secrets.
func Node(t testing.TB, script string, lines []string) []string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		unavailable(t, "node is not installed")
	}
	dir, err := folder()
	if err != nil {
		unavailable(t, err.Error())
	}
	if err := checkInstalled(dir); err != nil {
		unavailable(t, err.Error())
	}
	for _, name := range []string{script, "lines.js"} {
		// go test sees what a test looks at, not what node does: without this a result outlives the script it was
		// made with in go's cache.
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Fatalf("%s: %v", script, err)
		}
	}
	var stdin bytes.Buffer
	for i, line := range lines {
		if strings.Contains(line, "\n") {
			t.Fatalf("%s: input line %d holds a line break", script, i+1)
		}
		stdin.WriteString(line)
		stdin.WriteByte('\n')
	}
	// Nothing that the scripts write on standard error comes from their input: see lines.js.
	stdout, stderr, err := run(t, dir, stdin.Bytes(), node, filepath.Join(dir, script))
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, stderr)
	}
	if len(lines) == 0 {
		return nil
	}
	answers := strings.Split(strings.TrimSuffix(string(stdout), "\n"), "\n")
	if len(answers) != len(lines) {
		t.Fatalf("%s: %d output lines for %d input lines", script, len(answers), len(lines))
	}
	return answers
}

// OpenSSL runs openssl with args and stdin, and returns what it wrote on standard output. Without openssl the test is
// skipped and told why; with CI=true in the environment it fails instead. A failure shows openssl's own messages with
// the arguments cut out of them; secrets belong in stdin or in files all the same, since a process's arguments are
// open to the whole machine.
func OpenSSL(t testing.TB, stdin []byte, args ...string) []byte {
	t.Helper()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		unavailable(t, "openssl is not installed")
	}
	stdout, stderr, err := run(t, "", stdin, openssl, args...)
	if err != nil {
		t.Fatalf("openssl: %v\n%s", err, withoutArguments(string(stderr), args))
	}
	return stdout
}

// unavailable ends the test: on CI a missing program is a fault, elsewhere a reason to skip.
func unavailable(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s, and CI must not skip this test", reason)
	}
	t.Skip(reason)
}

// folder returns the folder of this file, where the scripts are.
func folder() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		return "", errors.New("the scripts of internal/interop cannot be found from a test built with -trimpath")
	}
	return filepath.Dir(file), nil
}

// checkInstalled reports whether node_modules holds exactly the packages of package-lock.json.
func checkInstalled(dir string) error {
	want, err := lockedPackages(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return err
	}
	// npm keeps here what it has installed.
	got, err := lockedPackages(filepath.Join(dir, "node_modules", ".package-lock.json"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("the packages of internal/interop are not installed: run `npm ci` there")
	case err != nil:
		return err
	case !maps.Equal(want, got):
		return errors.New("the packages of internal/interop are not those of its package-lock.json: run `npm ci` there")
	}
	return nil
}

// lockedPackage is what tells one version of a package from another.
type lockedPackage struct {
	Version   string `json:"version"`
	Integrity string `json:"integrity"`
}

// lockedPackages returns the packages that one of npm's lock files names, by their place under the project's folder.
func lockedPackages(path string) (map[string]lockedPackage, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var lock struct {
		Packages map[string]lockedPackage `json:"packages"`
	}
	if err := json.Unmarshal(data, &lock); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	delete(lock.Packages, "") // the project itself
	return lock.Packages, nil
}

// run runs one program to its end. The program gets nothing of the environment but PATH, so that no setting of one
// machine (NODE_OPTIONS, OPENSSL_CONF) changes a result.
func run(t testing.TB, dir string, stdin []byte, program string, args ...string) (stdout, stderr []byte, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runTime)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("ended before it was done: %w", ctx.Err())
	}
	return out.Bytes(), errOut.Bytes(), err
}

// withoutArguments returns text with every argument cut out that is not an option's name. What follows a first colon
// counts as an argument too, as in pass:… and key:….
func withoutArguments(text string, args []string) string {
	for _, arg := range args {
		if strings.HasPrefix(arg, "-") {
			continue
		}
		_, value, _ := strings.Cut(arg, ":")
		for _, s := range []string{arg, value} {
			if s != "" {
				text = strings.ReplaceAll(text, s, "…")
			}
		}
	}
	return text
}
