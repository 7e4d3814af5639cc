package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"

	"github.com/signerd/signerd/audit"
	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/policy"
)

// open begins the record of a call.
func (c *call) open() {
	c.record = audit.Record{Kind: audit.KindCall, ID: newRecordID(c.start), Time: c.start, Caller: c.caller.String(),
		Operation: string(c.permission.operation)}
}

// identifiedBy says how the connection knows its caller, and by which certificate.
func identifiedBy(ctx context.Context) (how, serial string) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", ""
	}
	switch info := p.AuthInfo.(type) {
	case unixPeer:
		return "unix", ""
	case *tlsPeer:
		return "tls", info.client.Leaf.SerialNumber.Text(16)
	}
	return "", ""
}

// describe takes from a request what its record says whatever becomes of it.
func (c *call) describe(req any) {
	if r, ok := req.(interface{ GetVersion() uint32 }); ok {
		c.record.Version = r.GetVersion()
	}
}

// signs takes what is to be signed.
func (c *call) signs(r *asked, values bool) {
	if r == nil {
		return
	}
	c.record.Method, c.record.Path = r.policy.Method, r.path
	if len(r.policy.Query) > 0 {
		c.record.QueryNames = slices.Sorted(maps.Keys(r.policy.Query))
		if values {
			c.record.QueryValues = r.policy.Query
		}
	}
	c.record.BodySHA256, c.record.BodyBytes = r.bodySHA256, r.bodyBytes
}

// decided takes a decision of the policy of a generation.
func (c *call) decided(d policy.Decision, generation uint64) {
	c.decision, c.record.Policy, c.record.Rule = d, generation, d.Rule
	c.record.Decision = "allow"
	if d.Err() != nil {
		c.record.Decision = "deny"
	}
	c.record.Shadow = nil
	for _, shadow := range d.Shadows {
		c.record.Shadow = append(c.record.Shadow, "would "+string(shadow.Effect)+": "+shadow.Rule)
	}
	c.record.Unevaluated = d.Unevaluated[:min(len(d.Unevaluated), maxRecorded)]
	c.record.UnevaluatedCount = len(d.Unevaluated)
}

// maxRecorded bounds the rules that a record names: a caller can make every condition fail.
const maxRecorded = 20

// handOut takes what of an answer its record says.
func (c *call) handOut(resp any) {
	if r, ok := resp.(interface{ GetHeaders() map[string]string }); ok {
		headers := r.GetHeaders()
		c.record.Headers = make(map[string]string, len(headers))
		for name, value := range headers {
			sum := sha256.Sum256([]byte(value))
			c.record.Headers[name] = hex.EncodeToString(sum[:])
		}
	}
	if r, ok := resp.(interface{ GetVersion() uint32 }); ok {
		c.record.Version = r.GetVersion()
	}
	if r, ok := resp.(interface{ GetGeneration() uint64 }); ok && c.permission.changes {
		c.record.Generation = r.GetGeneration()
	}
	if r, ok := resp.(interface{ GetKey() *adminv1.Key }); ok && c.permission.changes {
		c.record.Generation = r.GetKey().GetGeneration()
	}
}

// recordable refuses a call of which no record could be made. Calls that show what is wrong are let through, and one that stops
// signing as far as the decision on it.
func (s *Server) recordable(c *call) error {
	log := s.ready.Load().log
	if log == nil || c.permission.diagnosis || c.permission.brakes {
		return nil
	}
	err := log.Err()
	if err != nil {
		log.Refused()
	}
	return err
}

// intend records what an allowed call is about to change or to give away in pieces, before it does.
func (s *Server) intend(ctx context.Context, c *call) error {
	if !c.permission.changes && !c.permission.streams {
		return nil
	}
	r := c.record
	r.Kind = audit.KindIntention
	err := s.append(ctx, &r)
	if err != nil && c.permission.diagnosis {
		return nil
	}
	return err
}

// append makes a record durable. Without a log nothing is served but what shows that.
func (s *Server) append(ctx context.Context, r *audit.Record) error {
	log := s.ready.Load().log
	if log == nil {
		return nil
	}
	// A caller that is gone does not take its record along.
	return log.Append(context.WithoutCancel(ctx), r)
}

// conclude makes a call's record durable, and gives the call's status; nil for none. An answer whose record cannot be written is
// not handed out.
func (s *Server) conclude(ctx context.Context, c *call, err error) error {
	c.record.Code = codes.OK.String()
	if err != nil {
		st, reason := statusFor(ctx, err, c.record.ID)
		c.record.Code, c.record.Reason = st.Code().String(), reason
		c.record.Headers = nil
	}
	c.record.Micros = s.now().Sub(c.start).Microseconds()
	switch {
	case errors.Is(err, audit.ErrUnavailable):
		c.unrecorded = true // the log counted it
	default:
		if failed := s.append(ctx, &c.record); failed != nil && !c.permission.diagnosis {
			err, c.unrecorded = failed, true
		}
	}
	return s.answer(ctx, c, err)
}

// recordExcess records calls that were refused before any record of theirs, every minute until stop is closed.
func (s *Server) recordExcess(stop <-chan struct{}) {
	t := time.NewTicker(excessInterval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-stop:
			return
		}
		if err := s.admission.recordExcess(s.appendExcess); err != nil {
			s.log.Warn("calls in excess are not on record yet", "cause", err.Error())
		}
		s.tellAuditTrouble()
		s.tickets.forget(s.now())
	}
}

// tellAuditTrouble says what is wrong with the log though records are written: until a checkpoint is kept, nobody vouches for what came
// after the one before.
func (s *Server) tellAuditTrouble() {
	log := s.ready.Load().log
	if log == nil || log.Err() != nil {
		return
	}
	if err := log.CheckpointErr(); err != nil {
		s.log.Error("no checkpoint of the audit log can be kept: the records since the last one could be changed unnoticed", "cause", err.Error())
	}
	if err := log.ChoresErr(); err != nil {
		s.log.Warn("files of the audit log can neither be compressed nor deleted", "cause", err.Error())
	}
}

func (s *Server) appendExcess(r *audit.Record) error { return s.append(context.Background(), r) }
