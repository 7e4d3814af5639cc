package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/signerd/signerd/internal/config"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/keystore/bolt"
	"github.com/signerd/signerd/server"
)

// errCheck says that the findings were printed.
var errCheck = errors.New("the configuration cannot be served as it is")

// check is `signerd check`: it prints a line for each thing it looked at, and changes nothing.
func check(ctx context.Context, configFile string, stdout io.Writer) error {
	c, err := config.Load(configFile, server.Operations())
	if err != nil {
		return err
	}
	r := report{out: stdout}
	r.add("configuration "+configFile, nil)
	for _, socket := range []config.Socket{c.Socket, c.AdminSocket} {
		r.add("socket "+socket.Path, folder(filepath.Dir(socket.Path)))
	}
	switch err := contents(ctx, c); {
	case errors.Is(err, bolt.ErrInUse):
		r.add("store: it is in use; the signerd that serves it has checked its contents", nil)
	default:
		r.add("root key and store", err)
	}
	if len(c.Grants) == 0 {
		r.warn("grants: there are none, so that nobody may do anything")
	}
	if filepath.Dir(c.Anchor) == filepath.Dir(c.Store) {
		r.warn("anchor: it is beside the store; whoever puts back an older copy of the folder is not noticed")
	}
	if r.failed {
		return errCheck
	}
	return nil
}

type report struct {
	out    io.Writer
	failed bool
}

func (r *report) add(what string, err error) {
	if err == nil {
		_, _ = fmt.Fprintf(r.out, "ok       %s\n", what)
		return
	}
	r.failed = true
	_, _ = fmt.Fprintf(r.out, "problem  %s: %v\n", what, explain(err))
}

func (r *report) warn(text string) { _, _ = fmt.Fprintf(r.out, "warning  %s\n", text) }

func folder(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a folder", path)
	}
	return err
}

// contents opens the store and checks every record.
func contents(ctx context.Context, c *config.Config) error {
	kc, err := files(c)
	if err != nil {
		return err
	}
	return errors.Join(keystore.Verify(ctx, kc), kc.Store.Close())
}
