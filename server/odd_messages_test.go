package server_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/server"
)

// raw is a codec that sends bytes as they are.
type raw struct{}

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

func (raw) Name() string { return "proto" }

// sendRaw sends bytes as the request of an RPC, and decodes what comes back.
func (r *rig) sendRaw(t *testing.T, path string, in []byte, out proto.Message) error {
	t.Helper()
	var answer []byte
	if err := r.conn.Invoke(as(t, operator), path, &in, &answer, grpc.ForceCodecV2(raw{})); err != nil {
		return err
	}
	return proto.Unmarshal(answer, out)
}

func TestWhatCannotBeParsedTheLibraryRefuses(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	for _, in := range [][]byte{
		{0xff}, []byte("GET / HTTP/1.1"), bytes.Repeat([]byte{0x0a}, 1000),
		protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "\xff"), // a name that is not UTF-8
	} {
		for _, rpc := range server.RPCs() {
			if rpc.KeyField() == "" {
				continue
			}
			_, out := rpc.Messages()
			r.library(t, r.sendRaw(t, rpc.Path, in, out), codes.Internal)
		}
	}
}

func TestUnknownMethodsAndServicesAreUnimplemented(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	for _, path := range []string{
		"/signerd.v1.SignerService/GetMoonSession", "/signerd.v1.SignerService/signNoahRequest", "/signerd.v1.SignerService/",
		"/signerd.v2.SignerService/SignNoahRequest", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"/grpc.health.v1.Health/Nothing",
	} {
		r.library(t, r.sendRaw(t, path, nil, &signerdv1.SignNoahRequestResponse{}), codes.Unimplemented)
	}
}

func TestAMessageOverTheLimitIsRefusedUnread(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{0, 4000} {
		t.Run(fmt.Sprint("limit ", limit), func(t *testing.T) {
			r := start(t, setup{limits: server.Limits{MaxMessageBytes: limit}})
			bytes := limit
			if bytes == 0 {
				bytes = server.DefaultMaxMessageBytes
			}
			in := &signerdv1.SignNoahRequestRequest{Key: "a", Method: "POST", Path: "/v1",
				Content: &signerdv1.SignNoahRequestRequest_Body{Body: make([]byte, bytes)}}
			_, err := r.signer.SignNoahRequest(as(t, operator), in)
			r.library(t, err, codes.ResourceExhausted)
			over := proto.Size(in) - bytes
			in.Content = &signerdv1.SignNoahRequestRequest_Body{Body: make([]byte, bytes-over)}
			if proto.Size(in) != bytes {
				t.Fatalf("the request has %d bytes, want %d", proto.Size(in), bytes)
			}
			_, err = r.signer.SignNoahRequest(as(t, operator), in)
			r.refused(t, err, codes.NotFound, "KEY_NOT_FOUND")
		})
	}
}

func TestDeepNestingIsRefused(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	objects := structpb.NewNullValue()
	for range 2000 {
		objects = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"a": objects}})
	}
	for name, v := range map[string]*structpb.Value{
		"lists": nested(2000), "objects": objects, "objects in a list": structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{objects}}),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.signer.SignNoahRequest(as(t, operator), &signerdv1.SignNoahRequestRequest{Key: "a", Method: "GET", Path: "/v1",
				QueryParams: &structpb.Struct{Fields: map[string]*structpb.Value{"a": v}}})
			if _, fields := r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST"); fields[0] != "query_params" {
				t.Errorf("it names %q", fields)
			}
		})
	}
}

func TestNestingThatTheLibraryWillNotReadIsRefused(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	in := &signerdv1.SignNoahRequestRequest{Key: "a", Method: "GET", Path: "/v1",
		QueryParams: &structpb.Struct{Fields: map[string]*structpb.Value{"a": nested(6000)}}}
	_, err := r.signer.SignNoahRequest(as(t, operator), in)
	r.library(t, err, codes.Internal)
}

func TestEmptyQueryParamsAreNoQuery(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	claims := make(map[string]string)
	for _, params := range []*structpb.Struct{nil, {}} {
		for _, path := range []string{"/v1", "/v1?"} {
			out, err := r.signer.SignNoahRequest(as(t, operator), &signerdv1.SignNoahRequestRequest{Key: "a", Method: "GET", Path: path, QueryParams: params})
			must(t, err)
			claims[payload(t, out.GetHeaders())] = path
		}
	}
	if len(claims) != 1 {
		t.Errorf("the claims differ: %v", claims)
	}
	for text := range claims {
		if strings.Contains(text, "queryParams") {
			t.Errorf("a query was signed: %s", text)
		}
	}
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	a := r.importedNOAH(t, "a")
	in, err := proto.Marshal(&signerdv1.SignNoahRequestRequest{Key: "a", Method: "GET", Path: "/v1"})
	must(t, err)
	in = protowire.AppendString(protowire.AppendTag(in, 1000, protowire.BytesType), "from a newer client")
	var out signerdv1.SignNoahRequestResponse
	must(t, r.sendRaw(t, signerdv1.SignerService_SignNoahRequest_FullMethodName, in, &out))
	if out.GetHeaders()["X-Api-Key"] != a.apiKey {
		t.Errorf("got %v", &out)
	}
}
