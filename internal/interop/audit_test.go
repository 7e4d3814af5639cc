package interop

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/internal/checkpoint"
)

// An auditCase is a record with the proof that it is in a log.
type auditCase struct {
	Line       string   `json:"line"`
	Index      int64    `json:"index"`
	Size       int64    `json:"size"`
	Proof      [][]byte `json:"proof"`
	Checkpoint string   `json:"checkpoint"`
	Key        string   `json:"key"`
}

type auditAnswer struct {
	OK    bool   `json:"ok"`
	Error string `json:"error"`
}

// auditCases are all records of logs of several sizes.
func auditCases(t *testing.T) []auditCase {
	t.Helper()
	signer, err := checkpoint.NewSigner("signerd.test/log", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			out[i] = stored[index]
		}
		return out, nil
	})
	var records []string
	var out []auditCase
	for size := int64(1); size <= 40; size++ {
		record := fmt.Sprintf(`{"n":%d,"kind":"call","record_id":"r-%d","path":"/é/😀"}`, size-1, size)
		hashes, err := tlog.StoredHashes(size-1, []byte(record), read)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hashes...)
		records = append(records, record)
		if size > 9 && size != 31 && size != 32 && size != 33 && size != 40 {
			continue
		}
		root, err := tlog.TreeHash(size, read)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := checkpoint.Checkpoint{Origin: signer.Name(), Tree: tlog.Tree{N: size, Hash: root}}.Sign(signer)
		if err != nil {
			t.Fatal(err)
		}
		for i, record := range records {
			proof, err := tlog.ProveRecord(size, int64(i), read)
			if err != nil {
				t.Fatal(err)
			}
			c := auditCase{Line: record, Index: int64(i), Size: size, Proof: [][]byte{}, Checkpoint: string(signed), Key: signer.VerifierKey()}
			for _, hash := range proof {
				c.Proof = append(c.Proof, slices.Clone(hash[:]))
			}
			out = append(out, c)
		}
	}
	return out
}

func auditAnswers(t *testing.T, cases []auditCase) []auditAnswer {
	t.Helper()
	lines := make([]string, len(cases))
	for i, c := range cases {
		lines[i] = toJSON(t, c)
	}
	answers := make([]auditAnswer, len(cases))
	for i, answer := range Node(t, "audit.js", lines) {
		fromJSON(t, answer, &answers[i])
	}
	return answers
}

func TestAuditScriptBelievesTrueProofs(t *testing.T) {
	cases := auditCases(t)
	for i, answer := range auditAnswers(t, cases) {
		if !answer.OK {
			t.Errorf("record %d of %d: %s", cases[i].Index, cases[i].Size, answer.Error)
		}
	}
}

func TestAuditScriptRefusesEveryChangedBit(t *testing.T) {
	all := auditCases(t)
	good := all[len(all)-13] // record 27 of 40
	var cases []auditCase
	var names []string
	add := func(name string, c auditCase) {
		cases = append(cases, c)
		names = append(names, name)
	}
	// Texts in which a bit makes something else than UTF-8 cannot be put into the script's JSON.
	flips := func(name, text string, set func(*auditCase, string)) {
		for i := range len(text) * 8 {
			changed := []byte(text)
			changed[i/8] ^= 1 << (i % 8)
			if !utf8.Valid(changed) {
				continue
			}
			c := good
			set(&c, string(changed))
			add(fmt.Sprintf("bit %d of the %s", i, name), c)
		}
	}
	flips("line", good.Line, func(c *auditCase, s string) { c.Line = s })
	flips("checkpoint", good.Checkpoint, func(c *auditCase, s string) { c.Checkpoint = s })
	flips("key", good.Key, func(c *auditCase, s string) { c.Key = s })
	for i := range good.Proof {
		for bit := range len(good.Proof[i]) * 8 {
			c := good
			c.Proof = slices.Clone(good.Proof)
			c.Proof[i] = slices.Clone(good.Proof[i])
			c.Proof[i][bit/8] ^= 1 << (bit % 8)
			add(fmt.Sprintf("bit %d of hash %d of the proof", bit, i), c)
		}
	}
	for bit := range 53 {
		c := good
		c.Index ^= 1 << bit
		add(fmt.Sprintf("bit %d of the index", bit), c)
		c = good
		c.Size ^= 1 << bit
		add(fmt.Sprintf("bit %d of the size", bit), c)
	}
	for i, answer := range auditAnswers(t, cases) {
		if answer.OK || answer.Error == "" {
			t.Errorf("%s: ok %v, error %q", names[i], answer.OK, answer.Error)
		}
	}
}

func TestAuditScriptSaysWhyItRefuses(t *testing.T) {
	all := auditCases(t)
	good := all[len(all)-13]
	other, err := checkpoint.NewSigner("signerd.test/log", ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", ed25519.SeedSize))))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*auditCase)
		err    string
	}{
		{"a proof with a hash too few", func(c *auditCase) { c.Proof = c.Proof[:len(c.Proof)-1] }, "the proof is too short"},
		{"a proof with a hash too many", func(c *auditCase) { c.Proof = append(slices.Clone(c.Proof), make([]byte, 32)) }, "the proof is too long"},
		{"a proof in another order", func(c *auditCase) { c.Proof = slices.Clone(c.Proof); slices.Reverse(c.Proof) }, "the proof leads to another root"},
		{"a hash that is too short", func(c *auditCase) { c.Proof = [][]byte{make([]byte, 31)} }, "malformed base64"},
		{"a record's hash in place of its line", func(c *auditCase) {
			hash := tlog.RecordHash([]byte(c.Line))
			c.Line = base64.StdEncoding.EncodeToString(hash[:])
		}, "the proof leads to another root"},
		{"the key of another log of the same name", func(c *auditCase) { c.Key = other.VerifierKey() }, "the checkpoint has no signature of the key"},
		{"a checkpoint without a signature", func(c *auditCase) { c.Checkpoint, _, _ = strings.Cut(c.Checkpoint, "\n\n") }, "the checkpoint is no signed note"},
		{"a checkpoint of another size", func(c *auditCase) { c.Checkpoint = all[0].Checkpoint }, "the checkpoint is of another size"},
		{"an index that is not in the tree", func(c *auditCase) { c.Index = c.Size }, "the index is not in the tree"},
	}
	var cases []auditCase
	for _, tt := range tests {
		c := good
		tt.change(&c)
		cases = append(cases, c)
	}
	for i, answer := range auditAnswers(t, cases) {
		t.Run(tests[i].name, func(t *testing.T) {
			if answer.OK || answer.Error != tests[i].err {
				t.Errorf("ok %v, error %q; want %q", answer.OK, answer.Error, tests[i].err)
			}
		})
	}
}
