package reader_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/reader"
)

// span is the numbers from a to b, without b, that fit.
func span(a, b uint64, fits func(uint64) bool) (out []uint64) {
	for n := a; n < b; n++ {
		if fits == nil || fits(n) {
			out = append(out, n)
		}
	}
	return out
}

func TestScanGivesTheRecordsOfItsSpanInOrder(t *testing.T) {
	l := writeLog(t, 1000, 5, 0, 0, 2)
	for _, c := range []struct {
		name string
		span reader.Span
		want []uint64
	}{
		{"no bounds are all records", reader.Span{}, span(0, 1000, nil)},
		{"from a record on", reader.Span{From: 555}, span(555, 1000, nil)},
		{"up to a record", reader.Span{Until: 3}, span(0, 3, nil)},
		{"across files", reader.Span{From: 395, Until: 405}, span(395, 405, nil)},
		{"beyond the end", reader.Span{From: 990, Until: 2000}, span(990, 1000, nil)},
		{"nothing", reader.Span{From: 1000}, nil},
		{"since a time", reader.Span{Since: timeOf(599)}, span(599, 1000, nil)},
		{"since the time of a file's first record", reader.Span{Since: timeOf(600)}, span(600, 1000, nil)},
		{"before a time", reader.Span{Before: timeOf(10)}, span(0, 10, nil)},
		{"between times, of another zone", reader.Span{Since: timeOf(190).In(time.FixedZone("", 3600)), Before: timeOf(210)}, span(190, 210, nil)},
		{"after all of it", reader.Span{Since: timeOf(5000)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []uint64
			err := l.source(l.files).Scan(t.Context(), c.span, func(line []byte, n uint64) error {
				first, index := l.fileOf(n)
				if string(line) != l.plain[first][index] {
					t.Fatalf("record %d is %s", n, line)
				}
				got = append(got, n)
				return nil
			})
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%v, %v; want %v", got, err, c.want)
			}
		})
	}
}

func TestScanShowsOnlyWhatIsDurableAndKept(t *testing.T) {
	l := writeLog(t, 1000, 5, 0, 0, 2)
	s := l.source(l.files)
	s.Tree = func() tlog.Tree { return l.trees[899] }
	l.first = 400
	if got := list(t, s, reader.Filter{}); !slices.Equal(got, span(400, 900, nil)) {
		t.Errorf("%v", got)
	}
}

func TestScanEndsWithYieldAndWithItsContext(t *testing.T) {
	l := writeLog(t, 5000, 5, 0, 0, 2)
	enough := errors.New("enough")
	count := 0
	err := l.source(l.files).Scan(t.Context(), reader.Span{}, func([]byte, uint64) error {
		if count++; count == 1500 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || count != 1500 {
		t.Errorf("%v after %d", err, count)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.source(l.files).Scan(ctx, reader.Span{}, func([]byte, uint64) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestScanPassesOverWhatIsDamagedAndSaysSo(t *testing.T) {
	l := writeLog(t, 1000, 5, 0, 0)
	lines := slices.Clone(l.plain[400])
	lines[50], lines[60] = "garbage", lines[61] // 450 is gone, 461 comes twice, 460 not at all
	files := l.with(400, lines)
	files[l.name(0)] = files[l.name(0)][:len(files[l.name(0)])-4] // the end of a compressed file
	var got []uint64
	err := l.source(files).Scan(t.Context(), reader.Span{}, func(_ []byte, n uint64) error {
		got = append(got, n)
		return nil
	})
	want := span(200, 1000, func(n uint64) bool { return n != 450 && n != 460 })
	if !errors.Is(err, reader.ErrDamaged) || !slices.Equal(got[slices.Index(got, 200):], want) {
		t.Errorf("%v, %v", got, err)
	}
}

// moving is a folder in which a file is compressed or deleted just before it is opened.
type moving struct {
	folder
	mu     *sync.Mutex
	before func(name string)
}

func (m moving) Open(name string, flag int) (disk.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before(name)
	return m.folder.Open(name, flag)
}

func (m moving) List() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.folder.List()
}

func TestFilesMayBeCompressedAndDeletedWhileTheyAreRead(t *testing.T) {
	for _, c := range []struct {
		name string
		read func(*testing.T, *log, reader.Source) []uint64
		want func(deleted bool) []uint64
	}{
		{"by Scan", func(t *testing.T, _ *log, s reader.Source) []uint64 { return list(t, s, reader.Filter{}) }, func(deleted bool) []uint64 {
			return span(0, 1000, func(n uint64) bool { return !deleted || n < 200 || n >= 400 })
		}},
		{"by Verify", func(t *testing.T, l *log, s reader.Source) []uint64 {
			report := verify(t, s, reader.Want{Live: true, Verifier: l.signer})
			if report.Fault != nil {
				t.Fatal(report.Fault)
			}
			return []uint64{report.First, report.Records}
		}, func(deleted bool) []uint64 {
			if deleted {
				return []uint64{400, 600}
			}
			return []uint64{0, 1000}
		}},
	} {
		for _, deleted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, deleted %v", c.name, deleted), func(t *testing.T) {
				l := writeLog(t, 1000, 5, 0)
				files := maps.Clone(l.files)
				plain := l.name(200)
				s := l.source(files)
				opens := 0
				var mu sync.Mutex
				s.First = func() uint64 {
					mu.Lock()
					defer mu.Unlock()
					return l.first
				}
				s.FS = moving{files, &mu, func(name string) {
					if name != plain {
						return
					}
					// Verify reads the first lines before it reads files.
					if opens++; opens == 1 && c.name == "by Verify" {
						return
					}
					delete(files, plain)
					if deleted {
						delete(files, l.name(0))
						l.first = 400
						return
					}
					l.gz[200] = true
					l.put(files, 200, join(l.plain[200]), 1)
				}}
				if got := c.read(t, l, s); !slices.Equal(got, c.want(deleted)) {
					t.Errorf("%v, want %v", got, c.want(deleted))
				}
			})
		}
	}
}

func join(lines []string) (out string) {
	for _, line := range lines {
		out += line + "\n"
	}
	return out
}

func list(t *testing.T, s reader.Source, f reader.Filter) (out []uint64) {
	t.Helper()
	err := s.List(t.Context(), f, func(line reader.Line) error {
		out = append(out, line.N)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestListGivesTheRecordsThatFit(t *testing.T) {
	l := writeLog(t, 1000, 5, 0, 0, 2)
	call := func(n uint64) bool { return n%200 != 0 }
	sum := fmt.Sprintf("%X", sha256.Sum256([]byte("777")))
	for _, c := range []struct {
		name   string
		filter reader.Filter
		want   []uint64
	}{
		{"of a caller", reader.Filter{Caller: "unix:uid=3"}, span(0, 1000, func(n uint64) bool { return call(n) && n%7 == 3 })},
		{"of a key", reader.Filter{Key: "key-1"}, span(0, 1000, func(n uint64) bool { return call(n) && n%5 == 1 })},
		{"of a part of a key's name", reader.Filter{Key: "key-"}, nil},
		{"of an operation", reader.Filter{Operation: "sign"}, span(0, 1000, call)},
		{"of refused calls", reader.Filter{Denied: true}, span(0, 1000, func(n uint64) bool { return call(n) && n%10 == 0 })},
		{"with a header's hash, in capitals", reader.Filter{HeaderSHA256: sum}, []uint64{777}},
		{"since a time, of a caller and a key", reader.Filter{Since: timeOf(500), Until: timeOf(600), Caller: "unix:uid=3", Key: "key-2"},
			span(500, 600, func(n uint64) bool { return call(n) && n%7 == 3 && n%5 == 2 })},
		{"the last ones", reader.Filter{Last: 3}, []uint64{997, 998, 999}},
		{"the last ones of several files", reader.Filter{Last: 450, Operation: "sign"}, span(0, 1000, call)[545:]},
		{"the last ones of a caller before a time", reader.Filter{Last: 2, Caller: "unix:uid=0", Until: timeOf(204)}, []uint64{196, 203}},
		{"the last ones of fewer", reader.Filter{Last: 10, HeaderSHA256: sum}, []uint64{777}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := list(t, l.source(l.files), c.filter); !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestARecordIsFoundByItsID(t *testing.T) {
	l := writeLog(t, 1000, 5, 0, 0, 2)
	s := l.source(l.files)
	for _, c := range []struct {
		name string
		id   string
		want []uint64
	}{
		{"an intention and its result are found together", idOf(303), []uint64{303, 304}},
		{"a single record is found", idOf(305), []uint64{305}},
	} {
		t.Run(c.name, func(t *testing.T) {
			lines, err := s.Get(t.Context(), c.id)
			var got []uint64
			for _, line := range lines {
				got = append(got, line.N)
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%v, %v; want %v", got, err, c.want)
			}
		})
	}
	for _, id := range []string{"", "nonsense", `"`, "01990000-0000-7000-8000-000000000000", idOf(5000)} {
		if lines, err := s.Get(t.Context(), id); !errors.Is(err, reader.ErrNotFound) {
			t.Errorf("%q: %v, %v", id, lines, err)
		}
	}
}

func TestARecordWhoseIDHasAnotherTimeIsFound(t *testing.T) {
	l := writeLog(t, 1000, 5, 0, 0, 2)
	const id = "00000000-0001-7000-8000-000000000001" // of 1970
	lines := slices.Clone(l.plain[400])
	lines[7] = fmt.Sprintf(`{"n":407,"kind":"call","record_id":"%s","time":"2026-10-01T12:06:47.000000Z"}`, id)
	got, err := l.source(l.with(400, lines)).Get(t.Context(), id)
	if err != nil || len(got) != 1 || got[0].N != 407 {
		t.Errorf("%v, %v", got, err)
	}
}

// counting counts the bytes that are read of each file.
type counting struct {
	folder
	read map[string]int
}

type countingFile struct {
	disk.File
	count func(int)
}

func (c counting) Open(name string, flag int) (disk.File, error) {
	f, err := c.folder.Open(name, flag)
	return countingFile{f, func(n int) { c.read[name] += n }}, err
}

func (f countingFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	f.count(n)
	return n, err
}

func TestOnlyFilesAroundTheTimeAreRead(t *testing.T) {
	// A file is 100,000 seconds long, and longer than what is read at once.
	l := writeLog(t, 500_000/20, 5, 300)
	c := counting{l.files, map[string]int{}}
	s := l.source(l.files)
	s.FS = c
	if _, err := s.Get(t.Context(), idOf(22_000)); err != nil {
		t.Fatal(err)
	}
	for i, first := range l.firsts {
		name := l.name(first)
		if whole := c.read[name] >= len(l.files[name]); whole != (i == 4) && i != 3 {
			t.Errorf("%d bytes of %d of %s were read", c.read[name], len(l.files[name]), name)
		}
	}
}

func TestAFolderThatCannotBeListedIsAnError(t *testing.T) {
	l := writeLog(t, 100, 1, 0)
	s := l.source(l.files)
	s.FS = unlistable{l.files}
	if err := s.List(t.Context(), reader.Filter{}, func(reader.Line) error { return nil }); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%v", err)
	}
	if _, err := s.Verify(t.Context(), reader.Want{}, nil); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%v", err)
	}
}

type unlistable struct{ folder }

func (unlistable) List() ([]string, error) { return nil, fs.ErrPermission }
