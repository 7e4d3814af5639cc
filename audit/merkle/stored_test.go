package merkle_test

import (
	"os"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/merkle"
)

func TestStoredHashesAreReadInARowToTheEnd(t *testing.T) {
	f, err := disk.Dir(t.TempDir()).Open("hashes", os.O_CREATE|os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	hashes := merkle.NewHashes(f)
	defer hashes.Close()
	if err := hashes.Write(0, []tlog.Hash{{1}, {}, {3}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ index, want int }{{0, 3}, {1, 2}, {3, 0}, {9, 0}} {
		out := make([]tlog.Hash, 5)
		n, err := hashes.Stored(int64(c.index), out)
		if err != nil || n != c.want || n > 1 && out[n-1] != (tlog.Hash{3}) {
			t.Errorf("from %d: %d, %v: %v", c.index, n, err, out)
		}
	}
}
