package server

import (
	"maps"
	"slices"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/policy"
)

// scope is what a permission is about.
type scope int

const (
	onKey    scope = iota // the key that the request names
	onSystem              // signerd as a whole
)

// permission is what a caller needs for an RPC.
type permission struct {
	operation policy.Operation
	scope     scope
}

// permissions has a line for every RPC. An RPC that is missing here is refused as a bug.
var permissions = map[string]permission{
	signerdv1.SignerService_SignNoahRequest_FullMethodName:      {"SignNoahRequest", onKey},
	signerdv1.SignerService_ComputeNobaSignature_FullMethodName: {"ComputeNobaSignature", onKey},
	signerdv1.SignerService_GetNoonSession_FullMethodName:       {"GetNoonSession", onKey},

	adminv1.KeyService_CreateKey_FullMethodName:          {"CreateKey", onKey},
	adminv1.KeyService_ImportKey_FullMethodName:          {"ImportKey", onKey},
	adminv1.KeyService_GetKey_FullMethodName:             {"GetKey", onKey},
	adminv1.KeyService_ListKeys_FullMethodName:           {"ListKeys", onSystem}, // each key in the answer is decided on by itself
	adminv1.KeyService_UpdateKey_FullMethodName:          {"UpdateKey", onKey},
	adminv1.KeyService_EnableKey_FullMethodName:          {"EnableKey", onKey},
	adminv1.KeyService_DisableKey_FullMethodName:         {"DisableKey", onKey},
	adminv1.KeyService_CreateKeyVersion_FullMethodName:   {"CreateKeyVersion", onKey},
	adminv1.KeyService_ImportKeyVersion_FullMethodName:   {"ImportKeyVersion", onKey},
	adminv1.KeyService_ActivateKeyVersion_FullMethodName: {"ActivateKeyVersion", onKey},
	adminv1.KeyService_EnableKeyVersion_FullMethodName:   {"EnableKeyVersion", onKey},
	adminv1.KeyService_DisableKeyVersion_FullMethodName:  {"DisableKeyVersion", onKey},
	adminv1.KeyService_GetPublicKey_FullMethodName:       {"GetPublicKey", onKey},

	adminv1.SystemService_GetStatus_FullMethodName: {"GetStatus", onSystem},
}

// Operations lists every operation that a grant can name, sorted.
func Operations() []policy.Operation {
	var out []policy.Operation
	for p := range maps.Values(permissions) {
		out = append(out, p.operation)
	}
	slices.Sort(out)
	return out
}
