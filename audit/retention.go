package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// choresEvery is how often the log looks for files to compress or delete, besides when a file is left.
const choresEvery = time.Minute

func hashesBetween(from, until int64) int64 {
	return tlog.StoredHashCount(until) - tlog.StoredHashCount(from)
}

// doChores compresses and deletes files, one at a time.
func (l *Log) doChores() {
	tick := time.NewTicker(choresEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-l.chores:
		case <-l.closing:
			return
		}
		err := errors.Join(l.deleteOld(l.root), l.compressAll())
		l.mu.Lock()
		l.chore = err
		l.mu.Unlock()
	}
}

// ChoresErr says why files could not be compressed or deleted; nil if they could. It is tried again within a minute, and records are
// written all the same.
func (l *Log) ChoresErr() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.chore
}

// deleteOld deletes the files of which all records are older than Retention: first it is recorded, then kept, then done.
func (l *Log) deleteOld(ctx context.Context) error {
	if l.config.Retention <= 0 {
		return nil
	}
	var old []file
	var err error
	ended := l.do(ctx, func() { old, err = l.recordRetention() })
	if err := errors.Join(ended, err); err != nil {
		return fmt.Errorf("deleting old records: %w", err)
	}
	if len(old) == 0 {
		return nil
	}
	// Before it is kept nothing is deleted: the next process would miss it.
	if _, err := l.Checkpoint(ctx); err != nil {
		return fmt.Errorf("deleting old records: %w", err)
	}
	for _, f := range old {
		if err := l.config.FS.Remove(f.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("deleting old records: %w", err)
		}
		l.mu.Lock()
		l.doomed = slices.DeleteFunc(l.doomed, func(d file) bool { return d.First == f.First })
		l.mu.Unlock()
	}
	if err := l.config.FS.Sync(); err != nil {
		return fmt.Errorf("deleting old records: %w", err)
	}
	return nil
}

// recordRetention records which files will be deleted, in the writer, and gives them, with those of which it was recorded before.
func (l *Log) recordRetention() ([]file, error) {
	l.mu.Lock()
	if l.trouble() != nil || !l.writer.ready {
		l.mu.Unlock()
		return nil, nil
	}
	limit := l.config.Now().Add(-l.config.Retention)
	n := 0
	var names []string
	for n+1 < len(l.files) && l.files[n+1].started.Before(limit) {
		names = append(names, l.files[n].Name())
		n++
	}
	old, doomed := slices.Clone(l.files[:n]), slices.Clone(l.doomed)
	first := l.first
	if n > 0 {
		first = l.files[n].First
	}
	l.mu.Unlock()
	if n == 0 {
		return doomed, nil
	}
	b := newBatch(&Record{Kind: KindRetention, Time: l.config.Now(), Retention: &Retention{First: first, Files: names}})
	if err := l.commit(b); err != nil {
		l.fail(err)
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files = slices.Clone(l.files[n:])
	l.first = first
	l.gaps = without(l.gaps, []Range{{0, first}})
	l.doomed = append(l.doomed, old...)
	return slices.Clone(l.doomed), nil
}
