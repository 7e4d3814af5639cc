package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/internal/owner"
)

// A group that may write is refused, whatever the umask of whoever runs the tests.
func TestMain(m *testing.M) {
	syscall.Umask(0o022)
	os.Exit(m.Run())
}

func TestFilesThatOtherUsersCanChangeAreNotServedFrom(t *testing.T) {
	const nobody = 65534
	give := func(path string) error { return os.Chown(path, nobody, nobody) }
	for name, tt := range map[string]struct {
		change func(c *config.Config) error
		root   bool // only root can give files away
	}{
		"a store of another user":        {func(c *config.Config) error { return give(c.Store) }, true},
		"an anchor of another user":      {func(c *config.Config) error { return give(c.Anchor) }, true},
		"an audit log of another user":   {func(c *config.Config) error { return give(c.Audit.Dir) }, true},
		"a file of it of another user":   {func(c *config.Config) error { return give(filepath.Join(c.Audit.Dir, "records")) }, true},
		"a folder of another user":       {func(c *config.Config) error { return give(filepath.Dir(c.Store)) }, true},
		"a folder that all may write":    {func(c *config.Config) error { return os.Chmod(filepath.Dir(c.Store), 0o777) }, false},
		"one that its group may write":   {func(c *config.Config) error { return os.Chmod(filepath.Dir(c.Store), 0o770) }, false},
		"the folder of the anchor alone": {func(c *config.Config) error { return os.Chmod(filepath.Dir(c.Anchor), 0o777) }, false},
		"where a link leads to": {func(c *config.Config) error {
			elsewhere := filepath.Join(filepath.Dir(c.Store), "elsewhere")
			if err := errors.Join(os.Mkdir(elsewhere, 0o700), os.Rename(c.Anchor, filepath.Join(elsewhere, "anchor")),
				os.Symlink(filepath.Join(elsewhere, "anchor"), c.Anchor)); err != nil {
				return err
			}
			return os.Chmod(elsewhere, 0o777)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.root && os.Geteuid() != 0 {
				t.Log("only root can give files away")
				return
			}
			dir := t.TempDir()
			must(t, os.Mkdir(filepath.Join(dir, "anchor"), 0o700))
			c := folderConfig(dir, filepath.Join(dir, "root.key"))
			c.Anchor = filepath.Join(dir, "anchor", "anchor")
			_, err := prepare(t.Context(), c)
			must(t, err)
			must(t, os.WriteFile(filepath.Join(c.Audit.Dir, "records"), nil, 0o600))
			must(t, checkPermissions(c))
			must(t, tt.change(c))
			if err := checkPermissions(c); !errors.Is(err, owner.ErrOthers) {
				t.Errorf("it is served from: %v", err)
			}
		})
	}
}

func TestAConfigurationThatOtherUsersCanChangeIsRefused(t *testing.T) {
	const example = "../../docs/examples/smallest.yaml"
	text, err := os.ReadFile(example)
	must(t, err)
	path := filepath.Join(t.TempDir(), "signerd.yaml")
	must(t, os.WriteFile(path, text, 0o600))
	for mode, want := range map[os.FileMode]error{0o644: nil, 0o440: nil, 0o666: owner.ErrOthers, 0o660: owner.ErrOthers} {
		must(t, os.Chmod(path, mode))
		if _, err := readConfig(path); !errors.Is(err, want) {
			t.Errorf("mode %04o: %v, want %v", mode, err, want)
		}
	}
}

func TestSIGHUPTellsThatAStartWouldBeRefused(t *testing.T) {
	in := install(t)
	logged, stop := in.serve(t)
	defer stop()
	logged(`"msg":"serving"`)
	must(t, os.Chmod(filepath.Join(in.dir, "anchor"), 0o666))
	hangUp(t)
	if line := logged("a start would be refused"); !strings.Contains(line, "the anchor can be changed by other users") {
		t.Errorf("the log says %s", line)
	}
	logged("configuration is in force")
}
