package keystore

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Names of records. The anchor is not in the store, but damage to it is named like a record's.
const (
	nameHead     = "head"
	nameKeyring  = "keyring"
	nameFence    = "fence"
	nameAnchor   = "anchor"
	namePolicy   = "policy"
	nameFreeze   = "freeze"
	nameAuditKey = "audit-key"
	nameAudit    = "audit"
	nameUsage    = "usage"
	prefixKey    = "key/"
)

// unlisted reports whether a record is in no head: the audit log's state and the last uses, which have generations of their own.
func unlisted(name string) bool { return name == nameAudit || name == nameUsage }

// head is the table of contents of all records but itself, the audit log's state and the last uses (see unlisted), sealed and written with
// every commit of theirs. Its generation is the store's counter: every such commit raises it by one, and gives it to the
// records it writes.
type head struct {
	counter uint64
	entries map[string]entry
	// restored says which backup the store began with; nil for a store that Init made.
	restored *restoredContent
	// uncompacted is the counter of the last commit that replaced what must not stay in the store's unused parts; 0 for none, or
	// once a later commit knew that the store was compacted since.
	uncompacted uint64
}

// first is the counter of the store before any change.
func (h head) first() uint64 {
	if h.restored != nil {
		return h.restored.Counter
	}
	return firstCounter
}

type entry struct {
	generation uint64
	sum        [sha256.Size]byte // of the sealed record
}

// headRecord is what is sealed. The entries are by name, so that equal heads are equal bytes.
type headRecord struct {
	Format  int         `json:"format"`
	Counter uint64      `json:"counter"`
	Root    []byte      `json:"root"`
	Entries []headEntry `json:"entries"`
	// Restored is missing in stores that Init made.
	Restored *restoredContent `json:"restored,omitempty"`
	// Uncompacted is missing when nothing is to be compacted.
	Uncompacted uint64 `json:"uncompacted,omitempty"`
}

// restoredContent says where a restored store comes from.
type restoredContent struct {
	// Counter is the restored store's own, before any change of it.
	Counter uint64 `json:"counter"`
	// FromStore and FromCounter are those of the store that the backup was taken of.
	FromStore   []byte `json:"from_store"`
	FromCounter uint64 `json:"from_counter"`
}

type headEntry struct {
	Name       string `json:"name"`
	Generation uint64 `json:"generation"`
	SHA256     []byte `json:"sha256"`
}

// root is one hash over the names, generations and hashes of all records that the head lists.
func (h head) root() [sha256.Size]byte {
	sum := sha256.New()
	var buf []byte
	for _, name := range slices.Sorted(maps.Keys(h.entries)) {
		e := h.entries[name]
		buf = binary.BigEndian.AppendUint32(buf[:0], uint32(len(name)))
		buf = append(buf, name...)
		buf = binary.BigEndian.AppendUint64(buf, e.generation)
		buf = append(buf, e.sum[:]...)
		sum.Write(buf)
	}
	return [sha256.Size]byte(sum.Sum(nil))
}

func (h head) encode() ([]byte, error) {
	root := h.root()
	rec := headRecord{Format: recordFormat, Counter: h.counter, Root: root[:], Entries: make([]headEntry, 0, len(h.entries)), Restored: h.restored, Uncompacted: h.uncompacted}
	for _, name := range slices.Sorted(maps.Keys(h.entries)) {
		e := h.entries[name]
		rec.Entries = append(rec.Entries, headEntry{name, e.generation, e.sum[:]})
	}
	return encode(rec)
}

func decodeHead(plaintext []byte) (head, error) {
	var rec headRecord
	if err := decode(plaintext, &rec); err != nil {
		return head{}, err
	}
	if rec.Format != recordFormat {
		return head{}, fmt.Errorf("its format is %d; this program reads %d", rec.Format, recordFormat)
	}
	h := head{counter: rec.Counter, entries: make(map[string]entry, len(rec.Entries)), restored: rec.Restored, uncompacted: rec.Uncompacted}
	if r := rec.Restored; r != nil && (len(r.FromStore) != storeIDSize || r.Counter > rec.Counter) {
		return head{}, fmt.Errorf("what it says of the backup is malformed")
	}
	if rec.Uncompacted > rec.Counter {
		return head{}, fmt.Errorf("what it says of compaction is malformed")
	}
	for _, e := range rec.Entries {
		if len(e.SHA256) != sha256.Size || e.Generation == 0 || e.Generation > rec.Counter {
			return head{}, fmt.Errorf("its entry %q is malformed", e.Name)
		}
		if _, twice := h.entries[e.Name]; twice {
			return head{}, fmt.Errorf("it lists %q twice", e.Name)
		}
		h.entries[e.Name] = entry{e.Generation, [sha256.Size]byte(e.SHA256)}
	}
	if root := h.root(); string(root[:]) != string(rec.Root) {
		return head{}, fmt.Errorf("its root does not fit its entries")
	}
	return h, nil
}

// with is the head after one more commit of records.
func (h head) with(records []Record) head {
	next := head{counter: h.counter + 1, entries: make(map[string]entry, len(h.entries)+len(records)), restored: h.restored, uncompacted: h.uncompacted}
	maps.Copy(next.entries, h.entries)
	for _, r := range records {
		next.entries[r.Name] = entry{r.Generation, sha256.Sum256(r.Sealed)}
	}
	return next
}

// compare names every difference between the table and what the store holds.
func (h head) compare(s *sealer, records map[string]Record) error {
	var problems Damage
	for _, name := range slices.Sorted(maps.Keys(h.entries)) {
		want := h.entries[name]
		r, ok := records[name]
		switch {
		case !ok:
			problems = append(problems, Problem{name, errMissing.Error()})
		case h.isBehind(s, r):
			problems = append(problems, olderThan(name))
		case r.Generation < want.generation:
			problems = append(problems, Problem{name, "it is older than the head: an older copy was put in its place"})
		case r.Generation > want.generation:
			problems = append(problems, Problem{name, "it is not the one that the head lists"})
		case sha256.Sum256(r.Sealed) != want.sum:
			problems = append(problems, Problem{name, h.whatHappened(s, r, records)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(records)) {
		r := records[name]
		if _, ok := h.entries[name]; ok || name == nameHead || unlisted(name) {
			continue
		}
		if h.isBehind(s, r) {
			problems = append(problems, olderThan(name))
			continue
		}
		problems = append(problems, Problem{name, "it is in the store but not in the head"})
	}
	// Older programs made stores without the audit log's records.
	_, listed := h.entries[nameAuditKey]
	if _, there := records[nameAuditKey]; !listed && !there {
		problems = append(problems, Problem{nameAuditKey, errMissing.Error()})
	}
	// The table does not list the audit log's state. It has to be there and to open all the same.
	if _, err := openAuditState(s, records); err != nil {
		problems = append(problems, Problem{nameAudit, err.Error()})
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

// isBehind reports whether a record was written after this head. The audit log's state has generations of its own, larger ones:
// moved to another name it is no sign of an old head, and does not open.
func (h head) isBehind(s *sealer, r Record) bool {
	if r.Generation <= h.counter {
		return false
	}
	_, err := s.open(r.Name, r.Generation, r.Sealed)
	return err == nil
}

func olderThan(name string) Problem {
	return Problem{nameHead, fmt.Sprintf("it is older than the record %q: an older copy was put in its place", name)}
}

// whatHappened tells a moved record from a damaged one, where it can.
func (h head) whatHappened(s *sealer, r Record, records map[string]Record) string {
	for name, e := range h.entries {
		if name != r.Name && sha256.Sum256(r.Sealed) == e.sum {
			return fmt.Sprintf("it is a copy of the record %q", name)
		}
	}
	if _, err := s.open(r.Name, r.Generation, r.Sealed); err == nil {
		return "it is not the one that the head lists"
	}
	return "it is damaged, or was moved here from another name"
}

// Problem is what is wrong with one record.
type Problem struct{ Record, What string }

// Damage lists what is wrong with a store. It is ErrDamaged.
type Damage []Problem

// maxNamed bounds an error's text.
const maxNamed = 10

// Error names the records.
func (d Damage) Error() string {
	var b strings.Builder
	b.WriteString(ErrDamaged.Error())
	for i, p := range d {
		if i == maxNamed {
			fmt.Fprintf(&b, "; and %d more", len(d)-i)
			break
		}
		fmt.Fprintf(&b, "; record %q: %s", p.Record, p.What)
	}
	return b.String()
}

// Is makes every Damage an ErrDamaged, and one that begins with the anchor an ErrAnchor.
func (d Damage) Is(target error) bool {
	return target == ErrDamaged || target == ErrAnchor && len(d) > 0 && d[0].Record == nameAnchor
}

func damaged(name, format string, args ...any) error {
	return Damage{{name, fmt.Sprintf(format, args...)}}
}
