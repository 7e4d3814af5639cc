package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/checkpoint"
)

const longAuditCheckpoint = `Print a checkpoint of now: a signed note in the format of C2SP's tlog-checkpoint, for witnesses and monitors, or for a file.
Kept where nobody who can write signerd's log can write it too, it shows later whether the log was changed
("signerctl audit verify --since FILE").`

const longAuditKey = `Print the key that checkpoints are checked with, as C2SP's signed-note has it. Take it once, from a signerd that you trust,
and keep it apart: "signerctl audit verify --verifier-key FILE" then takes nobody else's word.`

const longAuditAcknowledge = `Put on record that records are missing, and why, and let signing go on. Nothing can bring them back, and nothing is deleted:
"signerctl audit verify" says from then on what is missing and was acknowledged.`

// errUnchecked is about what signerd itself gave.
var errUnchecked = errors.New("signerd's checkpoint is not one that its verifier key signed")

// openCheckpoint checks a checkpoint that signerd gave.
func openCheckpoint(signed []byte, verifierKey string) (checkpoint.Checkpoint, error) {
	verifier, err := newVerifier(verifierKey)
	if err != nil {
		return checkpoint.Checkpoint{}, fmt.Errorf("signerd's verifier key: %w", err)
	}
	c, err := checkpoint.Open(signed, verifier)
	if err != nil {
		return c, errUnchecked
	}
	for line := range strings.Lines(string(signed)) {
		// Signatures of others may hold what steers a terminal.
		if line = strings.TrimSuffix(line, "\n"); plain(line) != line {
			return c, errors.New("signerd's checkpoint has characters that cannot be printed")
		}
	}
	return c, nil
}

func newVerifier(key string) (note.Verifier, error) {
	verifier, err := note.NewVerifier(key)
	if err != nil || plain(key) != key {
		return nil, errors.New("it is no verifier key, NAME+HASH+KEY; `signerctl audit key` prints signerd's")
	}
	return verifier, nil
}

func (a *app) getCheckpoint(cmd *cobra.Command) (*adminv1.GetCheckpointResponse, error) {
	conn, err := a.dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	const what = "getting a checkpoint"
	resp, err := adminv1.NewAuditServiceClient(conn).GetCheckpoint(cmd.Context(), &adminv1.GetCheckpointRequest{})
	if err != nil {
		return nil, &failure{what: what, err: err}
	}
	if _, err := openCheckpoint(resp.GetCheckpoint(), resp.GetVerifierKey()); err != nil {
		return nil, &failure{what: what, err: err}
	}
	return resp, nil
}

func (a *app) auditCheckpoint() *cobra.Command {
	var output *choice
	cmd := command("checkpoint [-o text|json]", "Print a signed checkpoint of now", positional(), func(cmd *cobra.Command, _ []string) error {
		resp, err := a.getCheckpoint(cmd)
		if err != nil {
			return err
		}
		if output.value == formatText {
			return a.write(resp.GetCheckpoint())
		}
		return a.printJSON(struct {
			Checkpoint  string `json:"checkpoint"`
			VerifierKey string `json:"verifier_key"`
		}{string(resp.GetCheckpoint()), resp.GetVerifierKey()})
	})
	cmd.Long = longAuditCheckpoint
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

// printJSON is print for answers that are no message.
func (a *app) printJSON(v any) error {
	b, err := indentedJSON(v)
	if err != nil {
		return &failure{what: "writing the output", err: err}
	}
	return a.write(b)
}

func (a *app) auditKey() *cobra.Command {
	var output *choice
	cmd := command("key [-o text|json]", "Print the key that checkpoints are checked with", positional(), func(cmd *cobra.Command, _ []string) error {
		resp, err := a.getCheckpoint(cmd)
		if err != nil {
			return err
		}
		if output.value == formatText {
			return a.write([]byte(resp.GetVerifierKey() + "\n"))
		}
		return a.printJSON(struct {
			VerifierKey string `json:"verifier_key"`
		}{resp.GetVerifierKey()})
	})
	cmd.Long = longAuditKey
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

func (a *app) auditAcknowledge() *cobra.Command {
	var words text
	var output *choice
	cmd := command("acknowledge --note TEXT", "Put on record that records are missing", positional(), func(cmd *cobra.Command, _ []string) error {
		if err := checkText([]string{words.value}); err != nil {
			return err
		}
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		resp, err := adminv1.NewAuditServiceClient(conn).AcknowledgeLoss(cmd.Context(), &adminv1.AcknowledgeLossRequest{Note: words.value})
		if err != nil {
			return &failure{what: "acknowledging a loss", err: err}
		}
		return a.print(output, resp, func(w io.Writer) {
			_, _ = fmt.Fprintf(w, "Missing: %s.\nThat is acknowledged and on record.\n", enumerate(rangeNames(resp.GetMissing())))
		})
	})
	cmd.Long = longAuditAcknowledge
	textVar(cmd.Flags(), &words, "note", "what happened, for the record: `TEXT`")
	require(cmd, "note")
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}
