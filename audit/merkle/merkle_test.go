package merkle_test

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/merkle"
)

// The tree is held against tlog's own computation at every size.
func TestAnEdgeIsTheTreeThatTlogComputes(t *testing.T) {
	f, err := disk.Dir(t.TempDir()).Open("hashes", os.O_CREATE|os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	hashes := merkle.NewHashes(f)
	defer hashes.Close()
	var edge merkle.Edge
	var theirs []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			out[i] = theirs[index]
		}
		return out, nil
	})
	for n := range int64(300) {
		want, err := tlog.TreeHash(n, reader)
		if err != nil {
			t.Fatal(err)
		}
		if got := edge.Tree(); got.N != n || got.Hash != want {
			t.Fatalf("of %d records: %v, tlog has %v", n, got, want)
		}
		again, err := merkle.NewEdge(n, edge.Hashes())
		if err != nil || again.Tree() != edge.Tree() {
			t.Fatalf("the edge of %d records made from its hashes: %v, %v", n, again.Tree(), err)
		}
		if n > 0 {
			read, err := merkle.ReadEdge(n, hashes)
			if err != nil || read.Tree() != edge.Tree() {
				t.Fatalf("the edge of %d records read: %v, %v", n, read.Tree(), err)
			}
		}
		line := fmt.Appendf(nil, "record %d", n)
		stored, err := tlog.StoredHashes(n, line, reader)
		if err != nil {
			t.Fatal(err)
		}
		got := edge.Append(tlog.RecordHash(line))
		if !slices.Equal(got, stored) {
			t.Fatalf("record %d stores %v, tlog stores %v", n, got, stored)
		}
		theirs = append(theirs, stored...)
		if err := hashes.Write(n, got); err != nil {
			t.Fatal(err)
		}
	}
	leaves := make([]tlog.Hash, 250)
	if err := hashes.Leaves(17, leaves); err != nil {
		t.Fatal(err)
	}
	for i, leaf := range leaves {
		if want := tlog.RecordHash(fmt.Appendf(nil, "record %d", 17+i)); leaf != want {
			t.Fatalf("leaf %d is %v, want %v", 17+i, leaf, want)
		}
	}
}

func TestAnEdgeWantsTheRightNumberOfHashes(t *testing.T) {
	for _, c := range []struct{ n, hashes int64 }{{-1, 0}, {0, 1}, {1, 0}, {3, 1}, {4, 2}} {
		if _, err := merkle.NewEdge(c.n, make([]tlog.Hash, c.hashes)); err == nil {
			t.Errorf("an edge of %d records was made of %d hashes", c.n, c.hashes)
		}
	}
}

func TestAHashThatWasLostIsNotKnown(t *testing.T) {
	f, err := disk.Dir(t.TempDir()).Open("hashes", os.O_CREATE|os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	hashes := merkle.NewHashes(f)
	defer hashes.Close()
	if err := hashes.Write(5, []tlog.Hash{{1}}); err != nil {
		t.Fatal(err)
	}
	for _, index := range []int64{0, tlog.StoredHashCount(5) + 1} {
		if _, err := hashes.ReadHashes([]int64{index}); err == nil {
			t.Errorf("hash %d was read, which was never stored", index)
		}
	}
}
