package reader_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/reader"
)

func TestARecordIsProvenToBeInEveryTreeThatHasIt(t *testing.T) {
	l := writeLog(t, 1000, 5, 0, 0, 2)
	s := l.source(l.files)
	for _, tree := range []tlog.Tree{{}, l.trees[0], l.trees[1], l.trees[511], l.trees[998]} {
		size := tree.N
		if size == 0 {
			size = 1000
		}
		for _, n := range []int64{0, size / 3, size / 2, size - 1} {
			p, err := s.Prove(uint64(n), tree)
			if err != nil {
				t.Fatal(err)
			}
			first, index := l.fileOf(uint64(n))
			if p.Line.N != uint64(n) || string(p.Line.Text) != l.plain[first][index] || p.Tree != l.trees[size-1] {
				t.Fatalf("record %d: %+v", n, p)
			}
			if err := tlog.CheckRecord(p.Proof, p.Tree.N, p.Tree.Hash, n, tlog.RecordHash(p.Line.Text)); err != nil {
				t.Fatal(err)
			}
			text := slices.Clone(p.Line.Text)
			text[rand.IntN(len(text))] ^= 1 << rand.IntN(8)
			if err := tlog.CheckRecord(p.Proof, p.Tree.N, p.Tree.Hash, n, tlog.RecordHash(text)); err == nil {
				t.Fatal("another line has the same proof")
			}
		}
	}
}

func TestARecordThatIsNotThereIsNotProven(t *testing.T) {
	l := writeLog(t, 1000, 5, 0, 0, 2)
	l.first = 200
	l.gaps = []audit.Range{{From: 400, Until: 600}}
	lines := slices.Clone(l.plain[600])
	lines[5] = `{"n":605,"kind":"call"}`
	files := l.with(600, lines)
	delete(files, l.name(400))
	s := l.source(files)
	wrong := l.trees[99]
	wrong.Hash[0] ^= 1
	for _, c := range []struct {
		name string
		n    uint64
		tree tlog.Tree
		want error
	}{
		{"one beyond the end", 1000, tlog.Tree{}, reader.ErrNotFound},
		{"one beyond the tree", 600, l.trees[599], reader.ErrNotFound},
		{"one of a tree that never was", 300, tlog.Tree{N: 1001}, reader.ErrNotFound},
		{"one that retention deleted", 199, tlog.Tree{}, reader.ErrNotFound},
		{"one that was lost", 450, tlog.Tree{}, reader.ErrNotFound},
		{"one that was changed", 605, tlog.Tree{}, reader.ErrDamaged},
		{"one of another log's tree", 300, tlog.Tree{N: 500}, reader.ErrDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			if p, err := s.Prove(c.n, c.tree); !errors.Is(err, c.want) {
				t.Errorf("%+v, %v; want %v", p, err, c.want)
			}
		})
	}
	if p, err := s.ProveSince(wrong, tlog.Tree{}); !errors.Is(err, reader.ErrDamaged) {
		t.Errorf("%v, %v", p, err)
	}
	for _, old := range []tlog.Tree{{}, {N: 1001}} {
		if p, err := s.ProveSince(old, tlog.Tree{}); !errors.Is(err, reader.ErrNotFound) {
			t.Errorf("%v, %v", p, err)
		}
	}
}

func TestALogIsProvenToContinueEveryOlderOne(t *testing.T) {
	l := writeLog(t, 1000, 5, 0, 0, 2)
	s := l.source(l.files)
	for _, size := range []int{1, 2, 511, 512, 513, 999, 1000} {
		old := l.trees[size-1]
		p, err := s.ProveSince(old, tlog.Tree{})
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckTree(p, l.tree.N, l.tree.Hash, old.N, old.Hash); err != nil {
			t.Errorf("since %d records: %v", size, err)
		}
		for i := range p {
			other := slices.Clone(p)
			other[i][rand.IntN(tlog.HashSize)] ^= 1 << rand.IntN(8)
			if tlog.CheckTree(other, l.tree.N, l.tree.Hash, old.N, old.Hash) == nil {
				t.Errorf("since %d records: another proof is as good", size)
			}
		}
	}
}
