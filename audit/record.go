// Package audit is the record of what was: every call, allowed, refused or failed, as a line that is durable before anything is
// handed out.
//
// It is for server, which says what happened, and for cmd/signerd, which opens the log. Records are lines of JSON in files
// (package segment) and leaves of a Merkle tree (package merkle). It knows nothing of gRPC, of keys' storage or of policy, and never
// sees a body, a secret or the value of a header. Finding and checking records is package audit/reader.
package audit

import "time"

// Kind says what a record is about.
type Kind string

// The kinds of records. Each of the last six has the part of Record that bears its name.
const (
	// KindCall is a call that was answered: the result, where there was an intention.
	KindCall Kind = "call"
	// KindIntention is what an allowed call is about to change, or a login at Noon about to be sent.
	KindIntention Kind = "intention"
	// KindLogin is how a login at Noon ended.
	KindLogin Kind = "login"
	// KindExcess counts the calls of one caller that were refused for being too many, before anything was recorded of them.
	KindExcess Kind = "excess"
	// KindFile begins a file.
	KindFile Kind = "file"
	// KindStart is the first of a process.
	KindStart Kind = "start"
	// KindOutage tells of a time in which nothing could be recorded, and so nothing was handed out.
	KindOutage Kind = "outage"
	// KindAcknowledgement is an operator's word that records are missing.
	KindAcknowledgement Kind = "acknowledgement"
	// KindRetention says which records are about to be deleted, being old.
	KindRetention Kind = "retention"
)

// Record is one line of the log. Fields that do not apply are zero, and not in the line. Texts that callers chose are cut
// where they are long (see Cut).
type Record struct {
	// N is the record's place in the log, from 0. The log gives it.
	N    uint64 `json:"n"`
	Kind Kind   `json:"kind"`
	// ID is the record_id that the caller was given. An intention and its result have the same.
	ID string `json:"record_id"`
	// Time is when the call came in, or the thing happened; UTC, to the microsecond.
	Time time.Time `json:"time"`

	// Caller is who called, as policies write it; empty for nobody, and for what signerd did by itself.
	Caller string `json:"caller,omitempty"`
	// IdentifiedBy is how the caller was known: "unix" by the kernel, "tls" by a certificate.
	IdentifiedBy string `json:"identified_by,omitempty"`
	// Certificate is the serial number of the client's certificate, in hexadecimal.
	Certificate string `json:"certificate,omitempty"`

	Operation   string `json:"operation,omitempty"`
	Scheme      string `json:"scheme,omitempty"`
	Key         string `json:"key,omitempty"`
	Version     uint32 `json:"version,omitempty"`
	Environment string `json:"environment,omitempty"`
	// Generation is that of the key or of the policy after a change.
	Generation uint64 `json:"generation,omitempty"`

	Method string `json:"method,omitempty"`
	// Path is without the query.
	Path string `json:"path,omitempty"`
	// QueryNames are sorted. QueryValues has their values where the configuration says so.
	QueryNames  []string            `json:"query_names,omitempty"`
	QueryValues map[string][]string `json:"query_values,omitempty"`
	// BodySHA256 is in hexadecimal; empty without a body. BodyBytes is 0 for a body of which only the hash was sent.
	BodySHA256 string `json:"body_sha256,omitempty"`
	BodyBytes  int64  `json:"body_bytes,omitempty"`
	// Cut says that texts above were shortened.
	Cut bool `json:"cut,omitempty"`

	// Decision is "allow" or "deny"; empty where policy was not asked.
	Decision string `json:"decision,omitempty"`
	// Rule decided; empty where none matched.
	Rule string `json:"rule,omitempty"`
	// Policy is the generation of the policy that decided.
	Policy uint64 `json:"policy,omitempty"`
	// Shadow are rules in shadow mode that would have decided otherwise, as "would deny: NAME".
	Shadow []string `json:"shadow,omitempty"`
	// Unevaluated are the rules whose condition could not be evaluated, at most 20; UnevaluatedCount is how many there were.
	Unevaluated      []string `json:"unevaluated,omitempty"`
	UnevaluatedCount int      `json:"unevaluated_count,omitempty"`
	// Needs is an operation that the caller may not do and would have to.
	Needs string `json:"needs,omitempty"`
	// Note is what an operator says of a change: why all signing is to stop, that a version is to be activated without a login, or what
	// an import ticket is for. Of VerifySignature it is what was asked and answered.
	Note string `json:"note,omitempty"`

	// Code is the gRPC code of the answer, such as "OK"; Reason the ErrorInfo reason of a refusal.
	Code   string `json:"code,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Headers are those handed out, each with the SHA-256 of its value in hexadecimal.
	Headers map[string]string `json:"headers,omitempty"`
	// Micros is how long the call took until its record was written, in microseconds.
	Micros int64 `json:"micros,omitempty"`

	Excess          *Excess          `json:"excess,omitempty"`
	File            *File            `json:"file,omitempty"`
	Start           *Start           `json:"start,omitempty"`
	Outage          *Outage          `json:"outage,omitempty"`
	Acknowledgement *Acknowledgement `json:"acknowledgement,omitempty"`
	Retention       *Retention       `json:"retention,omitempty"`
}

// Excess counts calls that were refused before a record of theirs was opened.
type Excess struct {
	Calls uint64    `json:"calls"`
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
}

// File begins a file, and lets what follows be proven without the files before it.
type File struct {
	// Origin is the log's name in its checkpoints.
	Origin string `json:"origin"`
	// Edge is the hash of each largest complete subtree over the records before this one, the largest first, in base64.
	Edge []string `json:"edge"`
	// Checkpoint is the last signed checkpoint before this record; empty while there was none.
	Checkpoint string `json:"checkpoint,omitempty"`
	// Previous is the file before, as it was when it was left; nil in the first. Whoever finds it otherwise knows that records are
	// missing without reading all of them.
	Previous *Previous `json:"previous,omitempty"`
}

// Previous is a file that was left for the next one.
type Previous struct {
	// First is its first record.
	First uint64 `json:"first"`
	// Until is one more than its last.
	Until uint64 `json:"until"`
	// Bytes is the length of its lines.
	Bytes int64 `json:"bytes"`
}

// Start says which program began to write, and what it found.
type Start struct {
	Version string `json:"version"`
	// Uncertain is the number of records that were found after the last checkpoint: a process ended before it could vouch for them.
	Uncertain uint64 `json:"uncertain,omitempty"`
	// TornBytes is the length of an unfinished line at the end of the log, which was removed. It was never acknowledged.
	TornBytes int64 `json:"torn_bytes,omitempty"`
	// Signature is the log's own, in base64, over the tree of the newest checkpoint that the process was given. After a process that
	// ended in order nothing else may come first.
	Signature string `json:"signature,omitempty"`
}

// Outage is a time in which nothing could be recorded.
type Outage struct {
	From time.Time `json:"from"`
	// Calls were refused without a record.
	Calls uint64 `json:"calls"`
	// Cause is what the operating system said.
	Cause string `json:"cause"`
	// Late are records that became durable after their callers had been refused.
	Late *Range `json:"late,omitempty"`
}

// Range is records From to Until, without Until itself.
type Range struct {
	From  uint64 `json:"from"`
	Until uint64 `json:"until"`
}

// Acknowledgement is an operator's word that records are missing; Caller says whose.
type Acknowledgement struct {
	Note string `json:"note"`
	// Missing are the records that are no longer there.
	Missing []Range `json:"missing"`
	// Signature is the log's own, in base64, over what is missing and the tree before the record's file. The next process takes only
	// such a record at its word: without it, whoever can write the folder could acknowledge what it took away.
	Signature string `json:"signature,omitempty"`
}

// Retention is a deletion of whole files.
type Retention struct {
	// First is the first record that is kept.
	First uint64   `json:"first"`
	Files []string `json:"files"`
}
