package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/scripttest"
)

// TestTheDocumentsWorkAsWritten runs every command of the console blocks of the README and the partners' pages, in order, each document's
// in an empty folder.
func TestTheDocumentsWorkAsWritten(t *testing.T) {
	for document, least := range map[string]int{"README.md": 8, "docs/partners/noah.md": 7, "docs/partners/noba.md": 7} {
		t.Run(document, func(t *testing.T) { runDocument(t, filepath.Join("../..", document), least) })
	}
}

func runDocument(t *testing.T, path string, least int) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(scripttest.Build(t), filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllSubmatch(text, -1) {
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
	if ran < least {
		t.Errorf("only %d commands were run, want at least %d", ran, least)
	}
}

func runLine(t *testing.T, dir, command string) {
	t.Helper()
	// The folder of the test is not the repository's, where a reader is.
	repository, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	command = strings.ReplaceAll(command, "go run ", "go -C '"+repository+"' run ")
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
	if _, file, ok := strings.Cut(background, " --env-file "); ok {
		waitForFile(t, filepath.Join(dir, file))
		return
	}
	if err := scripttest.WaitServing(filepath.Join(dir, ".signerd", "signerd.sock")); err != nil {
		t.Fatal(err)
	}
}

// waitForFile returns once `signerctl sandbox` has written where its partners listen.
func waitForFile(t *testing.T, path string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); runtime.Gosched() {
		if _, err := os.Stat(path); err == nil {
			return
		}
	}
	t.Fatalf("nobody wrote %s", path)
}
