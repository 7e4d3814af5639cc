package reader_test

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/merkle"
	"github.com/signerd/signerd/audit/reader"
	"github.com/signerd/signerd/audit/segment"
	"github.com/signerd/signerd/internal/checkpoint"
)

// folder is a folder in memory that is only read, except for the hashes.
type folder map[string][]byte

type memory struct {
	folder
	name string
}

var errReadOnly = errors.New("the folder is read-only")

func (f folder) Open(name string, flag int) (disk.File, error) {
	if _, ok := f[name]; !ok && flag&os.O_CREATE == 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return opened{bytes.NewReader(f[name]), memory{f, name}}, nil
}

// opened is a file that is read: what it was when it was opened.
type opened struct {
	*bytes.Reader
	memory
}

func (o opened) ReadAt(p []byte, off int64) (int, error) { return o.Reader.ReadAt(p, off) }

func (f folder) List() ([]string, error) {
	var out []string
	for name := range f {
		out = append(out, name)
	}
	return out, nil
}

func (f folder) Stat(string) (fs.FileInfo, error) { return nil, errReadOnly }
func (f folder) Rename(string, string) error      { return errReadOnly }
func (f folder) Remove(string) error              { return errReadOnly }
func (f folder) Sync() error                      { return errReadOnly }
func (f folder) Writable() error                  { return errReadOnly }

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.folder[m.name]).ReadAt(p, off)
}

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	text := m.folder[m.name]
	if grow := int(off) + len(p) - len(text); grow > 0 {
		text = append(text, make([]byte, grow)...)
	}
	copy(text[off:], p)
	m.folder[m.name] = text
	return len(p), nil
}

func (m memory) Close() error               { return nil }
func (m memory) Sync() error                { return nil }
func (m memory) Truncate(int64) error       { return errReadOnly }
func (m memory) Stat() (fs.FileInfo, error) { return nil, errReadOnly }

// log is a log that was written by its test.
type log struct {
	files  folder
	plain  map[uint64][]string // the lines of every file
	firsts []uint64
	gz     map[uint64]bool
	tree   tlog.Tree
	trees  []tlog.Tree // at every size, where the log is small
	signer *checkpoint.Signer
	gaps   []audit.Range
	first  uint64
	signed []checkpoint.Checkpoint // those that are in the files
}

const origin = "signerd.test/log"

var began = time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)

// timeOf is the time of record n: one a second.
func timeOf(n uint64) time.Time { return began.Add(time.Duration(n) * time.Second) }

// idOf is the record_id of record n. Records 3k and 3k+1 of a thousand are an intention and its result.
func idOf(n uint64) string {
	if n%1000 >= 3 && n%3 == 1 {
		n--
	}
	ms := timeOf(n).UnixMilli()
	return fmt.Sprintf("%08x-%04x-7000-8000-%012x", ms>>16, ms&0xffff, n)
}

// lineOf is a record, of some 600 bytes if it is padded.
func lineOf(n uint64, padding int) string {
	code, sum := "OK", sha256.Sum256(fmt.Append(nil, n))
	if n%10 == 0 {
		code = "PERMISSION_DENIED"
	}
	pad := ""
	if padding > 0 {
		// As much of it is chance as in a call's record: hashes do not compress.
		again := sha256.Sum256(sum[:])
		third := sha256.Sum256(again[:])
		pad = fmt.Sprintf(`"body_sha256":"%x","rule":"%x%s",`, again, third, strings.Repeat(" payments-may-sell", padding/18))
	}
	return fmt.Sprintf(`{"n":%d,"kind":"call","record_id":"%s","time":"%s","caller":"unix:uid=%d","operation":"sign","key":"key-%d",%s"code":"%s","headers":{"Signature":"%x"}}`,
		n, idOf(n), timeOf(n).Format("2006-01-02T15:04:05.000000Z"), n%7, n%5, pad, code, sum)
}

// writeLog makes a log of n records in so many files, of which those in gz are compressed.
func writeLog(t testing.TB, n, files, padding int, gz ...int) *log {
	t.Helper()
	signer, err := checkpoint.NewSigner(origin, ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	l := &log{files: folder{}, plain: map[uint64][]string{}, gz: map[uint64]bool{}, signer: signer}
	var edge merkle.Edge
	hashes := merkle.NewHashes(memory{l.files, "hashes"})
	last := ""
	for i := range files {
		first := uint64(edge.Size())
		l.firsts = append(l.firsts, first)
		for _, z := range gz {
			l.gz[first] = l.gz[first] || z == i
		}
		end := int64(n * (i + 1) / files)
		for edge.Size() < end {
			at := uint64(edge.Size())
			line := lineOf(at, padding)
			if at == first {
				f := audit.File{Origin: origin, Edge: []string{}, Checkpoint: last}
				for _, h := range edge.Hashes() {
					f.Edge = append(f.Edge, base64.StdEncoding.EncodeToString(h[:]))
				}
				text, err := json.Marshal(f)
				if err != nil {
					t.Fatal(err)
				}
				line = fmt.Sprintf(`{"n":%d,"kind":"file","record_id":"%s","time":"%s","file":%s}`, at, idOf(at), timeOf(at).Format("2006-01-02T15:04:05.000000Z"), text)
			}
			l.plain[first] = append(l.plain[first], line)
			if err := hashes.Write(int64(at), edge.Append(tlog.RecordHash([]byte(line)))); err != nil {
				t.Fatal(err)
			}
			if n <= 10000 {
				l.trees = append(l.trees, edge.Tree())
			}
			if edge.Size() == end-7 { // some records are after the last checkpoint
				c := checkpoint.Checkpoint{Origin: origin, Tree: edge.Tree()}
				l.signed = append(l.signed, c)
				text, err := c.Sign(signer)
				if err != nil {
					t.Fatal(err)
				}
				last = string(text)
			}
		}
		l.put(l.files, first, strings.Join(l.plain[first], "\n")+"\n", gzip.BestSpeed)
	}
	l.tree = edge.Tree()
	return l
}

// put writes a file.
func (l *log) put(files folder, first uint64, text string, level int) {
	seg := segment.Segment{First: first, Compressed: l.gz[first]}
	if !seg.Compressed {
		files[seg.Name()] = []byte(text)
		return
	}
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, level)
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err)
	}
	files[seg.Name()] = out.Bytes()
}

// name is the name of the file that begins with a record.
func (l *log) name(first uint64) string {
	return segment.Segment{First: first, Compressed: l.gz[first]}.Name()
}

// fileOf is the first record of the file that has record n, and the record's place in it.
func (l *log) fileOf(n uint64) (first uint64, index int) {
	for _, f := range l.firsts {
		if f <= n {
			first = f
		}
	}
	return first, int(n - first)
}

// source reads files in place of the log's.
func (l *log) source(files folder) reader.Source {
	return reader.Source{
		FS: files, Hashes: merkle.NewHashes(opened{bytes.NewReader(files["hashes"]), memory{files, "hashes"}}),
		Tree:  func() tlog.Tree { return l.tree },
		Gaps:  func() []audit.Range { return l.gaps },
		First: func() uint64 { return l.first },
	}
}

// with is the log's files, with the lines of one other.
func (l *log) with(first uint64, lines []string) folder {
	out := maps.Clone(l.files)
	text := ""
	if len(lines) > 0 {
		text = strings.Join(lines, "\n") + "\n"
	}
	l.put(out, first, text, gzip.NoCompression)
	return out
}

func (l *log) want() reader.Want {
	return reader.Want{Verifier: l.signer}
}

func verify(t testing.TB, s reader.Source, want reader.Want) reader.Report {
	t.Helper()
	report, err := s.Verify(t.Context(), want, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report
}
