package cli

import (
	"context"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// doomedKey is a key whose version 2 is to be destroyed, and whose version 3 was.
func doomedKey() *adminv1.Key {
	k := ordersKey()
	k.Versions[1].State, k.Versions[1].DestroyTime = adminv1.KeyVersionState_KEY_VERSION_STATE_DISABLED, timestamppb.New(made.AsTime().Add(168*time.Hour))
	k.Versions = append(k.Versions, &adminv1.KeyVersion{Number: 3, State: adminv1.KeyVersionState_KEY_VERSION_STATE_DESTROYED,
		Algorithm: "ES384", CreateTime: made, Creator: "unix:uid=1000", DestroyTime: made})
	return k
}

func TestKeyDestroyAndRestore(t *testing.T) {
	restored := ordersKey()
	restored.Versions[1].State = adminv1.KeyVersionState_KEY_VERSION_STATE_DISABLED
	f := serve(t, answers{"DestroyKeyVersion": give(&adminv1.DestroyKeyVersionResponse{Key: doomedKey()}), "RestoreKeyVersion": give(&adminv1.RestoreKeyVersionResponse{Key: restored})})
	f.run(t, "", "key", "destroy", "orders", "--version", "2").want(t, 0,
		"Version 2 of key orders no longer signs, and is destroyed at 2026-11-29T08:30:00Z (generation 7).\n"+
			"Until then `signerctl key restore orders --version 2` takes it back.\n", "")
	f.run(t, "", "key", "restore", "orders", "--version", "2", "--generation", "7").want(t, 0,
		"Version 2 of key orders stays, and is DISABLED (generation 7).\n", "note: `signerctl key enable orders --version 2` lets it sign again\n")
	f.wantRequests(t, &adminv1.DestroyKeyVersionRequest{Name: "orders", Version: 2, After: durationpb.New(168 * time.Hour)},
		&adminv1.RestoreKeyVersionRequest{Name: "orders", Version: 2, Generation: 7})
}

func TestKeyDestroySaysWhatToTypeForTheActiveVersion(t *testing.T) {
	problem := "version 1 is the active one: no request can be signed once its destruction is scheduled; confirm this by orders/1/7/48h0m0s"
	f := serve(t, answers{"DestroyKeyVersion": func(context.Context, proto.Message) (proto.Message, error) {
		st, err := status.New(codes.InvalidArgument, "confirm: "+problem).WithDetails(&errdetails.ErrorInfo{Reason: "INVALID_REQUEST", Domain: "signerd"},
			&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "confirm", Description: problem}}})
		if err != nil {
			return nil, err
		}
		return nil, st.Err()
	}})
	f.run(t, "", "key", "destroy", "orders", "--version", "1", "--after", "48h").want(t, 1, "",
		"signerctl: scheduling the destruction of version 1 of key orders: confirm: "+problem+"\n"+
			"hint: if you are sure: `signerctl key destroy orders --version 1 --after 48h0m0s --confirm orders/1/7/48h0m0s`\n")
}

func TestKeyShowAndListTellWhatIsToBeDestroyed(t *testing.T) {
	f := serve(t, answers{"GetKey": give(&adminv1.GetKeyResponse{Key: doomedKey()}), "ListKeys": give(&adminv1.ListKeysResponse{Keys: []*adminv1.Key{doomedKey()}})})
	f.run(t, "", "key", "show", "orders").want(t, 0, `Name:            orders
Scheme:          noah
Environment:     sandbox
Enabled:         yes
Active version:  1
Labels:          app=shop,team=payments
Generation:      7
Created:         2026-11-22T08:30:00Z
Updated:         2026-11-22T08:30:00Z

VERSION  STATE                                        ALGORITHM  CREATED               CREATOR        LAST USED  PUBLIC KEY SHA-256
1        ENABLED                                      ES384      2026-11-22T08:30:00Z  unix:uid=1000  unknown    ab12
2        DISABLED, destroyed at 2026-11-29T08:30:00Z  ES256      2026-11-22T08:30:00Z  unix:uid=1000  unknown    cd34
3        DESTROYED 2026-11-22T08:30:00Z               ES384      2026-11-22T08:30:00Z  unix:uid=1000  unknown    -
`, "")
	f.run(t, "", "key", "list").want(t, 0, `NAME    SCHEME  ENV      STATUS   ACTIVE  VERSIONS                                 LABELS
orders  noah    sandbox  enabled  1       3 (2 destroyed at 2026-11-29T08:30:00Z)  app=shop,team=payments
`, "")
}
