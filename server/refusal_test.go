package server_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
	RecordID   string `json:"record_id"`
	Operation  string `json:"operation"`
	Caller     string `json:"caller"`
	Key        string `json:"key"`
	KeyVersion uint32 `json:"key_version"`
	Code       string `json:"code"`
	Reason     string `json:"reason"`
	Cause      string `json:"cause"`

	Rule        string   `json:"rule"`
	Policy      uint64   `json:"policy"`
	Shadow      []string `json:"shadow"`
	Unevaluated []string `json:"unevaluated"`
	Needs       string   `json:"needs"`
}

// lines are those of calls.
func (b *logBuffer) lines(t testing.TB) []line {
	t.Helper()
	var out []line
	dec := json.NewDecoder(bytes.NewReader([]byte(b.String())))
	for dec.More() {
		var l line
		must(t, dec.Decode(&l))
		if l.Message == "call" {
			out = append(out, l)
		}
	}
	return out
}

// record is the one line of a record.
func (b *logBuffer) record(t testing.TB, id string) line {
	t.Helper()
	all := slices.DeleteFunc(b.lines(t), func(l line) bool { return l.RecordID != id })
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
	logged = r.log.record(t, id)
	if logged.Reason != reason || logged.Code != code.String() {
		t.Errorf("the log says %s, %s; the caller was told %s, %s", logged.Code, logged.Reason, code, reason)
	}
	if own := code == codes.Internal || code == codes.Unavailable; own != (logged.Cause != "") || own != (logged.Level == "ERROR") {
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
	if calls := r.log.lines(t); len(calls) > 0 {
		t.Errorf("the log has %+v", calls)
	}
}
