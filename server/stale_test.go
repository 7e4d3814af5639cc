package server_test

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/server"
)

func TestEveryChangeCanBeBoundToTheStateItWasDecidedOn(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	ctx := as(t, operator)
	for _, rpc := range server.RPCs() {
		field := rpc.Input().Fields().ByName("generation")
		if field == nil {
			switch rpc.Name() {
			case "SignNoahRequest", "ComputeNobaSignature", "GetNoonSession", "CreateKey", "ImportKey", "CreateImportTicket", "GetKey", "ListKeys", "GetPublicKey", "VerifySignature", "GetStatus", "Backup",
				"GetPolicy", "TestPolicy", "ExplainPolicy", "ReplayPolicy",
				"ListRecords", "GetRecord", "VerifyLog", "GetCheckpoint", "AcknowledgeLoss", "RotateRootKey",
				"Freeze", "Unfreeze": // they say what is to be, whatever was before
			default:
				t.Errorf("%s changes a key, but takes no generation", rpc.Name())
			}
			continue
		}
		if rpc.Name() == "SetPolicy" {
			continue // it takes a generation that is required; see policies_test.go
		}
		r.prepare(t, rpc)
		before, err := r.admin.GetKey(ctx, &adminv1.GetKeyRequest{Name: nameOf(rpc)})
		must(t, err)
		now := before.GetKey().GetGeneration()
		in := minimal(t, rpc, nameOf(rpc))
		for _, generation := range []uint64{1, now - 1, now + 1} {
			in.ProtoReflect().Set(field, protoreflect.ValueOfUint64(generation))
			_, out := rpc.Messages()
			r.refused(t, invoke(ctx, r.conn, rpc, in, out), codes.Aborted, "CONFLICT")
		}
		after, err := r.admin.GetKey(ctx, &adminv1.GetKeyRequest{Name: nameOf(rpc)})
		must(t, err)
		same(t, after, before)
		in.ProtoReflect().Set(field, protoreflect.ValueOfUint64(now))
		_, out := rpc.Messages()
		if err := invoke(ctx, r.conn, rpc, in, out); err != nil {
			t.Errorf("%s on the state it was decided on: %v", rpc.Name(), err)
		}
	}
}
