package reader_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/reader"
	"github.com/signerd/signerd/internal/checkpoint"
)

// metered counts the bytes that are read.
type metered struct {
	disk.FS
	read *atomic.Int64
}

type meteredFile struct {
	disk.File
	read *atomic.Int64
}

func (c metered) Open(name string, flag int) (disk.File, error) {
	f, err := c.FS.Open(name, flag)
	return meteredFile{f, c.read}, err
}

func (f meteredFile) ReadAt(p []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(p, at)
	f.read.Add(int64(n))
	return n, err
}

func liveLog(t testing.TB, c audit.Config) *audit.Log {
	t.Helper()
	signer, err := checkpoint.NewSigner("log.example/live", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	if c.FS == nil {
		c.FS = disk.Dir(t.TempDir())
	}
	c.Signer = signer
	l, err := audit.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close(context.Background()) })
	return l
}

func appendMany(t testing.TB, l *audit.Log, prefix string, n int) {
	t.Helper()
	done := make(chan error, n)
	for i := range n {
		go func() {
			done <- l.Append(context.Background(), &audit.Record{Kind: audit.KindCall, ID: fmt.Sprintf("%s-%d", prefix, i), Time: time.Now(), Path: "/v1/payments", Code: "OK"})
		}()
	}
	for range n {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// Following a log must not cost the length of its file for every record.
func TestWhoFollowsDoesNotReadTheFileAgain(t *testing.T) {
	dir := t.TempDir()
	l := liveLog(t, audit.Config{FS: disk.Dir(dir)})
	appendMany(t, l, "a", 5000)
	var read atomic.Int64
	s := reader.Source{FS: metered{disk.Dir(dir), &read}, Tree: l.Tree, Hashes: l.Hashes(), Gaps: l.Gaps, First: l.First}
	place := &reader.Place{}
	var got []uint64
	follow := func(from uint64) uint64 {
		end := uint64(l.Tree().N)
		if err := s.List(t.Context(), reader.Filter{First: from, End: end, Place: place}, func(line reader.Line) error {
			got = append(got, line.N)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return end
	}
	end := follow(0)
	whole := read.Load()
	for i := range 20 {
		appendMany(t, l, fmt.Sprint("b", i), 3)
		end = follow(end)
	}
	if more := read.Load() - whole; more > whole/2 {
		t.Errorf("20 times following read %d bytes, the whole file has %d", more, whole)
	}
	for i, n := range got {
		if n != uint64(i) {
			t.Fatalf("record %d is given as %d", n, i)
		}
	}
	if uint64(len(got)) != end {
		t.Errorf("%d records were given of %d", len(got), end)
	}
}

// A call that follows the log ends long after it came in, and its result has the time of its beginning.
func TestTheResultOfALongCallIsFound(t *testing.T) {
	began := time.UnixMilli(0x019aa0000000)
	dir, now := t.TempDir(), began
	l := liveLog(t, audit.Config{FS: disk.Dir(dir), MaxFileBytes: 1, Now: func() time.Time { return now }})
	const id = "019aa000-0000-7000-8000-000000000000"
	appendKind := func(kind audit.Kind) {
		if err := l.Append(t.Context(), &audit.Record{Kind: kind, ID: id, Time: began}); err != nil {
			t.Fatal(err)
		}
	}
	appendMany(t, l, "x", 1)
	appendKind(audit.KindIntention)
	now = now.Add(72 * time.Hour)
	appendMany(t, l, "y", 1)
	appendKind(audit.KindCall)
	s := reader.Source{FS: disk.Dir(dir), Tree: l.Tree, Hashes: l.Hashes(), Gaps: l.Gaps, First: l.First}
	lines, err := s.Get(t.Context(), id)
	if err != nil || len(lines) != 2 {
		t.Errorf("found are %d records, %v", len(lines), err)
	}
}
