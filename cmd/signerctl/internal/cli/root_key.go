package cli

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

const longRootKeyRotate = `Seal every record of the store anew, while signerd serves: under a new data key, wrapped by the root key that the
configuration names as next_root_key, of whichever provider, or without one by the root key in use.

After it neither the old root key nor the old data keys open anything in the store. Copies of the store that were made before
still open with the old root key: keep it as long as you keep them, and make a new backup now. Once it is done, name the new
root key as root_key in the configuration, and remove next_root_key.`

func (a *app) rootKeyCommand() *cobra.Command {
	return group("root-key", "Change what wraps the store's keys", a.rootKeyRotate())
}

func (a *app) rootKeyRotate() *cobra.Command {
	var output *choice
	cmd := command("rotate [-o text|json]", "Seal the whole store anew, under another root key", positional(), func(cmd *cobra.Command, _ []string) error {
		a.patient(cmd)
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		last, err := a.rotateRootKey(cmd, conn)
		if err != nil {
			return &failure{what: "rotating the root key", err: err}
		}
		return a.print(output, last, func(w io.Writer) {
			table(w, []string{"The store is sealed anew. Its root key is " + last.GetRootKeyId() + "."})
			if warning := last.GetWarning(); warning != "" {
				table(w, []string{"It is not compacted yet: unused parts of its file may hold what the old root key opens. signerd tries again every minute."},
					[]string{"Why: " + warning})
			}
		})
	})
	cmd.Long = longRootKeyRotate + "\n\n" + longStreamTimeout
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

func (a *app) rotateRootKey(cmd *cobra.Command, conn *grpc.ClientConn) (*adminv1.RotateRootKeyResponse, error) {
	shown := a.progress()
	defer shown.end()
	var last *adminv1.RotateRootKeyResponse
	err := receive(cmd, func(ctx context.Context) (grpc.ServerStreamingClient[adminv1.RotateRootKeyResponse], error) {
		return adminv1.NewSystemServiceClient(conn).RotateRootKey(ctx, &adminv1.RotateRootKeyRequest{})
	}, func(part *adminv1.RotateRootKeyResponse) error {
		last = part
		shown.show("sealed %d of %s", part.GetDone(), quantity(part.GetTotal(), "record"))
		return nil
	})
	if err == nil && last.GetRootKeyId() == "" {
		err = errors.New("signerd ended without a result: `signerctl status` names the root key")
	}
	return last, err
}
