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
	// covers is what of a request the signature covers; rules may decide by nothing else.
	covers policy.Covers
	// makesKey marks what is decided by the key that there will be.
	makesKey bool
	// always marks what administrators may do whatever the policy says.
	always bool
}

// permissions has a line for every RPC. An RPC that is missing here is refused as a bug.
var permissions = map[string]permission{
	signerdv1.SignerService_SignNoahRequest_FullMethodName:      {operation: "SignNoahRequest", covers: policy.Covers{Method: true, Path: true, Query: true, Body: true}},
	signerdv1.SignerService_ComputeNobaSignature_FullMethodName: {operation: "ComputeNobaSignature", covers: policy.Covers{Method: true, Path: true, Body: true}},
	signerdv1.SignerService_GetNoonSession_FullMethodName:       {operation: "GetNoonSession"},

	adminv1.KeyService_CreateKey_FullMethodName:          {operation: "CreateKey", makesKey: true},
	adminv1.KeyService_ImportKey_FullMethodName:          {operation: "ImportKey", makesKey: true},
	adminv1.KeyService_GetKey_FullMethodName:             {operation: getKey},
	adminv1.KeyService_ListKeys_FullMethodName:           {operation: "ListKeys", scope: onSystem}, // it shows the keys that the caller may get
	adminv1.KeyService_UpdateKey_FullMethodName:          {operation: "UpdateKey"},
	adminv1.KeyService_EnableKey_FullMethodName:          {operation: "EnableKey"},
	adminv1.KeyService_DisableKey_FullMethodName:         {operation: "DisableKey"},
	adminv1.KeyService_CreateKeyVersion_FullMethodName:   {operation: "CreateKeyVersion"},
	adminv1.KeyService_ImportKeyVersion_FullMethodName:   {operation: "ImportKeyVersion"},
	adminv1.KeyService_ActivateKeyVersion_FullMethodName: {operation: "ActivateKeyVersion"},
	adminv1.KeyService_EnableKeyVersion_FullMethodName:   {operation: "EnableKeyVersion"},
	adminv1.KeyService_DisableKeyVersion_FullMethodName:  {operation: "DisableKeyVersion"},
	adminv1.KeyService_GetPublicKey_FullMethodName:       {operation: "GetPublicKey"},

	adminv1.PolicyService_GetPolicy_FullMethodName:     {operation: "GetPolicy", scope: onSystem, always: true},
	adminv1.PolicyService_SetPolicy_FullMethodName:     {operation: setPolicy, scope: onSystem, always: true},
	adminv1.PolicyService_TestPolicy_FullMethodName:    {operation: "TestPolicy", scope: onSystem, always: true},
	adminv1.PolicyService_ExplainPolicy_FullMethodName: {operation: "ExplainPolicy", scope: onSystem, always: true},

	adminv1.SystemService_GetStatus_FullMethodName: {operation: "GetStatus", scope: onSystem, always: true},
}

// Operations that others are decided by.
const (
	getKey    policy.Operation = "GetKey"
	setPolicy policy.Operation = "SetPolicy"
)

// permissionFor finds an operation's permission.
func permissionFor(o policy.Operation) (permission, bool) {
	for p := range maps.Values(permissions) {
		if p.operation == o {
			return p, true
		}
	}
	return permission{}, false
}

// catalog is every operation that a rule can name.
func catalog() policy.Catalog {
	out := make(policy.Catalog, len(permissions))
	for p := range maps.Values(permissions) {
		out[p.operation] = p.covers
	}
	return out
}

// Operations lists every operation that a rule can name, sorted.
func Operations() []policy.Operation { return slices.Sorted(maps.Keys(catalog())) }

// Always lists the operations that administrators may use whatever the policy says, sorted.
func Always() []policy.Operation {
	var out []policy.Operation
	for p := range maps.Values(permissions) {
		if p.always {
			out = append(out, p.operation)
		}
	}
	slices.Sort(out)
	return out
}
