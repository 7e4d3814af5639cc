package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/signerd/signerd/cmd/signerctl/internal/sandbox"
	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/durable"
	"github.com/signerd/signerd/internal/partners"
)

const longSandbox = `Serve local partners on this machine: each checks requests as the partner does, and says in plain words what is wrong with one. There
are no accounts and no endpoints behind them: every path answers 200 {"accepted":true,…} or 401 {"accepted":false,"reason":…}.

Served are the partners whose keys are given:
  noah  --noah-public FILE, as "signerctl key public NAME" prints it, or --key NAME, which asks signerd for it. With --noah-api-key FILE
        that API key belongs to it; without, one is made, as NOAH's dashboard would, and printed. Sandbox keys only
  noba  --noba-api-key FILE --noba-secret FILE. With --noba-strict a body must be as JSON.stringify writes it, as at Noba
  noon  --noon-public FILE --noon-key-id ID --noon-project PRJ12345: the public half of a credential file's private_key. Import that file
        with --base-url and the address that is printed here

Each partner has a port of its own: a free one, or with --listen 127.0.0.1:7001 NOAH that one, Noba 7002 and Noon 7003. --env-file FILE
writes NOAH_URL, NOBA_URL and NOON_URL for ". FILE" in a shell, once all of them listen. The local partners speak plain HTTP, and listen on
loopback alone.

Each request is a line: time, partner, method, path, and accepted or the reason, with a line of advice where there is some. Neither headers nor bodies
are printed; a reason may quote the path, or the query parameter that differs. Ctrl-C ends it.`

// sandboxFlags are what the local partners are to accept.
type sandboxFlags struct {
	listen, key            text
	noahPublic, noahAPIKey file
	nobaAPIKey, nobaSecret file
	nobaStrict             *bool
	noonPublic, envFile    file
	noonKeyID, noonProject text
	output                 *choice
}

func (a *app) sandboxCommand() *cobra.Command {
	var f sandboxFlags
	cmd := command("sandbox KEYS [--listen 127.0.0.1:PORT] [--env-file FILE] [-o text|json]", "Serve local partners that say what is wrong with a request", positional(), func(cmd *cobra.Command, _ []string) error {
		return a.serveSandbox(cmd, &f)
	})
	cmd.Long = longSandbox
	flags := cmd.Flags()
	textVar(flags, &f.listen, "listen", "a loopback `ADDRESS` and the first of three ports (default a free port for each partner)")
	textVar(flags, &f.key, "key", "the `NAME` of a NOAH key at signerd, in place of --noah-public")
	fileVar(flags, &f.noahPublic, "noah-public", "public key of the local NOAH account, PEM")
	fileVar(flags, &f.noahAPIKey, "noah-api-key", "its API key (default: one is made and printed)")
	fileVar(flags, &f.nobaAPIKey, "noba-api-key", "API key of the local Noba account")
	fileVar(flags, &f.nobaSecret, "noba-secret", "its secret")
	f.nobaStrict = flags.Bool("noba-strict", false, "compare with JSON.stringify of a body, as Noba does, not with its bytes")
	fileVar(flags, &f.noonPublic, "noon-public", "public key of the local Noon account, PEM")
	textVar(flags, &f.noonKeyID, "noon-key-id", "the credential file's key_id, `ID`")
	textVar(flags, &f.noonProject, "noon-project", "the credential file's project_code, `PRJ12345`")
	fileVar(flags, &f.envFile, "env-file", "where to write the partners' addresses, as shell variables")
	f.output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

// check finds what is missing before anything is read.
func (f *sandboxFlags) check() error {
	noah := f.noahPublic.given() || f.key.given()
	noba := f.nobaAPIKey.given() || f.nobaSecret.given()
	noon := f.noonPublic.given() || f.noonKeyID.given() || f.noonProject.given()
	switch {
	case f.noahPublic.given() && f.key.given():
		return &usageError{message: "--noah-public and --key exclude each other: the one is a file, the other asks signerd"}
	case f.noahAPIKey.given() && !noah:
		return &usageError{message: "--noah-api-key needs --noah-public or --key"}
	case noba && (!f.nobaAPIKey.given() || !f.nobaSecret.given()):
		return &usageError{message: "--noba-api-key and --noba-secret go together"}
	case *f.nobaStrict && !noba:
		return &usageError{message: "--noba-strict needs --noba-api-key and --noba-secret"}
	case noon && (!f.noonPublic.given() || !f.noonKeyID.given() || !f.noonProject.given()):
		return &usageError{message: "--noon-public, --noon-key-id and --noon-project go together"}
	case f.envFile.isStdin():
		return &usageError{message: "--env-file wants the name of a file"}
	case !noah && !noba && !noon:
		return &usageError{message: "no partner has a key: --noah-public or --key for NOAH, --noba-api-key and --noba-secret for Noba, --noon-public for Noon"}
	}
	return nil
}

func (a *app) serveSandbox(cmd *cobra.Command, f *sandboxFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	served, apiKey, err := a.localPartners(cmd, f)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listen := f.listen.value
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	s, err := sandbox.Listen(ctx, listen, served)
	if errors.Is(err, sandbox.ErrNotLoopback) {
		return &usageError{message: "--listen: " + err.Error()}
	}
	if err != nil {
		return &failure{what: "starting the local partners", err: err, hint: "without --listen each takes a free port"}
	}
	lines := &sandboxLines{app: a, json: f.output.value == formatJSON}
	// Before anything is printed: whoever reads that the partners listen finds the file.
	if f.envFile.given() {
		if err := writeAddresses(f.envFile.path, s, served); err != nil {
			return &failure{what: "writing --env-file", err: err}
		}
	}
	lines.begin(s, served, apiKey)
	if err := s.Serve(ctx, lines.seen); err != nil {
		return &failure{what: "serving the local partners", err: err}
	}
	return nil
}

// localPartners makes the partners that have keys, and the API key that NOAH's dashboard would show, where one is made.
func (a *app) localPartners(cmd *cobra.Command, f *sandboxFlags) (served []sandbox.Partner, apiKey string, err error) {
	if f.noahPublic.given() || f.key.given() {
		noah := partners.NewNOAH("sandbox", nil)
		if apiKey, err = a.openNOAHAccount(cmd, noah, f); err != nil {
			return nil, "", err
		}
		served = append(served, sandbox.Partner{Name: "noah", Handler: noah, Explain: sandbox.ReasonNOAH})
	}
	if f.nobaAPIKey.given() {
		nobaKey, err := a.readLocalSecret(&f.nobaAPIKey)
		if err != nil {
			return nil, "", err
		}
		nobaSecret, err := a.readLocalSecret(&f.nobaSecret)
		if err != nil {
			return nil, "", err
		}
		noba := partners.NewNoba(nil)
		noba.Strict = *f.nobaStrict
		noba.Register(string(nobaKey), nobaSecret, true)
		served = append(served, sandbox.Partner{Name: "noba", Handler: noba, Explain: sandbox.ReasonNoba(nobaSecret)})
	}
	if f.noonPublic.given() {
		public, err := a.read(&f.noonPublic, maxTLSFileBytes)
		if err != nil {
			return nil, "", err
		}
		noon := partners.NewNoon(nil)
		if err := noon.Register(f.noonKeyID.value, public, f.noonProject.value); err != nil {
			return nil, "", &failure{what: "opening an account at the local Noon", err: err,
				hint: "openssl pkey -in PRIVATE -pubout makes the public half of the credential file's private_key"}
		}
		served = append(served, sandbox.Partner{Name: "noon", Handler: noon})
	}
	return served, apiKey, nil
}

// openNOAHAccount gives the API key if it made one.
func (a *app) openNOAHAccount(cmd *cobra.Command, noah *partners.NOAH, f *sandboxFlags) (made string, err error) {
	public, err := a.noahPublicKey(cmd, f)
	if err != nil {
		return "", err
	}
	if f.noahAPIKey.given() {
		apiKey, err := a.readLocalSecret(&f.noahAPIKey)
		if err != nil {
			return "", err
		}
		err = noah.Register(string(apiKey), public)
		if err == nil {
			return "", nil
		}
		return "", noAccount(f, err)
	}
	if made, err = noah.CreateAPIKey(public); err != nil {
		return "", noAccount(f, err)
	}
	return made, nil
}

func noAccount(f *sandboxFlags, err error) error {
	e := &failure{what: "opening an account at the local NOAH", err: err}
	if f.noahPublic.given() {
		e.hint = "--noah-public wants what `signerctl key public NAME` prints"
		if f.noahAPIKey.given() {
			e.hint += "; --noah-api-key an API key of the sandbox"
		}
	}
	return e
}

func (a *app) noahPublicKey(cmd *cobra.Command, f *sandboxFlags) ([]byte, error) {
	if f.noahPublic.given() {
		return a.read(&f.noahPublic, maxTLSFileBytes)
	}
	conn, err := a.dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	resp, err := adminv1.NewKeyServiceClient(conn).GetPublicKey(cmd.Context(), &adminv1.GetPublicKeyRequest{Name: f.key.value})
	if err != nil {
		return nil, &failure{what: "getting the public key of " + f.key.value, key: f.key.value, err: err}
	}
	return []byte(resp.GetPem()), nil
}

// readLocalSecret cuts a line end, as signerd does on import.
func (a *app) readLocalSecret(f *file) ([]byte, error) {
	s, err := a.readSecret(f)
	if err != nil {
		return nil, err
	}
	b := bytes.TrimSuffix(bytes.TrimSuffix(s.Reveal(), []byte("\n")), []byte("\r"))
	if len(b) == 0 {
		return nil, &failure{what: "reading " + f.flag, err: errors.New("it is empty")}
	}
	return b, nil
}

// writeAddresses puts the file in place as a whole: a script may be waiting for it. What is no file of its own is left alone: /dev/null and
// /dev/stdout would be replaced as well.
func writeAddresses(path string, s *sandbox.Sandbox, served []sandbox.Partner) error {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is there, and is no regular file", path)
	}
	var b strings.Builder
	for _, p := range served {
		_, _ = fmt.Fprintf(&b, "%s_URL=%s\n", strings.ToUpper(p.Name), s.URL(p.Name))
	}
	return durable.WriteFile(path, []byte(b.String()), 0o644)
}

// sandboxLines writes what is printed while the local partners serve.
type sandboxLines struct {
	app  *app
	json bool

	mu sync.Mutex
}

func (l *sandboxLines) begin(s *sandbox.Sandbox, served []sandbox.Partner, apiKey string) {
	for _, p := range served {
		if l.json {
			made := ""
			if p.Name == "noah" {
				made = apiKey
			}
			l.object(struct {
				Partner string `json:"partner"`
				URL     string `json:"url"`
				APIKey  string `json:"api_key,omitempty"`
			}{p.Name, s.URL(p.Name), made})
			continue
		}
		l.line("%s listens at %s", p.Name, s.URL(p.Name))
		switch {
		case p.Name == "noah" && apiKey != "":
			l.line("  made an API key for the public key, as the dashboard does: %s", apiKey)
			l.line("  bring it in: signerctl key activate NAME --version 1 --api-key -")
		case p.Name == "noon":
			l.line("  bring the credential file in with: signerctl key import NAME --scheme noon --env sandbox --credentials FILE --base-url %s", s.URL(p.Name))
		}
	}
	if !l.json {
		l.line("Ctrl-C ends it.")
	}
}

func (l *sandboxLines) seen(r sandbox.Seen) {
	if l.json {
		l.object(r)
		return
	}
	outcome := "accepted"
	if !r.Accepted {
		outcome = "refused: " + r.Reason
	}
	advice := ""
	if r.Advice != "" {
		advice = "\n  what to do: " + plain(r.Advice)
	}
	l.line("%s %s %s %s %s%s", r.Time.Format("15:04:05"), r.Partner, plain(r.Method), plain(r.Path), plain(outcome), advice)
}

func (l *sandboxLines) object(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain structs
	}
	l.write(append(b, '\n'))
}

func (l *sandboxLines) line(format string, args ...any) {
	l.write(fmt.Appendf(nil, format+"\n", args...))
}

func (l *sandboxLines) write(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// app.stdout keeps the error, which ends the command with 1.
	_, _ = l.app.stdout.Write(b)
}
