package server_test

import (
	"context"
	"crypto/elliptic"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/server"
)

// heard is all that a caller gets to see of a refusal: status, details, headers and trailers, but for the record_id.
func heard(ctx context.Context, t *testing.T, conn *grpc.ClientConn, path string, in, out proto.Message) string {
	t.Helper()
	var header, trailer metadata.MD
	err := conn.Invoke(ctx, path, in, out, grpc.Header(&header), grpc.Trailer(&trailer))
	st := status.Convert(err)
	if err == nil || len(st.Details()) == 0 {
		t.Fatalf("got %v, want a refusal", err)
	}
	info, ok := st.Details()[0].(*errdetails.ErrorInfo)
	if !ok {
		t.Fatalf("got %v", st.Details()[0])
	}
	bytes, err := proto.MarshalOptions{Deterministic: true}.Marshal(st.Proto())
	must(t, err)
	all := fmt.Sprintf("%q %q %q", bytes, header, trailer)
	id := info.GetMetadata()["record_id"]
	if !strings.Contains(all, id) {
		t.Fatal("the record_id is not where it should be")
	}
	return strings.ReplaceAll(all, id, "<record_id>")
}

// odd are values that are no mistake in the message itself, but that a handler would refuse for the key it finds.
var odd = map[string]any{
	"method": "DELETE", "path": "/v1/x?a=b", "body": "e30=", "timestamp_millis": "0", "generation": "999999",
	"version": 77, "environment": "ENVIRONMENT_PROD", "scheme": "no-such-partner", "algorithm": "ROT13", "api_key": "AAECAw==",
	"purpose": "IMPORT_PURPOSE_API_KEY",
	"VerifySignatureRequest.candidates": []any{map[string]any{"noba": map[string]any{"body": "//8=", "signature": make([]byte, 32)}},
		map[string]any{"noah": map[string]any{"token": "..\x00"}}},
	"ImportKeyRequest.material":        map[string][]byte{"api_key": []byte("apikey_sandbox_x"), "private_key": []byte("none")},
	"ImportKeyVersionRequest.material": map[string][]byte{"secret": []byte("\x00"), "unknown": []byte("x")},
}

func TestADeniedCallerCannotTellWhetherAKeyExists(t *testing.T) {
	t.Parallel()
	const allowedElsewhere, allowedOtherwise = 2001, 2002
	keys := []string{"absent", "absent-too", "noah", "noba", "prod", "pending", "key-disabled", "version-disabled", "labelled"}
	var others []policy.Operation
	for _, op := range server.Operations() {
		if op != "ListKeys" && op != "GetStatus" {
			others = append(others, op)
		}
	}
	rules := []allowance{everything(t, operator), allows(t, allowedElsewhere, []string{"elsewhere"}, policy.Any)}
	for i := range others { // one caller for each operation that it may not do
		rules = append(rules, allows(t, allowedOtherwise+uint32(i), keys, slices.Concat(others[:i], others[i+1:], []policy.Operation{"ListKeys", "GetStatus"})...))
	}
	r := start(t, setup{rules: rules})
	r.inEveryState(t)

	allRPCs := make(map[string]string) // what was heard, and where first
	for _, rpc := range server.RPCs() {
		if rpc.KeyField() == "" {
			continue
		}
		t.Run(string(rpc.Name()), func(t *testing.T) {
			requests := map[string]func(key string) proto.Message{
				"minimal": func(key string) proto.Message { return minimal(t, rpc, key) },
				"odd": func(key string) proto.Message {
					in := maps.Clone(odd)
					in["key"], in["name"] = key, key
					return request(t, rpc, in)
				},
			}
			for kind, in := range requests {
				for _, who := range []uint32{stranger, allowedElsewhere, allowedOtherwise + uint32(slices.Index(others, policy.Operation(rpc.Name())))} {
					first := ""
					for _, key := range keys {
						_, out := rpc.Messages()
						got := heard(as(t, who), t, r.conn, rpc.Path, in(key), out)
						if first == "" {
							first = got
						}
						if got != first {
							t.Errorf("%s request, caller %d: for %s it is\n%s\nfor %s\n%s", kind, who, keys[0], first, key, got)
						}
					}
					if !strings.Contains(first, "DENIED") {
						t.Errorf("%s request, caller %d: got %s", kind, who, first)
					}
					allRPCs[first] = string(rpc.Name())
				}
			}
		})
	}
	if len(allRPCs) != 1 {
		t.Errorf("denials differ between RPCs: %v", allRPCs)
	}
}

// inEveryState makes keys that are named by what there is about them.
func (r *rig) inEveryState(t *testing.T) {
	t.Helper()
	ctx := as(t, operator)
	for _, name := range []string{"noah", "key-disabled", "version-disabled", "labelled"} {
		r.importedNOAH(t, name)
	}
	r.importedNoba(t, "noba")
	r.imported(t, "prod", "noah", prod, newNOAH(t, elliptic.P256(), prod).material())
	_, err := r.admin.CreateKey(ctx, &adminv1.CreateKeyRequest{Name: "pending", Environment: sandbox})
	must(t, err)
	_, err = r.admin.DisableKey(ctx, &adminv1.DisableKeyRequest{Name: "key-disabled"})
	must(t, err)
	_, err = r.admin.DisableKeyVersion(ctx, &adminv1.DisableKeyVersionRequest{Name: "version-disabled", Version: 1})
	must(t, err)
	_, err = r.admin.UpdateKey(ctx, &adminv1.UpdateKeyRequest{Name: "labelled", Labels: map[string]string{"team": "x"}})
	must(t, err)
}

func TestAnInvalidRequestTellsNothingAboutTheKey(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.inEveryState(t)
	requests := map[string]map[string]any{
		"SignNoahRequest":      {"method": "GET", "path": "no path"},
		"ComputeNobaSignature": {"method": "GET", "path": "/v1", "body": "AAAA"},
		"CreateKey":            {},
		"ImportKey":            {"environment": "ENVIRONMENT_PROD", "scheme": "noah"},
		"ImportKeyVersion":     {},
		"ActivateKeyVersion":   {"version": 0},
		"EnableKeyVersion":     {},
		"DisableKeyVersion":    {},
		"VerifySignature":      {"api_key": strings.Repeat("a", 513)},
	}
	for _, rpc := range server.RPCs() {
		values, ok := requests[string(rpc.Name())]
		if !ok {
			continue
		}
		for _, who := range []uint32{operator, stranger} {
			answers := make(map[string]bool)
			for _, key := range []string{"absent", "noah", "noba", "prod", "pending", "key-disabled"} {
				in := maps.Clone(values)
				in["key"], in["name"] = key, key
				_, out := rpc.Messages()
				answers[heard(as(t, who), t, r.conn, rpc.Path, request(t, rpc, in), out)] = true
			}
			for answer := range answers {
				if len(answers) != 1 || !strings.Contains(answer, "INVALID_REQUEST") {
					t.Errorf("%s, caller %d: %v", rpc.Name(), who, answers)
				}
			}
		}
	}
}
