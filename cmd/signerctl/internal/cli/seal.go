package cli

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/signerd/signerd/internal/durable"
	"github.com/signerd/signerd/internal/importticket"
)

const longSeal = `Seal the secrets of a key for the signerd that made the ticket. It needs no signerd, and runs on the machine where the secrets are.
FILES are those of "signerctl key import"; all that belong to the key go into one sealed file:
  noah  --private-key FILE [--api-key FILE]; --api-key FILE alone for a ticket for an API key
  noba  --api-key FILE --secret FILE
  noon  --credentials FILE [--user-agent UA] [--base-url URL]

Before you pass on what is sealed, compare the fingerprint with the one that "signerctl import-ticket" printed, over another
channel than the one the ticket came by: a ticket that was exchanged on its way is somebody else's.

Whoever carries the sealed file can neither read nor change it. It opens once, by --sealed of "signerctl key import" for a new key, of
"key rotate" for a new version, and of "key activate" for an API key.`

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
	if !out.given() {
		if err := a.stdout.kept("--out FILE keeps what is sealed"); err != nil {
			return err
		}
	}
	content, err := a.read(ticket, importticket.MaxTicketBytes)
	if err != nil {
		return err
	}
	t, err := importticket.Parse(content)
	if err != nil {
		return &failure{what: "reading --ticket", err: err, hint: "`signerctl import-ticket` prints one: take it whole, from -----BEGIN to -----END, and nothing else"}
	}
	if problem := sealableFiles(t.Use).problem(files); problem != "" {
		return &failure{what: "sealing", err: errors.New("the ticket is for " + t.Use.String() + ": " + problem)}
	}
	material, err := files.read(a)
	if err != nil {
		return err
	}
	defer importticket.Wipe(material)
	sealed, err := importticket.Seal(t, material)
	if err != nil {
		f := &failure{what: "sealing", err: err}
		if errors.Is(err, importticket.ErrNotAllowed) {
			f.hint = "this signerctl runs in FIPS 140-3 mode `only`: seal with one that does not"
		}
		return f
	}
	a.tell("note", "sealed for "+t.Use.String()+", until "+formatTime(timestamppb.New(t.Expires)),
		"the ticket's fingerprint is "+t.Fingerprint()+": pass nothing on unless import-ticket printed the same")
	if !time.Now().Before(t.Expires) {
		a.tell("warning", "by this machine's clock the ticket's time is over: signerd will then refuse what is sealed")
	}
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

// sealable are the files that a use needs, and those that it may have besides.
type sealable struct{ needs, may []string }

var (
	apiKeyFile = sealable{needs: []string{"--api-key"}}
	schemeFile = map[string]sealable{
		"noah": {[]string{"--private-key"}, []string{"--api-key"}},
		"noba": {[]string{"--api-key", "--secret"}, nil},
		"noon": {[]string{"--credentials"}, []string{"--user-agent", "--base-url"}},
	}
)

// sealableFiles needs nothing for a partner of a later signerd.
func sealableFiles(u importticket.Use) sealable {
	if u.Purpose == importticket.APIKey {
		return apiKeyFile
	}
	return schemeFile[u.Scheme]
}

// problem says what is wrong with the files that are given, before they are sealed and the ticket is used up in vain.
func (s sealable) problem(m *materialFlags) string {
	if s.needs == nil {
		return ""
	}
	given := m.flags()
	missing := slices.DeleteFunc(slices.Clone(s.needs), func(name string) bool { return slices.Contains(given, name) })
	odd := slices.DeleteFunc(given, func(name string) bool { return slices.Contains(s.needs, name) || slices.Contains(s.may, name) })
	switch {
	case len(missing) > 0:
		return "it also needs " + strings.Join(missing, " and ")
	case len(odd) > 0:
		return "there is no use for " + strings.Join(odd, " and ")
	}
	return ""
}

func (s sealable) example() string {
	var out []string
	for _, name := range s.needs {
		out = append(out, name+" FILE")
	}
	return strings.Join(out, " ")
}
