package server

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/reader"
	"github.com/signerd/signerd/internal/importticket"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noon"
)

// errorDomain is the domain of every ErrorInfo that signerd makes.
const errorDomain = "signerd"

// metadataRecordID is the ErrorInfo metadata key under which a caller finds the record of its call.
const metadataRecordID = "record_id"

// Errors that belong to no package below.
var (
	errNoIdentity  = errors.New("no client identity")
	errWrongScheme = errors.New("the key belongs to another partner")
	errLimited     = errors.New("over a limit")
	errExcess      = errors.New("over what one caller may burden signerd with")
	errNotReady    = errors.New("the keys are not loaded yet")
	errRootKey     = errors.New("the root key cannot be used")
	errStopping    = errors.New("signerd is stopping")
	errUndecided   = errors.New("a piece was answered without a decision that allows it")
)

// errorRow gives one domain error its code, its stable reason, and the text that callers see. An empty text means the
// error's own: only *upstream.FieldError, which never quotes input, is shown like that.
type errorRow struct {
	is     error
	code   codes.Code
	reason string
	text   string
}

// errorTable is the one place where domain errors become statuses. The first row that matches counts; what matches
// none is INTERNAL.
var errorTable = []errorRow{
	{upstream.ErrInvalid, codes.InvalidArgument, "INVALID_REQUEST", ""},
	{upstream.ErrFIPS, codes.FailedPrecondition, "FIPS_REFUSED", "FIPS 140-3 mode does not allow it: a shared secret has at least 14 bytes"},
	{errNoIdentity, codes.Unauthenticated, "NO_IDENTITY", "the caller could not be identified"},
	{policy.ErrDenied, codes.PermissionDenied, "DENIED", "not allowed, or no such key"},
	{errFrozen, codes.Unavailable, "FROZEN", "all signing is stopped by an operator"},
	{errFreezeUnstored, codes.Unavailable, "STORE_UNAVAILABLE", "signing is stopped, but the freeze could not be stored: a restart may end it; freeze again once the store can be written"},
	{errFreezeUnrecorded, codes.Unavailable, "AUDIT_UNAVAILABLE", "signing is stopped, but the freeze could not be recorded, and so is not stored: a restart ends it; freeze again once records can be written"},
	{keystore.ErrNotFound, codes.NotFound, "KEY_NOT_FOUND", "no such key or version"},
	{errWrongScheme, codes.FailedPrecondition, "WRONG_SCHEME", "the key belongs to another partner, or its scheme has no such thing"},
	{keystore.ErrKeyDisabled, codes.FailedPrecondition, "KEY_DISABLED", "the key or its version is disabled"},
	{keystore.ErrNoActiveVersion, codes.FailedPrecondition, "NO_ACTIVE_VERSION", "the key has no active version"},
	{keystore.ErrVersionDestroyed, codes.FailedPrecondition, "VERSION_DESTROYED", "the version's material was destroyed"},
	{keystore.ErrKeyExists, codes.AlreadyExists, "KEY_EXISTS", "a key of this name exists"},
	{keystore.ErrConflict, codes.Aborted, "CONFLICT", "it was changed in between; read it again and decide anew"},
	{keystore.ErrUnavailable, codes.Unavailable, "STORE_UNAVAILABLE", "the key store is not available"},
	{keystore.ErrDamaged, codes.Unavailable, "STORE_UNAVAILABLE", "the key store is not available"},
	{keystore.ErrRolledBack, codes.Unavailable, "STORE_UNAVAILABLE", "the key store is not available"},
	{keystore.ErrRootKeyUnavailable, codes.Unavailable, "STORE_UNAVAILABLE", "the key store is not available"},
	{keystore.ErrWrongRootKey, codes.Unavailable, "STORE_UNAVAILABLE", "the key store is not available"},
	{audit.ErrUnavailable, codes.Unavailable, "AUDIT_UNAVAILABLE", "the audit record cannot be written, and nothing is handed out without one"},
	{audit.ErrNothingMissing, codes.FailedPrecondition, "NOTHING_MISSING", "no record of the audit log is missing"},
	{reader.ErrNotFound, codes.NotFound, "RECORD_NOT_FOUND", "there is no such record"},
	{reader.ErrDamaged, codes.DataLoss, "AUDIT_DAMAGED", "the audit log is damaged; VerifyLog says where"},
	{errRootKey, codes.FailedPrecondition, "ROOT_KEY_UNAVAILABLE", "the next root key cannot be used; the log says why"},
	{errTicketUnknown, codes.FailedPrecondition, "TICKET_REFUSED", "there is no such import ticket: it was used, its time is over, or signerd was restarted"},
	{errTicketExpired, codes.FailedPrecondition, "TICKET_REFUSED", "the import ticket's time is over"},
	{errTicketOther, codes.FailedPrecondition, "TICKET_REFUSED", "the import ticket is for something else: another name, scheme, environment, version or purpose"},
	{errTicketInUse, codes.FailedPrecondition, "TICKET_REFUSED", "an import with this ticket is under way"},
	{errTooManyTicket, codes.ResourceExhausted, "TOO_MANY_TICKETS", "there are too many import tickets, of this caller or of all; use them or let their time pass"},
	{importticket.ErrNotAllowed, codes.FailedPrecondition, "FIPS_REFUSED", "the cryptographic module in force does not allow HPKE, and so no sealed import"},
	{errStopping, codes.Unavailable, "STORE_UNAVAILABLE", "signerd is stopping"},
	{errNotReady, codes.Unavailable, "STORE_UNAVAILABLE", "the keys are not loaded"},
	{errExcess, codes.ResourceExhausted, "RATE_LIMITED", "too many calls under way, or too many that were refused; wait as long as RetryInfo says"},
	{errLimited, codes.ResourceExhausted, "RATE_LIMITED", "over a limit; wait as long as RetryInfo says"},
	{noon.ErrRateLimited, codes.ResourceExhausted, "RATE_LIMITED", "too many logins with this key's credential; wait as long as RetryInfo says"},
	{errUnproven, codes.FailedPrecondition, "UPSTREAM_REJECTED_CREDENTIAL", "Noon refuses the version's credential: it was not activated, and nothing has changed"},
	{noon.ErrRejectedCredential, codes.FailedPrecondition, "UPSTREAM_REJECTED_CREDENTIAL", "Noon refuses this key's credential; it is tried again after a while, or at once when another version is activated"},
	{noon.ErrDestination, codes.FailedPrecondition, "KEY_DISABLED", "the key's base URL is not on signerd's list of Noon gateways; no login is sent until an operator lists it or activates another version"},
	{noon.ErrKeyChanged, codes.Unavailable, "UPSTREAM_UNAVAILABLE", "the key was changed while its session was on its way; ask again"},
	{noon.ErrUnavailable, codes.Unavailable, "UPSTREAM_UNAVAILABLE", "Noon is not available"},
}

// internalRow is what everything unforeseen becomes. The cause goes to the log alone.
var internalRow = errorRow{nil, codes.Internal, "INTERNAL", "internal error"}

func rowFor(err error) errorRow {
	for _, row := range errorTable {
		if errors.Is(err, row.is) {
			return row
		}
	}
	return internalRow
}

// statusFor turns the error of a call into what its caller gets.
func statusFor(ctx context.Context, err error, recordID string) (*status.Status, string) {
	// The caller's own end of the call, whichever package noticed it; a bug on the way there stays one.
	if gone := ctx.Err(); gone != nil && errors.Is(err, gone) {
		return status.FromContextError(gone), ""
	}
	row := rowFor(err)
	text := row.text
	if text == "" {
		text = err.Error()
	}
	info := &errdetails.ErrorInfo{Reason: row.reason, Domain: errorDomain, Metadata: map[string]string{metadataRecordID: recordID}}
	st := status.New(row.code, text)
	detailed, detailErr := st.WithDetails(info)
	if detailErr != nil {
		return st, row.reason
	}
	if bad := badRequest(err); bad != nil {
		detailed = withDetail(detailed, bad)
	}
	if after, ok := retryAfter(err); ok {
		detailed = withDetail(detailed, &errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
	}
	return detailed, row.reason
}

// retryAfter is when to come again, where an error says so.
func retryAfter(err error) (time.Duration, bool) {
	var login *noon.RetryError
	var limited *limitedError
	var over *excessError
	switch {
	case errors.As(err, &over):
		return over.after, true
	case errors.As(err, &login):
		return login.After, true
	case errors.As(err, &limited):
		return limited.after, true
	}
	return 0, false
}

func withDetail(st *status.Status, detail protoadapt.MessageV1) *status.Status {
	more, err := st.WithDetails(detail)
	if err != nil {
		return st
	}
	return more
}

// violations is several field errors at once.
type violations []*upstream.FieldError

// Error implements error.
func (v violations) Error() string {
	text := ""
	for i, f := range v {
		if i > 0 {
			text += "; "
		}
		text += f.Error()
	}
	return text
}

// Is makes violations an upstream.ErrInvalid.
func (v violations) Is(target error) bool { return target == upstream.ErrInvalid }

// Bounds of what is said of a document. A status travels in HTTP headers, which clients bound.
const (
	maxViolations   = 20
	maxProblemBytes = 200
)

// bounded leaves out what is too much to say at once.
func (v violations) bounded() violations {
	out := v[:min(len(v), maxViolations)]
	for _, f := range out {
		if len(f.Problem) > maxProblemBytes {
			f.Problem = strings.ToValidUTF8(f.Problem[:maxProblemBytes], "") + "…"
		}
	}
	return out
}

func badRequest(err error) *errdetails.BadRequest {
	var list violations
	var one *upstream.FieldError
	switch {
	case errors.As(err, &list):
	case errors.As(err, &one):
		list = violations{one}
	default:
		return nil
	}
	out := &errdetails.BadRequest{}
	for _, f := range list {
		out.FieldViolations = append(out.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: f.Field, Description: f.Problem})
	}
	return out
}
