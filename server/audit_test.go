package server_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/disk"
	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/internal/checkpoint"
)

// recorded are the records of one record_id, in order.
func (r *rig) recorded(t testing.TB, id string) []audit.Record {
	t.Helper()
	return slices.DeleteFunc(r.records(t), func(record audit.Record) bool { return record.ID != id })
}

func sha256Hex(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func TestARecordSaysWhatWasSignedForWhomAndNothingThatIsSecret(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "shop")
	query := &structpb.Struct{Fields: map[string]*structpb.Value{"page": structpb.NewNumberValue(2), "a": structpb.NewStringValue("very private")}}
	out, err := r.signer.SignNoahRequest(as(t, operator), &signerdv1.SignNoahRequestRequest{Key: "shop", Method: "post", Path: "/v1/checkout",
		QueryParams: query, Content: &signerdv1.SignNoahRequestRequest_Body{Body: []byte(`{"amount":"50"}`)}})
	must(t, err)
	records := r.recorded(t, out.GetRecordId())
	if len(records) != 1 {
		t.Fatalf("there are %d records, want 1", len(records))
	}
	got := records[0]
	want := audit.Record{N: got.N, Kind: audit.KindCall, ID: out.GetRecordId(), Time: r.clock.Now().UTC(), Caller: "unix:uid=1000", IdentifiedBy: "unix",
		Operation: "SignNoahRequest", Scheme: "noah", Key: "shop", Version: 1, Environment: "sandbox",
		Method: "POST", Path: "/v1/checkout", QueryNames: []string{"a", "page"}, BodySHA256: sha256Hex(`{"amount":"50"}`), BodyBytes: 15,
		Decision: "allow", Rule: "rule-0", Policy: got.Policy, Code: "OK", Headers: make(map[string]string)}
	for name, value := range out.GetHeaders() {
		want.Headers[name] = sha256Hex(value)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the record is not what it should be:\n%s", diff)
	}
	for _, secret := range append(slices.Collect(maps.Values(out.GetHeaders())), "very private", "amount") {
		if strings.Contains(r.recordText(t), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}

func TestQueryValuesAreOnRecordWhereTheConfigurationSaysSo(t *testing.T) {
	t.Parallel()
	r := start(t, setup{queryValues: true})
	r.importedNOAH(t, "shop")
	out, err := r.signer.SignNoahRequest(as(t, operator), &signerdv1.SignNoahRequestRequest{Key: "shop", Method: "GET", Path: "/v1/x?b=2&a=1&b=3"})
	must(t, err)
	got := r.recorded(t, out.GetRecordId())[0]
	if want := map[string][]string{"a": {"1"}, "b": {"2", "3"}}; !maps.EqualFunc(got.QueryValues, want, slices.Equal) || got.Path != "/v1/x" {
		t.Errorf("the record has %+v", got)
	}
}

func TestAChangeIsOnRecordBeforeItIsMadeAndAfter(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	before := len(r.records(t))
	r.importedNOAH(t, "a")
	generation := r.keys.Lookup("a").Generation
	_, err := r.admin.DisableKey(as(t, operator), &adminv1.DisableKeyRequest{Name: "a", Generation: generation + 9})
	r.refused(t, err, codes.Aborted, "CONFLICT")
	_, err = r.admin.DisableKey(as(t, stranger), &adminv1.DisableKeyRequest{Name: "a"})
	r.refused(t, err, codes.PermissionDenied, "DENIED")
	var got []string
	for _, record := range r.records(t)[before:] {
		got = append(got, fmt.Sprintf("%s %s %s %d", record.Kind, record.Operation, record.Code, record.Generation))
	}
	want := []string{
		"intention ImportKey  0", fmt.Sprintf("call ImportKey OK %d", generation),
		"intention DisableKey  0", "call DisableKey Aborted 0",
		"call DisableKey PermissionDenied 0", // nothing was intended
	}
	if !slices.Equal(got, want) {
		t.Errorf("on record are\n%q\nwant\n%q", got, want)
	}
}

func TestALoginAtNoonIsOnRecordBeforeItIsSentAndAfter(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNoon(t, "robot")
	before := len(r.records(t))
	_, err := r.signer.GetNoonSession(as(t, operator), &signerdv1.GetNoonSessionRequest{Key: "robot"})
	must(t, err)
	var got []string
	for _, record := range r.records(t)[before:] {
		got = append(got, fmt.Sprintf("%s %s %s/%d %s", record.Kind, record.Operation, record.Key, record.Version, record.Code))
	}
	if want := []string{"intention NoonLogin robot/1 ", "login NoonLogin robot/1 OK", "call GetNoonSession robot/1 OK"}; !slices.Equal(got, want) {
		t.Errorf("on record are\n%q\nwant\n%q", got, want)
	}
}

// brittle is a disk that can be told to fail.
type brittle struct {
	disk.FS
	fault atomic.Pointer[error]
}

func (b *brittle) Open(name string, flag int) (disk.File, error) {
	f, err := b.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return brittleFile{f, b}, nil
}

func (b *brittle) failing(err error) { b.fault.Store(&err) }

type brittleFile struct {
	disk.File
	disk *brittle
}

func (f brittleFile) Sync() error {
	if err := f.disk.fault.Load(); err != nil && *err != nil {
		return *err
	}
	return f.File.Sync()
}

// onBrittleDisk is a rig whose audit log fails when it is told to.
func onBrittleDisk(t *testing.T, s setup) (*rig, *brittle) {
	t.Helper()
	b := &brittle{}
	s.disk = func(under disk.FS) disk.FS {
		b.FS = under
		return b
	}
	return start(t, s), b
}

func TestNothingIsHandedOutWithoutARecord(t *testing.T) {
	t.Parallel()
	var logins atomic.Int32
	r, b := onBrittleDisk(t, setup{gateway: gatewayFunc(func(req *http.Request) (*http.Response, error) {
		logins.Add(1)
		return loggedIn(req)
	})})
	r.importedNOAH(t, "shop")
	r.importedNoon(t, "robot")
	b.failing(syscall.EIO)
	_, err := r.signNOAH(as(t, operator), "shop")
	r.refused(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	r.healthIs(t, notServing)
	// Neither does a refusal tell anything, nor is anything changed or sent.
	_, err = r.signNOAH(as(t, stranger), "shop")
	r.refused(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	_, err = r.admin.DisableKey(as(t, operator), &adminv1.DisableKeyRequest{Name: "shop"})
	r.refused(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	_, err = r.signer.GetNoonSession(as(t, operator), &signerdv1.GetNoonSessionRequest{Key: "robot"})
	r.refused(t, err, codes.Unavailable, "AUDIT_UNAVAILABLE")
	if !r.keys.Lookup("shop").Enabled || logins.Load() != 0 {
		t.Errorf("the key is enabled: %t; %d logins were sent", r.keys.Lookup("shop").Enabled, logins.Load())
	}
	// Operators see why.
	told, err := r.system.GetStatus(as(t, operator), &adminv1.GetStatusRequest{})
	must(t, err)
	if told.GetServing() || !strings.Contains(told.GetAuditFault(), "input/output error") {
		t.Errorf("the status is %v", told)
	}
	for range 3 {
		must(t, r.listing(t, &adminv1.ListRecordsRequest{Last: 1}, func([]*adminv1.AuditRecord) {}))
	}

	b.failing(nil)
	r.untilServing(t)
	_, err = r.signNOAH(as(t, operator), "shop")
	must(t, err)
	var outages uint64
	for _, record := range r.records(t) {
		if record.Kind == audit.KindOutage {
			outages += record.Outage.Calls
		}
	}
	if outages < 4 {
		t.Errorf("%d calls are counted as refused; there were at least 4", outages)
	}
}

// untilServing waits for health to say so.
func (r *rig) untilServing(t *testing.T) {
	t.Helper()
	for t.Context().Err() == nil {
		if r.server.Readiness().Reason == "" {
			r.healthIs(t, serving)
			return
		}
	}
}

// listing gives the records in the order of the answer.
func (r *rig) listing(t *testing.T, in *adminv1.ListRecordsRequest, take func([]*adminv1.AuditRecord)) error {
	t.Helper()
	stream, err := r.reader.ListRecords(as(t, operator), in)
	if err != nil {
		return err
	}
	for {
		out, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		take(out.GetRecords())
	}
}

func TestRecordsAreFoundByWhatTheyAreAbout(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "shop")
	first, err := r.signNOAH(as(t, operator), "shop")
	must(t, err)
	_, err = r.signNOAH(as(t, stranger), "shop")
	denied, _ := r.refused(t, err, codes.PermissionDenied, "DENIED")
	r.clock.advance(3600e9)
	second, err := r.signNOAH(as(t, operator), "shop")
	must(t, err)
	signature := sha256.Sum256([]byte(first.GetHeaders()["Api-Signature"]))
	key := sha256.Sum256([]byte(first.GetHeaders()["X-Api-Key"]))
	for name, tt := range map[string]struct {
		in   *adminv1.ListRecordsRequest
		want []string
	}{
		"by operation":  {&adminv1.ListRecordsRequest{Operation: "SignNoahRequest"}, []string{first.GetRecordId(), denied.RecordID, second.GetRecordId()}},
		"by caller":     {&adminv1.ListRecordsRequest{Caller: "unix:uid=4711"}, []string{denied.RecordID}},
		"by denial":     {&adminv1.ListRecordsRequest{Denied: true}, []string{denied.RecordID}},
		"by signature":  {&adminv1.ListRecordsRequest{HeaderSha256: signature[:]}, []string{first.GetRecordId()}},
		"by API key":    {&adminv1.ListRecordsRequest{HeaderSha256: key[:]}, []string{first.GetRecordId(), second.GetRecordId()}},
		"by time":       {&adminv1.ListRecordsRequest{Operation: "SignNoahRequest", Since: timestamppb.New(r.clock.Now())}, []string{second.GetRecordId()}},
		"by end":        {&adminv1.ListRecordsRequest{Operation: "SignNoahRequest", Until: timestamppb.New(r.clock.Now())}, []string{first.GetRecordId(), denied.RecordID}},
		"the last two":  {&adminv1.ListRecordsRequest{Operation: "SignNoahRequest", Last: 2}, []string{denied.RecordID, second.GetRecordId()}},
		"by key absent": {&adminv1.ListRecordsRequest{Key: "nothing"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			must(t, r.listing(t, tt.in, func(records []*adminv1.AuditRecord) {
				for _, record := range records {
					parsed, err := audit.Parse(record.GetLine())
					must(t, err)
					if parsed.N != record.GetNumber() {
						t.Errorf("record %d is given as %d", parsed.N, record.GetNumber())
					}
					got = append(got, parsed.ID)
				}
			}))
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestWhoFollowsTheLogSeesWhatComes(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "shop")
	stream, err := r.reader.ListRecords(as(t, operator), &adminv1.ListRecordsRequest{Operation: "SignNoahRequest", Follow: true})
	must(t, err)
	for range 3 {
		out, err := r.signNOAH(as(t, operator), "shop")
		must(t, err)
		got, err := stream.Recv()
		must(t, err)
		if len(got.GetRecords()) != 1 || !strings.Contains(string(got.GetRecords()[0].GetLine()), out.GetRecordId()) {
			t.Errorf("got %v", got)
		}
	}
	stopped := make(chan error, 1)
	go func() { stopped <- r.server.Shutdown(t.Context()) }()
	if _, err := stream.Recv(); err == nil {
		t.Error("the log is followed beyond the server's end")
	}
	must(t, <-stopped)
}

func TestARecordIsProvenToWhoHoldsTheKey(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "shop")
	signed, err := r.signNOAH(as(t, operator), "shop")
	must(t, err)
	out, err := r.reader.GetRecord(as(t, operator), &adminv1.GetRecordRequest{RecordId: signed.GetRecordId(), Proof: true})
	must(t, err)
	verifier, err := note.NewVerifier(out.GetVerifierKey())
	must(t, err)
	promised, err := checkpoint.Open(out.GetCheckpoint(), verifier)
	must(t, err)
	if len(out.GetRecords()) != 1 || len(out.GetProofs()) != 1 {
		t.Fatalf("got %v", out)
	}
	var proof tlog.RecordProof
	for _, hash := range out.GetProofs()[0].GetHashes() {
		proof = append(proof, tlog.Hash(hash))
	}
	record := out.GetRecords()[0]
	must(t, tlog.CheckRecord(proof, promised.Tree.N, promised.Tree.Hash, int64(record.GetNumber()), tlog.RecordHash(record.GetLine())))
	if err := tlog.CheckRecord(proof, promised.Tree.N, promised.Tree.Hash, int64(record.GetNumber()), tlog.RecordHash(append(record.GetLine(), ' '))); err == nil {
		t.Error("another line is proven by it too")
	}
}

func TestALossStopsSigningUntilItIsAcknowledged(t *testing.T) {
	t.Parallel()
	var folder disk.FS
	r := start(t, setup{disk: func(under disk.FS) disk.FS {
		folder = under
		return under
	}})
	r.importedNOAH(t, "shop")
	_, err := r.reader.AcknowledgeLoss(as(t, operator), &adminv1.AcknowledgeLossRequest{Note: "for nothing"})
	r.refused(t, err, codes.FailedPrecondition, "NOTHING_MISSING")
	names, err := folder.List()
	must(t, err)
	for _, name := range names {
		if strings.HasPrefix(name, "records-") {
			must(t, folder.Remove(name))
		}
	}
	lost := uint64(r.audit.Tree().N)
	_, err = r.signNOAH(as(t, operator), "shop")
	if status.Code(err) != codes.Unavailable {
		t.Errorf("got %v with the log gone", err)
	}
	r.healthIs(t, notServing)
	// An administrator may acknowledge it whatever the policy says.
	out, err := r.reader.AcknowledgeLoss(as(t, administrator), &adminv1.AcknowledgeLossRequest{Note: "the disk was replaced"})
	must(t, err)
	if len(out.GetMissing()) != 1 || out.GetMissing()[0].GetFirst() != 0 || out.GetMissing()[0].GetEnd() != lost {
		t.Errorf("missing are %v, want 0 to %d", out.GetMissing(), lost)
	}
	r.healthIs(t, serving)
	signed, err := r.signNOAH(as(t, operator), "shop")
	must(t, err)
	if got := r.recorded(t, signed.GetRecordId()); len(got) != 1 || got[0].N <= lost {
		t.Errorf("on record is %+v", got)
	}
	var acknowledged []audit.Record
	for _, record := range r.records(t) {
		if record.Kind == audit.KindAcknowledgement {
			acknowledged = append(acknowledged, record)
		}
	}
	if len(acknowledged) != 1 || acknowledged[0].Caller != "unix:uid=999" || acknowledged[0].Acknowledgement.Note != "the disk was replaced" {
		t.Errorf("the acknowledgement on record is %+v", acknowledged)
	}
	result := r.verified(t, nil)
	if !result.GetGood() || len(result.GetAcknowledged()) != 1 {
		t.Errorf("the verdict is %v", result)
	}
}

// verified is the result of VerifyLog.
func (r *rig) verified(t *testing.T, since []byte) *adminv1.VerifyLogResult {
	t.Helper()
	stream, err := r.reader.VerifyLog(as(t, operator), &adminv1.VerifyLogRequest{Checkpoint: since})
	must(t, err)
	var last *adminv1.VerifyLogResponse
	for {
		out, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return last.GetResult()
		}
		must(t, err)
		last = out
	}
}

func TestTheLogIsVerifiedAndProvenToHaveGrown(t *testing.T) {
	t.Parallel()
	var folder disk.FS
	r := start(t, setup{disk: func(under disk.FS) disk.FS {
		folder = under
		return under
	}})
	r.importedNOAH(t, "shop")
	kept, err := r.reader.GetCheckpoint(as(t, operator), &adminv1.GetCheckpointRequest{})
	must(t, err)
	signed, err := r.signNOAH(as(t, operator), "shop")
	must(t, err)
	result := r.verified(t, kept.GetCheckpoint())
	if !result.GetGood() || result.GetFault() != "" {
		t.Fatalf("the verdict is %v", result)
	}
	verifier, err := note.NewVerifier(kept.GetVerifierKey())
	must(t, err)
	older, err := checkpoint.Open(kept.GetCheckpoint(), verifier)
	must(t, err)
	newer, err := checkpoint.Open(result.GetCheckpoint(), verifier)
	must(t, err)
	var proof tlog.TreeProof
	for _, hash := range result.GetConsistencyProof() {
		proof = append(proof, tlog.Hash(hash))
	}
	must(t, tlog.CheckTree(proof, newer.Tree.N, newer.Tree.Hash, older.Tree.N, older.Tree.Hash))

	number := r.recorded(t, signed.GetRecordId())[0].N
	spoil(t, folder, signed.GetRecordId())
	if result = r.verified(t, nil); result.GetGood() || result.GetFaultNumber() != number || result.GetFaultKind() != "changed" {
		t.Errorf("record %d was changed; the verdict is %v", number, result)
	}
}

// spoil changes one byte of the line that has a text.
func spoil(t *testing.T, folder disk.FS, text string) {
	t.Helper()
	names, err := folder.List()
	must(t, err)
	for _, name := range names {
		if !strings.HasPrefix(name, "records-") {
			continue
		}
		f, err := folder.Open(name, os.O_RDWR)
		must(t, err)
		info, err := f.Stat()
		must(t, err)
		content := make([]byte, info.Size())
		if _, err := f.ReadAt(content, 0); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if at := strings.Index(string(content), text); at >= 0 {
			_, err := f.WriteAt([]byte{content[at] ^ 1}, int64(at))
			must(t, errors.Join(err, f.Close()))
			return
		}
		must(t, f.Close())
	}
	t.Fatal(fs.ErrNotExist)
}
