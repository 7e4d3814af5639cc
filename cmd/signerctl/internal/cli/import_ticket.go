package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/importticket"
)

const longTicket = `Make a ticket for one sealed import: a one-time public key, for whoever holds a key's secrets. They run "signerctl seal" with
it, and what comes of that only this signerd can open, once, and for nothing else than the ticket is for:
  --scheme S --env E             a new key, which "signerctl key import NAME --sealed FILE" makes
  --new-version                  a version of a key that there is, for "signerctl key rotate NAME --sealed FILE"
  --version N                    the API key that NOAH gave for version N, for "signerctl key activate NAME --version N --sealed FILE"
For a key that there is, --scheme and --env may be left out; given, they must be the key's.

The ticket is printed to standard output, its fingerprint to standard error. The ticket is no secret, but whoever exchanged it
on its way could read what is sealed: let the holder of the secrets compare the fingerprint with yours, on the telephone for one.

It is good until it is used, its time is over, you make another for the same, or signerd ends.`

func (a *app) importTicketCommand() *cobra.Command {
	var output *choice
	var ttl time.Duration
	var newVersion bool
	var version uint32
	scheme := &choice{allowed: []string{"noah", "noba", "noon"}}
	env := &choice{allowed: []string{"sandbox", "prod"}}
	use := "import-ticket NAME --scheme noah|noba|noon --env sandbox|prod | --new-version | --version N [--ttl 1h] [-o text|json]"
	cmd := command(use, "Make a ticket for a sealed import", positional("NAME"), func(cmd *cobra.Command, args []string) error {
		forAPIKey := cmd.Flags().Changed("version")
		switch {
		case newVersion && forAPIKey:
			return &usageError{message: "--new-version and --version exclude each other: the one is for all secrets of a version, the other for its API key"}
		case forAPIKey && version == 0:
			return &usageError{message: "--version counts from 1"}
		case !newVersion && !forAPIKey && (scheme.value == "" || env.value == ""):
			return &usageError{message: "what the ticket is for is missing: --scheme and --env for a new key, or --new-version, or --version N for an API key"}
		}
		req := &adminv1.CreateImportTicketRequest{Name: args[0], Scheme: scheme.value, Environment: environments[env.value], Version: version}
		switch {
		case newVersion:
			req.Purpose = adminv1.ImportPurpose_IMPORT_PURPOSE_NEW_VERSION
		case forAPIKey:
			req.Purpose = adminv1.ImportPurpose_IMPORT_PURPOSE_API_KEY
		default:
			req.Purpose = adminv1.ImportPurpose_IMPORT_PURPOSE_NEW_KEY
		}
		if cmd.Flags().Changed("ttl") {
			req.Ttl = durationpb.New(ttl)
		}
		return a.importTicket(cmd, req, output)
	})
	cmd.Long = longTicket
	cmd.Flags().Var(scheme, "scheme", "the partner")
	cmd.Flags().Var(env, "env", "the partner's environment")
	cmd.Flags().BoolVar(&newVersion, "new-version", false, "for a new version of a key that there is")
	cmd.Flags().Uint32Var(&version, "version", 0, "for the API key of version `N`, which waits for it")
	cmd.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long it is good for, at most 24h")
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

func (a *app) importTicket(cmd *cobra.Command, req *adminv1.CreateImportTicketRequest, output *choice) error {
	if err := a.stdout.kept("`> FILE` keeps the ticket"); err != nil {
		return err
	}
	conn, err := a.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	resp, err := adminv1.NewKeyServiceClient(conn).CreateImportTicket(cmd.Context(), req)
	what := "making an import ticket for key " + req.GetName()
	if err != nil {
		return &failure{what: what, key: req.GetName(), err: err, hints: map[string]string{
			"KEY_EXISTS":    "choose another name, or make a ticket for a version of it with --new-version",
			"KEY_NOT_FOUND": "`signerctl key list` shows the keys, `signerctl key show " + req.GetName() + "` its versions; for a new key give --scheme and --env alone",
		}}
	}
	t, err := importticket.Parse(resp.GetTicket())
	if err != nil {
		return &failure{what: what, err: err}
	}
	if output.value == formatJSON {
		return a.print(output, resp, nil)
	}
	a.tell("note", "it is for "+t.Use.String()+", until "+formatTime(resp.GetExpireTime()),
		"the ticket's fingerprint is "+t.Fingerprint(),
		"who holds the secrets runs `signerctl seal "+sealableFiles(t.Use).example()+" --ticket FILE --out SEALED`, and compares the fingerprint with you",
		"then run `signerctl "+openingCommand(t.Use)+" --sealed SEALED`")
	return a.write(resp.GetTicket())
}

// openingCommand is what opens a file that is sealed for a ticket.
func openingCommand(u importticket.Use) string {
	switch u.Purpose {
	case importticket.NewVersion:
		return "key rotate " + u.Name
	case importticket.APIKey:
		return fmt.Sprintf("key activate %s --version %d", u.Name, u.Version)
	}
	return fmt.Sprintf("key import %s --scheme %s --env %s", u.Name, u.Scheme, u.Environment)
}
