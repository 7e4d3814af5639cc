package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/signerd/signerd/internal/scripttest"
)

// TestTheReadmeWorksAsWritten runs every command of the README's console blocks, in order, in an empty folder.
func TestTheReadmeWorksAsWritten(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(scripttest.Build(t), filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllSubmatch(readme, -1) {
		for line := range strings.Lines(string(block[1])) {
			command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ ")
			if !ok {
				t.Fatalf("a console block holds %q, which is no command", line)
			}
			if command == "make build" {
				continue
			}
			ran++
			runLine(t, dir, command)
		}
	}
	if ran < 8 {
		t.Errorf("only %d commands were run", ran)
	}
}

func runLine(t *testing.T, dir, command string) {
	t.Helper()
	background, isBackground := strings.CutSuffix(command, " &")
	if isBackground {
		// exec: the signal is for the program, not for a shell around it.
		command = "exec " + background
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SIGNERD_ADDRESS=", "GORACE=atexit_sleep_ms=0")
	if !isBackground {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("$ %s\n%s%v", command, out, err)
		}
		return
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	if err := scripttest.WaitServing(filepath.Join(dir, ".signerd", "signerd.sock")); err != nil {
		t.Fatal(err)
	}
}
