package server_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/reader"
)

// logBuffer collects JSON log lines.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// line is one call's line of the log.
type line struct {
	Level      string `json:"level"`
	Message    string `json:"msg"`
	Status     string `json:"status"` // of a change of health
	RecordID   string `json:"record_id"`
	Operation  string `json:"operation"`
	Caller     string `json:"caller"`
	Key        string `json:"key"`
	KeyVersion uint32 `json:"key_version"`
	Code       string `json:"code"`
	Reason     string `json:"reason"`
	Cause      string `json:"cause"`

	Rule        string   // of the record
	Policy      uint64   // of the record
	Shadow      []string // of the record
	Unevaluated []string // of the record
	Needs       string   // of the record
}

// lines are those of calls, each with what its record adds.
func (r *rig) lines(t testing.TB) []line {
	t.Helper()
	// In this order: a call that ends meanwhile has its record before its line.
	text := r.log.String()
	records := make(map[string]audit.Record)
	for _, record := range r.records(t) {
		if record.Kind == audit.KindCall {
			if _, twice := records[record.ID]; twice {
				t.Errorf("record %s is there twice", record.ID)
			}
			records[record.ID] = record
		}
	}
	var out []line
	opened := false
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	for dec.More() {
		var l line
		must(t, dec.Decode(&l))
		// Before the server has keys, it has nowhere to record calls.
		opened = opened || l.Message == "health" && l.Status == "SERVING"
		if l.Message != "call" {
			continue
		}
		if record, ok := records[l.RecordID]; ok {
			l.take(t, record)
		} else if l.Reason != "AUDIT_UNAVAILABLE" && opened {
			t.Errorf("there is no record of %+v", l)
		}
		out = append(out, l)
	}
	return out
}

// recordText is the audit log as it is written.
func (r *rig) recordText(t testing.TB) string {
	t.Helper()
	var out strings.Builder
	err := r.source().Scan(t.Context(), reader.Span{}, func(line []byte, _ uint64) error {
		out.Write(line)
		return nil
	})
	must(t, err)
	return out.String()
}

func (r *rig) source() reader.Source {
	return reader.Source{FS: r.audit.FS(), Tree: r.audit.Tree, Hashes: r.audit.Hashes(), Gaps: r.audit.Gaps, First: r.audit.First}
}

// take holds a line against the record of its call.
func (l *line) take(t testing.TB, record audit.Record) {
	t.Helper()
	if record.Code != l.Code || record.Reason != l.Reason || record.Caller != l.Caller || record.Operation != l.Operation || record.Key != l.Key ||
		record.Version != l.KeyVersion || (len(record.Headers) > 0) && record.Code != "OK" {
		t.Errorf("the log has %+v\nthe record %+v", *l, record)
	}
	l.Rule, l.Policy, l.Shadow, l.Unevaluated, l.Needs = record.Rule, record.Policy, record.Shadow, record.Unevaluated, record.Needs
}

// records are all that the audit log has.
func (r *rig) records(t testing.TB) []audit.Record {
	t.Helper()
	var out []audit.Record
	err := r.source().List(t.Context(), reader.Filter{}, func(l reader.Line) error {
		record, err := audit.Parse(l.Text)
		out = append(out, record)
		return err
	})
	must(t, err)
	return out
}

// record is the one line of a record.
func (r *rig) record(t testing.TB, id string) line {
	t.Helper()
	all := slices.DeleteFunc(r.lines(t), func(l line) bool { return l.RecordID != id })
	if len(all) != 1 {
		t.Fatalf("the log has %d lines of record %s, want 1", len(all), id)
	}
	return all[0]
}

var uuid7 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// refused holds an error against what every refusal of signerd's own looks like, and gives its log line and the fields
// that it names.
func (r *rig) refused(t testing.TB, err error, code codes.Code, reason string) (logged line, fields []string) {
	t.Helper()
	st, ok := status.FromError(err)
	if err == nil || !ok || st.Code() != code {
		t.Fatalf("got %v; want %v with reason %s", err, code, reason)
	}
	var info *errdetails.ErrorInfo
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			if info != nil {
				t.Fatalf("two ErrorInfo in %v", st)
			}
			info = d
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				if v.GetDescription() == "" {
					t.Errorf("no word on what is wrong with %s", v.GetField())
				}
				fields = append(fields, v.GetField())
			}
		default:
			t.Errorf("unexpected detail %T", d)
		}
	}
	id := info.GetMetadata()["record_id"]
	if info.GetReason() != reason || info.GetDomain() != "signerd" || len(info.GetMetadata()) != 1 || !uuid7.MatchString(id) {
		t.Fatalf("ErrorInfo %v; want reason %s, domain signerd and a record_id, a UUID of version 7", info, reason)
	}
	if (reason == "INVALID_REQUEST") != (len(fields) > 0) {
		t.Errorf("%s names the fields %q", reason, fields)
	}
	logged = r.record(t, id)
	if logged.Reason != reason || logged.Code != code.String() {
		t.Errorf("the log says %s, %s; the caller was told %s, %s", logged.Code, logged.Reason, code, reason)
	}
	if own := (code == codes.Internal || code == codes.Unavailable) && reason != "FROZEN"; own != (logged.Cause != "") || own != (logged.Level == "ERROR") {
		t.Errorf("level %s, cause %q, for %s", logged.Level, logged.Cause, code)
	}
	return logged, fields
}

// library holds an error against what the gRPC library says by itself: no details, and no line in the log.
func (r *rig) library(t testing.TB, err error, code codes.Code) {
	t.Helper()
	st, ok := status.FromError(err)
	if err == nil || !ok || st.Code() != code || len(st.Details()) > 0 {
		t.Errorf("got %v with details %v; want a bare %v", err, st.Details(), code)
	}
	if calls := r.lines(t); len(calls) > 0 {
		t.Errorf("the log has %+v", calls)
	}
}
