package server

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/signerd/signerd/upstream/noon"
)

// codeNames are the codes as the protocol spells them.
var codeNames = map[codes.Code]string{
	codes.InvalidArgument: "INVALID_ARGUMENT", codes.Unauthenticated: "UNAUTHENTICATED", codes.PermissionDenied: "PERMISSION_DENIED",
	codes.NotFound: "NOT_FOUND", codes.FailedPrecondition: "FAILED_PRECONDITION", codes.AlreadyExists: "ALREADY_EXISTS",
	codes.Aborted: "ABORTED", codes.Unavailable: "UNAVAILABLE", codes.ResourceExhausted: "RESOURCE_EXHAUSTED", codes.Internal: "INTERNAL",
	codes.DataLoss: "DATA_LOSS",
}

// documentedReason is a row of docs/errors.md.
type documentedReason struct{ reason, code, again string }

func documentedReasons(t *testing.T) []documentedReason {
	t.Helper()
	doc, err := os.ReadFile("../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []documentedReason
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\|(.*)\\|$").FindAllStringSubmatch(string(doc), -1) {
		cells := strings.Split(m[2], "|")
		for i, cell := range cells {
			if cells[i] = strings.TrimSpace(cell); cells[i] == "" {
				t.Errorf("%s: column %d is empty", m[1], i+2)
			}
		}
		if len(cells) != 4 {
			t.Fatalf("%s has %d columns", m[1], len(cells)+1)
		}
		out = append(out, documentedReason{m[1], cells[0], cells[3]})
	}
	return out
}

// TestEveryReasonIsDocumented keeps the tables of docs/errors.md and the error table alike, codes included.
func TestEveryReasonIsDocumented(t *testing.T) {
	var want, got []string
	for _, row := range append(slices.Clone(errorTable), internalRow) {
		want = append(want, row.reason+" "+codeNames[row.code])
	}
	for _, row := range documentedReasons(t) {
		got = append(got, row.reason+" "+row.code)
	}
	slices.Sort(want)
	slices.Sort(got) // and a reason that is there twice stays so
	if want = slices.Compact(want); len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("docs/errors.md lists\n%q\nthe error table\n%q", got, want)
	}
}

// Clients decide by the code where they know no better: what the page says of a reason must fit it.
func TestWhetherToAskAgainFitsTheCode(t *testing.T) {
	fits := map[string][]string{
		"UNAVAILABLE": {"backoff", "RetryInfo"}, "RESOURCE_EXHAUSTED": {"backoff", "RetryInfo"}, "ABORTED": {"read first"},
	}
	names := make(map[string]bool)
	for _, row := range documentedReasons(t) {
		want, ok := fits[row.code]
		if !ok {
			want = []string{"no"}
		}
		if !slices.Contains(want, row.again) {
			t.Errorf("%s (%s) says %q, want one of %q", row.reason, row.code, row.again, want)
		}
		names[row.reason+" "+row.again] = true
	}
	for _, err := range []error{&limitedError{time.Second}, &excessError{after: time.Second}, &noon.RetryError{Err: noon.ErrRateLimited, After: time.Second},
		&noon.RetryError{Err: noon.ErrUnavailable, After: time.Second}, noon.ErrKeyChanged} {
		st, reason := statusFor(t.Context(), err, "an-id")
		if said := fmt.Sprint(st.Details()); !names[reason+" RetryInfo"] || !strings.Contains(said, "retry_delay") {
			t.Errorf("%s comes with %s, and docs/errors.md does not say RetryInfo", reason, said)
		}
	}
}
