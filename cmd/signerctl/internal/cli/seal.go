package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/durable"
	"github.com/signerd/signerd/internal/importticket"
)

const longTicket = `Make a ticket for the sealed import of one key: a one-time public key, for whoever holds the key's secrets. They run
"signerctl seal" with it, and what comes of that only this signerd can open, once, as a key of this name, scheme and environment.

The ticket is printed to standard output, its fingerprint to standard error. The ticket is no secret, but whoever exchanged it
on its way could read what is sealed: let the holder of the secrets compare the fingerprint with yours, on the telephone for one.

It is good until it is used, its time is over, or signerd ends.`

func (a *app) importTicketCommand() *cobra.Command {
	var env, output *choice
	var ttl time.Duration
	scheme := &choice{allowed: []string{"noah", "noba", "noon"}}
	use := "import-ticket NAME --scheme noah|noba|noon --env sandbox|prod [--ttl 1h] [-o text|json]"
	cmd := command(use, "Make a ticket for a sealed import", positional("NAME"), func(cmd *cobra.Command, args []string) error {
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		req := &adminv1.CreateImportTicketRequest{Name: args[0], Scheme: scheme.value, Environment: environments[env.value]}
		if cmd.Flags().Changed("ttl") {
			req.Ttl = durationpb.New(ttl)
		}
		resp, err := adminv1.NewKeyServiceClient(conn).CreateImportTicket(cmd.Context(), req)
		what := "making an import ticket for key " + args[0]
		if err != nil {
			return &failure{what: what, key: args[0], err: err}
		}
		t, err := importticket.Parse(resp.GetTicket())
		if err != nil {
			return &failure{what: what, err: err}
		}
		if output.value == formatJSON {
			return a.print(output, resp, nil)
		}
		a.tell("note", "the ticket's fingerprint is "+t.Fingerprint(), "it is good until "+formatTime(resp.GetExpireTime()))
		return a.write(resp.GetTicket())
	})
	cmd.Long = longTicket
	cmd.Flags().Var(scheme, "scheme", "the partner")
	require(cmd, "scheme")
	env = environmentFlag(cmd)
	cmd.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long it is good for, at most 24h")
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

const longSeal = `Seal the secrets of a key for the signerd that made the ticket. It needs no signerd, and runs on the machine where the secrets are.
FILES are those of "signerctl key import"; all that belong to the key go into one sealed file:
  noah  --private-key FILE --api-key FILE
  noba  --api-key FILE --secret FILE
  noon  --credentials FILE [--user-agent UA] [--base-url URL]

Before you pass on what is sealed, compare the fingerprint with the one that "signerctl import-ticket" printed, over another
channel than the one the ticket came by: a ticket that was exchanged on its way is somebody else's.

Whoever carries the sealed file can neither read nor change it. "signerctl key import NAME --sealed FILE" opens it, once.`

func (a *app) sealCommand() *cobra.Command {
	var files materialFlags
	var ticket file
	var out text
	use := "seal FILES --ticket FILE [--out FILE]"
	cmd := command(use, "Seal a key's secrets for one signerd", positional(), func(*cobra.Command, []string) error {
		if !files.given() {
			return &usageError{message: "what the partner handed out is missing: --private-key and --api-key for noah, --api-key and --secret for noba, --credentials for noon"}
		}
		if err := files.checkCompanions(); err != nil {
			return err
		}
		return a.seal(&files, &ticket, out)
	})
	cmd.Long = longSeal
	files.register(cmd)
	fileVar(cmd.Flags(), &ticket, "ticket", "the ticket that \"signerctl import-ticket\" printed")
	require(cmd, "ticket")
	textVar(cmd.Flags(), &out, "out", "a new `FILE` for what is sealed (default: standard output)")
	return cmd
}

func (a *app) seal(files *materialFlags, ticket *file, out text) error {
	content, err := a.read(ticket, importticket.MaxTicketBytes)
	if err != nil {
		return err
	}
	t, err := importticket.Parse(content)
	if err != nil {
		return &failure{what: "reading --ticket", err: err, hint: "`signerctl import-ticket` prints one"}
	}
	if names := files.noonOnly(); len(names) > 0 && t.Scheme != "noon" {
		return &failure{what: "sealing", err: fmt.Errorf("the ticket is for a key of %s", plain(t.Scheme)), hint: names[0] + " is for noon alone"}
	}
	material, err := files.read(a)
	if err != nil {
		return err
	}
	defer importticket.Wipe(material)
	sealed, err := importticket.Seal(t, material)
	if err != nil {
		return &failure{what: "sealing", err: err}
	}
	a.tell("note", fmt.Sprintf("sealed for key %s (%s, %s), until %s", plain(t.Name), plain(t.Scheme), plain(t.Environment), t.Expires.Local().Format(time.RFC3339)),
		"the ticket's fingerprint is "+t.Fingerprint()+": pass nothing on unless import-ticket printed the same")
	if !out.given() {
		return a.write(sealed)
	}
	if err := durable.CreateFile(out.value, sealed, 0o600); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = errors.New("the file exists")
		}
		return &failure{what: "writing --out", err: err}
	}
	return nil
}
