package cli

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

// noonWhoami is what of Noon's gateway tells whether it accepts a session.
const noonWhoami = "/identity/v1/whoami"

// noonTimeout stands in for --timeout's default: signerd may have to ask whoami and log in, for 15 seconds each.
const noonTimeout = 35 * time.Second

const longSessionNoon = `Print the headers that every request to Noon's gateway needs. signerd logs in when it has no good session; any number
of callers share one.

If the gateway answers 401, pass the session's id back with --rejected (-o json shows it as session_id): signerd logs in
again if whoami no longer accepts that session either. As signerd may have to wait for the gateway, --timeout is 35s
here unless it is given.

The output is as good as the account itself until the session ends, and may go to the key's gateway alone. With -o curl
it is a command for a POSIX shell that asks the gateway who the session belongs to.`

func (a *app) sessionCommand() *cobra.Command {
	return group("session", "Get a session with a partner", a.sessionNoon())
}

func (a *app) sessionNoon() *cobra.Command {
	var rejected text
	var output *choice
	use := "noon NAME [--rejected ID] [-o headers|json|curl]"
	cmd := command(use, "Get the session of a Noon service account", positional("NAME"), func(cmd *cobra.Command, args []string) error {
		if err := checkText([]string{rejected.value}); err != nil {
			return err
		}
		if !cmd.Flags().Changed("timeout") {
			a.timeout = noonTimeout
		}
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		resp, err := signerdv1.NewSignerServiceClient(conn).GetNoonSession(cmd.Context(), &signerdv1.GetNoonSessionRequest{
			Key: args[0], RejectedSessionId: rejected.value,
		})
		if err != nil {
			return &failure{what: "getting the session of key " + args[0], key: args[0], err: err}
		}
		return a.printSigned(output, resp, new(file), func() (string, error) { return noonCurl(resp) })
	})
	cmd.Long = longSessionNoon
	textVar(cmd.Flags(), &rejected, "rejected", "the `ID` of a session that the gateway answered with 401")
	output = outputFlag(cmd, formatHeaders, formatJSON, formatCurl)
	return cmd
}

// noonCurl asks whoami, which changes nothing.
func noonCurl(resp *signerdv1.GetNoonSessionResponse) (string, error) {
	base := strings.TrimRight(resp.GetBaseUrl(), "/")
	if !strings.HasPrefix(base, "https://") && !strings.HasPrefix(base, "http://") {
		return "", errors.New("signerd did not say where the gateway is; use -o headers")
	}
	words := []string{"curl"}
	for _, name := range slices.Sorted(maps.Keys(resp.GetHeaders())) {
		words = append(words, "--header", shellQuote(name+": "+resp.GetHeaders()[name]))
	}
	return strings.Join(append(words, shellQuote(base+noonWhoami)), " ") + "\n", nil
}
