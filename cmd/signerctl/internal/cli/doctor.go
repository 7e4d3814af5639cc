package cli

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/net/http/httpproxy"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/signerd/signerd/cmd/signerctl/internal/doctor"
	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

// noonGateway is where Noon's gateway is unless a key says otherwise.
const noonGateway = "https://noon-api-gateway.noon.partners"

const longDoctor = `Look for what keeps a partner from accepting a key's requests, and say what to do about each finding:
  signerd  whether it answers and serves       key, version, expiry  whether the key can sign, and until when
  proxy    what HTTPS_PROXY and NO_PROXY say   dns, tcp, tls         the way to the partner from this machine
  clock    against the partner's Date          login, whoami         for Noon: a session, and whether the gateway accepts it

The partner is asked for / without any signature; only Noon's whoami gets the session. It is found by the key: NOAH's host by its
environment, Noon's gateway by its base_url. Noba's host is not documented: give it with --partner-url, as for a local partner. Run it where your
application runs; the clock counts where signerd runs.

The exit status is 0 when all is well, and 1 when any finding is a fault. "note" is for what works, and is worth knowing. --timeout bounds each
step; for Noon's login it is 35s unless it is given.`

func (a *app) doctorCommand() *cobra.Command {
	var partnerURL text
	var authorities file
	var output *choice
	use := "doctor NAME [--partner-url URL] [--partner-ca FILE] [--timeout 10s] [-o text|json]"
	cmd := command(use, "Find what keeps a partner from accepting a key's requests", positional("NAME"), func(cmd *cobra.Command, args []string) error {
		way := &doctor.Way{Timeout: a.timeout, Proxy: httpproxy.FromEnvironment().ProxyFunc()}
		var err error
		if partnerURL.given() {
			if way.Base, err = parsePartnerURL(partnerURL.value); err != nil {
				return err
			}
		}
		if way.Authorities, err = a.partnerAuthorities(&authorities); err != nil {
			return err
		}
		login := a.timeout
		if !cmd.Flags().Changed("timeout") {
			login = noonTimeout
		}
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
		defer stop()
		e := &examination{app: a, conn: conn, name: args[0], way: way, login: login}
		e.run(ctx)
		if ctx.Err() != nil {
			return &failure{what: "looking at key " + args[0], err: errors.New("interrupted")}
		}
		return e.report(output)
	})
	cmd.Long = longDoctor
	textVar(cmd.Flags(), &partnerURL, "partner-url", "where the partner is, `URL`: https://HOST, or a local partner's http://127.0.0.1:PORT")
	fileVar(cmd.Flags(), &authorities, "partner-ca", "authorities that the partner's certificate may come from, PEM (default the system's)")
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

// parsePartnerURL takes scheme and host alone. What is wrong is not repeated: a password may be in it.
func parsePartnerURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, &usageError{message: "--partner-url is not of the form https://HOST or https://HOST:PORT"}
	}
	if _, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && err != nil {
		return nil, &usageError{message: "the port of --partner-url is larger than 65535"}
	}
	u.Path = ""
	return u, nil
}

// partnerAuthorities is nil for the system's.
func (a *app) partnerAuthorities(f *file) (*x509.CertPool, error) {
	if !f.given() {
		return nil, nil
	}
	pem, err := a.read(f, maxTLSFileBytes)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, &failure{what: "loading --partner-ca", err: errors.New("it holds no certificate in PEM")}
	}
	return pool, nil
}

// examination is one run of the doctor.
type examination struct {
	app  *app
	conn *grpc.ClientConn
	name string
	way  *doctor.Way
	// login is how long to wait for a session.
	login time.Duration

	findings []doctor.Finding
}

func (e *examination) add(f ...doctor.Finding) { e.findings = append(e.findings, f...) }

func (e *examination) run(ctx context.Context) {
	var key *adminv1.Key
	if e.askStatus(ctx) {
		key = e.askKey(ctx)
	}
	e.way.Scheme = key.GetScheme()
	var session *doctor.Session
	if key.GetScheme() == "noon" {
		session = e.logIn(ctx, key)
	}
	if !e.findPartner(key, session) {
		return
	}
	if key.GetScheme() == "noah" {
		e.add(doctor.Environment(key, e.way.Base, noahHosts))
	}
	way, answered := e.way.Check(ctx)
	e.add(way...)
	switch {
	case key.GetScheme() != "noon":
	case session == nil || !answered:
		e.add(doctor.Finding{Check: "whoami", Result: doctor.Skipped, Text: "what is wrong above comes first"})
	default:
		e.add(e.way.Whoami(ctx, *session, func(rejected string) (doctor.Session, error) { return e.session(ctx, rejected) }))
	}
}

// refused makes a finding of signerd's refusal.
func (e *examination) refused(check string, result doctor.Result, what string, err error) doctor.Finding {
	f := doctor.Finding{Check: check, Result: result, Text: what + ": " + err.Error()}
	if call, ok := errors.AsType[*callError](err); ok {
		message, _, hint := call.explain(e.name)
		f.Text, f.Advice = what+": "+message, hint
		if call.status.Code() == codes.DeadlineExceeded {
			f.Advice = "see that it is signerd that listens there, and what its log says; --timeout sets how long to wait" // nothing is changed here
		}
	}
	return f
}

// askStatus says whether it is worth asking for more.
func (e *examination) askStatus(ctx context.Context) bool {
	s, err := adminv1.NewSystemServiceClient(e.conn).GetStatus(ctx, &adminv1.GetStatusRequest{})
	if err != nil {
		call, ok := errors.AsType[*callError](err)
		if ok && (call.info() != nil || call.status.Code() == codes.Unimplemented) {
			// It answers; who may not see its status may see the key.
			e.add(e.refused("signerd", doctor.Note, "it answers, but not whether it serves", err))
			return true
		}
		e.add(e.refused("signerd", doctor.Fault, "it cannot be asked", err))
		return false
	}
	switch {
	case s.GetFreeze() != nil:
		e.add(doctor.Finding{Check: "signerd", Result: doctor.Fault, Text: "an operator has stopped all signing: " + frozenBy(s.GetFreeze()), Advice: "signerctl unfreeze, by an administrator, lets it go on"})
	case !s.GetServing():
		e.add(doctor.Finding{Check: "signerd", Result: doctor.Fault, Text: "it does not serve: " + s.GetReason(), Advice: "signerctl status and signerd's log tell more"})
	case s.GetAuditFault() != "":
		e.add(doctor.Finding{Check: "signerd", Result: doctor.Fault, Text: "it hands nothing out, as nothing can be recorded: " + s.GetAuditFault(), Advice: "often a full disk; where records are missing: signerctl audit acknowledge"})
	default:
		e.add(doctor.Finding{Check: "signerd", Result: doctor.OK, Text: "it serves, version " + s.GetVersion()})
	}
	return true
}

func (e *examination) askKey(ctx context.Context) *adminv1.Key {
	resp, err := adminv1.NewKeyServiceClient(e.conn).GetKey(ctx, &adminv1.GetKeyRequest{Name: e.name})
	if err != nil {
		e.add(e.refused("key", doctor.Fault, "it cannot be looked at", err))
		return nil
	}
	e.add(doctor.Key(resp.GetKey(), time.Now())...)
	return resp.GetKey()
}

func (e *examination) logIn(ctx context.Context, key *adminv1.Key) *doctor.Session {
	if !doctor.Usable(key) {
		e.add(doctor.Finding{Check: "login", Result: doctor.Skipped, Text: "the key cannot log in as it is"})
		return nil
	}
	s, err := e.session(ctx, "")
	if err != nil {
		e.add(e.refused("login", doctor.Fault, "signerd has no session", err))
		return nil
	}
	e.add(doctor.Finding{Check: "login", Result: doctor.OK, Text: "signerd has a session with the gateway"})
	return &s
}

func (e *examination) session(ctx context.Context, rejected string) (doctor.Session, error) {
	e.app.timeout = e.login // nothing else is asked after it
	resp, err := signerdv1.NewSignerServiceClient(e.conn).GetNoonSession(ctx, &signerdv1.GetNoonSessionRequest{Key: e.name, RejectedSessionId: rejected})
	if err != nil {
		return doctor.Session{}, err
	}
	return doctor.Session{ID: resp.GetSessionId(), BaseURL: resp.GetBaseUrl(), Headers: resp.GetHeaders()}, nil
}

// findPartner says whether it is known where the partner is.
func (e *examination) findPartner(key *adminv1.Key, session *doctor.Session) bool {
	if e.way.Base != nil {
		return true
	}
	host := ""
	switch key.GetScheme() {
	case "noah":
		host = noahHosts[environmentName(key.GetEnvironment())]
	case "noon":
		host = noonGateway
		if session != nil {
			host = session.BaseURL
		} else {
			e.add(doctor.Finding{Check: "partner", Result: doctor.Note, Text: "without a session it is not known which gateway the key is for; Noon's own is looked at",
				Advice: "if the key was imported with a --base-url, give that as --partner-url"})
		}
	}
	base, err := url.Parse(host)
	if err == nil && base.Host != "" {
		e.way.Base = &url.URL{Scheme: base.Scheme, Host: base.Host}
		return true
	}
	f := doctor.Finding{Check: "partner", Result: doctor.Skipped, Text: "which partner the key is for is not known", Advice: "--partner-url URL looks at the way to it all the same"}
	if key.GetScheme() == "noba" {
		f.Result, f.Text, f.Advice = doctor.Fault, "Noba's host is not documented, so that the way to it was not looked at", "give it with --partner-url https://HOST"
	}
	e.add(f)
	return false
}

// report prints the findings, and ends with an error when any is a fault.
func (e *examination) report(output *choice) error {
	faults := doctor.Faults(e.findings)
	var b bytes.Buffer
	if output.value == formatJSON {
		encoder := json.NewEncoder(&b)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(struct {
			Key      string           `json:"key"`
			Well     bool             `json:"well"`
			Findings []doctor.Finding `json:"findings"`
		}{e.name, faults == 0, e.findings}); err != nil {
			return &failure{what: "writing the output", err: err}
		}
	} else {
		var rows [][]string
		for _, f := range e.findings {
			result := string(f.Result)
			if f.Result == doctor.Fault {
				result = "FAULT"
			}
			rows = append(rows, []string{result, f.Check, f.Text})
			if f.Advice != "" {
				rows = append(rows, []string{"", "", "-> " + f.Advice})
			}
		}
		table(&b, rows...)
	}
	if err := e.app.write(b.Bytes()); err != nil {
		return err
	}
	if faults == 0 {
		return nil
	}
	return &failure{what: "looking at key " + e.name, err: fmt.Errorf("%s to be mended, named above", quantity(uint64(faults), "fault"))}
}
