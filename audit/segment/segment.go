// Package segment is the files that an audit log is kept in: lines of JSON, in files that are named by their first record, the old
// ones compressed.
//
// It is for audit, which writes them, and for audit/reader. It knows nothing of what lines say.
package segment

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/signerd/signerd/audit/disk"
)

// MaxLineBytes bounds a line, its newline included.
const MaxLineBytes = 64 << 10

// Segment is one file of a log.
type Segment struct {
	// First is the number of its first record.
	First uint64
	// Compressed says that the file is gzip.
	Compressed bool
}

const (
	prefix     = "records-"
	suffix     = ".jsonl"
	compressed = ".gz"
	unfinished = ".tmp"
	digits     = 20 // so that names sort as numbers do
)

// Name is the file's name.
func (s Segment) Name() string {
	name := fmt.Sprintf("%s%0*d%s", prefix, digits, s.First, suffix)
	if s.Compressed {
		name += compressed
	}
	return name
}

// parse reads a name; other files are none.
func parse(name string) (Segment, bool) {
	var s Segment
	name, s.Compressed = strings.CutSuffix(name, compressed)
	number, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return s, false
	}
	number, ok = strings.CutSuffix(number, suffix)
	if !ok || len(number) != digits {
		return s, false
	}
	var err error
	s.First, err = strconv.ParseUint(number, 10, 64)
	return s, err == nil
}

// List gives the files in order. Of one that is there both ways, because its compression was interrupted, it gives the plain one.
func List(fs disk.FS) ([]Segment, error) {
	names, err := fs.List()
	if err != nil {
		return nil, fmt.Errorf("listing the files of the audit log: %w", err)
	}
	var out []Segment
	for _, name := range names {
		if s, ok := parse(name); ok {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b Segment) int {
		if a.First == b.First && a.Compressed != b.Compressed {
			if b.Compressed {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.First, b.First)
	})
	return slices.CompactFunc(out, func(a, b Segment) bool { return a.First == b.First }), nil
}

// Unfinished is the name under which the file is written while it is compressed.
func (s Segment) Unfinished() string { return Segment{s.First, true}.Name() + unfinished }

// IsUnfinished says whether a name is that of a compression under way, or of one that was interrupted.
func IsUnfinished(name string) bool {
	name, ok := strings.CutSuffix(name, unfinished)
	if !ok {
		return false
	}
	s, ok := parse(name)
	return ok && s.Compressed
}
