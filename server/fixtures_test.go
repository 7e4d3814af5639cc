package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/partners"
	"github.com/signerd/signerd/server"
)

const (
	sandbox = adminv1.Environment_ENVIRONMENT_SANDBOX
	prod    = adminv1.Environment_ENVIRONMENT_PROD
)

// envPart is how a NOAH API key names an environment.
var envPart = map[adminv1.Environment]string{sandbox: "sandbox", prod: "prod"}

// noahAccount is what an operator has in hand after NOAH's dashboard.
type noahAccount struct {
	private *ecdsa.PrivateKey
	apiKey  string
	pem     []byte
}

func newNOAH(t testing.TB, curve elliptic.Curve, env adminv1.Environment) noahAccount {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	must(t, err)
	return noahFrom(t, key, env)
}

func noahFrom(t testing.TB, key *ecdsa.PrivateKey, env adminv1.Environment) noahAccount {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return noahAccount{key, "apikey_" + envPart[env] + "_" + strings.ToLower(rand.Text()),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}
}

func (a noahAccount) material() map[string][]byte {
	return map[string][]byte{"private_key": a.pem, "api_key": []byte(a.apiKey)}
}

func (a noahAccount) publicPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&a.private.PublicKey)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// nobaAccount is what Noba hands out.
type nobaAccount struct{ apiKey, secret string }

func newNoba() nobaAccount { return nobaAccount{"noba-" + rand.Text(), "secret-" + rand.Text()} }

func (a nobaAccount) material() map[string][]byte {
	return map[string][]byte{"api_key": []byte(a.apiKey), "secret": []byte(a.secret)}
}

// imported makes a key from material.
func (r *rig) imported(t testing.TB, name, scheme string, env adminv1.Environment, material map[string][]byte) *adminv1.Key {
	t.Helper()
	out, err := r.admin.ImportKey(as(t, operator), &adminv1.ImportKeyRequest{Name: name, Scheme: scheme, Environment: env, Material: material})
	must(t, err)
	return out.GetKey()
}

func (r *rig) importedNOAH(t testing.TB, name string) noahAccount {
	t.Helper()
	a := newNOAH(t, elliptic.P384(), sandbox)
	r.imported(t, name, "noah", sandbox, a.material())
	return a
}

func (r *rig) importedNoba(t testing.TB, name string) nobaAccount {
	t.Helper()
	a := newNoba()
	r.imported(t, name, "noba", sandbox, a.material())
	return a
}

// importedTwice makes a NOAH key whose version 2 signs.
func (r *rig) importedTwice(t testing.TB, name string) {
	t.Helper()
	r.importedNOAH(t, name)
	_, err := r.admin.ImportKeyVersion(as(t, operator), &adminv1.ImportKeyVersionRequest{Name: name, Material: newNOAH(t, elliptic.P384(), sandbox).material()})
	must(t, err)
	_, err = r.admin.ActivateKeyVersion(as(t, operator), &adminv1.ActivateKeyVersionRequest{Name: name, Version: 2})
	must(t, err)
}

// minimal makes the smallest valid request of an RPC, on the given key. A new RPC or field that needs more than the
// values here fails its test until they are given.
func minimal(t testing.TB, rpc server.RPC, key string) proto.Message {
	t.Helper()
	in := request(t, rpc, map[string]any{
		"key": key, "name": key, "method": "GET", "path": "/v1/things", "environment": "ENVIRONMENT_SANDBOX", "version": 1,
		"ImportKeyRequest.scheme":           "noba",
		"CreateImportTicketRequest.scheme":  "noba",
		"CreateImportTicketRequest.version": 0, // a new key
		"ImportKeyRequest.material":         newNoba().material(),
		"ImportKeyVersionRequest.material":  map[string][]byte{"private_key": newNOAH(t, elliptic.P256(), sandbox).pem},
		"CreateKeyVersionRequest.algorithm": "ES256",
		"policy": map[string]any{"rules": []any{map[string]any{"name": "set-by-a-test", "effect": "POLICY_EFFECT_ALLOW",
			"callers": []string{"unix:uid=1000"}, "keys": []string{"*"}, "operations": []string{"*"}}}},
		"SetPolicyRequest.generation": 2, // of the policy that start sets
		"since":                       "2026-01-01T00:00:00Z", "record_id": "019ca945-0afa-7da1-b3a0-4c08bdb46ad2", "note": "a test", "reason": "a test",
		"VerifySignatureRequest.candidates": []any{map[string]any{"noah": map[string]any{"token": "e30.e30.AAAA"}}},
		"ListRecordsRequest.key":            "", // none in particular
		"request":                           map[string]any{"caller": "unix:uid=1000", "operation": "GetStatus"},
	})
	if err := protovalidate.Validate(in); err != nil {
		t.Fatalf("%s: the minimal request needs more values: %v", rpc.Path, err)
	}
	return in
}

// request fills the fields that the RPC's request has. A name with its message's before it goes before a plain one.
func request(t testing.TB, rpc server.RPC, values map[string]any) proto.Message {
	t.Helper()
	chosen := make(map[string]any)
	fields := rpc.Input().Fields()
	for i := range fields.Len() {
		name := string(fields.Get(i).Name())
		if v, ok := values[string(rpc.Input().Name())+"."+name]; ok {
			chosen[name] = v
		} else if v, ok := values[name]; ok && fields.Get(i).Cardinality() != protoreflect.Repeated {
			chosen[name] = v
		}
	}
	text, err := json.Marshal(chosen)
	must(t, err)
	in, _ := rpc.Messages()
	must(t, protojson.Unmarshal(text, in))
	return in
}

// nameOf is the key that the tests of an RPC are about.
func nameOf(rpc server.RPC) string { return strings.ToLower(string(rpc.Name())) }

// prepare makes that key, if the RPC needs one that is there.
func (r *rig) prepare(t testing.TB, rpc server.RPC) {
	t.Helper()
	name := nameOf(rpc)
	_, _, _, err := r.keys.Unfreeze(t.Context(), "test") // of the RPC before
	must(t, err)
	switch rpc.Name() {
	case "CreateKey", "ImportKey", "CreateImportTicket":
	case "ComputeNobaSignature":
		r.importedNoba(t, name)
	case "GetNoonSession":
		r.importedNoon(t, name)
	case "DestroyKeyVersion":
		r.importedTwice(t, name)
	case "RestoreKeyVersion":
		r.importedTwice(t, name)
		_, err := r.admin.DestroyKeyVersion(as(t, operator), &adminv1.DestroyKeyVersionRequest{Name: name, Version: 1})
		must(t, err)
	default:
		if rpc.KeyField() != "" {
			r.importedNOAH(t, name)
		}
	}
}

// onTheWire is the request as the partner gets it.
func onTheWire(method, target string, headers map[string]string, body []byte) partners.Request {
	h := make(http.Header, len(headers))
	for name, value := range headers {
		h[name] = []string{value}
	}
	return partners.Request{Method: method, Target: target, Header: h, Body: body}
}

func same(t testing.TB, a, b proto.Message) {
	t.Helper()
	if !proto.Equal(a, b) {
		t.Errorf("%v\nis not\n%v", a, b)
	}
}
