package reader_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/merkle"
	"github.com/signerd/signerd/audit/reader"
	"github.com/signerd/signerd/internal/checkpoint"
)

// rewrite changes one record's text, and everything unsigned that depends on it: the stored hashes, and the size and root.
func rewrite(t *testing.T, l *log, n uint64) *log {
	t.Helper()
	out := *l
	first, index := l.fileOf(n)
	lines := slices.Clone(l.plain[first])
	lines[index] = strings.Replace(lines[index], `"sign"`, `"sigh"`, 1)
	out.files = l.with(first, lines)
	out.plain = maps.Clone(l.plain)
	out.plain[first] = lines
	out.files["hashes"] = nil
	var edge merkle.Edge
	hashes := merkle.NewHashes(memory{out.files, "hashes"})
	for _, f := range l.firsts {
		for _, line := range out.plain[f] {
			if err := hashes.Write(edge.Size(), edge.Append(tlog.RecordHash([]byte(line)))); err != nil {
				t.Fatal(err)
			}
		}
	}
	out.tree = edge.Tree()
	return &out
}

// damaged is the log's files with one stored hash another.
func damaged(l *log, index int64) folder {
	files := maps.Clone(l.files)
	files["hashes"] = slices.Clone(files["hashes"])
	files["hashes"][index*tlog.HashSize] ^= 1
	return files
}

func without(l *log, names ...string) folder {
	files := maps.Clone(l.files)
	for _, name := range names {
		delete(files, name)
	}
	return files
}

func TestVerifySaysWhatIsWrongFirst(t *testing.T) {
	l := writeLog(t, 1000, 5, 0, 1)
	known := func(n int) []reader.Known {
		return []reader.Known{{From: "the anchor file", Checkpoint: checkpoint.Checkpoint{Origin: origin, Tree: l.trees[n-1]}}}
	}
	beyond := known(1000)
	beyond[0].Checkpoint.Tree.N = 1100
	extra := func(name, text string) folder {
		files := maps.Clone(l.files)
		files[name] = []byte(text)
		return files
	}
	last := l.plain[800]
	torn := extra(l.name(800), strings.Join(last, "\n")+"\n"+`{"n":1000,"ki`)
	more := extra(l.name(800), strings.Join(last, "\n")+"\n"+lineOf(1000, 0)+"\n")
	short := maps.Clone(l.files)
	short["hashes"] = short["hashes"][:100*tlog.HashSize]
	rewritten := func(n uint64) reader.Source {
		r := rewrite(t, l, n)
		return r.source(r.files)
	}
	fault := func(what reader.What, record, until uint64) *reader.Fault {
		return &reader.Fault{What: what, Record: record, Until: until}
	}
	for _, c := range []struct {
		name   string
		source reader.Source
		want   reader.Want
		fault  *reader.Fault
	}{
		{"a log as it was written has no fault", l.source(l.files), l.want(), nil},
		{"a log that fits its checkpoints has no fault", l.source(l.files), reader.Want{Checkpoints: append(known(1), known(777)...)}, nil},
		{"a missing file in the middle is missing", l.source(without(l, l.name(200))), l.want(), fault(reader.MissingFile, 200, 400)},
		{"a missing first file is missing", l.source(without(l, l.name(0))), l.want(), fault(reader.MissingFile, 0, 200)},
		{"a missing last file is missing", l.source(without(l, l.name(800))), l.want(), fault(reader.MissingFile, 800, 1000)},
		{"no file at all is missing", l.source(folder{"hashes": l.files["hashes"]}), l.want(), fault(reader.MissingFile, 0, 1000)},
		{"an extra file between others is extra", l.source(extra("records-00000000000000000300.jsonl", lineOf(300, 0)+"\n")), l.want(), fault(reader.ExtraFile, 300, 301)},
		{"an extra file after the last is extra", l.source(extra("records-00000000000000001300.jsonl", lineOf(1300, 0)+"\n")), l.want(), fault(reader.ExtraFile, 1300, 1301)},
		{"a file that is no gzip is damaged", l.source(extra(l.name(200), "no gzip")), l.want(), fault(reader.Compression, 200, 400)},
		{"a torn line after the last record is no fault", l.source(torn), l.want(), nil},
		{"a whole line after the last record is inserted", l.source(more), l.want(), fault(reader.Inserted, 1000, 1001)},
		{"a whole line after the last record of a live log is no fault", l.source(more), reader.Want{Live: true}, nil},
		{"a new file of a live log is no fault", l.source(extra("records-00000000000000001000.jsonl", lineOf(1000, 0)+"\n")), reader.Want{Live: true}, nil},
		{"a stored hash of a record that is another is the hashes' fault", l.source(damaged(l, tlog.StoredHashIndex(0, 517))), l.want(), fault(reader.HashesDamaged, 517, 518)},
		{"a stored hash of a subtree that is another is the hashes' fault", l.source(damaged(l, tlog.StoredHashIndex(3, 5))), l.want(), fault(reader.HashesDamaged, 40, 48)},
		{"a file of hashes that is too short is damaged", l.source(short), l.want(), fault(reader.HashesDamaged, 51, 1000)},
		{"a checkpoint of a larger log says that records are missing", l.source(l.files), reader.Want{Checkpoints: beyond}, fault(reader.Missing, 1000, 1100)},
		{"rewriting a record is found by the checkpoint after it", rewritten(500), l.want(), fault(reader.Rewritten, 393, 593)},
		{"rewriting a record after a file's checkpoint is found by the file's edge", rewritten(597), l.want(), fault(reader.Rewritten, 593, 601)},
		{"rewriting the last file is found by an outsider's checkpoint", rewritten(850), reader.Want{Verifier: l.signer, Checkpoints: known(1000)}, fault(reader.Rewritten, 793, 1000)},
		{"rewriting is found by the closest checkpoint", rewritten(850), reader.Want{Verifier: l.signer, Checkpoints: slices.Concat(known(860), known(840), known(1000))}, fault(reader.Rewritten, 840, 860)},
		{"rewriting what no checkpoint is of cannot be found", rewritten(999), l.want(), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			report := verify(t, c.source, c.want)
			f := report.Fault
			if f == nil && c.fault == nil {
				return
			}
			if f == nil || c.fault == nil || f.What != c.fault.What || f.Record != c.fault.Record || f.Until != c.fault.Until {
				t.Fatalf("got %v, want %v", f, c.fault)
			}
			if f.String() == "" || f.Detail == "" && f.What != reader.Changed {
				t.Errorf("%+v says too little", f)
			}
		})
	}
}

func TestALineAndItsStoredHashThatWereChangedTogetherAreFound(t *testing.T) {
	l := writeLog(t, 1000, 5, 0, 1)
	lines := slices.Clone(l.plain[400])
	lines[44] = strings.Replace(lines[44], `"sign"`, `"sigh"`, 1)
	files := l.with(400, lines)
	files["hashes"] = slices.Clone(files["hashes"])
	hash := tlog.RecordHash([]byte(lines[44]))
	copy(files["hashes"][tlog.StoredHashIndex(0, 444)*tlog.HashSize:], hash[:])
	f := verify(t, l.source(files), l.want()).Fault
	if f == nil || f.What != reader.Rewritten || f.Record != 444 || f.Until != 446 || f.File != l.name(400) {
		t.Errorf("%v", f)
	}
}

func TestAcknowledgedLossesAreNoFaults(t *testing.T) {
	l := writeLog(t, 1000, 5, 0, 1)
	l.gaps = []audit.Range{{From: 200, Until: 400}, {From: 590, Until: 600}}
	files := without(l, l.name(200))
	l.put(files, 400, strings.Join(l.plain[400][:190], "\n")+"\n", 0)
	report := verify(t, l.source(files), l.want())
	if report.Fault != nil || !slices.Equal(report.Gaps, l.gaps) || report.Records != 790 {
		t.Errorf("%+v, %v", report, report.Fault)
	}
	t.Run("and their hashes need not be known", func(t *testing.T) {
		files := maps.Clone(files)
		files["hashes"] = slices.Clone(files["hashes"])
		clear(files["hashes"][:tlog.StoredHashCount(400)*tlog.HashSize])
		report := verify(t, l.source(files), l.want())
		if report.Fault != nil || report.Unknown == 0 || len(report.Unchecked) != 1 {
			t.Errorf("%+v, %v", report, report.Fault)
		}
	})
	t.Run("and one record more is one", func(t *testing.T) {
		l.put(files, 400, strings.Join(l.plain[400][:189], "\n")+"\n", 0)
		f := verify(t, l.source(files), l.want()).Fault
		if f == nil || f.Record != 589 || f.Until != 590 || f.What != reader.Missing {
			t.Errorf("%v", f)
		}
	})
}

func TestRecordsThatRetentionDeletedAreNoFaults(t *testing.T) {
	l := writeLog(t, 1000, 5, 0, 1)
	l.first = 400
	old := func(tree tlog.Tree) reader.Want {
		return reader.Want{Verifier: l.signer, Checkpoints: []reader.Known{{From: "the auditor", Checkpoint: checkpoint.Checkpoint{Tree: tree}}}}
	}
	files := without(l, l.name(0), l.name(200))
	report := verify(t, l.source(files), old(l.trees[122]))
	if report.Fault != nil || report.Records != 600 || report.First != 400 || report.Files != 3 {
		t.Errorf("%+v, %v", report, report.Fault)
	}
	t.Run("nor those that are about to be", func(t *testing.T) {
		if report := verify(t, l.source(without(l, l.name(0))), l.want()); report.Fault != nil {
			t.Errorf("%v", report.Fault)
		}
	})
	t.Run("but another checkpoint of them is", func(t *testing.T) {
		other := l.trees[122]
		other.Hash[0] ^= 1
		if f := verify(t, l.source(files), old(other)).Fault; f == nil || f.What != reader.Rewritten || f.Until != 123 {
			t.Errorf("%v", f)
		}
	})
	t.Run("and so are stored hashes of them that are others", func(t *testing.T) {
		files := maps.Clone(files)
		files["hashes"] = slices.Clone(files["hashes"])
		files["hashes"][tlog.StoredHashIndex(1, 62)*tlog.HashSize] ^= 1
		if f := verify(t, l.source(files), old(l.trees[125])).Fault; f == nil || f.What != reader.HashesDamaged || f.Until != 400 {
			t.Errorf("%v", f)
		}
	})
	t.Run("and so are stored hashes of all of them", func(t *testing.T) {
		files := maps.Clone(files)
		files["hashes"] = slices.Clone(files["hashes"])
		files["hashes"][tlog.StoredHashIndex(8, 0)*tlog.HashSize] ^= 1
		if f := verify(t, l.source(files), l.want()).Fault; f == nil || f.What != reader.HashesDamaged || f.Until != 400 {
			t.Errorf("%v", f)
		}
	})
	t.Run("and neither are hashes of them that are not known", func(t *testing.T) {
		files := maps.Clone(files)
		files["hashes"] = slices.Clone(files["hashes"])
		clear(files["hashes"][:tlog.StoredHashCount(400)*tlog.HashSize])
		report := verify(t, l.source(files), old(l.trees[122]))
		if report.Fault != nil || !slices.Contains(report.Unchecked, "the auditor") {
			t.Errorf("%+v, %v", report, report.Fault)
		}
	})
}

func TestAnEmptyLogHasNoFault(t *testing.T) {
	s := (&log{tree: (&merkle.Edge{}).Tree()}).source(folder{"hashes": nil})
	report, err := s.Verify(t.Context(), reader.Want{}, nil)
	if err != nil || report.Fault != nil {
		t.Errorf("%v, %v", report.Fault, err)
	}
}

func TestVerifyingEndsWithItsContext(t *testing.T) {
	l := writeLog(t, 5000, 5, 0, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var total uint64
	_, err := l.source(l.files).Verify(ctx, l.want(), func(_, all uint64) { total = all; cancel() })
	if !errors.Is(err, context.Canceled) || total != 5000 {
		t.Errorf("%v, of %d", err, total)
	}
}
