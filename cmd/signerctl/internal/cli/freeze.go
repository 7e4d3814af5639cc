package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

const longFreeze = `Stop all signing, now: for when something is wrong and nobody knows yet what.

Every signature and every Noon session is refused until "signerctl unfreeze", also after signerd is restarted. What was handed
out before cannot be called back. Keys and the policy can be changed meanwhile, and everything can be looked at. The reason goes
on record, and "signerctl status" shows it; callers that want a signature are not told.

Freezing what is frozen changes nothing.`

func (a *app) freezeCommand() *cobra.Command {
	var reason text
	var output *choice
	cmd := command("freeze --reason TEXT [-o text|json]", "Stop all signing, now", positional(), func(cmd *cobra.Command, _ []string) error {
		if err := checkText([]string{reason.value}); err != nil {
			return err
		}
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		resp, err := adminv1.NewSystemServiceClient(conn).Freeze(cmd.Context(), &adminv1.FreezeRequest{Reason: reason.value})
		if err != nil {
			return &failure{what: "freezing", err: err, hints: freezeHints}
		}
		return a.print(output, resp, func(w io.Writer) {
			if !resp.GetChanged() {
				_, _ = fmt.Fprintf(w, "All signing was stopped already, %s.\n", frozenBy(resp.GetFreeze()))
				return
			}
			_, _ = fmt.Fprintln(w, "All signing is stopped. It goes on with: signerctl unfreeze")
		})
	})
	cmd.Long = longFreeze
	textVar(cmd.Flags(), &reason, "reason", "why, for the record: `TEXT`")
	require(cmd, "reason")
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

// freezeHints tell what to do when a freeze is not known to be stored.
var freezeHints = map[string]string{
	"STORE_UNAVAILABLE": "signing is stopped while this signerd runs; a restart may end that. `signerctl status` tells what holds; freeze again once the store can be written",
	"AUDIT_UNAVAILABLE": "signing is stopped while this signerd runs; a restart may end that. `signerctl status` tells what holds; freeze again once records can be written",
}

func (a *app) unfreezeCommand() *cobra.Command {
	var output *choice
	cmd := command("unfreeze [-o text|json]", "Let signing go on", positional(), func(cmd *cobra.Command, _ []string) error {
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		resp, err := adminv1.NewSystemServiceClient(conn).Unfreeze(cmd.Context(), &adminv1.UnfreezeRequest{})
		if err != nil {
			return &failure{what: "unfreezing", err: err}
		}
		return a.print(output, resp, func(w io.Writer) {
			if !resp.GetChanged() {
				_, _ = fmt.Fprintln(w, "Signing was not stopped.")
				return
			}
			_, _ = fmt.Fprintf(w, "Signing goes on. It was stopped %s.\n", frozenBy(resp.GetEnded()))
		})
	})
	cmd.Long = "Let signing go on that \"signerctl freeze\" stopped.\n\nNoon sessions that were kept are handed out again; to be rid of one, disable its key and enable it."
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

// frozenBy says since when, by whom and why.
func frozenBy(f *adminv1.FreezeState) string {
	return fmt.Sprintf("since %s by %s: %s", formatTime(f.GetTime()), plain(f.GetAuthor()), plain(f.GetReason()))
}
