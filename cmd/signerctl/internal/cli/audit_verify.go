package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/grpc"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/checkpoint"
)

// maxVerifierKeyBytes bounds the file of a verifier key: its name and 60 characters.
const maxVerifierKeyBytes = 4 << 10

const longAuditVerify = `Let signerd recompute its whole log, and say whether it is good, or what is the first fault. The exit status is 1 with a
fault.

--since FILE gives a checkpoint that was kept elsewhere: signerctl then checks itself, by the consistency proof of RFC 6962,
that the log of now has grown from it, and so that nothing before it was changed. --verifier-key FILE is the key that both
checkpoints must be signed with; without it the one that signerd gives counts, and signerd vouches for itself.

--save FILE keeps the new checkpoint when all is good. What is in FILE already is replaced only when it is what --since
gave, so that no checkpoint is lost that the log was not held to. For a daily job, after a first run without --since:
  signerctl audit verify --verifier-key log.pub --since last --save last

` + longStreamTimeout

// verifying is what the command line of verify says, and what its files hold.
type verifying struct {
	since, key, save file

	sinceText []byte
	verifier  note.Verifier // nil without --verifier-key
}

// verdict is what came of verifying.
type verdict struct {
	Good        bool           `json:"good"`
	Records     uint64         `json:"records"`
	Root        string         `json:"root"`
	FaultKind   string         `json:"fault_kind"`
	FaultNumber uint64         `json:"fault_number"`
	Fault       string         `json:"fault"`
	FirstKept   uint64         `json:"first_kept"`
	Missing     []missingRange `json:"acknowledged"`
	// GrownFrom is the number of records at --since; absent without it.
	GrownFrom   *uint64 `json:"grown_from,omitempty"`
	Checkpoint  string  `json:"checkpoint"`
	VerifierKey string  `json:"verifier_key"`

	result *adminv1.VerifyLogResult
}

type missingRange struct {
	First uint64 `json:"first"`
	End   uint64 `json:"end"`
}

func (a *app) auditVerify() *cobra.Command {
	var v verifying
	var output *choice
	use := "verify [--since FILE] [--verifier-key FILE] [--save FILE] [-o text|json]"
	cmd := command(use, "Recompute the whole log, and check what it has grown from", positional(), func(cmd *cobra.Command, _ []string) error {
		if v.save.isStdin() {
			return &usageError{message: "--save wants the name of a file", hint: "`signerctl audit checkpoint` prints one"}
		}
		a.patient(cmd)
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := v.read(a); err != nil {
			return err
		}
		return a.verifyLog(cmd, conn, &v, output)
	})
	cmd.Long = longAuditVerify
	fileVar(cmd.Flags(), &v.since, "since", "a checkpoint that was kept, which the log must have grown from")
	fileVar(cmd.Flags(), &v.key, "verifier-key", "the key that checkpoints must be signed with")
	fileVar(cmd.Flags(), &v.save, "save", "where to keep the new checkpoint")
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

const whatVerify = "verifying the log"

// read finds everything that can be wrong before the log is read for minutes.
func (v *verifying) read(a *app) error {
	if v.key.given() {
		content, err := a.read(&v.key, maxVerifierKeyBytes)
		if err != nil {
			return err
		}
		if v.verifier, err = newVerifier(strings.TrimSpace(string(content))); err != nil {
			return &failure{what: "reading --verifier-key", err: err}
		}
	}
	if v.since.given() {
		content, err := a.read(&v.since, checkpoint.MaxBytes)
		if f, ok := errors.AsType[*failure](err); ok {
			f.hint = "a first run has none: `signerctl audit verify --save FILE`; but if there was one, ask who took it away"
			return f
		}
		if err != nil {
			return err
		}
		v.sinceText = content
		if v.verifier != nil {
			if _, err := checkpoint.Open(content, v.verifier); err != nil {
				return &failure{what: "reading --since", err: err}
			}
		}
	}
	return v.checkSave()
}

func (a *app) verifyLog(cmd *cobra.Command, conn *grpc.ClientConn, v *verifying, output *choice) error {
	result, err := a.recompute(cmd, conn, v.sinceText)
	if err != nil {
		return auditFailure(whatVerify, err)
	}
	said := &verdict{Good: result.GetGood() && result.GetFault() == "" && result.GetFaultKind() == "", FaultKind: result.GetFaultKind(),
		FaultNumber: result.GetFaultNumber(), Fault: result.GetFault(), FirstKept: result.GetFirstKept(), Missing: []missingRange{},
		Checkpoint: string(result.GetCheckpoint()), VerifierKey: result.GetVerifierKey(), result: result}
	for _, r := range result.GetAcknowledged() {
		said.Missing = append(said.Missing, missingRange{r.GetFirst(), r.GetEnd()})
	}
	if said.Good {
		if err := a.holdToCheckpoints(v, said); err != nil {
			return &failure{what: whatVerify, err: err}
		}
	}
	// Kept before it is told: a reader that goes away must not cost the checkpoint.
	if said.Good && v.save.given() {
		if err := v.saveCheckpoint(result.GetCheckpoint()); err != nil {
			return err
		}
	}
	if output.value == formatJSON {
		err = a.printJSON(said)
	} else {
		var text strings.Builder
		said.write(&text)
		err = a.write([]byte(text.String()))
	}
	if err != nil || said.Good {
		return err
	}
	return &failure{what: whatVerify, err: errors.New("the log is not good"), hint: faultHint(said.FaultKind)}
}

func faultHint(kind string) string {
	if kind == "missing" {
		return "look for the files, in backups too; if they are gone for good, `signerctl audit acknowledge` lets signing go on"
	}
	return "keep the log as it is, with all checkpoints, and find out who could write it"
}

// recompute gives signerd's own verdict.
func (a *app) recompute(cmd *cobra.Command, conn *grpc.ClientConn, since []byte) (*adminv1.VerifyLogResult, error) {
	shown := a.progress()
	defer shown.end()
	var result *adminv1.VerifyLogResult
	err := receive(cmd, func(ctx context.Context) (grpc.ServerStreamingClient[adminv1.VerifyLogResponse], error) {
		return adminv1.NewAuditServiceClient(conn).VerifyLog(ctx, &adminv1.VerifyLogRequest{Checkpoint: since}, largeAnswers)
	}, func(part *adminv1.VerifyLogResponse) error {
		if result != nil {
			return errors.New("signerd went on after its result")
		}
		result = part.GetResult()
		shown.show("verified %d of %s", part.GetDone(), quantity(part.GetTotal(), "record"))
		return nil
	})
	if err == nil && result == nil {
		err = errors.New("signerd ended without a result")
	}
	return result, err
}

// holdToCheckpoints takes nobody's word for what can be checked here: that the key signed both checkpoints, and that the new
// one has grown from the old one. A fault of the log goes into the verdict, all else is an error.
func (a *app) holdToCheckpoints(v *verifying, said *verdict) error {
	now, err := openCheckpoint(said.result.GetCheckpoint(), said.result.GetVerifierKey())
	if err != nil {
		return err
	}
	verifier := v.verifier
	if verifier == nil {
		if verifier, err = newVerifier(said.VerifierKey); err != nil {
			return err
		}
	} else if _, err := checkpoint.Open(said.result.GetCheckpoint(), verifier); err != nil {
		return errors.New("signerd's checkpoint is not signed by the key of --verifier-key: it is another log, or another key signs it now")
	}
	said.Records, said.Root = uint64(now.Tree.N), now.Tree.Hash.String()
	if !v.since.given() {
		return nil
	}
	then, err := checkpoint.Open(v.sinceText, verifier)
	if err != nil {
		return fmt.Errorf("--since: %w", err)
	}
	if v.verifier == nil {
		a.tell("note", "both checkpoints are checked by the key that signerd gives now, and so it vouches for itself: --verifier-key gives one that was kept")
	}
	if err := grown(then.Tree, now.Tree, said.result.GetConsistencyProof()); err != nil {
		said.Good, said.FaultKind, said.Fault = false, "rewritten", err.Error()
		return nil
	}
	n := uint64(then.Tree.N)
	said.GrownFrom = &n
	return nil
}

// grown checks a consistency proof.
func grown(then, now tlog.Tree, given [][]byte) error {
	if then.N > now.N {
		return fmt.Errorf("the log has %s, and had %d at the checkpoint of --since", quantity(uint64(now.N), "record"), then.N)
	}
	if then.N == 0 {
		// Every log has grown from nothing.
		return nil
	}
	proof, err := treeHashes(given)
	if err != nil || tlog.CheckTree(proof, now.N, now.Hash, then.N, then.Hash) != nil {
		return fmt.Errorf("signerd cannot prove that the log has grown from the %s at the checkpoint of --since", quantity(uint64(then.N), "record"))
	}
	return nil
}

// write says the verdict to people.
func (d *verdict) write(w io.Writer) {
	if !d.Good {
		where := fmt.Sprintf("record %d: ", d.FaultNumber)
		if d.result.GetGood() {
			// The proof says that something before the checkpoint is different, and not what.
			where = ""
		}
		_, _ = fmt.Fprintln(w, plain(where+strings.TrimPrefix(d.FaultKind+": "+d.Fault, ": ")))
		return
	}
	_, _ = fmt.Fprintf(w, "good: %s, root %s\n", quantity(d.Records, "record"), d.Root)
	if d.GrownFrom != nil {
		_, _ = fmt.Fprintf(w, "It has grown from the %s at the checkpoint of --since.\n", quantity(*d.GrownFrom, "record"))
	}
	if d.FirstKept > 0 {
		_, _ = fmt.Fprintf(w, "Those before record %d were deleted by retention.\n", d.FirstKept)
	}
	if n := d.result.GetUnknownHashes(); n > 0 {
		_, _ = fmt.Fprintf(w, "%d stored hashes are not known any more: what needs them cannot be proven.\n", n)
	}
	if len(d.Missing) > 0 {
		_, _ = fmt.Fprintf(w, "Missing, and acknowledged: %s.\n", enumerate(rangeNames(d.result.GetAcknowledged())))
	}
}
