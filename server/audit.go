package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/reader"
	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/checkpoint"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/upstream"
)

// auditService implements signerd.admin.v1.AuditService.
type auditService struct {
	adminv1.UnimplementedAuditServiceServer
	*Server
}

// opened is the log of records while there is one, and the keystore that has its key.
type opened struct {
	keys *keystore.Keystore
	log  *audit.Log
}

// authorizeAudit decides on an operation of this service.
func (s *Server) authorizeAudit(ctx context.Context) (opened, error) {
	keys, _, err := s.decideSystem(ctx)
	if err != nil {
		return opened{}, err
	}
	log := s.ready.Load().log
	if keys == nil || log == nil {
		return opened{}, errNotReady
	}
	return opened{keys, log}, nil
}

func (o opened) source() reader.Source {
	return reader.Source{FS: o.log.FS(), Tree: o.log.Tree, Hashes: o.log.Hashes(), Gaps: o.log.Gaps, First: o.log.First}
}

// A message of ListRecords ends once it has this many bytes of lines, or this many of them.
const (
	listedBytes   = 128 << 10
	listedRecords = 1000
)

// ListRecords implements adminv1.AuditServiceServer.
func (s *auditService) ListRecords(in *adminv1.ListRecordsRequest, stream grpc.ServerStreamingServer[adminv1.ListRecordsResponse]) error {
	filter := reader.Filter{Caller: in.GetCaller(), Key: in.GetKey(), Operation: in.GetOperation(), Denied: in.GetDenied(),
		HeaderSHA256: hex.EncodeToString(in.GetHeaderSha256()), Last: int(in.GetLast())}
	var err error
	if filter.Since, err = optionalTime("since", in.GetSince()); err != nil {
		return err
	}
	if filter.Until, err = optionalTime("until", in.GetUntil()); err != nil {
		return err
	}
	ctx := stream.Context()
	o, err := s.authorizeAudit(ctx)
	if err != nil {
		return err
	}
	source := o.source()
	if in.GetFollow() {
		filter.Place = &reader.Place{}
	}
	for {
		tree := o.log.Tree()
		filter.End = uint64(tree.N)
		if err := list(ctx, source, filter, stream); err != nil {
			return err
		}
		if !in.GetFollow() {
			return nil
		}
		if err := o.log.Grown(ctx, uint64(tree.N)); err != nil {
			return err
		}
		filter.First, filter.Last = uint64(tree.N), 0
		// What comes in this time is read at once.
		if err := wait(ctx, followEvery); err != nil {
			return err
		}
		if err := s.stillAllowed(ctx); err != nil {
			return err
		}
	}
}

// stillAllowed decides anew on a call on no key that lasts: its caller may have been allowed until now.
func (s *Server) stillAllowed(ctx context.Context) error {
	c, err := callFrom(ctx)
	if err != nil {
		return err
	}
	keys, err := s.loaded()
	if err != nil {
		return err
	}
	inForce := keys.View().Policy()
	d := s.bounds.Load().Decide(inForce.Policy, policy.Question{Caller: c.caller, Operation: c.permission.operation, Now: s.now()})
	if d.Err() != nil {
		c.allowed = false
		c.decided(d, inForce.Generation)
	}
	return d.Err()
}

// followEvery is how often at most whoever follows the log has it read.
const followEvery = 50 * time.Millisecond

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func list(ctx context.Context, source reader.Source, filter reader.Filter, stream grpc.ServerStreamingServer[adminv1.ListRecordsResponse]) error {
	out, size := &adminv1.ListRecordsResponse{}, 0
	send := func() error {
		if len(out.Records) == 0 {
			return nil
		}
		err := stream.Send(out)
		out, size = &adminv1.ListRecordsResponse{}, 0
		return err
	}
	err := source.List(ctx, filter, func(line reader.Line) error {
		out.Records = append(out.Records, &adminv1.AuditRecord{Number: line.N, Line: append([]byte(nil), line.Text...)})
		if size += len(line.Text); size < listedBytes && len(out.Records) < listedRecords {
			return nil
		}
		return send()
	})
	return errors.Join(err, send())
}

func optionalTime(field string, t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	if t.CheckValid() != nil {
		return time.Time{}, upstream.Invalid(field, "its seconds and nanos do not make a time")
	}
	return t.AsTime(), nil
}

// GetRecord implements adminv1.AuditServiceServer.
func (s *auditService) GetRecord(ctx context.Context, in *adminv1.GetRecordRequest) (*adminv1.GetRecordResponse, error) {
	o, err := s.authorizeAudit(ctx)
	if err != nil {
		return nil, err
	}
	source := o.source()
	lines, err := source.Get(ctx, in.GetRecordId())
	if err != nil {
		return nil, err
	}
	out := &adminv1.GetRecordResponse{}
	for _, line := range lines {
		out.Records = append(out.Records, &adminv1.AuditRecord{Number: line.N, Line: line.Text})
	}
	if !in.GetProof() {
		return out, nil
	}
	signer := o.keys.AuditSigner()
	tree := o.log.Tree()
	for _, line := range lines {
		proof, err := source.Prove(line.N, tree)
		if err != nil {
			return nil, fmt.Errorf("proving record %d: %w", line.N, err)
		}
		out.Proofs = append(out.Proofs, &adminv1.InclusionProof{Number: line.N, TreeSize: uint64(tree.N), Hashes: hashMessages(proof.Proof)})
	}
	out.VerifierKey = signer.VerifierKey()
	out.Checkpoint, err = checkpoint.Checkpoint{Origin: signer.Name(), Tree: tree, Store: o.keys.StoreState()}.Sign(signer)
	return out, err
}

// GetCheckpoint implements adminv1.AuditServiceServer.
func (s *auditService) GetCheckpoint(ctx context.Context, _ *adminv1.GetCheckpointRequest) (*adminv1.GetCheckpointResponse, error) {
	o, err := s.authorizeAudit(ctx)
	if err != nil {
		return nil, err
	}
	signed, err := o.log.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	return &adminv1.GetCheckpointResponse{Checkpoint: signed, VerifierKey: o.keys.AuditSigner().VerifierKey()}, nil
}

// progressEvery is how often VerifyLog and ReplayPolicy say how far they are.
const progressEvery = 200 * time.Millisecond

// wholeReaders is how many calls at most read the whole log at once: each takes a processor, and tens of megabytes.
const wholeReaders = 2

// readWhole waits until a call may read the whole log.
func (s *Server) readWhole(ctx context.Context) (done func(), err error) {
	select {
	case s.whole <- struct{}{}:
		return func() { <-s.whole }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// VerifyLog implements adminv1.AuditServiceServer.
func (s *auditService) VerifyLog(in *adminv1.VerifyLogRequest, stream grpc.ServerStreamingServer[adminv1.VerifyLogResponse]) error {
	ctx := stream.Context()
	o, err := s.authorizeAudit(ctx)
	if err != nil {
		return err
	}
	signer := o.keys.AuditSigner()
	want := reader.Want{Verifier: signer, Live: true}
	since, err := keptCheckpoint(in.GetCheckpoint(), signer)
	if err != nil {
		return err
	}
	if since != nil {
		want.Checkpoints = append(want.Checkpoints, reader.Known{From: "the checkpoint kept elsewhere", Checkpoint: *since})
	}
	done, err := s.readWhole(ctx)
	if err != nil {
		return err
	}
	defer done()
	source := o.source()
	said := time.Now()
	report, err := source.Verify(ctx, want, func(done, total uint64) {
		if now := time.Now(); now.Sub(said) >= progressEvery {
			said = now
			// A client that is gone ends the context, which is looked at.
			_ = stream.Send(&adminv1.VerifyLogResponse{Done: done, Total: total})
		}
	})
	if err != nil {
		return fmt.Errorf("verifying the audit log: %w", err)
	}
	result, err := verdict(o, source, report, since)
	if err != nil {
		return err
	}
	return stream.Send(&adminv1.VerifyLogResponse{Done: uint64(report.Tree.N), Total: uint64(report.Tree.N), Result: result})
}

// keptCheckpoint is the one that a request brings, nil without one.
func keptCheckpoint(signed []byte, key note.Verifier) (*checkpoint.Checkpoint, error) {
	if len(signed) == 0 {
		return nil, nil
	}
	c, err := checkpoint.Open(signed, key)
	if err != nil {
		return nil, upstream.Invalid("checkpoint", "%v", checkpoint.ErrInvalid)
	}
	return &c, nil
}

func verdict(o opened, source reader.Source, report reader.Report, since *checkpoint.Checkpoint) (*adminv1.VerifyLogResult, error) {
	signer := o.keys.AuditSigner()
	out := &adminv1.VerifyLogResult{Good: report.Fault == nil, FirstKept: report.First, UnknownHashes: report.Unknown, VerifierKey: signer.VerifierKey()}
	for _, gap := range report.Gaps {
		out.Acknowledged = append(out.Acknowledged, rangeMessage(gap))
	}
	if report.Fault != nil {
		out.FaultNumber, out.Fault, out.FaultKind = report.Fault.Record, report.Fault.String(), string(report.Fault.What)
		return out, nil
	}
	var err error
	out.Checkpoint, err = checkpoint.Checkpoint{Origin: signer.Name(), Tree: report.Tree, Store: o.keys.StoreState()}.Sign(signer)
	if err != nil || since == nil || since.Tree.N == 0 {
		return out, err // every log has grown from nothing
	}
	proof, err := source.ProveSince(since.Tree, report.Tree)
	if err != nil {
		return nil, fmt.Errorf("proving that the log grew from the checkpoint: %w", err)
	}
	out.ConsistencyProof = hashMessages(proof)
	return out, nil
}

func rangeMessage(r audit.Range) *adminv1.AuditRange {
	return &adminv1.AuditRange{First: r.From, End: r.Until}
}

func hashMessages[H ~[32]byte](hashes []H) [][]byte {
	out := make([][]byte, len(hashes))
	for i, h := range hashes {
		out[i] = h[:]
	}
	return out
}

// AcknowledgeLoss implements adminv1.AuditServiceServer.
func (s *auditService) AcknowledgeLoss(ctx context.Context, in *adminv1.AcknowledgeLossRequest) (*adminv1.AcknowledgeLossResponse, error) {
	o, err := s.authorizeAudit(ctx)
	if err != nil {
		return nil, err
	}
	c, err := callFrom(ctx)
	if err != nil {
		return nil, err
	}
	r := c.record
	r.Kind, r.Time, r.Acknowledgement = audit.KindAcknowledgement, s.now(), &audit.Acknowledgement{Note: in.GetNote()}
	missing, err := o.log.Acknowledge(ctx, r)
	if err != nil {
		return nil, err
	}
	out := &adminv1.AcknowledgeLossResponse{}
	for _, gap := range missing {
		out.Missing = append(out.Missing, rangeMessage(gap))
	}
	return out, nil
}
