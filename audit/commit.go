package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/merkle"
	"github.com/signerd/signerd/audit/segment"
)

// pace is how far apart commits begin under load, so that one sync serves many.
const pace = time.Millisecond

// maxUnsynced bounds the stored hashes that are remembered in case that their sync fails: 32 bytes each. Tests lower it.
var maxUnsynced = 1 << 20

// batch is records that become durable together.
type batch struct {
	tails []byte // lines without their beginning, one after the other
	ends  []int
	timer *time.Timer
	// done is closed when the callers have their answer: err, or the number of the first record.
	done     chan struct{}
	answered bool
	err      error
	first    uint64
}

// spare is the room of a batch that is done, for another.
type spare struct {
	tails []byte
	ends  []int
}

// maxSpare bounds the room that is kept for no batch.
const maxSpare = 256 << 10

// lineStart and the digits of a number are before a tail.
const lineStart = `{"n":`

func newBatch(records ...*Record) *batch {
	b := &batch{done: make(chan struct{})}
	for _, r := range records {
		b.tails = r.appendTail(b.tails)
		b.ends = append(b.ends, len(b.tails))
	}
	return b
}

// answer is given once. The caller holds l.mu.
func (b *batch) answer(err error) {
	if b.answered {
		return
	}
	b.answered, b.err = true, err
	if b.timer != nil {
		b.timer.Stop()
	}
	close(b.done)
}

var tails = sync.Pool{New: func() any { return new([]byte) }}

// Append makes a record durable and sets its N. Otherwise what the record is about must not happen: ErrUnavailable when it could not be
// written or not within Timeout; ErrTooLong; or ctx's error when ctx ends first, and then the record may be written yet. A call that is
// refused here is counted for the record of the outage. Nothing is kept of r.
func (l *Log) Append(ctx context.Context, r *Record) error {
	if discard {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	tail := tails.Get().(*[]byte)
	*tail = r.appendTail((*tail)[:0])
	b, i, err := l.wait(*tail)
	tails.Put(tail)
	if err != nil {
		return err
	}
	select {
	case <-b.done:
	case <-ctx.Done():
		return fmt.Errorf("waiting for a record to be durable: %w", ctx.Err())
	}
	if b.err != nil {
		return b.err
	}
	r.N = b.first + uint64(i)
	return nil
}

// wait adds a tail to what the writer takes next.
func (l *Log) wait(tail []byte) (*batch, int, error) {
	if len(tail) > maxTail {
		return nil, 0, fmt.Errorf("%w: %d bytes", ErrTooLong, len(tail))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.trouble(); err != nil {
		l.outage.refuse(1, err, l.config.Now())
		return nil, 0, err
	}
	b := l.waiting
	if b == nil {
		b = newBatch()
		b.tails, b.ends, l.spare = l.spare.tails, l.spare.ends, spare{}
		b.timer = time.AfterFunc(l.config.Timeout, func() { l.stall(b) })
		l.waiting = b
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
	if len(b.ends) >= maxWaitingRecords || len(b.tails)+len(tail) > maxWaitingBytes {
		err := fmt.Errorf("%w: too many records wait for the disk", ErrUnavailable)
		l.outage.refuse(1, err, l.config.Now())
		return nil, 0, err
	}
	b.tails = append(b.tails, tail...)
	b.ends = append(b.ends, len(b.tails))
	return b, len(b.ends) - 1, nil
}

// write is the writer: all that changes the end of the log happens here.
func (l *Log) write() {
	defer close(l.written)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var retry <-chan time.Time
	var backoff time.Duration
	for {
		select {
		case <-l.wake:
		case <-tick.C:
			l.tick()
		case do := <-l.requests:
			do()
		case <-retry:
			retry = nil
			l.recover()
		case <-l.closing:
			l.commitWaiting()
			return
		}
		l.commitWaiting()
		switch {
		case !l.failing():
			retry, backoff = nil, 0
		case retry == nil:
			backoff = min(max(2*backoff, minBackoff), maxBackoff)
			retry = time.After(backoff)
		}
	}
}

// do runs something in the writer.
func (l *Log) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case l.requests <- func() { defer close(done); f() }:
	case <-l.written:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// commitWaiting writes until nothing waits, or nothing can be written.
func (l *Log) commitWaiting() {
	for {
		l.mu.Lock()
		able := l.writer.ready && l.lost == nil && l.failure == nil
		stalled, b, crowded := l.stalled, l.waiting, l.crowded()
		if able && !stalled && b != nil && !crowded {
			l.waiting, l.inFlight = nil, b
		}
		l.mu.Unlock()
		switch {
		case !able || !stalled && b == nil:
			return
		case stalled:
			l.recordOutage()
		case crowded:
			l.writer.count = 0
			time.Sleep(pace - time.Since(l.writer.began))
		default:
			l.commitOne(b)
		}
	}
}

// crowded says that many callers are on their way, for whom it is worth waiting. One who is alone waits for nobody.
func (l *Log) crowded() bool { return l.writer.count > 1 && time.Since(l.writer.began) < pace }

func (l *Log) commitOne(b *batch) {
	l.writer.began, l.writer.count = time.Now(), len(b.ends)
	if l.full() {
		if err := l.renew(); err != nil {
			l.abandon(err)
			return
		}
	}
	if err := l.commit(b); err != nil {
		l.abandon(err)
	}
}

// compose makes lines of a batch that follows the edge, in the writer's buffer, and gives what is stored of them, until it is called
// again.
func (l *Log) compose(edge *merkle.Edge, b *batch) []tlog.Hash {
	stored := l.writer.leaves[:0]
	b.first = uint64(edge.Size())
	at := 0
	for _, end := range b.ends {
		start := len(l.writer.text)
		l.writer.text = append(l.writer.text, lineStart...)
		l.writer.text = strconv.AppendInt(l.writer.text, edge.Size(), 10)
		l.writer.text = append(l.writer.text, b.tails[at:end]...)
		stored = append(stored, edge.Append(tlog.RecordHash(l.writer.text[start:]))...)
		l.writer.text = append(l.writer.text, '\n')
		at = end
	}
	l.writer.leaves = stored
	return stored
}

// commit makes a batch durable at the end of the current file. After an error nothing is known of what is on the disk.
func (l *Log) commit(b *batch) error {
	next := l.tip
	l.writer.text = l.writer.text[:0]
	stored := l.compose(&next.edge, b)
	if err := l.store(l.writer.file, l.writer.info, segment.Segment{First: next.file}.Name(), next.offset, stored); err != nil {
		return err
	}
	next.offset += int64(len(l.writer.text))
	l.publish(b, next, stored, nil)
	return nil
}

// store writes the composed lines and what is stored of them, and looks whether they are where readers will find them.
func (l *Log) store(f disk.File, info fs.FileInfo, name string, offset int64, stored []tlog.Hash) error {
	l.mu.Lock()
	unsynced, epoch := len(l.unsynced), l.epoch
	l.mu.Unlock()
	if unsynced+len(stored) > maxUnsynced {
		// Whoever keeps checkpoints, and makes them durable before, is stuck.
		if err := l.hashes.Sync(); err != nil {
			return fmt.Errorf("making hashes durable: %w", err)
		}
		l.hashesSynced(l.tip.edge.Size(), epoch)
	}
	if _, err := f.WriteAt(l.writer.text, offset); err != nil {
		return fmt.Errorf("writing records: %w", err)
	}
	if err := l.hashes.Write(l.tip.edge.Size(), stored); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("making records durable: %w", err)
	}
	return l.inspect(f, info, name, offset, offset+int64(len(l.writer.text)))
}

// inspect says whether the file still has its name and its length, and whether what was before offset is still there: a file that
// was cut short in the meantime has zeros there.
func (l *Log) inspect(f disk.File, info fs.FileInfo, name string, offset, end int64) error {
	now, err := l.config.FS.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &lossError{name + " is gone"}
	case err != nil:
		return fmt.Errorf("looking after records: %w", err)
	case !disk.SameFile(info, now):
		return &lossError{name + " is another file now"}
	case now.Size() < end:
		return &lossError{name + " was cut short"}
	case now.Size() > end:
		return &lossError{name + " was written to by somebody else"}
	case offset == 0:
		return nil
	}
	var before [1]byte
	if _, err := f.ReadAt(before[:], offset-1); err != nil {
		return fmt.Errorf("looking after records: %w", err)
	}
	if before[0] != '\n' {
		return &lossError{name + " was cut short"}
	}
	return nil
}

// lossError says that records are missing which were durable.
type lossError struct{ what string }

func (e *lossError) Error() string { return e.what }

// publish makes it known that a batch is durable, in a new file if one is given.
func (l *Log) publish(b *batch, next tip, stored []tlog.Hash, started *file) {
	if l.config.Sink != nil {
		l.sink.Lock()
		for rest := l.writer.text; len(rest) > 0; {
			end := slices.Index(rest, '\n')
			l.config.Sink.Line(rest[:end:end])
			rest = rest[end+1:]
		}
		l.sink.Unlock()
	}
	l.mu.Lock()
	l.tip = next
	if started != nil {
		if last := len(l.files) - 1; last >= 0 {
			l.files[last].info = nil
		}
		l.files = append(l.files, *started)
	}
	last := &l.files[len(l.files)-1]
	last.until, last.bytes, last.size = uint64(next.edge.Size()), next.offset, next.offset
	l.unsynced = append(l.unsynced, stored...)
	if b == l.inFlight {
		l.inFlight = nil
	}
	if b.answered { // too late: the callers were refused
		l.outage.late = &Range{From: b.first, Until: b.first + uint64(len(b.ends))}
	}
	b.answer(nil)
	if cap(b.tails) <= maxSpare {
		l.spare = spare{b.tails[:0], b.ends[:0]}
	}
	if l.grown != nil {
		close(l.grown)
		l.grown = nil
	}
	l.mu.Unlock()
	l.tell()
}
