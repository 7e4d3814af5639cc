package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit/disk"
	"github.com/signerd/signerd/audit/merkle"
	"github.com/signerd/signerd/internal/checkpoint"
)

// Defaults of Config.
const (
	// DefaultTimeout is how long a call waits for its record.
	DefaultTimeout = 5 * time.Second
	// DefaultMaxFileBytes is the length of a file's lines after which another is begun.
	DefaultMaxFileBytes = 64 << 20
	// DefaultMaxFileAge is the age of a file after which another is begun.
	DefaultMaxFileAge = 24 * time.Hour
)

// What may wait to be written. More is refused at once: a disk that cannot keep up must not fill the memory.
const (
	maxWaitingRecords = 8192
	maxWaitingBytes   = 16 << 20
)

// lookEvery is how often the log looks whether its files are all there, and makes a checkpoint.
const lookEvery = time.Second

// hashesFile is the file of package merkle.
const hashesFile = "hashes"

var (
	// ErrUnavailable says that a record was not written, or not in time. What it was about must not happen.
	ErrUnavailable = errors.New("the audit log cannot be written")
	// ErrMissing is ErrUnavailable because records are gone that were once durable. It lasts until Acknowledge.
	ErrMissing error = &unavailable{"records of the audit log are missing"}
	// ErrClosed is ErrUnavailable because of Close.
	ErrClosed error = &unavailable{"the audit log is closed"}
	// ErrTooLong says that a record makes a line of more than segment.MaxLineBytes.
	ErrTooLong = errors.New("the record is too long for the audit log")
	// ErrNothingMissing says that there is nothing to acknowledge.
	ErrNothingMissing = errors.New("no records of the audit log are missing")
	// ErrState says that what Keep was given is not what this log gave it, or that another key signed it.
	ErrState = errors.New("the kept state is not that of this audit log")
)

// unavailable is ErrUnavailable for a reason.
type unavailable struct{ why string }

// Error implements error.
func (u *unavailable) Error() string { return u.why }

// Is makes it an ErrUnavailable.
func (u *unavailable) Is(target error) bool { return target == ErrUnavailable }

// Sink gets every durable line and every checkpoint a second time, in order, from one goroutine at a time. Line must not block, and must
// not keep the line, which has no newline. After an outage it may not have had lines that are found durable at the next start.
type Sink interface{ Line(line []byte) }

// Config is what a log needs; zero fields mean the defaults.
type Config struct {
	// FS is the log's folder. It is there already.
	FS disk.FS
	// Signer signs checkpoints; its name is the log's origin.
	Signer *checkpoint.Signer
	// State is what Keep was given last; empty for a new log.
	State []byte
	// Anchor is the newest checkpoint that is known otherwise; zero where there is none. The log must hold that too.
	Anchor checkpoint.Checkpoint
	// Store gives the present state of the store of keys, for checkpoints. It must not block. Default: none.
	Store func() checkpoint.Store
	// Keep keeps the state of the log until the next process. It may fail, and is tried again. Default: it is kept nowhere.
	Keep func(ctx context.Context, state []byte) error
	// Sink is a second sink. Default: none.
	Sink Sink
	// Timeout is how long a call waits for its record. Default: DefaultTimeout.
	Timeout time.Duration
	// MaxFileBytes and MaxFileAge say when a file is left for another. Defaults: DefaultMaxFileBytes, DefaultMaxFileAge.
	MaxFileBytes int64
	MaxFileAge   time.Duration
	// Retention is the age after which records are deleted, in whole files. Default: never.
	Retention time.Duration
	// Changed is told, in order, why records can no longer be written, and nil when they can again. It must not block. Optional.
	Changed func(error)
	// Version is that of the program, for the record of its start.
	Version string
	// Now is the clock of records. Default: time.Now.
	Now func() time.Time
}

// Log writes the audit log of one folder. One goroutine writes; nothing starts a goroutine for a record. It is safe for concurrent use.
// Nobody else may write in the folder; package reader reads in it.
type Log struct {
	config Config
	// root ends Keep and the work in the background at Close.
	root     context.Context
	cancel   context.CancelFunc
	closing  chan struct{}
	closed   chan struct{} // all is written and closed
	once     sync.Once
	wake     chan struct{} // something waits for the writer
	requests chan func()   // run by the writer
	asks     chan chan<- kept
	chores   chan struct{} // there may be files to compress or to delete
	written  chan struct{} // the writer has ended
	workers  sync.WaitGroup

	writer writer // the writer's alone
	sink   sync.Mutex
	shelf  sync.Mutex // held while old files are replaced, or looked through for what is missing

	mu       sync.Mutex
	waiting  *batch // not yet taken by the writer
	inFlight *batch // being written
	spare    spare
	tip      tip
	files    []file // oldest first; the last is written to
	doomed   []file // to be deleted by retention, which is recorded
	first    uint64
	gaps     []Range
	hashes   *merkle.Hashes
	// unsynced are the stored hashes of the records from synced on, of which it is not known that they are durable.
	unsynced []tlog.Hash
	synced   int64
	signed   []byte // the newest checkpoint
	grown    chan struct{}

	ending  bool   // Close was called
	done    bool   // the writer has ended
	lost    error  // why ErrMissing
	failure error  // why nothing can be written until the writer has recovered
	epoch   uint64 // counts failures and recoveries
	stalled bool   // a batch was not durable in time
	outage  outage
	told    error
	untold  []error
	telling sync.Mutex
	keeping error // why the newest checkpoint is not kept
	chore   error // why files could not be compressed or deleted
}

// tip is where the log ends: all before it is durable.
type tip struct {
	edge   merkle.Edge
	file   uint64 // the first record of the file that is written to
	offset int64
}

// writer is what only the writing goroutine touches, after Open.
type writer struct {
	ready   bool // the folder was made ready for writing, and the start recorded
	start   Start
	file    disk.File
	info    fs.FileInfo
	began   time.Time // of the commit before
	count   int       // of the commit before
	text    []byte
	leaves  []tlog.Hash      // of the commit before; the slice is used again
	stored  disk.File        // the file of l.hashes
	retired []*merkle.Hashes // still read by somebody, perhaps
}

// Open makes a log ready in a folder, or begins one. An error means what no acknowledgement mends: a folder that cannot be read, ErrState,
// or ctx's. A log with missing records, or on a disk that cannot be written, is opened: Err says so. Close it.
func Open(ctx context.Context, c Config) (*Log, error) {
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.MaxFileBytes <= 0 {
		c.MaxFileBytes = DefaultMaxFileBytes
	}
	if c.MaxFileAge <= 0 {
		c.MaxFileAge = DefaultMaxFileAge
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Store == nil {
		c.Store = func() checkpoint.Store { return checkpoint.Store{} }
	}
	if c.Keep == nil {
		c.Keep = func(context.Context, []byte) error { return nil }
	}
	if c.Changed == nil {
		c.Changed = func(error) {}
	}
	l := &Log{
		config: c, closing: make(chan struct{}), closed: make(chan struct{}), wake: make(chan struct{}, 1), requests: make(chan func()),
		asks: make(chan chan<- kept), chores: make(chan struct{}, 1), written: make(chan struct{}),
	}
	l.root, l.cancel = context.WithCancel(context.Background())
	found, err := l.scan(ctx)
	if err != nil {
		l.cancel()
		return nil, err
	}
	l.begin(found)
	go l.write()
	l.workers.Go(l.keepCheckpoints)
	l.workers.Go(l.watch)
	l.workers.Go(l.doChores)
	return l, nil
}

// Close writes what is waiting and a last checkpoint, and closes the log. Records that come later are refused with ErrClosed. When ctx
// ends first it gives ctx's error; a disk that hangs may then still be waited for in the background.
func (l *Log) Close(ctx context.Context) error {
	l.once.Do(func() {
		l.mu.Lock()
		l.ending = true
		l.mu.Unlock()
		close(l.closing)
		go l.end()
	})
	select {
	case <-l.closed:
		return nil
	case <-ctx.Done():
		l.cancel()
		return fmt.Errorf("closing the audit log: %w", ctx.Err())
	}
}

// end is the rest of Close.
func (l *Log) end() {
	defer close(l.closed)
	<-l.written
	l.workers.Wait()
	l.cancel()
	if l.writer.file != nil {
		_ = l.writer.file.Close() // all in it is synced
	}
	for _, h := range append(l.writer.retired, l.hashes) {
		if h != nil {
			_ = h.Close()
		}
	}
}

// Err is nil while records can be written; otherwise it is ErrUnavailable, or ErrMissing, and says why.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.trouble()
}

// FS is the folder of the log, for package reader.
func (l *Log) FS() disk.FS { return l.config.FS }

// Tree is that of the durable records.
func (l *Log) Tree() tlog.Tree {
	l.mu.Lock()
	edge := l.tip.edge
	l.mu.Unlock()
	return edge.Tree()
}

// Grown returns when there are more than after durable records; or ctx's error, or ErrClosed.
func (l *Log) Grown(ctx context.Context, after uint64) error {
	for {
		l.mu.Lock()
		size := uint64(l.tip.edge.Size())
		if size <= after && l.grown == nil {
			l.grown = make(chan struct{})
		}
		grown := l.grown
		l.mu.Unlock()
		if size > after {
			return nil
		}
		select {
		case <-grown:
		case <-l.written:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Gaps are the records that are missing with an operator's knowledge.
func (l *Log) Gaps() []Range {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Range(nil), l.gaps...)
}

// First is the first record that retention has kept.
func (l *Log) First() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

// Hashes are the stored hashes of all records; nil while the log was never ready. They are good until Close.
func (l *Log) Hashes() *merkle.Hashes {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hashes
}
