package keystore

import (
	"context"
	"errors"
)

// Record is one sealed record as a Store keeps it. A Store understands nothing of Sealed.
type Record struct {
	// Name is unique in a store: at most 128 bytes of [a-z0-9/-].
	Name string
	// Generation is 1 or more, and was given by the keystore when it wrote the record.
	Generation uint64
	// Sealed is opaque; up to 16 MiB for the head of a large store and its last uses, a few KiB otherwise.
	Sealed []byte
}

// Change writes one record.
type Change struct {
	// Record is the record as it shall be.
	Record
	// Expect is the generation that the record must have now; 0 means that it must not exist.
	Expect uint64
}

// Store keeps sealed records. It is the seam between the keystore and a database: bbolt on one machine, a memory
// store in tests, later etcd. What it must promise:
//
//   - Concurrency: all methods may be called at once, from several goroutines and, where the database is shared, from
//     several processes.
//   - Atomicity: Commit writes all its changes or none; Load sees each commit whole or not at all.
//   - Durability: when Commit has returned nil, its changes survive the loss of power.
//   - Errors: ErrConflict and ErrStoreClosed are what they say, and then nothing was written. After any other error of
//     Commit the outcome is unknown, and the caller must Load before it decides anything.
//
// The package storetest holds the contract; every implementation passes it.
type Store interface {
	// Load returns every record, in any order, and the store's revision. The records are the caller's.
	Load(ctx context.Context) (records []Record, revision uint64, err error)
	// Commit writes the changes if every one's expectation holds, and otherwise fails with ErrConflict. The revision
	// it returns is greater than every earlier one; where it is greater by one, the keystore knows without reading the store
	// again that nobody else's commit came between. It keeps nothing of what it was given.
	Commit(ctx context.Context, changes []Change) (revision uint64, err error)
	// Watch returns nil as soon as the store's revision is greater than after, by whoever's commit; at once if it
	// already is. It fails with ctx's error or ErrStoreClosed. It may also return nil without a change.
	Watch(ctx context.Context, after uint64) error
	// Compact frees the store of everything that is no record: when it has returned nil, nothing that a commit before it replaced is
	// in what the store keeps, unused parts included. Records and revision stay as they are, and so does the store after an error
	// or a crash, at whatever step. Others wait meanwhile, or do not notice. A store that keeps no old content does nothing.
	Compact(ctx context.Context) error
	// Close frees the store. Calls under way finish or fail with ErrStoreClosed; closing again does nothing.
	Close() error
}

// Errors of a Store.
var (
	// ErrConflict says that a record was not at the expected generation; nothing was written.
	ErrConflict = errors.New("it was changed by someone else in between")
	// ErrStoreClosed says that the store was closed.
	ErrStoreClosed = errors.New("the store is closed")
)
