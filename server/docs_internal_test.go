package server

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"
)

// TestEveryReasonIsDocumented keeps the table of docs/operations.md and the error table alike, codes included.
func TestEveryReasonIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	codeNames := map[string]string{
		"InvalidArgument": "INVALID_ARGUMENT", "Unauthenticated": "UNAUTHENTICATED", "PermissionDenied": "PERMISSION_DENIED",
		"NotFound": "NOT_FOUND", "FailedPrecondition": "FAILED_PRECONDITION", "AlreadyExists": "ALREADY_EXISTS",
		"Aborted": "ABORTED", "Unavailable": "UNAVAILABLE", "ResourceExhausted": "RESOURCE_EXHAUSTED", "Internal": "INTERNAL", "DataLoss": "DATA_LOSS",
	}
	want := map[string]string{}
	for _, row := range append(slices.Clone(errorTable), internalRow) {
		want[row.reason] = codeNames[row.code.String()]
	}
	got := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| ([A-Z_]+) \\| .+ \\|$").FindAllSubmatch(doc, -1) {
		got[string(m[1])] = string(m[2])
	}
	if len(want) == 0 || !maps.Equal(got, want) {
		t.Errorf("docs/operations.md lists\n%v\nthe error table\n%v", got, want)
	}
}
