package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/importticket"
)

// materialFlags name the files of what a partner handed out, and what goes with them and is no secret.
type materialFlags struct {
	privateKey, apiKey, secret, credentials file
	userAgent, baseURL                      text
}

func (m *materialFlags) register(cmd *cobra.Command) {
	fileVar(cmd.Flags(), &m.privateKey, "private-key", "private key in PEM (noah)")
	fileVar(cmd.Flags(), &m.apiKey, "api-key", "API key (noah, noba)")
	fileVar(cmd.Flags(), &m.secret, "secret", "shared secret (noba)")
	fileVar(cmd.Flags(), &m.credentials, "credentials", "credential file in JSON, as Noon's console downloads it (noon)")
	textVar(cmd.Flags(), &m.userAgent, "user-agent", "the `UA` that every request to Noon sends as User-Agent (noon; default: signerd's own)")
	textVar(cmd.Flags(), &m.baseURL, "base-url", "the `URL` of Noon's gateway (noon; default: the public one)")
}

// given tells whether there are files.
func (m *materialFlags) given() bool {
	return m.privateKey.given() || m.apiKey.given() || m.secret.given() || m.credentials.given()
}

// flags names all that are given.
func (m *materialFlags) flags() []string {
	var names []string
	for _, f := range []*file{&m.privateKey, &m.apiKey, &m.secret, &m.credentials} {
		if f.given() {
			names = append(names, f.flag)
		}
	}
	return append(names, m.companions()...)
}

// noonOnly names the flags in use that are for noon alone.
func (m *materialFlags) noonOnly() []string {
	var names []string
	if m.credentials.given() {
		names = append(names, m.credentials.flag)
	}
	return append(names, m.companions()...)
}

// companions names the flags in use that mean nothing without --credentials.
func (m *materialFlags) companions() []string {
	var names []string
	for _, t := range []*text{&m.userAgent, &m.baseURL} {
		if t.given() {
			names = append(names, t.flag)
		}
	}
	return names
}

// checkCompanions keeps them from being dropped in silence.
func (m *materialFlags) checkCompanions() error {
	if names := m.companions(); len(names) > 0 && !m.credentials.given() {
		return &usageError{message: "without --credentials there is no use for " + strings.Join(names, " and ")}
	}
	return nil
}

// read gives the parts as ImportKeyRequest.material wants them. Which a scheme needs is signerd's to say.
func (m *materialFlags) read(a *app) (map[string][]byte, error) {
	material := make(map[string][]byte)
	for _, part := range []struct {
		name string
		file *file
	}{{"private_key", &m.privateKey}, {"api_key", &m.apiKey}, {"secret", &m.secret}, {"credentials", &m.credentials}} {
		if !part.file.given() {
			continue
		}
		s, err := a.readSecret(part.file)
		if err != nil {
			return nil, err
		}
		material[part.name] = s.Reveal()
	}
	if m.userAgent.given() {
		material["user_agent"] = []byte(m.userAgent.value)
	}
	if m.baseURL.given() {
		material["base_url"] = []byte(m.baseURL.value)
	}
	return material, nil
}

func (a *app) keyCreate() *cobra.Command {
	var env, algorithm, output *choice
	var labelArgs *[]string
	scheme := &choice{value: "noah", allowed: []string{"noah"}}
	use := "create NAME --env sandbox|prod [--scheme noah] [--alg ES384|ES256] [--label K=V ...]"
	cmd := command(use, "Make a NOAH key inside signerd", positional("NAME"), func(cmd *cobra.Command, args []string) error {
		labels, err := parseLabels(*labelArgs)
		if err != nil {
			return err
		}
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		resp, err := adminv1.NewKeyServiceClient(conn).CreateKey(cmd.Context(), &adminv1.CreateKeyRequest{
			Name: args[0], Scheme: scheme.value, Environment: environments[env.value], Algorithm: algorithm.value, Labels: labels,
		})
		if err != nil {
			return &failure{what: "creating key " + args[0], key: args[0], err: err}
		}
		return a.print(output, resp, func(w io.Writer) {
			_, _ = fmt.Fprintf(w, "Key %s is made. Its private key stays in signerd.\n", resp.GetKey().GetName())
			writeNextSteps(w, resp.GetKey(), 1, resp.GetPublicKeyPem())
		})
	})
	cmd.Long = "Make a NOAH key inside signerd. It cannot sign until `signerctl key activate` brings the API key that NOAH gives for its public key.\n\n" +
		"Keys of other partners are imported: see `signerctl key import`."
	env = environmentFlag(cmd)
	cmd.Flags().Var(scheme, "scheme", "the partner")
	algorithm = algorithmFlag(cmd)
	labelArgs = labelFlag(cmd)
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

// writeNextSteps prints the public key of a pending version and how it gets its API key.
func writeNextSteps(w io.Writer, k *adminv1.Key, version uint32, publicPEM string) {
	_, _ = fmt.Fprintf(w, `Version %[1]d waits for its API key. Its public key:

%[2]s
Next:
  1. In NOAH's %[3]s dashboard choose Configuration, then Create New Key, and hand over the public key above.
  2. NOAH shows the API key once: keep it in a file that only you can read.
  3. signerctl key activate %[4]s --version %[1]d --api-key FILE
     If somebody else has it, signerctl import-ticket %[4]s --version %[1]d lets them seal it for you.
`, version, withLineEnd(publicPEM), environmentName(k.GetEnvironment()), k.GetName())
}

const longImport = `Bring in a key that the partner handed out; it can sign at once. FILES are:
  noah  --private-key FILE --api-key FILE (which may follow with "signerctl key activate")
  noba  --api-key FILE --secret FILE
  noon  --credentials FILE [--user-agent UA] [--base-url URL]
  any   --sealed FILE (what "signerctl seal" made for a ticket of "signerctl import-ticket NAME --scheme S --env E")

A FILE of "-" is standard input.`

func (a *app) keyImport() *cobra.Command {
	var env, output *choice
	var labelArgs *[]string
	var files materialFlags
	var sealed file
	var expires *expiry
	scheme := &choice{allowed: []string{"noah", "noba", "noon"}}
	use := "import NAME --scheme noah|noba|noon --env sandbox|prod FILES [--expires TIME] [--label K=V ...]"
	cmd := command(use, "Bring in a key that the partner handed out", positional("NAME"), func(cmd *cobra.Command, args []string) error {
		if names := files.noonOnly(); len(names) > 0 && scheme.value != "noon" {
			return &usageError{message: strings.Join(names, " and ") + ": for --scheme noon alone"}
		}
		if sealed.given() && len(files.flags()) > 0 {
			return errWithSealed
		}
		if !files.given() && !sealed.given() {
			return &usageError{message: "what the partner handed out is missing: --private-key and --api-key for noah, --api-key and --secret for noba, --credentials for noon"}
		}
		if err := files.checkCompanions(); err != nil {
			return err
		}
		labels, err := parseLabels(*labelArgs)
		if err != nil {
			return err
		}
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		req := &adminv1.ImportKeyRequest{Name: args[0], Scheme: scheme.value, Environment: environments[env.value], Labels: labels, ExpireTime: expires.message()}
		if sealed.given() {
			req.Sealed, err = a.readSealed(&sealed)
		} else {
			req.Material, err = files.read(a)
		}
		if err != nil {
			return err
		}
		resp, err := adminv1.NewKeyServiceClient(conn).ImportKey(cmd.Context(), req)
		if err != nil {
			return &failure{what: "importing key " + args[0], key: args[0], err: err}
		}
		a.tell("note", resp.GetNotes()...)
		return a.print(output, resp, func(w io.Writer) {
			writeImportedKey(w, resp.GetKey())
		})
	})
	cmd.Long = longImport
	cmd.Flags().Var(scheme, "scheme", "the partner")
	require(cmd, "scheme")
	env = environmentFlag(cmd)
	files.register(cmd)
	sealedVar(cmd, &sealed)
	expires = expiresFlag(cmd)
	labelArgs = labelFlag(cmd)
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

var errWithSealed = &usageError{message: "--sealed holds all that the partner handed out: no other file goes with it"}

func sealedVar(cmd *cobra.Command, f *file) {
	fileVar(cmd.Flags(), f, "sealed", "what \"signerctl seal\" made, in place of all other files")
}

// readSealed refuses what is no sealed file before it is sent.
func (a *app) readSealed(f *file) ([]byte, error) {
	b, err := a.read(f, importticket.MaxSealedBytes)
	if err != nil {
		return nil, err
	}
	if _, err := importticket.For(b); err != nil {
		return nil, &failure{what: "reading " + f.flag, err: err, hint: "`signerctl seal` makes one: take it whole, from -----BEGIN to -----END, and nothing else"}
	}
	return b, nil
}

func writeImportedKey(w io.Writer, k *adminv1.Key) {
	if k.GetActiveVersion() != 0 {
		_, _ = fmt.Fprintf(w, "Key %s is imported; version %d signs.\n", k.GetName(), k.GetActiveVersion())
		return
	}
	_, _ = fmt.Fprintf(w, `Key %[1]s is imported; version 1 waits for its API key.
Next:
  1. signerctl key public %[1]s    prints the public key that NOAH's dashboard takes
  2. signerctl key activate %[1]s --version 1 --api-key FILE
`, k.GetName())
}

const longRotate = `Add a version beside the active one, which goes on signing until "signerctl key activate".

Without files, signerd makes a new pair (noah). With files, the version is what the partner handed out:
  noah  --private-key FILE [--api-key FILE], which "signerctl key activate" may bring as well
  noba  --api-key FILE --secret FILE
  noon  --credentials FILE [--user-agent UA] [--base-url URL]; nothing is taken over from the active version
  any   --sealed FILE (what "signerctl seal" made for a ticket of "signerctl import-ticket NAME --new-version")

A FILE of "-" is standard input.`

func (a *app) keyRotate() *cobra.Command {
	var algorithm, output *choice
	var generation *uint64
	var files materialFlags
	var sealed file
	var expires *expiry
	use := "rotate NAME [FILES] [--expires TIME] [--alg ES384|ES256] [--generation N]"
	cmd := command(use, "Add a version beside the active one", positional("NAME"), func(cmd *cobra.Command, args []string) error {
		brought := files.given() || sealed.given()
		switch {
		case brought && algorithm.value != "":
			return &usageError{message: "--alg is for a pair that signerd makes, not for files"}
		case sealed.given() && len(files.flags()) > 0:
			return errWithSealed
		case !brought && expires.given():
			return &usageError{message: "--expires is for files; a pair that signerd makes gets its date with the API key: `signerctl key activate --expires`"}
		}
		if err := files.checkCompanions(); err != nil {
			return err
		}
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		client := adminv1.NewKeyServiceClient(conn)
		failed := func(err error) error {
			return &failure{what: "adding a version to key " + args[0], key: args[0], err: err}
		}
		if !brought {
			resp, err := client.CreateKeyVersion(cmd.Context(), &adminv1.CreateKeyVersionRequest{
				Name: args[0], Algorithm: algorithm.value, Generation: *generation,
			})
			if err != nil {
				return failed(err)
			}
			return a.print(output, resp, func(w io.Writer) {
				_, _ = fmt.Fprintf(w, "Key %s has a new version.\n", resp.GetKey().GetName())
				writeNextSteps(w, resp.GetKey(), resp.GetVersion(), resp.GetPublicKeyPem())
			})
		}
		req := &adminv1.ImportKeyVersionRequest{Name: args[0], Generation: *generation, ExpireTime: expires.message()}
		if sealed.given() {
			req.Sealed, err = a.readSealed(&sealed)
		} else {
			req.Material, err = files.read(a)
		}
		if err != nil {
			return err
		}
		resp, err := client.ImportKeyVersion(cmd.Context(), req)
		if err != nil {
			return failed(err)
		}
		a.tell("note", resp.GetNotes()...)
		return a.print(output, resp, func(w io.Writer) { writeImportedVersion(w, resp.GetKey(), resp.GetVersion()) })
	})
	cmd.Long = longRotate
	files.register(cmd)
	sealedVar(cmd, &sealed)
	expires = expiresFlag(cmd)
	algorithm = algorithmFlag(cmd)
	generation = generationFlag(cmd)
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

func writeImportedVersion(w io.Writer, k *adminv1.Key, version uint32) {
	apiKey := ""
	if findVersion(k, version).GetState() == adminv1.KeyVersionState_KEY_VERSION_STATE_PENDING {
		apiKey = " --api-key FILE"
	}
	_, _ = fmt.Fprintf(w, "Key %[1]s has a new version %[2]d, which does not sign yet.\nNext: signerctl key activate %[1]s --version %[2]d%[3]s\n",
		k.GetName(), version, apiKey)
}
