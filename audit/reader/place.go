package reader

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"
)

// look is how many lines after a wrong one are looked at to say what happened.
const look = 16

// place says what is wrong with a line that does not have the stored hash of its place. Where the stored hash may be the wrong one, that
// is a suspicion, and the root over all lines decides.
func (v *verification) place(file *reading, index int, line leaf, stored tlog.Hash) error {
	next, err := v.following(file, index)
	if err != nil {
		return err
	}
	fault := &Fault{What: Changed, Record: v.pos, Until: v.pos + 1, File: file.seg.Name()}
	at := func(k int) (tlog.Hash, bool) { return v.leafAt(v.pos + uint64(k)) }
	second, secondKnown := at(1)
	comes := -1 // how many lines later the record of this place comes
	for i, l := range next {
		if l.hash == stored && stored != (tlog.Hash{}) {
			comes = i
			break
		}
	}
	// A line that is whole somewhere else in the log has its number from there.
	elsewhere := false
	if line.n != v.pos && line.n < v.size {
		hash, known := v.leafAt(line.n)
		elsewhere = known && hash == line.hash
	}
	nextIs := func(hash tlog.Hash, known bool) bool { return known && len(next) > 0 && next[0].hash == hash }
	switch {
	case line.torn && line.hash == stored:
		fault.Detail = "the end of its line is missing"
	case line.torn:
		fault.Detail = "its line has no end"
	case elsewhere && line.n < v.pos && comes == 0:
		fault.What, fault.Detail = Inserted, fmt.Sprintf("it is record %d again", line.n)
	case elsewhere && line.n > v.pos && (comes >= 0 || nextIs(second, secondKnown) && line.n > v.pos+1):
		fault.What, fault.Detail = Reordered, fmt.Sprintf("record %d is in its place", line.n)
		third, known := at(2)
		if line.n == v.pos+1 && comes == 0 && len(next) > 1 && next[1].hash == second && !(known && next[1].hash == third) {
			fault.What, fault.Detail = Inserted, fmt.Sprintf("it is record %d, which is also in its own place", line.n)
		}
	case elsewhere && line.n > v.pos && !nextIs(second, secondKnown):
		fault.What, fault.Until, fault.Detail = Missing, line.n, fmt.Sprintf("record %d comes next", line.n)
	case comes >= 0:
		fault.What = Inserted
	}
	if v.genuine(v.pos, stored) {
		v.fault = fault
	} else {
		v.suspicion = fault
	}
	return nil
}

func (v *verification) leafAt(n uint64) (tlog.Hash, bool) {
	if n >= v.size {
		return tlog.Hash{}, false
	}
	var out [1]tlog.Hash
	err := v.Hashes.Leaves(int64(n), out[:])
	return out[0], err == nil && out[0] != tlog.Hash{}
}

// genuine says whether a stored leaf is the one of the log's root.
func (v *verification) genuine(n uint64, leaf tlog.Hash) bool {
	proof, err := tlog.ProveRecord(int64(v.size), int64(n), v.Hashes)
	return err == nil && tlog.CheckRecord(proof, int64(v.size), v.report.Tree.Hash, int64(n), leaf) == nil
}

// following reads the lines after one again, from the next file where there are too few.
func (v *verification) following(file *reading, index int) ([]leaf, error) {
	var out []leaf
	skip := index + 1
	for _, seg := range v.segments[file.number:] {
		in, err := v.openSegment(seg)
		if errors.Is(err, errGone) {
			continue
		}
		if err != nil {
			return out, nil // damaged; what is there is enough to say that the line is another
		}
		for len(out) < look {
			if skip > 0 {
				skip--
				if _, err = in.Next(); err != nil {
					break
				}
				continue
			}
			var l leaf
			if l, err = nextLeaf(in); err != nil {
				break
			}
			out = append(out, l)
			if l.torn {
				err = io.EOF
				break
			}
		}
		if closing := in.Close(); closing != nil {
			return out, closing
		}
		if err == nil || !errors.Is(err, io.EOF) {
			return out, nil
		}
		skip = 0
	}
	return out, nil
}
