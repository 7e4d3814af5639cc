package audit

import (
	"context"
	"fmt"
	"io"
	"log/syslog"
	"sync"
	"time"
)

const (
	// copyBytes bounds the text that waits to be copied.
	copyBytes = 8 << 20
	// A place that fails is opened again after copyRetry, then after twice as long, up to copyRetryMax.
	copyRetry    = 100 * time.Millisecond
	copyRetryMax = 10 * time.Second
	// copyRefused is how often one line is written to a place that fails before it is lost.
	copyRefused = 5
)

// Copy is a Sink that copies lines to a writer on its own goroutine. A writer that fails, is slow or blocks for ever stops nothing: while 8 MiB
// of text wait, lines are dropped, and counted. The first line that is taken after that is {"lost":N}. All methods are
// safe for concurrent use.
type Copy struct {
	open   func() (io.WriteCloser, error)
	onLoss func(lost uint64, err error)

	mu      sync.Mutex
	queue   []byte // whole lines
	lines   []int  // their lengths
	writing int    // bytes that are being written, which are in no queue
	lost    uint64 // since the writer was last told
	total   uint64
	err     error // why the writer does not take lines; nil while it does
	told    bool  // of this loss
	closed  bool

	wake chan struct{}
	stop chan struct{} // closed when nothing may be waited for any more
	done chan struct{}
}

// NewCopy starts copying to what open gives: it is opened at the first line, and anew, with growing pauses, after every error. Each write is one whole
// line. onLoss is told when lines begin to be lost, and why (nil for a writer that is slow or blocked), and again with 0 when they are taken
// again; it must not block nor call Copy's methods, and may be nil. Close it.
func NewCopy(open func() (io.WriteCloser, error), onLoss func(lost uint64, err error)) *Copy {
	if onLoss == nil {
		onLoss = func(uint64, error) {}
	}
	c := &Copy{open: open, onLoss: onLoss, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go c.run()
	return c
}

// Line implements Sink.
func (c *Copy) Line(line []byte) {
	c.mu.Lock()
	switch {
	case c.closed:
		c.lost++
		c.total++
	case len(c.queue)+c.writing+len(line)+1 > copyBytes:
		c.drop(1, c.err)
	default:
		c.queue = append(append(c.queue, line...), '\n')
		c.lines = append(c.lines, len(line)+1)
	}
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// drop counts lost lines; c.mu is held.
func (c *Copy) drop(n uint64, err error) {
	c.lost += n
	c.total += n
	if !c.told {
		c.told = true
		c.onLoss(c.lost, err)
	}
}

// Lost is the number of lines that were dropped since the start.
func (c *Copy) Lost() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}

// Close copies what waits, and ends. It returns ctx's error when ctx ends first; a write that blocks for ever is left behind then.
func (c *Copy) Close(ctx context.Context) error {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	c.mu.Unlock()
	if !again {
		close(c.stop)
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("copying the last records: %w", ctx.Err())
	}
}

func (c *Copy) run() {
	defer close(c.done)
	var out io.WriteCloser
	defer func() {
		if out != nil {
			_ = out.Close() // every line was written by itself
		}
	}()
	pause, refused := copyRetry, 0
	for {
		text, lines := c.take()
		if text == nil {
			select {
			case <-c.wake:
				continue
			case <-c.stop:
			}
			if text, lines = c.take(); text == nil {
				return
			}
		}
		for len(lines) > 0 {
			var err error
			if out == nil {
				if out, err = c.open(); err != nil {
					out = nil
				}
			}
			wrote := 0
			if err == nil {
				wrote, err = c.write(out, text, lines)
				for _, n := range lines[:wrote] {
					text = text[n:]
				}
				lines = lines[wrote:]
			}
			if wrote > 0 {
				pause, refused = copyRetry, 0
			}
			if err == nil {
				continue
			}
			if refused++; out != nil && refused >= copyRefused {
				// Perhaps it takes no line that is so long. The others must not wait for this one.
				c.giveOne(lines[0], err)
				text, lines, refused = text[lines[0]:], lines[1:], 0
			}
			if out != nil {
				_ = out.Close() // it failed already
				out = nil
			}
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			if !c.wait(pause) {
				c.give(lines)
				return
			}
			pause = min(2*pause, copyRetryMax)
		}
	}
}

// take gives all lines that wait, and makes them the ones being written.
func (c *Copy) take() ([]byte, []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text, lines := c.queue, c.lines
	c.queue, c.lines, c.writing = nil, nil, len(text)
	return text, lines
}

// write writes lines one by one, after the number of lost ones, and says how many it wrote.
func (c *Copy) write(out io.Writer, text []byte, lines []int) (int, error) {
	for i, n := range lines {
		if err := c.confess(out); err != nil {
			return i, err
		}
		if _, err := out.Write(text[:n]); err != nil {
			return i, err
		}
		text = text[n:]
		c.mu.Lock()
		c.writing -= n
		c.err = nil
		c.mu.Unlock()
	}
	return len(lines), nil
}

// confess says how many lines were lost since it last did. Those that wait were there before the loss: what is lost is said
// between them, where the queue was full.
func (c *Copy) confess(out io.Writer) error {
	c.mu.Lock()
	lost := c.lost
	c.mu.Unlock()
	if lost == 0 {
		return nil
	}
	if _, err := fmt.Fprintf(out, "{\"lost\":%d}\n", lost); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost -= lost; c.lost == 0 {
		c.err, c.told = nil, false
		c.onLoss(0, nil)
	}
	return nil
}

// wait waits before the next try; false when there is none, because of Close.
func (c *Copy) wait(pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.stop:
		return false
	}
}

// give gives up lines that nobody took.
func (c *Copy) give(lines []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(uint64(len(lines)+len(c.lines)), c.err)
	c.queue, c.lines = nil, nil
}

// giveOne gives up a line of n bytes.
func (c *Copy) giveOne(n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing -= n
	c.drop(1, err)
}

// Syslog opens the local syslog for NewCopy: facility auth, severity info, tag signerd.
func Syslog() (io.WriteCloser, error) {
	w, err := syslog.New(syslog.LOG_AUTH|syslog.LOG_INFO, "signerd")
	if err != nil {
		return nil, fmt.Errorf("opening syslog: %w", err)
	}
	return w, nil
}
