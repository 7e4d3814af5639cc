package cli

import (
	"strings"

	"github.com/spf13/cobra"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

const longSignNoba = `Sign one request to Noba and print its headers.

PATH is the request target as it will be sent; its query takes no part in the signature. Warnings say why Noba may
refuse the request although the signature is right.

With -o curl the output is a command for a POSIX shell, which takes the scheme and host from $NOBA_BASE_URL. It holds
the API key and the signature.`

func (a *app) signNoba() *cobra.Command {
	var body *file
	var timestamp *int64
	var output *choice
	use := "noba NAME METHOD PATH [--body FILE] [--timestamp MS] [-o headers|json|curl]"
	cmd := command(use, "Sign a request to the Noba API", positional("NAME", "METHOD", "PATH"), func(cmd *cobra.Command, args []string) error {
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		req := &signerdv1.ComputeNobaSignatureRequest{Key: args[0], Method: args[1], Path: args[2]}
		if cmd.Flags().Changed("timestamp") {
			req.TimestampMillis = timestamp
		}
		if req.Body, err = a.readBody(body); err != nil {
			return err
		}
		resp, err := signerdv1.NewSignerServiceClient(conn).ComputeNobaSignature(cmd.Context(), req)
		if err != nil {
			return &failure{what: "signing a request with key " + args[0], key: args[0], err: err}
		}
		a.tell("warning", resp.GetWarnings()...)
		return a.printSigned(output, resp, body, func() (string, error) {
			return curlRequest{
				method:  strings.ToUpper(req.GetMethod()),
				url:     `"$NOBA_BASE_URL"` + shellQuote(req.GetPath()),
				headers: resp.GetHeaders(),
				body:    body,
			}.command(), nil
		})
	})
	cmd.Long = longSignNoba
	body = bodyFlag(cmd)
	timestamp = cmd.Flags().Int64("timestamp", 0, "the time in `MS`, milliseconds since the epoch; 0 is for testing in the sandbox (default: now)")
	output = outputFlag(cmd, formatHeaders, formatJSON, formatCurl)
	return cmd
}
