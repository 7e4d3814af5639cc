package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// usageError is a command line that cannot be carried out as it is written. cobra's own errors count as such too.
type usageError struct{ message, hint string }

func (e *usageError) Error() string { return e.message }

func reportUsage(w io.Writer, cmd *cobra.Command, err error) {
	hint := fmt.Sprintf("`%s --help` tells more", cmd.CommandPath())
	if u, ok := errors.AsType[*usageError](err); ok && u.hint != "" {
		hint = u.hint
	}
	what := ""
	if path, ok := strings.CutPrefix(cmd.CommandPath(), cmd.Root().Name()+" "); ok {
		what = path + ": "
	}
	_, _ = fmt.Fprintf(w, "signerctl: %s%s\nusage: %s\nhint: %s\n", what, plain(err.Error()), cmd.UseLine(), plain(hint))
}

// failure is a command that was understood and did not succeed.
type failure struct {
	what  string // what was attempted, such as "creating key orders"
	err   error
	key   string            // the key it was about, for hints; may be empty
	hint  string            // for errors that are not signerd's
	hints map[string]string // for signerd's reasons that mean something of their own here
	lines []string          // what is wrong in detail, printable
}

func (f *failure) Error() string { return f.what + ": " + f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

func (f *failure) report(w io.Writer) {
	message, hint := f.err.Error(), f.hint
	var violations []*errdetails.BadRequest_FieldViolation
	if call, ok := errors.AsType[*callError](f.err); ok {
		message, violations, hint = call.explain(f.key)
		if own, ok := f.hints[call.reason()]; ok {
			hint = call.fill(own, f.key)
		}
	}
	_, _ = fmt.Fprintf(w, "signerctl: %s: %s\n", plain(f.what), plain(message))
	for _, line := range f.lines {
		_, _ = fmt.Fprintln(w, line)
	}
	for _, v := range violations {
		line := v.GetField() + ": " + v.GetDescription()
		// signerd's message for a single wrong field is that line already.
		if line != message {
			_, _ = fmt.Fprintf(w, "  %s\n", plain(line))
		}
	}
	if hint != "" {
		_, _ = fmt.Fprintf(w, "hint: %s\n", plain(hint))
	}
}

// callError is a call to signerd that brought no answer, or a refusal.
type callError struct {
	status  *status.Status
	dial    error // why the last attempt to connect failed; nil when it did not
	server  endpoint
	timeout time.Duration
	// stream is for answers in parts: asking for them changes nothing. Interrupted ones ended by the operator's will.
	stream, interrupted bool
}

func (e *callError) Error() string { return e.status.Message() }

// errorDomain marks the refusals that signerd's own code makes.
const errorDomain = "signerd"

// reasonHints says what to do about each of signerd's reasons. {key}, {record} and {wait} are filled in.
var reasonHints = map[string]string{
	"INVALID_REQUEST":              "correct what is named above; the command's --help shows the form",
	"NO_IDENTITY":                  "signerd could not tell who you are: on a Unix socket your user id counts, over TLS the client certificate's one name",
	"DENIED":                       "ask whoever sets the policy for a rule; they can find this call by record {record}",
	"KEY_NOT_FOUND":                "`signerctl key list` shows the keys, `signerctl key show {key}` one key's versions",
	"WRONG_SCHEME":                 "`signerctl key show {key}` tells which partner the key is for",
	"KEY_DISABLED":                 "`signerctl key show {key}` tells what is disabled; `signerctl key enable {key} [--version N]` lets it sign again",
	"VERSION_DESTROYED":            "its material is gone for good; `signerctl key show {key}` tells the other versions, `signerctl key activate {key} --version N` makes one sign",
	"NO_ACTIVE_VERSION":            "`signerctl key activate {key} --version N` makes a version sign; a PENDING one also needs --api-key FILE",
	"KEY_EXISTS":                   "choose another name, or add a version to the key with `signerctl key rotate {key}`",
	"CONFLICT":                     "the key has changed since you looked: see `signerctl key show {key}` and decide again",
	"RATE_LIMITED":                 "try again {wait}",
	"TICKET_REFUSED":               "a new ticket is needed, and the secrets sealed for it: `signerctl import-ticket --help` tells which ticket goes with which command",
	"TOO_MANY_TICKETS":             "tickets are gone when they are used, or their time is over; a restart of signerd drops them all",
	"FIPS_REFUSED":                 "import the secrets without sealing them, from a machine that may see them: `signerctl key import --help`",
	"FROZEN":                       "an operator has stopped all signing: `signerctl status` tells who and why, `signerctl unfreeze` lets it go on",
	"STORE_UNAVAILABLE":            "signerd cannot use its store at the moment; its log and `signerctl status` tell why",
	"AUDIT_UNAVAILABLE":            "signerd does nothing it cannot put on record; `signerctl status` tells why it cannot, often a full disk; where records are missing, see `signerctl audit acknowledge --help`",
	"NOTHING_MISSING":              "there is nothing to acknowledge; `signerctl audit verify` tells whether anything else is wrong",
	"UPSTREAM_REJECTED_CREDENTIAL": "it may be tried again {wait}; if the partner has withdrawn it, `signerctl key rotate {key} --credentials FILE` and then `signerctl key activate` bring a new one",
	"UPSTREAM_UNAVAILABLE":         "the partner is down, slow or out of signerd's reach; try again {wait}",
	"INTERNAL":                     "the cause is in signerd's log, with record {record}",
}

// explain says what to print: the message, the wrong fields, and what to do.
func (e *callError) explain(key string) (message string, violations []*errdetails.BadRequest_FieldViolation, hint string) {
	for _, detail := range e.status.Details() {
		if d, ok := detail.(*errdetails.BadRequest); ok {
			violations = d.GetFieldViolations()
		}
	}
	if e.info() == nil {
		message, hint = e.explainTransport()
		return message, violations, hint
	}
	return e.status.Message(), violations, e.fill(reasonHints[e.reason()], key)
}

// fill puts what the error says into a hint.
func (e *callError) fill(hint, key string) string {
	wait := "later"
	for _, detail := range e.status.Details() {
		if d, ok := detail.(*errdetails.RetryInfo); ok {
			wait = formatWait(d.GetRetryDelay().AsDuration())
		}
	}
	if key == "" {
		key = "NAME"
	}
	return strings.NewReplacer("{key}", key, "{record}", e.info().GetMetadata()["record_id"], "{wait}", wait).Replace(hint)
}

// info is nil for errors that signerd's own code did not make.
func (e *callError) info() *errdetails.ErrorInfo {
	for _, detail := range e.status.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == errorDomain {
			return info
		}
	}
	return nil
}

func (e *callError) reason() string { return e.info().GetReason() }

// formatWait says when to try again, never too early, and no finer than people count.
func formatWait(d time.Duration) string {
	step := 100 * time.Millisecond
	if d > 10*time.Second {
		step = time.Second
	}
	if rest := d % step; rest > 0 {
		d += step - rest
	}
	if d <= 0 {
		return "now"
	}
	return "in " + d.String()
}

const (
	hintAddress = "is signerd running? --address or " + addressVariable + " tells signerctl where"
	hintUnknown = "a change may have been made all the same: look before you repeat one"
)

// explainTransport is for errors that signerd's own code did not make.
func (e *callError) explainTransport() (message, hint string) {
	where := e.server.address
	switch e.status.Code() {
	case codes.Unavailable:
		return e.explainUnavailable(where)
	case codes.Canceled:
		if e.stream {
			return "interrupted before the answer was complete", ""
		}
		return "interrupted before an answer came", hintUnknown
	case codes.DeadlineExceeded:
		if e.stream {
			return fmt.Sprintf("nothing came from %s within %s", where, e.timeout), "--timeout sets how long to wait for each part of the answer"
		}
		return fmt.Sprintf("no answer came from %s within %s", where, e.timeout), hintUnknown + "; --timeout sets how long to wait"
	case codes.ResourceExhausted:
		return e.status.Message(), "signerd takes no larger message; limits.max_message_bytes in its configuration says how large one may be"
	case codes.Unimplemented:
		return fmt.Sprintf("what listens at %s does not offer this", where),
			"signerd serves key, policy, audit and status on its admin socket, and may serve sign and session elsewhere: give --address the other one"
	}
	return e.status.Message(), ""
}

func (e *callError) explainUnavailable(where string) (message, hint string) {
	switch {
	case e.dial == nil && e.server.isUnix() && e.stream:
		return e.status.Message(), "signerd closed the connection: does it still run?"
	case e.dial == nil && e.server.isUnix():
		return e.status.Message(), "signerd closed the connection; " + hintUnknown
	case e.dial == nil:
		return e.status.Message(), "does signerd serve TLS there, and do the certificates and authorities on both sides belong together?"
	case errors.Is(e.dial, fs.ErrNotExist) && e.server.isUnix():
		return "there is no socket " + where, hintAddress
	case errors.Is(e.dial, fs.ErrPermission):
		return "you may not open the socket " + where, fmt.Sprintf("`ls -l %s` shows who may; ask to join that group", where)
	case errors.Is(e.dial, syscall.ECONNREFUSED):
		return "nothing listens at " + where, hintAddress
	}
	return e.dial.Error(), hintAddress
}
