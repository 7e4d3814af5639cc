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
	// makesKey marks what is decided by the key that there will be; a ticket for a key that there is, by that.
	makesKey bool
	// always marks what administrators may do whatever the policy says.
	always bool
	// noRule marks what administrators alone may do: no rule can name it.
	noRule bool
	// changes marks what changes keys, the policy or the freeze: its intention is on record before, its result after.
	changes bool
	// signs marks what hands out a signature or a session: a freeze stops it.
	signs bool
	// streams marks answers in pieces: what is about to be given away is on record before.
	streams bool
	// diagnosis marks what also answers while nothing can be recorded, so that operators can see why.
	diagnosis bool
	// brakes marks what stops signing in this process even if that can be neither recorded nor stored. It is refused all the same.
	brakes bool
}

// permissions has a line for every RPC. An RPC that is missing here is refused as a bug.
var permissions = map[string]permission{
	signerdv1.SignerService_SignNoahRequest_FullMethodName:      {operation: "SignNoahRequest", signs: true, covers: policy.Covers{Method: true, Path: true, Query: true, Body: true}},
	signerdv1.SignerService_ComputeNobaSignature_FullMethodName: {operation: "ComputeNobaSignature", signs: true, covers: policy.Covers{Method: true, Path: true, Body: true}},
	signerdv1.SignerService_GetNoonSession_FullMethodName:       {operation: "GetNoonSession", signs: true},

	adminv1.KeyService_CreateKey_FullMethodName:          {operation: "CreateKey", makesKey: true, changes: true},
	adminv1.KeyService_ImportKey_FullMethodName:          {operation: "ImportKey", makesKey: true, changes: true},
	adminv1.KeyService_CreateImportTicket_FullMethodName: {operation: createImportTicket, makesKey: true, changes: true},
	adminv1.KeyService_GetKey_FullMethodName:             {operation: getKey},
	adminv1.KeyService_ListKeys_FullMethodName:           {operation: "ListKeys", scope: onSystem}, // it shows the keys that the caller may get
	adminv1.KeyService_UpdateKey_FullMethodName:          {operation: "UpdateKey", changes: true},
	adminv1.KeyService_EnableKey_FullMethodName:          {operation: "EnableKey", changes: true},
	adminv1.KeyService_DisableKey_FullMethodName:         {operation: "DisableKey", changes: true},
	adminv1.KeyService_CreateKeyVersion_FullMethodName:   {operation: "CreateKeyVersion", changes: true},
	adminv1.KeyService_ImportKeyVersion_FullMethodName:   {operation: "ImportKeyVersion", changes: true},
	adminv1.KeyService_ActivateKeyVersion_FullMethodName: {operation: "ActivateKeyVersion", changes: true},
	adminv1.KeyService_EnableKeyVersion_FullMethodName:   {operation: "EnableKeyVersion", changes: true},
	adminv1.KeyService_DisableKeyVersion_FullMethodName:  {operation: "DisableKeyVersion", changes: true},
	adminv1.KeyService_DestroyKeyVersion_FullMethodName:  {operation: destroyKeyVersion, changes: true},
	adminv1.KeyService_RestoreKeyVersion_FullMethodName:  {operation: "RestoreKeyVersion", changes: true},
	adminv1.KeyService_UpdateKeyVersion_FullMethodName:   {operation: "UpdateKeyVersion", changes: true},
	adminv1.KeyService_GetPublicKey_FullMethodName:       {operation: "GetPublicKey"},
	adminv1.KeyService_VerifySignature_FullMethodName:    {operation: "VerifySignature"}, // it signs nothing: a freeze does not stop it

	adminv1.PolicyService_GetPolicy_FullMethodName:     {operation: "GetPolicy", scope: onSystem, always: true},
	adminv1.PolicyService_SetPolicy_FullMethodName:     {operation: setPolicy, scope: onSystem, always: true, changes: true},
	adminv1.PolicyService_TestPolicy_FullMethodName:    {operation: "TestPolicy", scope: onSystem, always: true},
	adminv1.PolicyService_ExplainPolicy_FullMethodName: {operation: "ExplainPolicy", scope: onSystem, always: true},
	adminv1.PolicyService_ReplayPolicy_FullMethodName:  {operation: "ReplayPolicy", scope: onSystem, streams: true},

	adminv1.AuditService_ListRecords_FullMethodName:     {operation: "ListRecords", scope: onSystem, streams: true, diagnosis: true},
	adminv1.AuditService_GetRecord_FullMethodName:       {operation: "GetRecord", scope: onSystem, diagnosis: true},
	adminv1.AuditService_VerifyLog_FullMethodName:       {operation: "VerifyLog", scope: onSystem, always: true, streams: true, diagnosis: true},
	adminv1.AuditService_GetCheckpoint_FullMethodName:   {operation: "GetCheckpoint", scope: onSystem, always: true, diagnosis: true},
	adminv1.AuditService_AcknowledgeLoss_FullMethodName: {operation: "AcknowledgeLoss", scope: onSystem, always: true, diagnosis: true},

	adminv1.SystemService_GetStatus_FullMethodName:     {operation: "GetStatus", scope: onSystem, always: true, diagnosis: true},
	adminv1.SystemService_RotateRootKey_FullMethodName: {operation: "RotateRootKey", scope: onSystem, changes: true, streams: true},
	adminv1.SystemService_Freeze_FullMethodName:        {operation: "Freeze", scope: onSystem, always: true, changes: true, brakes: true},
	adminv1.SystemService_Unfreeze_FullMethodName:      {operation: "Unfreeze", scope: onSystem, always: true, noRule: true, changes: true},
	adminv1.SystemService_Backup_FullMethodName:        {operation: "Backup", scope: onSystem, streams: true},
}

// Operations that others are decided by, or that signerd does by itself too.
const (
	getKey             policy.Operation = "GetKey"
	destroyKeyVersion  policy.Operation = "DestroyKeyVersion"
	setPolicy          policy.Operation = "SetPolicy"
	createImportTicket policy.Operation = "CreateImportTicket"
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
		if !p.noRule {
			out[p.operation] = p.covers
		}
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
