package reader_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/merkle"
	"github.com/signerd/signerd/audit/reader"
)

func BenchmarkVerifying(b *testing.B) {
	const records = 400_000
	for _, c := range []struct {
		name string
		gz   []int
	}{{"plain", nil}, {"compressed", []int{0, 1, 2, 3, 4, 5, 6, 7}}} {
		b.Run(c.name, func(b *testing.B) {
			l := writeLog(b, records, 8, 180, c.gz...)
			dir, bytes := b.TempDir(), 0
			for name, text := range l.files {
				if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
					b.Fatal(err)
				}
			}
			for _, line := range l.plain[0] {
				bytes += len(line) + 1
			}
			size := float64(bytes) / float64(len(l.plain[0]))
			f, err := disk.Dir(dir).Open("hashes", os.O_RDONLY)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			s := reader.Source{
				FS: disk.Dir(dir), Hashes: merkle.NewHashes(f), Tree: func() tlog.Tree { return l.tree },
				Gaps: func() []audit.Range { return nil }, First: func() uint64 { return 0 },
			}
			l.files, l.plain = nil, nil
			for b.Loop() {
				if report := verify(b, s, l.want()); report.Fault != nil || report.Records != records {
					b.Fatal(report.Fault)
				}
			}
			b.ReportMetric(size, "bytes/record")
			b.ReportMetric(records*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
