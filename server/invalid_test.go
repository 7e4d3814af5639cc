package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/server"
)

// invalid is a request of which one field is wrong.
type invalid struct {
	name  string
	in    proto.Message
	field string // as BadRequest names it
}

// anything lists the fields that cannot be wrong.
var anything = []string{
	"SignNoahRequestRequest.body",
	"GetPublicKeyRequest.version", // one that does not exist is KEY_NOT_FOUND
	"UpdateKeyRequest.generation", "EnableKeyRequest.generation", "DisableKeyRequest.generation",
	"CreateKeyVersionRequest.generation", "ImportKeyVersionRequest.generation", "ActivateKeyVersionRequest.generation",
	"EnableKeyVersionRequest.generation", "DisableKeyVersionRequest.generation", "DestroyKeyVersionRequest.generation", "RestoreKeyVersionRequest.generation", "UpdateKeyVersionRequest.generation", "SetPolicyRequest.generation", // a stale one is CONFLICT
	"ExplainPolicyRequest.all", "ListRecordsRequest.denied", "ListRecordsRequest.follow", "GetRecordRequest.proof",
}

func TestEveryWrongFieldIsNamed(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	tests := slices.Concat(invalidNOAH(), invalidNoba(r, t), invalidNoon(), invalidChanges(r, t), invalidVersions(r, t), invalidVerifications(), invalidPolicies(), invalidAudit())
	covered := make(map[string]bool)
	for _, tt := range tests {
		message := string(proto.MessageName(tt.in).Name())
		t.Run(message+" "+tt.name, func(t *testing.T) {
			rpc := rpcOf(t, tt.in)
			_, out := rpc.Messages()
			err := invoke(as(t, operator), r.conn, rpc, tt.in, out)
			logged, fields := r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST")
			if logged.Key != "" && !policy.ValidKeyName(logged.Key) {
				t.Errorf("the log has the caller's own words: %q", logged.Key)
			}
			if !slices.Equal(fields, []string{tt.field}) {
				t.Errorf("it names %q, want %q", fields, tt.field)
			}
		})
		field, _, _ := strings.Cut(top(tt.field), ".")
		covered[message+"."+field] = true
	}
	for _, rpc := range server.RPCs() {
		fields := rpc.Input().Fields()
		for i := range fields.Len() {
			name := string(rpc.Input().Name()) + "." + string(fields.Get(i).Name())
			if !covered[name] && !slices.Contains(anything, name) {
				t.Errorf("no test has a wrong %s", name)
			}
		}
	}
}

// top is a field's name without the part of material behind it.
func top(field string) string {
	if field == "material.api_key" || field == "material.private_key" || field == "material.secret" {
		return "material"
	}
	return field
}

func rpcOf(t *testing.T, in proto.Message) server.RPC {
	t.Helper()
	for _, rpc := range server.RPCs() {
		if rpc.Input().FullName() == proto.MessageName(in) {
			return rpc
		}
	}
	t.Fatalf("no RPC takes %T", in)
	return server.RPC{}
}

func TestSeveralWrongFieldsAreAllNamed(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	for _, rpc := range server.RPCs() {
		if rpc.KeyField() == "" {
			continue
		}
		// Empty, so that every required field is missing.
		in, out := rpc.Messages()
		_, fields := r.refused(t, invoke(as(t, operator), r.conn, rpc, in, out), codes.InvalidArgument, "INVALID_REQUEST")
		if !slices.Contains(fields, rpc.KeyField()) || len(slices.Compact(slices.Sorted(slices.Values(fields)))) != len(fields) {
			t.Errorf("%s names %q", rpc.Name(), fields)
		}
		if rpc.Input().Fields().ByName("path") != nil && !slices.Contains(fields, "path") {
			t.Errorf("%s names %q, not path", rpc.Name(), fields)
		}
	}
}

func TestARuleThatIsBrokenManyTimesIsNamedOnce(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	labels := make(map[string]string)
	for i := range 5000 {
		labels[fmt.Sprint("Wrong ", i)] = "x"
	}
	// Anybody may send this: a request is checked before policy is asked.
	_, err := r.admin.UpdateKey(as(t, stranger), &adminv1.UpdateKeyRequest{Name: "a", Labels: labels})
	_, fields := r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST")
	if !slices.Equal(fields, []string{"labels", "labels"}) { // too many, and malformed
		t.Errorf("it names %d fields", len(fields))
	}
	if n := proto.Size(status.Convert(err).Proto()); n > 1000 {
		t.Errorf("the answer has %d bytes", n)
	}
}
