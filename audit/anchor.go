package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/internal/checkpoint"
	"github.com/signerd/signerd/internal/durable"
)

// AnchorFile is the file outside of store and log that holds the newest signed checkpoint: the log's tree, and the state of
// the store of keys. It is the keystore's anchor. It is safe for concurrent use; no other process may write the file.
type AnchorFile struct {
	file    durable.File
	tree    atomic.Pointer[func() tlog.Tree]
	writing sync.Mutex
}

// NewAnchorFile names the file. It need not be there yet.
func NewAnchorFile(path string) *AnchorFile {
	return &AnchorFile{file: durable.File{Path: path, Max: checkpoint.MaxBytes, Mode: 0o600}}
}

// Attach makes Write ask for the log's tree from now on. Until then Write keeps the tree that is in the file. tree is called
// while a change of the keystore is under way, and must wait for none.
func (a *AnchorFile) Attach(tree func() tlog.Tree) { a.tree.Store(&tree) }

// Exists reports whether there is a file, whatever it holds.
func (a *AnchorFile) Exists() (bool, error) {
	_, err := os.Lstat(a.file.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Checkpoint is the checkpoint in the file. fs.ErrNotExist when there is no file, checkpoint.ErrInvalid for what key did not
// sign; any other error means that it could not be read.
func (a *AnchorFile) Checkpoint(key note.Verifier) (checkpoint.Checkpoint, error) {
	signed, err := a.file.Read()
	switch {
	case errors.Is(err, durable.ErrTooLarge):
		return checkpoint.Checkpoint{}, fmt.Errorf("%w (%w)", checkpoint.ErrInvalid, err)
	case err != nil:
		return checkpoint.Checkpoint{}, err
	case signed == nil:
		return checkpoint.Checkpoint{}, &fs.PathError{Op: "open", Path: a.file.Path, Err: fs.ErrNotExist}
	}
	return checkpoint.Open(signed, key)
}

// Read is the store's state in the checkpoint. Errors as Checkpoint.
func (a *AnchorFile) Read(key note.Verifier) (checkpoint.Store, error) {
	c, err := a.Checkpoint(key)
	return c.Store, err
}

// Write replaces the checkpoint by one of this state and the log's tree, durably and atomically. What another key signed it
// does not replace before Attach: checkpoint.ErrInvalid.
func (a *AnchorFile) Write(key *checkpoint.Signer, state checkpoint.Store) error {
	a.writing.Lock()
	defer a.writing.Unlock()
	tree, err := a.newestTree(key)
	if err != nil {
		return fmt.Errorf("finding the log's tree for the anchor: %w", err)
	}
	signed, err := checkpoint.Checkpoint{Origin: key.Name(), Tree: tree, Store: state}.Sign(key)
	if err != nil {
		return err
	}
	file := a.file
	if file.Path, err = target(a.file.Path); err != nil {
		return fmt.Errorf("finding the anchor: %w", err)
	}
	return file.Write(signed)
}

// target is what is to be replaced where a link may lead there: another disk stays the place of an anchor that was put there by a link. A
// link to nothing is an error, for the disk may be missing.
func target(path string) (string, error) {
	resolved, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return resolved, err
	}
	if _, missing := os.Lstat(path); missing == nil {
		return "", err
	}
	return path, nil
}

func (a *AnchorFile) newestTree(key note.Verifier) (tlog.Tree, error) {
	if tree := a.tree.Load(); tree != nil {
		return (*tree)(), nil
	}
	c, err := a.Checkpoint(key)
	if errors.Is(err, fs.ErrNotExist) {
		return emptyTree()
	}
	return c.Tree, err
}

// emptyTree is that of a log without records.
func emptyTree() (tlog.Tree, error) {
	hash, err := tlog.TreeHash(0, nil)
	return tlog.Tree{Hash: hash}, err
}
