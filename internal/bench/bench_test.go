package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// build makes the real programs.
func build(t *testing.T) (bin string) {
	t.Helper()
	bin = t.TempDir()
	for _, p := range []struct{ name, pkg, tags string }{
		{"signerd", "cmd/signerd", ""}, {"signerd-unaudited", "cmd/signerd", "unaudited"}, {"bench", "internal/bench", ""},
	} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", p.tags, "-o", filepath.Join(bin, p.name), "github.com/signerd/signerd/"+p.pkg)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", p.name, err, out)
		}
	}
	return bin
}

// It measures for moments only: what is tested is that everything is started, asked, checked, reported and ended.
func TestBenchRunsEndToEnd(t *testing.T) {
	bin := build(t)
	folders := t.TempDir()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "bench"), "-bin", bin, "-rounds", "1", "-time", "50ms", "-o", "json",
		"-run", "^raw/|^echo/noba/unix|/noah-es384/mtls/1$|/(noah-es384|noba|noon)/mtls/64$")
	cmd.Env = append(os.Environ(), "TMPDIR="+folders)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("bench: %v\n%s", err, stderr.String())
	}
	var r report
	must(t, json.Unmarshal(out, &r))
	var names []string
	for _, got := range r.Results {
		names = append(names, got.Name)
		if got.CPU <= 0 || got.PerSecond <= 0 || len(got.CPUByRound) != 1 || got.Server != serverRaw && (got.P50 <= 0 || got.P99 < got.P50) {
			t.Errorf("%s has no figures: %+v", got.Name, got)
		}
	}
	want := strings.Fields(`raw/noah-es384 raw/noah-es256 raw/noba raw/fsync
		echo/noah-es384/mtls/1 unaudited/noah-es384/mtls/1 signerd/noah-es384/mtls/1
		echo/noah-es384/mtls/64 unaudited/noah-es384/mtls/64 signerd/noah-es384/mtls/64
		echo/noba/unix/1 echo/noba/unix/8 echo/noba/unix/64
		echo/noba/mtls/64 unaudited/noba/mtls/64 signerd/noba/mtls/64 echo/noon/mtls/64 unaudited/noon/mtls/64 signerd/noon/mtls/64`)
	if !slices.Equal(names, want) {
		t.Errorf("measured %v, want %v", names, want)
	}
	if len(r.Goals) != 9 {
		t.Errorf("there are %d goals, want 9: %+v", len(r.Goals), r.Goals)
	}
	if left, err := os.ReadDir(folders); err != nil || len(left) > 0 {
		t.Errorf("it left %v behind (%v)", left, err)
	}
}

func TestBenchFailsOnlyWhenSomethingDoesNotWork(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"-run", "nothing-is-called-that"}, "usage: -run: no variant has such a name"},
		{[]string{"-run", "("}, "usage: -run:"},
		{[]string{"-rounds", "0"}, "usage: -rounds"},
		{[]string{"-o", "yaml"}, "usage: -o"},
		{[]string{"surplus"}, "usage: unknown argument"},
		{[]string{"-bin", filepath.Join(t.TempDir(), "absent"), "-run", "raw/noba"}, "signerd init:"},
	} {
		err := run(t.Context(), c.args, new(bytes.Buffer), new(bytes.Buffer))
		if err == nil || !strings.HasPrefix(err.Error(), c.says) {
			t.Errorf("%q gave %v, want %s…", c.args, err, c.says)
		}
	}
}
