package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

const longSignNoah = `Sign one request to NOAH and print its headers.

PATH is the request target as it will be sent, and may carry ?query: its values are then signed as strings. Typed
values are given by --query instead, not beside:
  --query Sort=ASC      the string "ASC"
  --query PageSize:=20  the number 20
  --query T=a --query T=b, or --query 'T:=["a","b"]'  a list

With -o curl the output is a command for a POSIX shell. It holds the API key and the signature.`

func (a *app) signNoah() *cobra.Command {
	var queryArgs *[]string
	var body *file
	var ttl *time.Duration
	var output *choice
	use := "noah NAME METHOD PATH [--query K=V|K:=JSON ...] [--body FILE] [--ttl 5m] [-o headers|json|curl]"
	cmd := command(use, "Sign a request to the NOAH Business API", positional("NAME", "METHOD", "PATH"), func(cmd *cobra.Command, args []string) error {
		query, err := parseQuery(*queryArgs)
		if err != nil {
			return err
		}
		req := &signerdv1.SignNoahRequestRequest{Key: args[0], Method: args[1], Path: args[2]}
		if req.QueryParams, err = query.toStruct(); err != nil {
			return &usageError{message: "--query: " + err.Error()}
		}
		if cmd.Flags().Changed("ttl") {
			req.Ttl = durationpb.New(*ttl)
		}
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		content, err := a.readBody(body)
		if err != nil {
			return err
		}
		if len(content) > 0 {
			req.Content = &signerdv1.SignNoahRequestRequest_Body{Body: content}
		}
		resp, err := signerdv1.NewSignerServiceClient(conn).SignNoahRequest(cmd.Context(), req)
		if err != nil {
			return &failure{what: "signing a request with key " + args[0], key: args[0], err: err}
		}
		return a.printSigned(output, resp, body, func() (string, error) { return noahCurl(req, query, resp, body) })
	})
	cmd.Long = longSignNoah
	queryArgs = cmd.Flags().StringArray("query", nil, "a query parameter, `K=V` or K:=JSON; repeatable")
	body = bodyFlag(cmd)
	ttl = cmd.Flags().Duration("ttl", 5*time.Minute, "how long the signature is good for, up to 15m")
	output = outputFlag(cmd, formatHeaders, formatJSON, formatCurl)
	return cmd
}

func noahCurl(req *signerdv1.SignNoahRequestRequest, q query, resp *signerdv1.SignNoahRequestResponse, body *file) (string, error) {
	host, err := noahHost(resp.GetHeaders()["X-Api-Key"])
	if err != nil {
		return "", err
	}
	target := req.GetPath()
	if len(q) > 0 {
		encoded, err := q.encode()
		if err != nil {
			return "", err
		}
		// A bare "?" at the end is no query.
		target = strings.TrimSuffix(target, "?") + "?" + encoded
	}
	return curlRequest{
		method:  strings.ToUpper(req.GetMethod()),
		url:     shellQuote(host + target),
		headers: resp.GetHeaders(),
		body:    body,
	}.command(), nil
}
