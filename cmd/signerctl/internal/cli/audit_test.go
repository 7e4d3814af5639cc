package cli

import (
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// everyKind are lines of each kind of record, hostile texts among them.
var everyKind = []string{
	`{"n":0,"kind":"file","record_id":"","time":"2026-11-22T08:00:00Z","file":{"origin":"o","edge":[]}}`,
	`{"n":1,"kind":"start","record_id":"","time":"2026-11-22T08:00:01Z","start":{"version":"1.2.3","uncertain":2,"torn_bytes":17}}`,
	`{"n":2,"kind":"call","record_id":"` + recordID(2) + `","time":"2026-11-22T08:30:00.5Z","caller":"unix:uid=1000","operation":"SignNoahRequest","key":"shop","method":"GET","path":"/v1/transactions","code":"OK"}`,
	`{"n":3,"kind":"call","record_id":"` + recordID(3) + `","time":"2026-11-22T08:30:01Z","caller":"spiffe://example.org/checkout","operation":"SignNobaRequest","key":"noba-payments","method":"POST","path":"/v1/payments","code":"PermissionDenied","reason":"DENIED"}`,
	`{"n":4,"kind":"intention","record_id":"` + recordID(4) + `","time":"2026-11-22T08:30:02Z","caller":"unix:uid=0","operation":"DisableKey","key":"shop"}`,
	`{"n":5,"kind":"login","record_id":"` + recordID(5) + `","time":"2026-11-22T08:30:03Z","key":"robot","code":"Unavailable","reason":"UPSTREAM_UNAVAILABLE"}`,
	`{"n":6,"kind":"excess","record_id":"` + recordID(6) + `","time":"2026-11-22T08:30:04Z","caller":"unix:uid=7","excess":{"calls":12,"from":"2026-11-22T08:30:00Z","until":"2026-11-22T08:30:04Z"}}`,
	`{"n":7,"kind":"outage","record_id":"","time":"2026-11-22T08:30:05Z","outage":{"from":"2026-11-22T08:20:00Z","calls":1,"cause":"no space left on device","late":{"from":3,"until":4}}}`,
	`{"n":8,"kind":"acknowledgement","record_id":"` + recordID(8) + `","time":"2026-11-22T08:30:06Z","caller":"unix:uid=0","acknowledgement":{"note":"disk \u001b[2J lost","missing":[{"from":5,"until":9},{"from":12,"until":13}]}}`,
	`{"n":9,"kind":"retention","record_id":"","time":"2026-11-22T08:30:07Z","retention":{"first":100,"files":["a","b"]}}`,
	`{"n":10,"kind":"call","record_id":"` + recordID(10) + `","time":"2026-11-22T08:30:08Z","caller":"spiffe://\u001b]0;x","operation":"SignNoahRequest","key":"shop","method":"GET","path":"/\u001b[31m\nforged","code":"Internal"}`,
	`{"n":11,"kind":"of a newer signerd","record_id":"","time":"2026-11-22T08:30:09Z"}`,
}

func TestAuditTailShowsEveryKindOfRecord(t *testing.T) {
	l := newLog(t, 1, everyKind...)
	f := serveStreams(t, nil, streams{"ListRecords": parts(
		&adminv1.ListRecordsResponse{Records: l.records(0, 1, 2)},
		&adminv1.ListRecordsResponse{Records: l.records(3, 4, 5, 6, 7, 8, 9, 10, 11)},
		&adminv1.ListRecordsResponse{Records: []*adminv1.AuditRecord{{Number: 12, Line: []byte("\x1b[2J")}}},
	)})
	r := f.run(t, "", "audit", "tail")
	at := func(clock string) string { return local(t, "2026-11-22T"+clock+"Z") }
	r.want(t, 0, strings.NewReplacer("08:00:00", at("08:00:00"), "08:00:01", at("08:00:01"), "08:20:00", at("08:20:00"),
		"08:30:00", at("08:30:00"), "08:30:01", at("08:30:01"), "08:30:02", at("08:30:02"), "08:30:03", at("08:30:03"), "08:30:04", at("08:30:04"),
		"08:30:05", at("08:30:05"), "08:30:06", at("08:30:06"), "08:30:07", at("08:30:07"), "08:30:08", at("08:30:08"), "08:30:09", at("08:30:09"),
		"RECORD-", "01990000-0000-7000-8000-0000000000").Replace(
		`TIME                 OUTCOME             CALLER                         OPERATION        KEY            REQUEST                  RECORD
08:00:00  file                -                              a new file begins
08:00:01  start               -                              signerd 1.2.3 started; 2 records after the last checkpoint; an unfinished line of 17 bytes was removed
08:30:00  OK                  unix:uid=1000                  SignNoahRequest  shop           GET /v1/transactions     RECORD-02
08:30:01  DENIED              spiffe://example.org/checkout  SignNobaRequest  noba-payments  POST /v1/payments        RECORD-03
08:30:02  intention           unix:uid=0                     DisableKey       shop           -                        RECORD-04
08:30:03  login UPSTREAM_UNAVAILABLE  -                      -                robot          -                        RECORD-05
08:30:04  excess              unix:uid=7                     12 calls were refused for being too many, from 08:30:00 to 08:30:04  RECORD-06
08:30:05  outage              -                              since 08:20:00 nothing could be recorded, and 1 call was refused: no space left on device; late: record 3
08:30:06  acknowledgement     unix:uid=0                     "missing: records 5 to 8, record 12: disk \x1b[2J lost"  RECORD-08
08:30:07  retention           -                              records before 100 are deleted, in 2 files
08:30:08  Internal            "spiffe://\x1b]0;x"            SignNoahRequest  shop           "GET /\x1b[31m\nforged"  RECORD-10
08:30:09  of a newer signerd  -                              -
-                    UNREADABLE          -                              record 12 cannot be read; `+"`signerctl audit verify`"+` tells more
`), "")
	f.wantRequests(t, &adminv1.ListRecordsRequest{Last: 20})
}

func TestAuditTailPrintsLinesAsTheyAre(t *testing.T) {
	l := newLog(t, 1, everyKind...)
	f := serveStreams(t, nil, streams{"ListRecords": parts(&adminv1.ListRecordsResponse{Records: l.records(2, 10)})})
	f.run(t, "", "audit", "tail", "-n", "0", "-o", "json").want(t, 0, everyKind[2]+"\n"+everyKind[10]+"\n", "")
	f.wantRequests(t, &adminv1.ListRecordsRequest{})
}

func TestAuditTailRefusesWhatIsNoLine(t *testing.T) {
	for _, line := range []string{"", "{}\n{}", "{\n}", "{\"a\":\"\x1b\"}", "{\"a\":\"\xff\"}", "{"} {
		f := serveStreams(t, nil, streams{"ListRecords": parts(&adminv1.ListRecordsResponse{Records: []*adminv1.AuditRecord{{Number: 7, Line: []byte(line)}}})})
		f.run(t, "", "audit", "tail", "-o", "json").want(t, 1, "",
			"signerctl: printing record 7: it is not one line of JSON\nhint: `signerctl audit verify` tells what is wrong with the log\n")
	}
}

func TestAuditTailAsksForWhatMatches(t *testing.T) {
	f := serveStreams(t, nil, streams{"ListRecords": parts()})
	const note = "note: there is no record that matches\n"
	at := timestamppb.New(time.Date(2026, 11, 22, 8, 30, 0, 0, time.UTC))
	f.run(t, "", "audit", "tail", "--caller", "unix:uid=1", "--key", "shop", "--operation", "SignNoahRequest", "--denied", "-n", "5").want(t, 0, "", note)
	f.run(t, "", "audit", "tail", "--since", "2026-11-22T09:30:00+01:00").want(t, 0, "", note)
	f.run(t, "", "audit", "tail", "--since", "2026-11-22T08:30:00Z", "-n", "3").want(t, 0, "", note)
	f.wantRequests(t,
		&adminv1.ListRecordsRequest{Caller: "unix:uid=1", Key: "shop", Operation: "SignNoahRequest", Denied: true, Last: 5},
		&adminv1.ListRecordsRequest{Since: at},
		&adminv1.ListRecordsRequest{Since: at, Last: 3})
}

func TestMomentsAreTimesOrAgo(t *testing.T) {
	for s, want := range map[string]time.Duration{"15m": 15 * time.Minute, "24h": 24 * time.Hour, "7d": 168 * time.Hour, "1d12h": 36 * time.Hour} {
		var m moment
		before := time.Now()
		if err := m.Set(s); err != nil {
			t.Fatal(err)
		}
		got := m.timestamp().AsTime()
		if got.Before(before.Add(-want)) || got.After(time.Now().Add(-want)) {
			t.Errorf("%s: got %v", s, got)
		}
	}
	for _, s := range []string{"", "7", "d", "-1d", "0d", "0s", "-5m", "1d-1h", "70000d", "65535d2000000h", "7dd", "7w", "yesterday", "2026-11-22", "0000-01-01T00:00:00Z"} {
		var m moment
		if err := m.Set(s); err == nil || m.given() {
			t.Errorf("%q is taken", s)
		}
	}
}

// A row of --follow is there as soon as its record is, and an interrupt ends it well.
func TestAuditTailFollowsUntilAnInterrupt(t *testing.T) {
	l := newLog(t, 1, everyKind...)
	out := &lockedBuffer{grown: make(chan struct{}, 1)}
	f := serveStreams(t, nil, streams{"ListRecords": func(stream grpc.ServerStream, _ proto.Message) error {
		for _, n := range []int{2, 3} {
			if err := stream.SendMsg(&adminv1.ListRecordsResponse{Records: l.records(n)}); err != nil {
				return err
			}
			<-out.grown
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
			return err
		}
		<-stream.Context().Done()
		return stream.Context().Err()
	}})
	var stderr strings.Builder
	// The timeout is for answers: here nothing may come for days.
	code := Main(t.Context(), []string{"--address", f.address, "--timeout", "1ns", "audit", "tail", "--follow"}, strings.NewReader(""), out, &stderr)
	if code != 0 || stderr.String() != "" {
		t.Errorf("exit status %d, stderr %q", code, stderr.String())
	}
	rows := strings.Split(out.String(), "\n")
	if len(rows) != 4 || !strings.HasSuffix(rows[1], recordID(2)) || !strings.HasSuffix(rows[2], recordID(3)) {
		t.Errorf("got %q", rows)
	}
	f.wantRequests(t, &adminv1.ListRecordsRequest{Last: 20, Follow: true})
}

func TestAuditTailTellsWhenFollowingEnds(t *testing.T) {
	f := serveStreams(t, nil, streams{"ListRecords": parts()})
	f.run(t, "", "audit", "tail", "--follow").want(t, 1, "", "signerctl: listing records: signerd ended the answer\n")
}

func TestAuditTailIsToldWhyNot(t *testing.T) {
	denied := refuse(codes.PermissionDenied, "DENIED", "not allowed")
	f := serveStreams(t, nil, streams{"ListRecords": func(stream grpc.ServerStream, _ proto.Message) error {
		_, err := denied(stream.Context(), nil)
		return err
	}})
	f.run(t, "", "audit", "tail", "--follow").want(t, 1, "", "signerctl: listing records: not allowed\nhint: ask whoever sets the policy for a rule; they can find this call by record rec-1\n")
	none := serve(t, nil)
	r := none.run(t, "", "audit", "tail")
	if r.code != 1 || !strings.Contains(r.stderr, "does not offer this\nhint: ") {
		t.Errorf("got %+v", r)
	}
	r = run(t, "", "--address", "unix:/none", "audit", "tail")
	r.want(t, 1, "", "signerctl: listing records: there is no socket /none\nhint: "+hintAddress+"\n")
}

// Each part of an answer may take as long as --timeout says, and none longer.
func TestAuditAnswersThatStop(t *testing.T) {
	l := newLog(t, 1, everyKind...)
	f := serveStreams(t, nil, streams{"ListRecords": func(stream grpc.ServerStream, _ proto.Message) error {
		if err := stream.SendMsg(&adminv1.ListRecordsResponse{Records: l.records(2)}); err != nil {
			return err
		}
		<-stream.Context().Done()
		return nil
	}})
	r := f.run(t, "", "audit", "tail", "--timeout", "50ms")
	r.want(t, 1, "", "signerctl: listing records: nothing came from "+strings.TrimPrefix(f.address, "unix://")+" within 50ms\n"+
		"hint: --timeout sets how long to wait for each part of the answer\n")
}

func TestAuditAnswersThatAreInterrupted(t *testing.T) {
	f := serveStreams(t, nil, streams{"VerifyLog": func(stream grpc.ServerStream, _ proto.Message) error {
		if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
			return err
		}
		<-stream.Context().Done()
		return nil
	}})
	f.run(t, "", "audit", "verify").want(t, 1, "", "signerctl: verifying the log: interrupted before the answer was complete\n")
}

// signerd ends while it is followed: that is no end by the operator's will.
func TestAuditAnswersWhoseSignerdEnds(t *testing.T) {
	for code, want := range map[codes.Code]string{
		codes.Unavailable: "closing\nhint: signerd closed the connection: does it still run?",
		codes.Canceled:    "interrupted before the answer was complete",
	} {
		f := serveStreams(t, nil, streams{"ListRecords": func(grpc.ServerStream, proto.Message) error { return status.Error(code, "closing") }})
		f.run(t, "", "audit", "tail", "--follow").want(t, 1, "", "signerctl: listing records: "+want+"\n")
	}
}

// Rows that come later stay in line with those that came before, where they fit.
func TestColumnsNeverNarrow(t *testing.T) {
	l := newLog(t, 1,
		`{"kind":"call","code":"OK","caller":"unix:uid=1000000","operation":"SignNoahRequest","key":"a-long-name","record_id":"1"}`,
		`{"kind":"call","code":"OK","caller":"unix:uid=1","operation":"ListKeys","key":"b","record_id":"2"}`,
		`{"kind":"call","code":"OK","caller":"`+strings.Repeat("x", 100)+`","operation":"ListKeys","key":"b","record_id":"3"}`)
	var rows listing
	var first, second strings.Builder
	rows.add(&first, l.records(0))
	rows.add(&second, l.records(1, 2))
	lines := strings.Split(first.String()+second.String(), "\n")
	column := strings.Index(lines[1], "SignNoah")
	if strings.Index(lines[2], "ListKeys") != column || strings.Index(lines[0], "OPERATION") != column {
		t.Errorf("got\n%s%s", first.String(), second.String())
	}
	if strings.Contains(second.String(), "TIME") {
		t.Error("the title is there twice")
	}
}

func TestAuditAcknowledge(t *testing.T) {
	f := serve(t, answers{"AcknowledgeLoss": give(&adminv1.AcknowledgeLossResponse{Missing: []*adminv1.AuditRange{{First: 5, End: 9}, {First: 12, End: 13}}})})
	f.run(t, "", "audit", "acknowledge", "--note", "the disk broke").want(t, 0, "Missing: records 5 to 8, record 12.\nThat is acknowledged and on record.\n", "")
	f.wantRequests(t, &adminv1.AcknowledgeLossRequest{Note: "the disk broke"})
	if r := f.run(t, "", "audit", "acknowledge", "--note", "x", "-o", "json"); r.code != 0 || !strings.Contains(r.stdout, `"first": "5"`) {
		t.Errorf("got %+v", r)
	}
}

func TestStatusTellsOfTheAuditLog(t *testing.T) {
	f := serve(t, answers{"GetStatus": give(&adminv1.GetStatusResponse{Serving: true, AuditRecords: 1234, AuditFault: "records 5 to 8 are missing", AuditCopyLost: 2})})
	r := f.run(t, "", "status")
	_, got, _ := strings.Cut(r.stdout, "Root key:       \n")
	if diff := cmp.Diff(`Audit:          1234 records
Audit fault:    records 5 to 8 are missing
                Nothing is handed out before that is repaired; where records are missing: signerctl audit acknowledge
Audit copy:     2 records lost since the start, of the second sink alone
You are:        
`, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestProgressIsForTerminals(t *testing.T) {
	var silent progress
	silent.show("x")
	silent.end()
	a := &app{stderr: io.Discard}
	if a.progress().w != nil {
		t.Error("what is no terminal shows progress")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	if (&app{stderr: null}).progress().w != nil {
		t.Error("/dev/null shows progress")
	}
	var w strings.Builder
	p := &progress{w: &w}
	p.show("verified %d of %s", 1, "2 records")
	p.show("too soon")
	p.end()
	p.end()
	if got := w.String(); got != "\rverified 1 of 2 records\x1b[K\r\x1b[K" {
		t.Errorf("got %q", got)
	}
}
