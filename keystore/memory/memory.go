// Package memory is a keystore.Store that keeps its records in memory and loses them with the program.
//
// It is for tests, and for readers who want to see a Store's contract in its simplest form. Several keystores may share
// one Store, as several processes would share a database. It never writes to a disk, and never looks into a record.
package memory

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/signerd/signerd/keystore"
)

// Store implements keystore.Store. Close frees its records, so that nothing can be opened again.
type Store struct {
	mu       sync.Mutex
	records  map[string]keystore.Record
	revision uint64
	changed  chan struct{} // closed at every commit, which makes a new one, and at Close
	closed   bool
}

var _ keystore.Store = (*Store)(nil)

// New makes an empty store.
func New() *Store {
	return &Store{records: make(map[string]keystore.Record), changed: make(chan struct{})}
}

// Load implements keystore.Store.
func (s *Store) Load(ctx context.Context) ([]keystore.Record, uint64, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, 0, keystore.ErrStoreClosed
	}
	records := make([]keystore.Record, 0, len(s.records))
	for r := range maps.Values(s.records) {
		records = append(records, copied(r))
	}
	return records, s.revision, nil
}

// Commit implements keystore.Store.
func (s *Store) Commit(ctx context.Context, changes []keystore.Change) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, keystore.ErrStoreClosed
	}
	for _, c := range changes {
		// An absent record is the zero Record, whose generation is the 0 that Expect says.
		if s.records[c.Name].Generation != c.Expect {
			return 0, fmt.Errorf("record %q: %w", c.Name, keystore.ErrConflict)
		}
	}
	for _, c := range changes {
		s.records[c.Name] = copied(c.Record)
	}
	s.revision++
	close(s.changed)
	s.changed = make(chan struct{})
	return s.revision, nil
}

// Watch implements keystore.Store.
func (s *Store) Watch(ctx context.Context, after uint64) error {
	for {
		s.mu.Lock()
		closed, revision, changed := s.closed, s.revision, s.changed
		s.mu.Unlock()
		switch {
		case closed:
			return keystore.ErrStoreClosed
		case revision > after:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Compact implements keystore.Store. A replaced record is gone with its last reader.
func (s *Store) Compact(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return keystore.ErrStoreClosed
	}
	return nil
}

// Close implements keystore.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed, s.records = true, nil
		close(s.changed)
	}
	return nil
}

func copied(r keystore.Record) keystore.Record {
	r.Sealed = bytes.Clone(r.Sealed)
	return r
}
