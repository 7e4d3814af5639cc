package keystore

import (
	"context"
	"crypto/sha256"
	"fmt"
)

// What follows is for tests that need the data keys: they play a program with a bug, which seals what no good one would.

// Reseal edits what one sealed record holds, and commits it with a fitting head. It leaves the anchor as it is.
func Reseal(ctx context.Context, c Config, name string, edit func(plaintext []byte) []byte) error {
	s, err := (&Keystore{config: c}).load(ctx)
	if err != nil {
		return err
	}
	record, err := edited(ctx, c, s, name, edit)
	if err != nil {
		return err
	}
	head, err := sealHead(s.sealer, s.head.with([]Record{record}))
	if err != nil {
		return err
	}
	_, err = c.Store.Commit(ctx, []Change{
		{Record: record, Expect: s.generation[name]},
		{Record: head, Expect: s.generation[nameHead]},
	})
	return err
}

// ResealHead edits what the head holds. It keeps the head's generation, so that nothing else changes.
func ResealHead(ctx context.Context, c Config, edit func(plaintext []byte) []byte) error {
	s, err := (&Keystore{config: c}).load(ctx)
	if err != nil {
		return err
	}
	record, err := edited(ctx, c, s, nameHead, edit)
	if err != nil {
		return err
	}
	_, err = c.Store.Commit(ctx, []Change{{Record: record, Expect: s.generation[nameHead]}})
	return err
}

// Smuggle commits a copy of a sealed record under another name, sealed for it, and leaves the head as it is.
func Smuggle(ctx context.Context, c Config, from, to string, edit func(plaintext []byte) []byte) error {
	s, err := (&Keystore{config: c}).load(ctx)
	if err != nil {
		return err
	}
	plaintext := []byte(nil)
	if _, err := edited(ctx, c, s, from, func(b []byte) []byte { plaintext = edit(b); return b }); err != nil {
		return err
	}
	generation := s.head.counter
	_, err = c.Store.Commit(ctx, []Change{{Record: Record{to, generation, s.sealer.seal(to, generation, plaintext)}}})
	return err
}

// ReplaceUsage edits what the record of last uses holds, which is in no head.
func ReplaceUsage(ctx context.Context, c Config, edit func(plaintext []byte) []byte) error {
	s, err := (&Keystore{config: c}).load(ctx)
	if err != nil {
		return err
	}
	record, err := edited(ctx, c, s, nameUsage, edit)
	if err != nil {
		return err
	}
	_, err = c.Store.Commit(ctx, []Change{{Record: record, Expect: s.usage.generation}})
	return err
}

// RootOf is the root of a head with these entries, as they are sealed.
func RootOf(entries []byte) []byte {
	var list []headEntry
	if err := decode(entries, &list); err != nil {
		panic(err)
	}
	h := head{entries: make(map[string]entry)}
	for _, e := range list {
		h.entries[e.Name] = entry{e.Generation, [sha256.Size]byte(e.SHA256)}
	}
	root := h.root()
	return root[:]
}

func edited(ctx context.Context, c Config, s *snapshot, name string, edit func([]byte) []byte) (Record, error) {
	records, _, err := c.Store.Load(ctx)
	if err != nil {
		return Record{}, err
	}
	for _, r := range records {
		if r.Name != name {
			continue
		}
		plaintext, err := s.sealer.open(name, r.Generation, r.Sealed)
		if err != nil {
			return Record{}, err
		}
		generation := s.head.counter
		if name != nameHead {
			generation++
		}
		return Record{name, generation, s.sealer.seal(name, generation, edit(plaintext))}, nil
	}
	return Record{}, fmt.Errorf("no record %q", name)
}

// RewriteKeyRecord reads a key's record and writes it again.
func RewriteKeyRecord(plaintext []byte) ([]byte, error) {
	r, err := decodeKeyRecord(plaintext)
	if err != nil {
		return nil, err
	}
	return encode(r)
}
