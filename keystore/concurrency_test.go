package keystore_test

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/signerd/signerd/keystore"
)

// Rotations, destructions with compaction, backups, freezes and changes at once, over one file; then everything opens, and every
// backup that was taken opens with the root key of its moment.
func TestEverythingAtOnceLosesNothing(t *testing.T) {
	c := onDiskIn(t, t.TempDir())
	k := filled(t, c)
	first := c.RootKey
	roots := []keystore.RootKey{first, newRootKey(), newRootKey(), newRootKey()}
	var all sync.WaitGroup
	var mu sync.Mutex
	var backups [][]byte
	all.Go(func() {
		for i := range 12 {
			c.RootKey = roots[(i+1)%len(roots)]
			if err := k.RotateRootKey(t.Context(), c.RootKey, nil); err != nil {
				t.Error(err)
			}
		}
	})
	all.Go(func() {
		for range 20 {
			if _, _, err := k.Freeze(t.Context(), tester, "x"); err != nil {
				t.Error(err)
			}
			if _, _, _, err := k.Unfreeze(t.Context(), tester); err != nil {
				t.Error(err)
			}
		}
	})
	all.Go(func() {
		for range 20 {
			var b bytes.Buffer
			if _, err := k.Backup(t.Context(), &b, "v"); err != nil {
				t.Error(err)
			}
			mu.Lock()
			backups = append(backups, b.Bytes())
			mu.Unlock()
			_, _ = k.Backup(t.Context(), io.Discard, "v")
		}
	})
	for i := range 3 {
		all.Go(func() {
			name := fmt.Sprintf("noba-%d", i)
			for n := range 6 {
				if _, err := rotate(t.Context(), k, name); err != nil {
					t.Error(err)
				}
				if _, err := k.ScheduleDestruction(t.Context(), name, uint32(n+2), 0, keystore.Destruction{After: 24 * time.Hour}); err != nil {
					t.Error(err)
				}
				if err := k.Purge(t.Context()); err != nil {
					t.Error(err)
				}
				if err := k.SetAuditState(t.Context(), []byte(name)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	wantSame(t, "after everything", open(t, c), k)
	for i, b := range backups {
		opened := 0
		for _, root := range roots {
			d := c
			d.RootKey = root
			if _, err := keystore.OpenBackup(t.Context(), d, bytes.NewReader(b)); err == nil {
				opened++
			}
		}
		if opened != 1 {
			t.Errorf("backup %d opens with %d root keys, want 1", i, opened)
		}
	}
}
