package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

const longAudit = `Read the record of what was, and hold it to its word.

signerd puts every call on record before it hands anything out. The records are a Merkle tree, and signerd signs checkpoints
of it. Whoever keeps a checkpoint elsewhere can tell later that nothing before it was changed or taken away:

  signerctl audit key > log.pub                                             # once, from a signerd that you trust
  signerctl audit verify --verifier-key log.pub --save last                 # once
  signerctl audit verify --verifier-key log.pub --since last --save last    # from then on, daily`

func (a *app) auditCommand() *cobra.Command {
	cmd := group("audit", "Read and check the record of what was", a.auditTail(), a.auditShow(), a.auditFind(), a.auditVerify(),
		a.auditCheckpoint(), a.auditKey(), a.auditAcknowledge())
	cmd.Long = longAudit
	return cmd
}

// The records that a listing shows unless it is told otherwise, and at most when they are counted from the end.
const (
	defaultLast = 20
	maxLast     = 10000
)

const longAuditTail = `Print records of the log, the oldest first: one row each, or with -o json the lines as they stand in the log.

Without --since these are the last 20 that match, with it all; -n changes that. With --follow signerctl then stays, and
prints what comes until an interrupt (Ctrl-C) ends it, with exit status 0.

Times are local. OUTCOME is OK or the reason of a refusal; for other records than of calls it says what they are. An
"intention" stands before what changes something, and "login" tells how a login at Noon ended. RECORD is for
"signerctl audit show".

` + longStreamTimeout

func (a *app) auditTail() *cobra.Command {
	var caller, key, operation text
	var since moment
	var denied, follow bool
	var last *uint32
	var output *choice
	use := "tail [--follow] [--caller C] [--key K] [--operation OP] [--denied] [--since D|TIME] [-n N] [-o text|json]"
	cmd := command(use, "Print the newest records", positional(), func(cmd *cobra.Command, _ []string) error {
		if err := checkText([]string{caller.value, key.value, operation.value}); err != nil {
			return err
		}
		req := &adminv1.ListRecordsRequest{Since: since.timestamp(), Caller: caller.value, Key: key.value, Operation: operation.value,
			Denied: denied, Last: *last, Follow: follow}
		if since.given() && !cmd.Flags().Changed("last") {
			req.Last = 0
		}
		if err := checkLast(req.GetLast()); err != nil {
			return err
		}
		return a.tailRecords(cmd, req, output)
	})
	cmd.Long = longAuditTail
	cmd.Flags().BoolVar(&follow, "follow", false, "stay, and print the records to come")
	textVar(cmd.Flags(), &caller, "caller", "only calls of `C`, such as unix:uid=1000 or spiffe://example.org/orders")
	textVar(cmd.Flags(), &key, "key", "only calls for the key `K`")
	textVar(cmd.Flags(), &operation, "operation", "only calls of the RPC `OP`, such as SignNoahRequest")
	cmd.Flags().BoolVar(&denied, "denied", false, "only calls that were refused or failed")
	momentVar(cmd.Flags(), &since, "since", "only records since then: 15m, 24h, 7d, or a time such as 2026-11-22T08:30:00Z")
	last = lastFlag(cmd)
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

func lastFlag(cmd *cobra.Command) *uint32 {
	return cmd.Flags().Uint32P("last", "n", defaultLast, "only the last `N` that match; 0 for all")
}

func checkLast(n uint32) error {
	if n > maxLast {
		return &usageError{message: fmt.Sprintf("-n is at most %d, or 0 for all", maxLast)}
	}
	return nil
}

func (a *app) tailRecords(cmd *cobra.Command, req *adminv1.ListRecordsRequest, output *choice) error {
	a.patient(cmd)
	if req.GetFollow() {
		// Nothing may happen for days.
		a.timeout = 0
	}
	conn, err := a.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	out := &recordWriter{app: a, output: output}
	// A few rows are aligned as one table; many, or those to come, are not waited for.
	out.gather = req.GetLast() > 0 && !req.GetFollow()
	err = receive(cmd, listRecords(conn, req), func(part *adminv1.ListRecordsResponse) error { return out.add(part.GetRecords()) })
	if call, ok := errors.AsType[*callError](err); ok && call.interrupted && req.GetFollow() {
		return nil
	}
	if err == nil && req.GetFollow() {
		err = errors.New("signerd ended the answer")
	}
	if err != nil {
		return auditFailure("listing records", err)
	}
	if err := out.flush(); err != nil {
		return err
	}
	if out.written == 0 {
		a.tell("note", "there is no record that matches")
	}
	return nil
}

// auditFailure leaves failures as they are, such as of writing the output.
func auditFailure(what string, err error) error {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	return &failure{what: what, err: err}
}

func listRecords(conn *grpc.ClientConn, req *adminv1.ListRecordsRequest) func(context.Context) (grpc.ServerStreamingClient[adminv1.ListRecordsResponse], error) {
	return func(ctx context.Context) (grpc.ServerStreamingClient[adminv1.ListRecordsResponse], error) {
		return adminv1.NewAuditServiceClient(conn).ListRecords(ctx, req, largeAnswers)
	}
}

// recordWriter prints records in the form that was asked for.
type recordWriter struct {
	app     *app
	output  *choice
	gather  bool // hold everything back until flush
	rows    listing
	held    []*adminv1.AuditRecord
	written int
}

func (w *recordWriter) add(records []*adminv1.AuditRecord) error {
	if w.output.value == formatJSON {
		for _, r := range records {
			if err := checkLine(r.GetLine()); err != nil {
				return &failure{what: fmt.Sprintf("printing record %d", r.GetNumber()), err: err, hint: "`signerctl audit verify` tells what is wrong with the log"}
			}
		}
	}
	w.held = append(w.held, records...)
	if w.gather {
		return nil
	}
	return w.flush()
}

func (w *recordWriter) flush() error {
	var buf bytes.Buffer
	if w.output.value == formatJSON {
		for _, r := range w.held {
			buf.Write(r.GetLine())
			buf.WriteByte('\n')
		}
	} else {
		w.rows.add(&buf, w.held)
	}
	w.written += len(w.held)
	w.held = nil
	if buf.Len() == 0 {
		return nil
	}
	return w.app.write(buf.Bytes())
}
