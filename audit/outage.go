package audit

import (
	"errors"
	"fmt"
	"time"
)

// How long the log waits before it tries again after a failure, doubling.
const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// outage is what is to be told of the time in which nothing could be recorded.
type outage struct {
	open  bool
	from  time.Time
	calls uint64
	cause string
	late  *Range
}

// begin notes an outage, if none is open.
func (o *outage) begin(cause error, now time.Time) {
	if !o.open {
		o.open, o.from, o.cause = true, now, cause.Error()
	}
}

func (o *outage) refuse(calls int, cause error, now time.Time) {
	o.begin(cause, now)
	o.calls += uint64(calls)
}

// trouble says why nothing can be recorded. The caller holds l.mu.
func (l *Log) trouble() error {
	switch {
	case l.ending:
		return ErrClosed
	case l.lost != nil:
		return l.lost
	case l.failure != nil:
		return l.failure
	case l.stalled:
		return l.slow()
	}
	return nil
}

func (l *Log) slow() error {
	return fmt.Errorf("%w: the disk has not answered for %v", ErrUnavailable, l.config.Timeout)
}

// changed has whoever watches be told, if there is something new. The caller holds l.mu, and calls tell when it does not any more.
func (l *Log) changed() {
	now := l.trouble()
	if l.ending || now == l.told || now != nil && l.told != nil && now.Error() == l.told.Error() {
		return
	}
	l.told = now
	l.untold = append(l.untold, now)
}

func (l *Log) tell() {
	l.telling.Lock()
	defer l.telling.Unlock()
	for {
		l.mu.Lock()
		if len(l.untold) == 0 {
			l.mu.Unlock()
			return
		}
		next := l.untold[0]
		l.untold = l.untold[1:]
		l.mu.Unlock()
		l.config.Changed(next)
	}
}

// Refused counts a call that was refused because of Err, without Append, for the record of the outage.
func (l *Log) Refused() {
	l.mu.Lock()
	defer l.mu.Unlock()
	cause := l.trouble()
	if cause == nil {
		cause = ErrUnavailable
	}
	l.outage.refuse(1, cause, l.config.Now())
}

// fail makes the log unavailable until the writer has recovered, or the missing records are acknowledged. Nothing that is being written
// or waits is acknowledged, nor is it written later.
func (l *Log) fail(err error) {
	var loss *lossError
	l.mu.Lock()
	l.epoch++
	if errors.As(err, &loss) {
		if l.lost == nil {
			l.lost = fmt.Errorf("%w: %w", ErrMissing, loss)
		}
	} else {
		l.failure = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	l.outage.begin(err, l.config.Now())
	l.mu.Unlock()
	l.refuseAll(err)
}

// refuseAll answers what waits after a failure, and what the writer gave up.
func (l *Log) refuseAll(err error) {
	l.mu.Lock()
	cause := l.trouble()
	if cause == nil {
		cause = err
	}
	l.refuse(&l.waiting, cause)
	l.changed()
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	l.tell()
}

// refuse ends a batch of which nothing will be acknowledged. The caller holds l.mu.
func (l *Log) refuse(b **batch, cause error) {
	if *b != nil {
		l.outage.refuse(len((*b).ends), cause, l.config.Now())
		(*b).answer(cause)
		*b = nil
	}
}

// abandon is fail of what the writer was doing.
func (l *Log) abandon(err error) {
	l.fail(err)
	l.mu.Lock()
	l.refuse(&l.inFlight, l.trouble())
	l.mu.Unlock()
}

// stall answers the callers of a batch that is not durable in time, and all others. What is being written may become durable yet.
func (l *Log) stall(b *batch) {
	l.mu.Lock()
	if !b.answered {
		l.stalled = true
		l.outage.begin(l.slow(), l.config.Now())
		if l.inFlight != nil {
			l.inFlight.answer(l.slow())
		}
		l.refuse(&l.waiting, l.slow())
		l.changed()
	}
	l.mu.Unlock()
	l.tell()
}

// failing says whether the writer has to recover.
func (l *Log) failing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost == nil && l.failure != nil
}

// outageRecord tells of the outage, if there is one, and gives what it told.
func (l *Log) outageRecord() (records []*Record, told outage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.outage
	if !o.open {
		return nil, o
	}
	return []*Record{{Kind: KindOutage, Time: l.config.Now(),
		Outage: &Outage{From: o.from.UTC(), Calls: o.calls, Cause: o.cause, Late: o.late}}}, o
}

// over ends an outage that is recorded. Failures since epoch go on, and calls that were refused since count for another record.
func (l *Log) over(told outage, epoch uint64, acknowledged bool) {
	l.mu.Lock()
	if acknowledged {
		l.lost = nil
	}
	if l.epoch == epoch {
		l.failure = nil
	}
	l.epoch++
	l.stalled = false
	calls, late, cause := l.outage.calls-told.calls, l.outage.late, l.outage.cause
	l.outage = outage{}
	now := l.config.Now()
	if calls > 0 || l.trouble() != nil && !l.ending {
		l.outage = outage{open: true, from: now, calls: calls, cause: cause}
	}
	if late != told.late {
		l.outage.open, l.outage.from, l.outage.cause, l.outage.late = true, now, cause, late
	}
	l.changed()
	l.mu.Unlock()
	l.tell()
}

// recordOutage ends a stall.
func (l *Log) recordOutage() {
	l.mu.Lock()
	epoch := l.epoch
	l.mu.Unlock()
	records, told := l.outageRecord()
	if len(records) > 0 {
		if err := l.commit(newBatch(records...)); err != nil {
			l.fail(err)
			return
		}
	}
	l.over(told, epoch, false)
}

// recover makes the log available again after a failure: what failed is taken off the files, and another file begun.
func (l *Log) recover() {
	l.mu.Lock()
	epoch, lost := l.epoch, l.lost
	l.mu.Unlock()
	if lost != nil {
		return
	}
	if err := l.restore(); err != nil {
		l.fail(err)
		return
	}
	if err := l.resume(epoch); err != nil {
		l.fail(err)
	}
}

// resume begins a file with what is to be told after an outage, and own records, which are an acknowledgement; after that the log is
// available.
func (l *Log) resume(epoch uint64, own ...*Record) error {
	records, told := l.outageRecord()
	records = append(own, records...)
	if !l.writer.ready {
		records = append([]*Record{l.startRecord()}, records...)
	}
	if err := l.renew(records...); err != nil {
		return err
	}
	l.writer.ready = true
	l.over(told, epoch, len(own) > 0)
	return nil
}

// restore brings the files back to what was acknowledged.
func (l *Log) restore() error {
	if err := l.config.FS.Writable(); err != nil {
		return err
	}
	if !l.writer.ready {
		found, err := l.scan(l.root)
		if err != nil {
			return err
		}
		if err := found.loss(); err != nil {
			return &lossError{err.Error()}
		}
		return l.prepare(found)
	}
	if l.writer.file != nil {
		if err := l.writer.file.Truncate(l.tip.offset); err != nil {
			return fmt.Errorf("removing what was not acknowledged: %w", err)
		}
		if err := l.writer.file.Sync(); err != nil {
			return fmt.Errorf("removing what was not acknowledged: %w", err)
		}
	}
	l.mu.Lock()
	unsynced, synced, size := l.unsynced, l.synced, l.tip.edge.Size()
	l.mu.Unlock()
	// A sync that failed may have lost any of them.
	if err := l.hashes.Write(synced, unsynced); err != nil {
		return err
	}
	if err := l.hashes.Truncate(size); err != nil {
		return fmt.Errorf("removing hashes that were not acknowledged: %w", err)
	}
	if err := l.hashes.Sync(); err != nil {
		return fmt.Errorf("making hashes durable: %w", err)
	}
	return nil
}

// tick is what the writer does once a second: it records what of an outage was refused after its record, and leaves old files.
func (l *Log) tick() {
	l.mu.Lock()
	able := l.writer.ready && l.lost == nil && l.failure == nil
	due := able && (l.stalled || l.outage.open)
	l.mu.Unlock()
	if due {
		l.recordOutage()
	} else if able && l.old() {
		if err := l.renew(); err != nil {
			l.fail(err)
		}
	}
}
