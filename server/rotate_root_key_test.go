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

	"github.com/signerd/signerd/audit"
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

// rotated gives the last word of a rotation.
func (r *rig) rotated(t *testing.T) (*adminv1.RotateRootKeyResponse, error) {
	t.Helper()
	stream, err := r.system.RotateRootKey(as(t, operator), &adminv1.RotateRootKeyRequest{})
	if err != nil {
		return nil, err
	}
	var last *adminv1.RotateRootKeyResponse
	for {
		out, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return last, nil
		} else if err != nil {
			return nil, err
		}
		last = out
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
		last, err := r.rotated(t)
		must(t, err)
		if last.GetRootKeyId() != root.ID() || last.GetWarning() != "" {
			t.Errorf("the rotation ends with %v, want %s", last, root.ID())
		}
	}
	end()
	signing.Wait()
	// Without a next one, the data key alone is new.
	next = nil
	before := r.keys.Stats()
	last, err := r.rotated(t)
	must(t, err)
	if after := r.keys.Stats(); last.GetRootKeyId() != before.RootKeyID || after.Counter != before.Counter+1 {
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

// forgetful cannot unwrap what it wraps.
type forgetful struct{ keystore.RootKey }

func (forgetful) Unwrap(context.Context, []byte) ([]byte, error) {
	return nil, errors.New("may encrypt, may not decrypt")
}

func TestARootKeyThatDoesNotUnwrapIsNotTakenIntoUse(t *testing.T) {
	t.Parallel()
	next := newRootKey(t)
	r := start(t, setup{nextRootKey: func(context.Context) (keystore.RootKey, error) { return forgetful{next}, nil }})
	before := r.keys.Stats()
	_, err := r.rotated(t)
	r.refused(t, err, codes.FailedPrecondition, "ROOT_KEY_UNAVAILABLE")
	if r.keys.Stats() != before {
		t.Error("the store was changed")
	}
}

func TestACompactionThatFailsIsInTheStatusUntilItIsDone(t *testing.T) {
	t.Parallel()
	next := newRootKey(t)
	r := start(t, setup{bolt: true, nextRootKey: func(context.Context) (keystore.RootKey, error) { return next, nil }})
	warning := func() string {
		out, err := r.system.GetStatus(as(t, operator), &adminv1.GetStatusRequest{})
		must(t, err)
		return out.GetStoreWarning()
	}
	full := errors.New("no space left on device")
	r.store.compact.Store(&full)
	// The rotation is done, and says so: whoever takes it for a failure may throw the new root key away.
	last, err := r.rotated(t)
	must(t, err)
	if last.GetRootKeyId() != next.ID() || !strings.Contains(last.GetWarning(), full.Error()) {
		t.Errorf("the rotation ends with %v", last)
	}
	for _, record := range r.records(t) {
		if record.Operation == "RotateRootKey" && record.Kind == audit.KindCall && record.Code != codes.OK.String() {
			t.Errorf("on record it failed: %+v", record)
		}
	}
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
