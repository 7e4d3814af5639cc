package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/signerd/signerd/internal/checkpoint"
)

// kept is what became of a checkpoint.
type kept struct {
	signed []byte
	err    error
}

// keepCheckpoints makes a checkpoint once a second while records come, and for whoever asks.
func (l *Log) keepCheckpoints() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var size int64 = -1
	for {
		select {
		case <-tick.C:
			if l.size() != size || l.CheckpointErr() != nil {
				size = l.keepOne().size
			}
		case ask := <-l.asks:
			one := l.keepOne()
			size = one.size
			ask <- one.kept
		case <-l.written:
			l.mu.Lock()
			l.done = true
			l.mu.Unlock()
			l.keepOne()
			return
		}
	}
}

func (l *Log) size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tip.edge.Size()
}

// Checkpoint gives a signed checkpoint of now, after its hashes are durable and its state kept. Errors: Keep's; ErrMissing; ErrClosed;
// that of the disk; or ctx's.
func (l *Log) Checkpoint(ctx context.Context) ([]byte, error) {
	answer := make(chan kept, 1)
	select {
	case l.asks <- answer:
	case <-l.written:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case k := <-answer:
		return k.signed, k.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// CheckpointErr says why the newest checkpoint is not made or not kept; nil if it is. Records are written all the same.
func (l *Log) CheckpointErr() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keeping
}

type sized struct {
	kept
	size int64
}

// keepOne makes and keeps one checkpoint, and gives how many records it is of.
func (l *Log) keepOne() sized {
	var s sized
	s.signed, s.size, s.err = l.keep()
	if errors.Is(s.err, ErrMissing) {
		return s // the state says what must be there, until somebody acknowledges
	}
	l.mu.Lock()
	l.keeping = s.err
	l.mu.Unlock()
	return s
}

func (l *Log) keep() ([]byte, int64, error) {
	l.mu.Lock()
	lost, hashes, tip, epoch := l.lost, l.hashes, l.tip, l.epoch
	next := state{File: tip.file, Offset: tip.offset, First: l.first, Gaps: append([]Range(nil), l.gaps...), Closed: l.done && l.lost == nil && l.failure == nil && !l.stalled}
	l.mu.Unlock()
	if lost != nil {
		return nil, tip.edge.Size(), lost
	}
	if hashes == nil || tip.edge.Size() == 0 {
		return nil, tip.edge.Size(), fmt.Errorf("making a checkpoint: %w", ErrUnavailable)
	}
	if err := hashes.Sync(); err != nil {
		err = fmt.Errorf("making hashes durable: %w", err)
		l.fail(err)
		return nil, tip.edge.Size(), err
	}
	l.hashesSynced(tip.edge.Size(), epoch)
	c := checkpoint.Checkpoint{Origin: l.config.Signer.Name(), Tree: tip.edge.Tree(), Store: l.config.Store()}
	signed, err := c.Sign(l.config.Signer)
	if err != nil {
		return nil, tip.edge.Size(), err
	}
	next.Checkpoint, next.Edge = string(signed), edgeTexts(&tip.edge)
	text, err := json.Marshal(next)
	if err != nil {
		return nil, tip.edge.Size(), fmt.Errorf("making a checkpoint: %w", err)
	}
	if err := l.config.Keep(l.root, text); err != nil {
		return nil, tip.edge.Size(), fmt.Errorf("keeping a checkpoint: %w", err)
	}
	l.mu.Lock()
	l.signed = signed
	l.mu.Unlock()
	if l.config.Sink != nil {
		line, err := json.Marshal(map[string]string{"checkpoint": string(signed)})
		if err != nil {
			return nil, tip.edge.Size(), fmt.Errorf("making a checkpoint: %w", err)
		}
		l.sink.Lock()
		l.config.Sink.Line(line)
		l.sink.Unlock()
	}
	return signed, tip.edge.Size(), nil
}

// hashesSynced forgets hashes that are durable, unless something failed in the meantime: then it is not known.
func (l *Log) hashesSynced(size int64, epoch uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch != epoch || size < l.synced {
		return
	}
	// A copy, so that what is forgotten is freed.
	l.unsynced = append(l.unsynced[:0:0], l.unsynced[hashesBetween(l.synced, size):]...)
	l.synced = size
}
