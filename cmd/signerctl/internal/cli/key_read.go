package cli

import (
	"io"

	"github.com/spf13/cobra"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

func (a *app) keyList() *cobra.Command {
	var output *choice
	cmd := command("list", "List the keys you may see", positional(), func(cmd *cobra.Command, _ []string) error {
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		client := adminv1.NewKeyServiceClient(conn)
		// One answer made of all pages.
		all := &adminv1.ListKeysResponse{}
		req := &adminv1.ListKeysRequest{}
		for {
			page, err := client.ListKeys(cmd.Context(), req)
			if err != nil {
				return &failure{what: "listing the keys", err: err}
			}
			all.Keys = append(all.Keys, page.GetKeys()...)
			if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
				break
			}
		}
		if len(all.GetKeys()) == 0 && output.value == formatText {
			a.tell("note", "there is no key that you may see")
			return nil
		}
		return a.print(output, all, func(w io.Writer) { writeKeys(w, all.GetKeys()) })
	})
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

func (a *app) keyShow() *cobra.Command {
	var output *choice
	cmd := command("show NAME", "Show a key and its versions", positional("NAME"), func(cmd *cobra.Command, args []string) error {
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		resp, err := adminv1.NewKeyServiceClient(conn).GetKey(cmd.Context(), &adminv1.GetKeyRequest{Name: args[0]})
		if err != nil {
			return &failure{what: "showing key " + args[0], key: args[0], err: err}
		}
		return a.print(output, resp, func(w io.Writer) { writeKey(w, resp.GetKey(), resp.GetUsesKnownSince()) })
	})
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

func (a *app) keyPublic() *cobra.Command {
	var version *uint32
	var output *choice
	format := &choice{value: "pem", allowed: []string{"pem", "jwk"}}
	cmd := command("public NAME [--version N] [--format pem|jwk]", "Print a version's public key", positional("NAME"), func(cmd *cobra.Command, args []string) error {
		if output.value == formatJSON && cmd.Flags().Changed("format") {
			return &usageError{message: "--format does not go with -o json, which holds both"}
		}
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		resp, err := adminv1.NewKeyServiceClient(conn).GetPublicKey(cmd.Context(), &adminv1.GetPublicKeyRequest{Name: args[0], Version: *version})
		if err != nil {
			return &failure{what: "getting the public key of " + args[0], key: args[0], err: err}
		}
		return a.print(output, resp, func(w io.Writer) {
			text := resp.GetPem()
			if format.value == "jwk" {
				text = resp.GetJwk()
			}
			_, _ = io.WriteString(w, withLineEnd(text))
		})
	})
	version = cmd.Flags().Uint32("version", 0, "version `N` (default: the active one, or the newest where none is active)")
	cmd.Flags().Var(format, "format", "pem, which the partner's dashboard takes, or a JSON Web Key")
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}
