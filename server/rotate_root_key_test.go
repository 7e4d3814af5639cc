package server_test

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/rootkey"
	"github.com/signerd/signerd/keystore"
)

// newRootKey is another than the one that the store was made with.
func newRootKey(t *testing.T) *rootkey.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root.key")
	must(t, rootkey.CreateFile(path))
	root, err := rootkey.OpenFile(path)
	must(t, err)
	return root
}

// rotated gives the root key's name after a rotation.
func (r *rig) rotated(t *testing.T) (string, error) {
	t.Helper()
	stream, err := r.system.RotateRootKey(as(t, operator), &adminv1.RotateRootKeyRequest{})
	if err != nil {
		return "", err
	}
	for last := ""; ; {
		out, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return last, nil
		} else if err != nil {
			return "", err
		}
		last = out.GetRootKeyId()
	}
}

func TestSigningGoesOnWhileTheRootKeyIsRotated(t *testing.T) {
	t.Parallel()
	var next keystore.RootKey
	r := start(t, setup{nextRootKey: func(context.Context) (keystore.RootKey, error) { return next, nil }})
	r.importedNOAH(t, "a")
	ending, end := context.WithCancel(t.Context())
	var signing sync.WaitGroup
	for range 4 {
		signing.Go(func() {
			for ending.Err() == nil {
				if _, err := r.signNOAH(as(t, operator), "a"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 5 {
		root := newRootKey(t)
		next = root
		id, err := r.rotated(t)
		must(t, err)
		if id != root.ID() {
			t.Errorf("the root key is %s, want %s", id, root.ID())
		}
	}
	end()
	signing.Wait()
	// Without a next one, the data key alone is new.
	next = nil
	before := r.keys.Stats()
	id, err := r.rotated(t)
	must(t, err)
	if after := r.keys.Stats(); id != before.RootKeyID || after.Counter != before.Counter+1 {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func TestARootKeyThatCannotBeOpenedIsNotTakenIntoUse(t *testing.T) {
	t.Parallel()
	r := start(t, setup{nextRootKey: func(context.Context) (keystore.RootKey, error) { return nil, errors.New("/etc/next: no such file") }})
	before := r.keys.Stats()
	_, err := r.rotated(t)
	r.refused(t, err, codes.FailedPrecondition, "ROOT_KEY_UNAVAILABLE")
	if r.keys.Stats() != before {
		t.Error("the store was changed")
	}
}

func TestACompactionThatFailsIsInTheStatusUntilItIsDone(t *testing.T) {
	t.Parallel()
	r := start(t, setup{bolt: true})
	warning := func() string {
		out, err := r.system.GetStatus(as(t, operator), &adminv1.GetStatusRequest{})
		must(t, err)
		return out.GetStoreWarning()
	}
	full := errors.New("no space left on device")
	r.store.compact.Store(&full)
	_, err := r.rotated(t)
	r.refused(t, err, codes.Unavailable, "STORE_UNAVAILABLE")
	if got := warning(); !strings.Contains(got, full.Error()) {
		t.Errorf("the warning is %q", got)
	}
	r.server.DestroyDue(t.Context())
	if got := warning(); got == "" {
		t.Error("the next failure is not told")
	}
	r.store.compact.Store(nil)
	r.server.DestroyDue(t.Context())
	if got := warning(); got != "" {
		t.Errorf("once it is compacted the warning is %q", got)
	}
}
