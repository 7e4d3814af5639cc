package audit_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/disk/disktest"
	"github.com/signerd/signerd/audit/merkle"
	"github.com/signerd/signerd/audit/segment"
	"github.com/signerd/signerd/internal/checkpoint"
)

const origin = "log.example/test"

func signerOf(t testing.TB, name string, seed byte) *checkpoint.Signer {
	t.Helper()
	s, err := checkpoint.NewSigner(name, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// world is a disk, a keystore's part, and what callers were told. The sleeps in these tests are inside synctest, and take no real time.
type world struct {
	t      testing.TB
	config audit.Config

	mu     sync.Mutex
	state  []byte
	keep   error
	acked  map[string]uint64 // record ids and their numbers
	denied map[string]bool
	told   []error
}

func newWorld(t testing.TB, fs disk.FS) *world {
	w := &world{t: t, acked: map[string]uint64{}, denied: map[string]bool{}}
	w.config = audit.Config{FS: fs, Signer: signerOf(t, origin, 1), Version: "test", Keep: func(_ context.Context, state []byte) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.keep == nil {
			w.state = slices.Clone(state)
		}
		return w.keep
	}, Changed: func(err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told = append(w.told, err)
	}}
	return w
}

func (w *world) kept() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

func (w *world) open() *audit.Log {
	w.t.Helper()
	c := w.config
	c.State = w.kept()
	l, err := audit.Open(context.Background(), c)
	if err != nil {
		w.t.Fatalf("opening: %v", err)
	}
	w.closeAtEnd(l)
	return l
}

// closeAtEnd closes the log when the test ends, however that is.
func (w *world) closeAtEnd(l *audit.Log) {
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = l.Close(ctx)
	})
}

func (w *world) append(l *audit.Log, id string) error {
	r := &audit.Record{Kind: audit.KindCall, ID: id, Time: time.Now(), Caller: "somebody", Operation: "sign", Key: "key-1", Code: "OK"}
	err := l.Append(context.Background(), r)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.acked[id] = r.N
	} else {
		w.denied[id] = true
	}
	return err
}

func (w *world) must(l *audit.Log, ids ...string) {
	w.t.Helper()
	for _, id := range ids {
		if err := w.append(l, id); err != nil {
			w.t.Fatalf("record %s: %v", id, err)
		}
	}
}

func (w *world) close(l *audit.Log) {
	w.t.Helper()
	if err := l.Close(context.Background()); err != nil {
		w.t.Errorf("closing: %v", err)
	}
}

func ids(prefix string, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%s-%d", prefix, i))
	}
	return out
}

// read gives the records in a folder, and holds their numbers, lines and hashes against each other and the tree.
func read(t testing.TB, fs disk.FS, l *audit.Log) []audit.Record {
	t.Helper()
	if m, ok := fs.(*disktest.Mem); ok {
		fs = m.Clone() // it may be compressed meanwhile
	}
	segments, err := segment.List(fs)
	if err != nil {
		t.Fatal(err)
	}
	gaps, next := l.Gaps(), l.First()
	var edge merkle.Edge
	var out []audit.Record
	for _, s := range segments {
		if s.First < l.First() {
			continue
		}
		lines, err := segment.Open(fs, s, 0)
		if err != nil {
			t.Fatal(err)
		}
		for n := s.First; ; n++ {
			line, err := lines.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: line %d: %v", s.Name(), n, err)
			}
			r, err := audit.Parse(line)
			if err != nil || r.N != n {
				t.Fatalf("%s: line %d has number %d, %v", s.Name(), n, r.N, err)
			}
			for _, g := range gaps {
				if g.From == next && g.Until == n {
					next = n
				}
			}
			if n != next {
				t.Fatalf("%s: after record %d comes %d; gaps %v", s.Name(), next-1, n, gaps)
			}
			if n == s.First {
				began := edgeOf(t, r)
				if edge.Size() == int64(n) && began.Tree() != edge.Tree() {
					t.Fatalf("%s begins with another tree than the one before ends", s.Name())
				}
				edge = began
			}
			edge.Append(tlog.RecordHash(line))
			out = append(out, r)
			next++
		}
		_ = lines.Close()
	}
	if l.Tree() != edge.Tree() {
		t.Fatalf("the tree is %v, by the lines %v", l.Tree(), edge.Tree())
	}
	stored, err := fs.Open("hashes", os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	hashes := merkle.NewHashes(stored)
	defer func() { _ = hashes.Close() }()
	if first, err := merkle.ReadEdge(l.Tree().N, hashes); err != nil || first.Tree() != l.Tree() {
		t.Fatalf("by the stored hashes the tree is %v, %v", first.Tree(), err)
	}
	return out
}

func edgeOf(t testing.TB, r audit.Record) merkle.Edge {
	t.Helper()
	if r.File == nil {
		t.Fatalf("record %d is %s, at the beginning of a file", r.N, r.Kind)
	}
	edge, err := audit.ReadEdge(int64(r.N), r.File.Edge)
	if err != nil {
		t.Fatal(err)
	}
	return edge
}

// check holds a folder against what callers were told.
func (w *world) check(fs disk.FS, l *audit.Log) []audit.Record {
	w.t.Helper()
	records := read(w.t, fs, l)
	times := map[string]int{}
	for _, r := range records {
		if r.ID == "" {
			continue
		}
		times[r.ID]++
		if n, ok := w.acked[r.ID]; ok && n != r.N {
			w.t.Errorf("record %s has number %d, its caller was told %d", r.ID, r.N, n)
		}
	}
	for id, n := range w.acked {
		gone := n < l.First()
		for _, g := range l.Gaps() {
			gone = gone || g.From <= n && n < g.Until
		}
		if !gone && times[id] != 1 {
			w.t.Errorf("record %s (%d) was acknowledged, and is in the log %d times", id, n, times[id])
		}
	}
	for id := range w.denied {
		if times[id] > 1 {
			w.t.Errorf("record %s was refused, and is in the log %d times", id, times[id])
		}
	}
	return records
}

func kinds(records []audit.Record) string {
	var out []string
	for _, r := range records {
		out = append(out, string(r.Kind))
	}
	return strings.Join(out, " ")
}

// syncs counts the operations of a disk, and has each take some of the bubble's time.
func syncs(m *disktest.Mem, what string, takes time.Duration) func() int {
	var mu sync.Mutex
	n := 0
	m.Fault(func(op disktest.Op) error {
		if op.What == what && strings.HasPrefix(op.Name, "records-") {
			mu.Lock()
			n++
			mu.Unlock()
			time.Sleep(takes)
		}
		return nil
	})
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}
