package server

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/reader"
	"github.com/signerd/signerd/internal/importticket"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noon"
)

// published is the table of reasons in the API's description. Clients in other languages rely on it.
var published = map[string]codes.Code{
	"INVALID_REQUEST":              codes.InvalidArgument,
	"NO_IDENTITY":                  codes.Unauthenticated,
	"DENIED":                       codes.PermissionDenied,
	"FIPS_REFUSED":                 codes.FailedPrecondition,
	"KEY_NOT_FOUND":                codes.NotFound,
	"WRONG_SCHEME":                 codes.FailedPrecondition,
	"KEY_DISABLED":                 codes.FailedPrecondition,
	"NO_ACTIVE_VERSION":            codes.FailedPrecondition,
	"VERSION_DESTROYED":            codes.FailedPrecondition,
	"KEY_EXISTS":                   codes.AlreadyExists,
	"CONFLICT":                     codes.Aborted,
	"RATE_LIMITED":                 codes.ResourceExhausted,
	"UPSTREAM_REJECTED_CREDENTIAL": codes.FailedPrecondition,
	"UPSTREAM_UNAVAILABLE":         codes.Unavailable,
	"FROZEN":                       codes.Unavailable,
	"AUDIT_UNAVAILABLE":            codes.Unavailable,
	"STORE_UNAVAILABLE":            codes.Unavailable,
	"AUDIT_DAMAGED":                codes.DataLoss,
	"NOTHING_MISSING":              codes.FailedPrecondition,
	"ROOT_KEY_UNAVAILABLE":         codes.FailedPrecondition,
	"RECORD_NOT_FOUND":             codes.NotFound,
	"TICKET_REFUSED":               codes.FailedPrecondition,
	"TOO_MANY_TICKETS":             codes.ResourceExhausted,
	"INTERNAL":                     codes.Internal,
}

func TestEveryReasonIsOneOfThePublishedOnes(t *testing.T) {
	for _, row := range append(slices.Clone(errorTable), internalRow) {
		if code, ok := published[row.reason]; !ok || code != row.code {
			t.Errorf("reason %s with code %v; published is %v (%t)", row.reason, row.code, code, ok)
		}
		// Only INVALID_REQUEST shows an error's own text, which may say too much.
		if (row.text == "") != (row.reason == "INVALID_REQUEST") {
			t.Errorf("%s has the text %q", row.reason, row.text)
		}
	}
}

// reasons says what becomes of every error that the packages below publish. INTERNAL is for those that only a bug, or
// the program's start, brings about.
var reasons = map[string]struct {
	err    error
	reason string
}{
	"keystore.ErrNotFound":           {keystore.ErrNotFound, "KEY_NOT_FOUND"},
	"keystore.ErrKeyExists":          {keystore.ErrKeyExists, "KEY_EXISTS"},
	"keystore.ErrKeyDisabled":        {keystore.ErrKeyDisabled, "KEY_DISABLED"},
	"keystore.ErrNoActiveVersion":    {keystore.ErrNoActiveVersion, "NO_ACTIVE_VERSION"},
	"keystore.ErrUnavailable":        {keystore.ErrUnavailable, "STORE_UNAVAILABLE"},
	"keystore.ErrConflict":           {keystore.ErrConflict, "CONFLICT"},
	"keystore.ErrStoreClosed":        {keystore.ErrStoreClosed, "INTERNAL"}, // the keystore says ErrUnavailable instead
	"keystore.ErrNotInitialized":     {keystore.ErrNotInitialized, "INTERNAL"},
	"keystore.ErrRemoved":            {keystore.ErrRemoved, "INTERNAL"},
	"keystore.ErrAnchor":             {keystore.ErrAnchor, "INTERNAL"}, // comes as ErrDamaged
	"keystore.ErrInitialized":        {keystore.ErrInitialized, "INTERNAL"},
	"keystore.ErrDamaged":            {keystore.ErrDamaged, "STORE_UNAVAILABLE"},
	"keystore.ErrRolledBack":         {keystore.ErrRolledBack, "STORE_UNAVAILABLE"},
	"keystore.ErrWrongRootKey":       {keystore.ErrWrongRootKey, "STORE_UNAVAILABLE"},
	"policy.ErrDenied":               {policy.ErrDenied, "DENIED"},
	"policy.ErrPermit":               {policy.ErrPermit, "INTERNAL"},
	"upstream.ErrInvalid":            {upstream.ErrInvalid, "INVALID_REQUEST"},
	"upstream.ErrFIPS":               {upstream.ErrFIPS, "FIPS_REFUSED"},
	"upstream.ErrNotGenerated":       {upstream.ErrNotGenerated, "INTERNAL"}, // handlers name the field instead
	"noon.ErrRejectedCredential":     {noon.ErrRejectedCredential, "UPSTREAM_REJECTED_CREDENTIAL"},
	"noon.ErrUnavailable":            {noon.ErrUnavailable, "UPSTREAM_UNAVAILABLE"},
	"noon.ErrDestination":            {noon.ErrDestination, "KEY_DISABLED"},
	"noon.ErrKeyChanged":             {noon.ErrKeyChanged, "UPSTREAM_UNAVAILABLE"},
	"noon.ErrRateLimited":            {noon.ErrRateLimited, "RATE_LIMITED"},
	"noah.ErrIncomplete":             {noah.ErrIncomplete, "INTERNAL"},
	"server.errNoIdentity":           {errNoIdentity, "NO_IDENTITY"},
	"server.errLimited":              {errLimited, "RATE_LIMITED"},
	"server.errUnknownFields":        {errUnknownFields, "INTERNAL"}, // compilePolicy names the field instead
	"server.errWrongScheme":          {errWrongScheme, "WRONG_SCHEME"},
	"server.errNotReady":             {errNotReady, "STORE_UNAVAILABLE"},
	"server.errExcess":               {errExcess, "RATE_LIMITED"},
	"server.errRootKey":              {errRootKey, "ROOT_KEY_UNAVAILABLE"},
	"server.errStopping":             {errStopping, "STORE_UNAVAILABLE"},
	"server.errUndecided":            {errUndecided, "INTERNAL"},
	"server.errUnproven":             {errUnproven, "UPSTREAM_REJECTED_CREDENTIAL"},
	"keystore.ErrUnfitRootKey":       {keystore.ErrUnfitRootKey, "INTERNAL"}, // comes as errRootKey
	"server.errFreezeUnstored":       {errFreezeUnstored, "STORE_UNAVAILABLE"},
	"server.errFreezeUnrecorded":     {errFreezeUnrecorded, "AUDIT_UNAVAILABLE"},
	"audit.ErrUnavailable":           {audit.ErrUnavailable, "AUDIT_UNAVAILABLE"},
	"audit.ErrMissing":               {audit.ErrMissing, "AUDIT_UNAVAILABLE"},
	"audit.ErrClosed":                {audit.ErrClosed, "AUDIT_UNAVAILABLE"},
	"audit.ErrTooLong":               {audit.ErrTooLong, "INTERNAL"}, // records are cut
	"audit.ErrNothingMissing":        {audit.ErrNothingMissing, "NOTHING_MISSING"},
	"audit.ErrState":                 {audit.ErrState, "INTERNAL"},
	"audit.ErrLine":                  {audit.ErrLine, "INTERNAL"},
	"reader.ErrNotFound":             {reader.ErrNotFound, "RECORD_NOT_FOUND"},
	"reader.ErrDamaged":              {reader.ErrDamaged, "AUDIT_DAMAGED"},
	"keystore.ErrRootKeyUnavailable": {keystore.ErrRootKeyUnavailable, "STORE_UNAVAILABLE"},
	"keystore.ErrVersionDestroyed":   {keystore.ErrVersionDestroyed, "VERSION_DESTROYED"},
	"server.errTicketUnknown":        {errTicketUnknown, "TICKET_REFUSED"},
	"server.errTicketExpired":        {errTicketExpired, "TICKET_REFUSED"},
	"server.errTicketOther":          {errTicketOther, "TICKET_REFUSED"},
	"server.errTicketInUse":          {errTicketInUse, "TICKET_REFUSED"},
	"server.errTooManyTicket":        {errTooManyTicket, "TOO_MANY_TICKETS"},
	"importticket.ErrNotAllowed":     {importticket.ErrNotAllowed, "FIPS_REFUSED"},
	"server.errFrozen":               {errFrozen, "FROZEN"},
	"keystore.ErrForgedBackup":       {keystore.ErrForgedBackup, "INTERNAL"}, // of signerd restore
	"keystore.ErrAnchored":           {keystore.ErrAnchored, "INTERNAL"},
	"keystore.ErrNoRecovery":         {keystore.ErrNoRecovery, "INTERNAL"},
	"keystore.ErrWrongRecoveryKey":   {keystore.ErrWrongRecoveryKey, "INTERNAL"},
	"keystore.ErrUnverified":         {keystore.ErrUnverified, "INTERNAL"}, // of signerd restore and recover
	"keystore.ErrOtherVerifierKey":   {keystore.ErrOtherVerifierKey, "INTERNAL"},
}

func TestEveryErrorOfThePackagesBelowHasItsReason(t *testing.T) {
	for _, dir := range []string{"../keystore", "../policy", "../upstream", "../upstream/noah", "../upstream/noba", "../upstream/noon", "../audit", "../audit/reader", "."} {
		for _, name := range declaredErrors(t, dir) {
			if _, ok := reasons[name]; !ok {
				t.Errorf("%s is new: give it a row in errorTable, or say here that it is INTERNAL", name)
			}
		}
	}
	for name, want := range reasons {
		for _, err := range []error{want.err, fmt.Errorf("saying where: %w", want.err), errors.Join(errors.New("another"), want.err)} {
			if got := rowFor(err).reason; got != want.reason {
				t.Errorf("%s becomes %s, want %s", name, got, want.reason)
			}
		}
	}
}

// declaredErrors finds the package-level error variables that a package's callers may meet: exported ones, and in
// package server all.
func declaredErrors(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s (%v)", dir, err)
	}
	var out []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			general, ok := decl.(*ast.GenDecl)
			if !ok || general.Tok != token.VAR {
				continue
			}
			for _, spec := range general.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					if strings.HasPrefix(name.Name, "Err") || dir == "." && strings.HasPrefix(name.Name, "err") && name.Name != "errorTable" {
						out = append(out, parsed.Name.Name+"."+name.Name)
					}
				}
			}
		}
	}
	return out
}

func TestTheCausesOfWhatIsUnforeseenStayInside(t *testing.T) {
	st, reason := statusFor(t.Context(), errors.New("the moon is full"), "an-id")
	if st.Code() != codes.Internal || reason != "INTERNAL" || st.Message() != internalRow.text {
		t.Errorf("got %v, %s", st, reason)
	}
	info := st.Details()[0].(*errdetails.ErrorInfo)
	if !maps.Equal(info.GetMetadata(), map[string]string{"record_id": "an-id"}) || info.GetDomain() != "signerd" {
		t.Errorf("ErrorInfo %v", info)
	}
}

func TestACallerThatGaveUpIsTold(t *testing.T) {
	gaveUp, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancelLate := context.WithTimeout(t.Context(), 0)
	defer cancelLate()
	<-late.Done()
	tests := []struct {
		name   string
		ctx    context.Context
		err    error
		code   codes.Code
		reason string
	}{
		{"gave up", gaveUp, context.Canceled, codes.Canceled, ""},
		{"deadline", late, context.DeadlineExceeded, codes.DeadlineExceeded, ""},
		{"gave up while the store was read", gaveUp, fmt.Errorf("%w: reading it: %w", keystore.ErrUnavailable, context.Canceled), codes.Canceled, ""},
		{"gave up while it was identified", gaveUp, fmt.Errorf("%w: %w", errNoIdentity, context.Canceled), codes.Canceled, ""},
		{"the answer was on its way", gaveUp, keystore.ErrNotFound, codes.NotFound, "KEY_NOT_FOUND"},
		{"a bug does not hide behind it", gaveUp, errors.New("panic: the moon is full"), codes.Internal, "INTERNAL"},
		{"signerd's own timeout is not the caller's", t.Context(), context.DeadlineExceeded, codes.Internal, "INTERNAL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if st, reason := statusFor(tt.ctx, tt.err, "an-id"); st.Code() != tt.code || reason != tt.reason {
				t.Errorf("got %v, %q; want %v, %q", st.Code(), reason, tt.code, tt.reason)
			}
		})
	}
}
