package cli

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/checkpoint"
)

// streams tells a fake signerd what to answer in parts, by the RPC's name; it sends the RPC's own messages.
type streams map[string]func(stream grpc.ServerStream, req proto.Message) error

// parts answers with messages, always.
func parts(messages ...proto.Message) func(grpc.ServerStream, proto.Message) error {
	return func(stream grpc.ServerStream, _ proto.Message) error {
		for _, m := range messages {
			if err := stream.SendMsg(m); err != nil {
				return err
			}
		}
		return nil
	}
}

func (f *fake) stream(name string, stream grpc.ServerStream, req proto.Message) error {
	f.mu.Lock()
	f.requests = append(f.requests, req)
	f.mu.Unlock()
	answer, ok := f.streams[name]
	if !ok {
		_, err := adminv1.UnimplementedAuditServiceServer{}.GetCheckpoint(stream.Context(), nil)
		return err
	}
	return answer(stream, req)
}

type fakeAudit struct {
	adminv1.UnimplementedAuditServiceServer
	f *fake
}

func (a fakeAudit) ListRecords(req *adminv1.ListRecordsRequest, stream grpc.ServerStreamingServer[adminv1.ListRecordsResponse]) error {
	return a.f.stream("ListRecords", stream, req)
}

func (a fakeAudit) VerifyLog(req *adminv1.VerifyLogRequest, stream grpc.ServerStreamingServer[adminv1.VerifyLogResponse]) error {
	return a.f.stream("VerifyLog", stream, req)
}

type fakePolicy struct {
	adminv1.UnimplementedPolicyServiceServer
	f *fake
}

func (p fakePolicy) ReplayPolicy(req *adminv1.ReplayPolicyRequest, stream grpc.ServerStreamingServer[adminv1.ReplayPolicyResponse]) error {
	return p.f.stream("ReplayPolicy", stream, req)
}

// fakeLog is a log in memory, with true hashes and signatures.
type fakeLog struct {
	signer *checkpoint.Signer
	lines  [][]byte
	hashes []tlog.Hash
}

// ReadHashes implements tlog.HashReader.
func (l *fakeLog) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, i := range indexes {
		out = append(out, l.hashes[i])
	}
	return out, nil
}

// newLog makes a log of lines; seed makes its key.
func newLog(t *testing.T, seed byte, lines ...string) *fakeLog {
	t.Helper()
	signer, err := checkpoint.NewSigner("signerd.example/log", ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	l := &fakeLog{signer: signer}
	for i, line := range lines {
		stored, err := tlog.StoredHashes(int64(i), []byte(line), l)
		if err != nil {
			t.Fatal(err)
		}
		l.hashes = append(l.hashes, stored...)
		l.lines = append(l.lines, []byte(line))
	}
	return l
}

// checkpoint signs one of the first n records.
func (l *fakeLog) checkpoint(t *testing.T, n int) []byte {
	t.Helper()
	hash, err := tlog.TreeHash(int64(n), l)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := checkpoint.Checkpoint{Origin: l.signer.Name(), Tree: tlog.Tree{N: int64(n), Hash: hash}}.Sign(l.signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func (l *fakeLog) root(t *testing.T) string {
	t.Helper()
	hash, err := tlog.TreeHash(int64(len(l.lines)), l)
	if err != nil {
		t.Fatal(err)
	}
	return hash.String()
}

func hashBytes(hashes []tlog.Hash) [][]byte {
	var out [][]byte
	for _, h := range hashes {
		out = append(out, h[:])
	}
	return out
}

func (l *fakeLog) grownFrom(t *testing.T, n int) [][]byte {
	t.Helper()
	proof, err := tlog.ProveTree(int64(len(l.lines)), int64(n), l)
	if err != nil {
		t.Fatal(err)
	}
	return hashBytes(proof)
}

// records gives some of the records as an answer.
func (l *fakeLog) records(numbers ...int) []*adminv1.AuditRecord {
	var out []*adminv1.AuditRecord
	for _, n := range numbers {
		out = append(out, &adminv1.AuditRecord{Number: uint64(n), Line: l.lines[n]})
	}
	return out
}

// proven answers GetRecord with proofs.
func (l *fakeLog) proven(t *testing.T, numbers ...int) *adminv1.GetRecordResponse {
	t.Helper()
	resp := &adminv1.GetRecordResponse{Records: l.records(numbers...), Checkpoint: l.checkpoint(t, len(l.lines)), VerifierKey: l.signer.VerifierKey()}
	for _, n := range numbers {
		proof, err := tlog.ProveRecord(int64(len(l.lines)), int64(n), l)
		if err != nil {
			t.Fatal(err)
		}
		resp.Proofs = append(resp.Proofs, &adminv1.InclusionProof{Number: uint64(n), TreeSize: uint64(len(l.lines)), Hashes: hashBytes(proof)})
	}
	return resp
}

// numbered makes lines of n calls.
func numbered(n int) []string {
	var lines []string
	for i := range n {
		lines = append(lines, fmt.Sprintf(`{"n":%d,"kind":"call","record_id":"%s","time":"2026-11-22T08:30:00Z","code":"OK"}`, i, recordID(i)))
	}
	return lines
}

func recordID(i int) string { return fmt.Sprintf("01990000-0000-7000-8000-%012d", i) }

// local is a time as rows show it.
func local(t *testing.T, s string) string {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t.Fatal(err)
	}
	return at.Local().Format("2006-01-02 15:04:05")
}

// lockedBuffer is an output that is read while it is written.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
	// grown has a place for one note that something was written.
	grown chan struct{}
}

// Write implements io.Writer.
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.grown <- struct{}{}:
	default:
	}
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
