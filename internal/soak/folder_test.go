package soak

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/signerd/signerd/audit"
)

// line is a record, and how long its line is with the newline.
type line struct {
	audit.Record
	bytes int
}

// logFile is a file of records.
type logFile struct {
	first uint64
	name  string // without .gz
}

// logFiles lists the files of a log in order; compressed is how many are.
func logFiles(t *testing.T, dir string) (files []logFile, compressed int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "records-*"))
	must(t, err)
	for _, name := range names {
		name, zipped := strings.CutSuffix(name, ".gz")
		name, whole := strings.CutSuffix(name, ".jsonl")
		if !whole {
			continue // a compression under way
		}
		if zipped {
			compressed++
		}
		first, err := strconv.ParseUint(strings.TrimPrefix(filepath.Base(name), "records-"), 10, 64)
		must(t, err)
		files = append(files, logFile{first, name + ".jsonl"})
	}
	slices.SortFunc(files, func(a, b logFile) int { return cmp.Compare(a.first, b.first) })
	return slices.Compact(files), compressed
}

// text is what a file says. It may be compressed at any moment.
func (f logFile) text() ([]byte, error) {
	text, err := os.ReadFile(f.name)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	zipped, err := os.Open(f.name + ".gz")
	if err != nil {
		return nil, err
	}
	defer func() { _ = zipped.Close() }()
	r, err := gzip.NewReader(zipped)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// readLog gives record since and all that follow, as anybody would who has the folder. Every number must be there, once and in order.
func readLog(t *testing.T, dir string, since uint64) []line {
	t.Helper()
	files, _ := logFiles(t, dir)
	var out []line
	for i, f := range files {
		if i+1 < len(files) && files[i+1].first <= since {
			continue
		}
		text, err := f.text()
		must(t, err)
		next := f.first
		for len(text) > 0 {
			one, rest, ended := bytes.Cut(text, []byte("\n"))
			l := line{bytes: len(one) + 1}
			if err := json.Unmarshal(one, &l.Record); err != nil || !ended || l.N != next {
				t.Fatalf("%s: where record %d should be is %q: %v", f.name, next, one, err)
			}
			if next++; l.N >= since {
				out = append(out, l)
			}
			text = rest
		}
		if i+1 < len(files) && files[i+1].first != next {
			t.Fatalf("%s ends before record %d, and the next file begins with %d", f.name, next, files[i+1].first)
		}
	}
	if len(out) == 0 {
		t.Fatalf("there is no record %d", since)
	}
	return out
}

// folderBytes is what a folder holds.
func folderBytes(t *testing.T, dir string) (total int64) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		total += info.Size()
		return err
	}))
	return total
}

// mebibytes is for people.
func mebibytes[N int | int64](n N) string { return fmt.Sprintf("%.2f MiB", float64(n)/(1<<20)) }
