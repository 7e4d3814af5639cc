package audit

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/signerd/signerd/audit/merkle"
	"github.com/signerd/signerd/internal/checkpoint"
)

// state is what Keep keeps.
type state struct {
	Checkpoint string   `json:"checkpoint"`
	Edge       []string `json:"edge"`
	// File is the first record of the file that was written to, and Offset where the next line begins in it.
	File   uint64 `json:"file"`
	Offset int64  `json:"offset"`
	// First is the first record that retention kept.
	First uint64  `json:"first"`
	Gaps  []Range `json:"gaps,omitempty"`
	// Closed says that the process ended in order: nothing may follow the checkpoint.
	Closed bool `json:"closed,omitempty"`
}

// vouched is a state that was read and checked.
type vouched struct {
	state
	checkpoint checkpoint.Checkpoint
	edge       merkle.Edge
}

// readState gives what Keep kept; the zero value for nothing.
func readState(text []byte, signer *checkpoint.Signer) (vouched, error) {
	var v vouched
	if len(text) == 0 {
		return v, nil
	}
	if err := json.Unmarshal(text, &v.state); err != nil {
		return v, fmt.Errorf("%w: %w", ErrState, err)
	}
	var err error
	if v.checkpoint, err = checkpoint.Open([]byte(v.Checkpoint), signer); err != nil {
		return v, fmt.Errorf("%w: %w", ErrState, err)
	}
	if v.edge, err = readEdge(v.checkpoint.Tree.N, v.Edge); err != nil {
		return v, fmt.Errorf("%w: %w", ErrState, err)
	}
	if v.edge.Tree() != v.checkpoint.Tree || v.Offset < 0 || v.File >= uint64(max(1, v.edge.Size())) {
		return v, fmt.Errorf("%w: its parts do not fit", ErrState)
	}
	return v, nil
}

func edgeTexts(e *merkle.Edge) []string {
	out := []string{}
	for _, hash := range e.Hashes() {
		out = append(out, base64.StdEncoding.EncodeToString(hash[:]))
	}
	return out
}

func readEdge(n int64, texts []string) (merkle.Edge, error) {
	hashes := make([]tlog.Hash, len(texts))
	for i, text := range texts {
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(b) != tlog.HashSize {
			return merkle.Edge{}, fmt.Errorf("%q is not a hash", text)
		}
		hashes[i] = tlog.Hash(b)
	}
	return merkle.NewEdge(n, hashes)
}

// union gives ranges in order, those that touch as one.
func union(ranges ...Range) []Range {
	ranges = slices.Clone(ranges)
	slices.SortFunc(ranges, func(a, b Range) int {
		switch {
		case a.From < b.From:
			return -1
		case a.From > b.From:
			return 1
		}
		return 0
	})
	var out []Range
	for _, r := range ranges {
		switch last := len(out) - 1; {
		case r.From >= r.Until:
		case last >= 0 && r.From <= out[last].Until:
			out[last].Until = max(out[last].Until, r.Until)
		default:
			out = append(out, r)
		}
	}
	return out
}

// without gives what is in ranges and not in known, both from union.
func without(ranges, known []Range) []Range {
	var out []Range
	for _, r := range ranges {
		for _, k := range known {
			if k.Until <= r.From || k.From >= r.Until {
				continue
			}
			if k.From > r.From {
				out = append(out, Range{r.From, k.From})
			}
			r.From = min(k.Until, r.Until)
		}
		if r.From < r.Until {
			out = append(out, r)
		}
	}
	return out
}
