package audit_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/disk"
)

// counted counts the syncs of files.
type counted struct {
	disk.FS
	syncs atomic.Int64
}

func (c *counted) Open(name string, flag int) (disk.File, error) {
	f, err := c.FS.Open(name, flag)
	return countedFile{f, c}, err
}

type countedFile struct {
	disk.File
	fs *counted
}

func (f countedFile) Sync() error {
	f.fs.syncs.Add(1)
	return f.File.Sync()
}

func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("%d callers", callers), func(b *testing.B) {
			fs := &counted{FS: disk.Dir(b.TempDir())}
			w := newWorld(b, fs)
			l := w.open()
			var next atomic.Int64
			var wg sync.WaitGroup
			syncs, processor := fs.syncs.Load(), processorTime(b)
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for next.Add(1) <= int64(b.N) {
						err := l.Append(context.Background(), &audit.Record{Kind: audit.KindCall, ID: "0123456789abcdef", Time: time.Now(),
							Caller: "spiffe://example/service", Operation: "sign", Key: "key-1", Method: "POST", Path: "/v1/orders", Code: "OK"})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(fs.syncs.Load()-syncs)/float64(b.N), "syncs/op")
			b.ReportMetric(float64((processorTime(b)-processor).Nanoseconds())/float64(b.N), "cpu-ns/op")
			w.close(l)
		})
	}
}
