package reader_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/audit/reader"
)

// soak asks for more records and more of each change than an ordinary test has time for.
var soak = os.Getenv("SIGNERD_SOAK") == "1"

// mutation is one change of a log's files, and what Verify must say of it.
type mutation struct {
	name   string
	what   []reader.What
	record uint64
	files  folder
}

func TestEveryChangeIsFoundAndPlaced(t *testing.T) {
	records, count := 5000, 100
	if soak {
		records, count = 100_000, 1000
	}
	l := writeLog(t, records, 5, 0, 0, 1)
	if report := verify(t, l.source(l.files), l.want()); report.Fault != nil || report.Records != uint64(records) || report.Files != 5 {
		t.Fatalf("the log itself: %+v, %v", report, report.Fault)
	}
	for _, c := range []struct {
		name string
		make func(*rand.Rand, *log) mutation
	}{
		{"a changed byte", changedByte},
		{"a changed newline", changedNewline},
		{"a line that became two", splitLine},
		{"a dropped line", droppedLine},
		{"a doubled line", doubledLine},
		{"swapped lines", swappedLines},
		{"swapped neighbours", swappedNeighbours},
		{"an inserted line", insertedLine},
	} {
		t.Run(c.name, func(t *testing.T) {
			seed := uint64(time.Now().UnixNano())
			random := rand.New(rand.NewPCG(seed, 1))
			for range count {
				m := c.make(random, l)
				report := verify(t, l.source(m.files), l.want())
				if f := report.Fault; f == nil || f.Record != m.record || !slices.Contains(m.what, f.What) {
					t.Fatalf("seed %d: %s of record %d: %v; want %v", seed, m.name, m.record, f, m.what)
				}
			}
		})
	}
}

// some is any record of the log, with its file and place.
func some(random *rand.Rand, l *log) (n, first uint64, index int) {
	n = random.Uint64N(uint64(l.tree.N))
	first, index = l.fileOf(n)
	return n, first, index
}

func changedByte(random *rand.Rand, l *log) mutation {
	n, first, index := some(random, l)
	lines := slices.Clone(l.plain[first])
	text := []byte(lines[index] + "\n")
	at := random.IntN(len(text))
	old := text[at]
	text[at] ^= byte(1 + random.IntN(255))
	what := fmt.Sprintf("byte %d, %q to %q,", at, old, text[at])
	if at == len(text)-1 {
		return joined(l, n, first, index, text[at], what)
	}
	lines[index] = string(text[:len(text)-1])
	return mutation{what, []reader.What{reader.Changed}, n, l.with(first, lines)}
}

// joined is a record whose newline is another byte.
func joined(l *log, n, first uint64, index int, c byte, what string) mutation {
	lines := slices.Clone(l.plain[first])
	text := strings.Join(lines[:index+1], "\n") + string([]byte{c})
	if index+1 < len(lines) {
		text += strings.Join(lines[index+1:], "\n") + "\n"
	}
	files := maps.Clone(l.files)
	l.put(files, first, text, gzip.NoCompression)
	return mutation{what, []reader.What{reader.Changed}, n, files}
}

func changedNewline(random *rand.Rand, l *log) mutation {
	n, first, index := some(random, l)
	return joined(l, n, first, index, '\n'^byte(1+random.IntN(255)), "the newline")
}

func splitLine(random *rand.Rand, l *log) mutation {
	n, first, index := some(random, l)
	lines := slices.Clone(l.plain[first])
	text := []byte(lines[index])
	text[random.IntN(len(text))] = '\n'
	lines[index] = string(text)
	return mutation{"a split", []reader.What{reader.Changed}, n, l.with(first, lines)}
}

func droppedLine(random *rand.Rand, l *log) mutation {
	n, first, index := some(random, l)
	lines := slices.Delete(slices.Clone(l.plain[first]), index, index+1)
	return mutation{"a drop", []reader.What{reader.Missing, reader.MissingFile}, n, l.with(first, lines)}
}

func doubledLine(random *rand.Rand, l *log) mutation {
	n, first, index := some(random, l)
	lines := slices.Insert(slices.Clone(l.plain[first]), index, l.plain[first][index])
	return mutation{"a doubling", []reader.What{reader.Inserted}, n + 1, l.with(first, lines)}
}

func insertedLine(random *rand.Rand, l *log) mutation {
	n, first, index := some(random, l)
	line := fmt.Sprintf(`{"n":%d,"kind":"call"}`, n)
	lines := slices.Insert(slices.Clone(l.plain[first]), index, line)
	return mutation{"an insertion", []reader.What{reader.Inserted}, n, l.with(first, lines)}
}

func swappedLines(random *rand.Rand, l *log) mutation {
	i, first, index := some(random, l)
	j := i
	for j == i {
		j = random.Uint64N(uint64(l.tree.N))
	}
	other, place := l.fileOf(j)
	return swapped(l, i, first, index, j, other, place)
}

func swappedNeighbours(random *rand.Rand, l *log) mutation {
	i := random.Uint64N(uint64(l.tree.N) - 1)
	first, index := l.fileOf(i)
	other, place := l.fileOf(i + 1)
	return swapped(l, i, first, index, i+1, other, place)
}

func swapped(l *log, i, first uint64, index int, j, other uint64, place int) mutation {
	lines := slices.Clone(l.plain[first])
	lines[index] = l.plain[other][place]
	if other == first {
		lines[place] = l.plain[first][index]
	}
	files := l.with(first, lines)
	if other != first {
		lines := slices.Clone(l.plain[other])
		lines[place] = l.plain[first][index]
		l.put(files, other, strings.Join(lines, "\n")+"\n", gzip.NoCompression)
	}
	return mutation{fmt.Sprintf("a swap with %d", max(i, j)), []reader.What{reader.Reordered}, min(i, j), files}
}

// A compressed file whose text is as it was has no fault, whatever its compression.
func TestEveryChangeOfACompressedFileIsFound(t *testing.T) {
	records, count := 2500, 100
	if soak {
		records, count = 100_000, 1000
	}
	l := writeLog(t, records, 5, 0, 1, 3)
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	found := 0
	for range count {
		first := l.firsts[1+2*random.IntN(2)]
		name := l.name(first)
		files := maps.Clone(l.files)
		files[name] = slices.Clone(files[name])
		at := random.IntN(len(files[name]))
		files[name][at] ^= byte(1 + random.IntN(255))
		want, same := firstDifference(files[name], first, l.plain[first])
		report := verify(t, l.source(files), l.want())
		f := report.Fault
		if same {
			if f != nil {
				t.Fatalf("seed %d: byte %d of %s changes no record: %v", seed, at, name, f)
			}
			continue
		}
		found++
		if f == nil || f.File != name || f.Record > want || f.Until <= first || f.Record < first {
			t.Fatalf("seed %d: byte %d of %s: %v; the first record that is another is %d", seed, at, name, f, want)
		}
		if f.What != reader.Compression && f.Record != want {
			t.Fatalf("seed %d: byte %d of %s: %v; the first record that is another is %d", seed, at, name, f, want)
		}
	}
	if found < count/2 {
		t.Fatalf("seed %d: %d changes of %d changed a record", seed, found, count)
	}
}

// firstDifference inflates as much as can be, and gives the first record that is another; same if the whole text is as it was.
func firstDifference(compressed []byte, first uint64, lines []string) (n uint64, same bool) {
	want := strings.Join(lines, "\n") + "\n"
	r, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return first, false
	}
	got, err := io.ReadAll(r)
	if err == nil && string(got) == want {
		return 0, true
	}
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	return first + uint64(strings.Count(want[:min(at, len(want)-1)], "\n")), false
}
