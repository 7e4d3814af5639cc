package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

const longDestroy = `Schedule the destruction of a version's material.

From now on the version cannot sign. Until the time is over "signerctl key restore" takes it back; then signerd destroys the
material by itself, in its store's file too. Backups made before still hold it.

The active version needs --confirm with what the refusal of the first attempt says. It is good for that very request alone.`

func (a *app) keyDestroy() *cobra.Command {
	var version *uint32
	var generation *uint64
	var after *time.Duration
	var confirm *string
	var output *choice
	use := "destroy NAME --version N [--after 168h] [--confirm TEXT] [--generation N]"
	cmd := command(use, "Schedule the destruction of a version", positional("NAME"), func(cmd *cobra.Command, args []string) error {
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		resp, err := adminv1.NewKeyServiceClient(conn).DestroyKeyVersion(cmd.Context(), &adminv1.DestroyKeyVersionRequest{
			Name: args[0], Version: *version, Generation: *generation, After: durationpb.New(*after), Confirm: *confirm})
		if err != nil {
			return unconfirmed(&failure{what: fmt.Sprintf("scheduling the destruction of version %d of key %s", *version, args[0]), key: args[0], err: err}, *version, *after)
		}
		if resp.GetKey().GetActiveVersion() == *version {
			a.tell("note", "it is the active version: requests are refused until another is activated")
		}
		return a.print(output, resp, func(w io.Writer) {
			_, _ = fmt.Fprintf(w, "Version %[1]d of key %[2]s no longer signs, and is destroyed at %[3]s (generation %[4]d).\nUntil then `signerctl key restore %[2]s --version %[1]d` takes it back.\n",
				*version, args[0], formatTime(findVersion(resp.GetKey(), *version).GetDestroyTime()), resp.GetKey().GetGeneration())
		})
	})
	cmd.Long = longDestroy
	version = cmd.Flags().Uint32("version", 0, "version `N`")
	require(cmd, "version")
	after = cmd.Flags().Duration("after", 7*24*time.Hour, "how long it can be restored: at least 24h for a prod key, 1m for a sandbox key")
	confirm = cmd.Flags().String("confirm", "", "for the active version: the `TEXT` that the refusal without it says")
	generation = generationFlag(cmd)
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

// unconfirmed adds what to type where signerd wants a confirmation.
func unconfirmed(f *failure, version uint32, after time.Duration) error {
	call, ok := errors.AsType[*callError](f.err)
	if !ok {
		return f
	}
	for _, detail := range call.status.Details() {
		bad, ok := detail.(*errdetails.BadRequest)
		if !ok {
			continue
		}
		for _, v := range bad.GetFieldViolations() {
			words := strings.Fields(v.GetDescription())
			if v.GetField() == "confirm" && len(words) > 0 && strings.HasPrefix(words[len(words)-1], f.key+"/") {
				f.hints = map[string]string{"INVALID_REQUEST": fmt.Sprintf("if you are sure: `signerctl key destroy %s --version %d --after %s --confirm %s`",
					f.key, version, after, words[len(words)-1])}
			}
		}
	}
	return f
}

func (a *app) keyRestore() *cobra.Command {
	var version *uint32
	var generation *uint64
	var output *choice
	cmd := command("restore NAME --version N [--generation N]", "Take back the scheduled destruction of a version", positional("NAME"), func(cmd *cobra.Command, args []string) error {
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		resp, err := adminv1.NewKeyServiceClient(conn).RestoreKeyVersion(cmd.Context(), &adminv1.RestoreKeyVersionRequest{Name: args[0], Version: *version, Generation: *generation})
		if err != nil {
			return &failure{what: fmt.Sprintf("restoring version %d of key %s", *version, args[0]), key: args[0], err: err}
		}
		state := findVersion(resp.GetKey(), *version).GetState()
		if state == adminv1.KeyVersionState_KEY_VERSION_STATE_DISABLED {
			a.tell("note", fmt.Sprintf("`signerctl key enable %s --version %d` lets it sign again", args[0], *version))
		}
		return a.print(output, resp, func(w io.Writer) {
			_, _ = fmt.Fprintf(w, "Version %d of key %s stays, and is %s (generation %d).\n", *version, args[0], stateName(state), resp.GetKey().GetGeneration())
		})
	})
	version = cmd.Flags().Uint32("version", 0, "version `N`")
	require(cmd, "version")
	generation = generationFlag(cmd)
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

// versionState is a version's state, and the times at which it is to be destroyed and expires.
func versionState(v *adminv1.KeyVersion) string {
	state := stateName(v.GetState())
	if v.GetState() == adminv1.KeyVersionState_KEY_VERSION_STATE_DESTROYED {
		return state + " " + formatTime(v.GetDestroyTime())
	}
	if v.GetDestroyTime() != nil {
		state += ", destroyed at " + formatTime(v.GetDestroyTime())
	}
	if v.GetExpireTime() != nil {
		state += ", expires at " + formatTime(v.GetExpireTime())
	}
	return state
}

// nextDestruction is the first time at which something of a key is to be destroyed, "" for none.
func nextDestruction(k *adminv1.Key) string {
	var next *adminv1.KeyVersion
	for _, v := range k.GetVersions() {
		scheduled := v.GetDestroyTime() != nil && v.GetState() != adminv1.KeyVersionState_KEY_VERSION_STATE_DESTROYED
		if scheduled && (next == nil || v.GetDestroyTime().AsTime().Before(next.GetDestroyTime().AsTime())) {
			next = v
		}
	}
	if next == nil {
		return ""
	}
	return fmt.Sprintf(" (%d destroyed at %s)", next.GetNumber(), formatTime(next.GetDestroyTime()))
}
