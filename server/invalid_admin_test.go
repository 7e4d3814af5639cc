package server_test

import (
	"bytes"
	"crypto/elliptic"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/server"
)

// wrongLabels are refused; what is left of them is tested where labels are.
func wrongLabels() map[string]map[string]string {
	many := make(map[string]string)
	for i := range 33 {
		many[fmt.Sprint("label-", i)] = ""
	}
	return map[string]map[string]string{
		"too many": many, "empty name": {"": "x"}, "upper case": {"Team": "x"}, "space": {"a b": "x"},
		"long name": {strings.Repeat("a", 64): "x"}, "long value": {"a": strings.Repeat("x", 257)},
		"long value in bytes": {"a": strings.Repeat("ä", 129)},
	}
}

// wrongMaterial is material of a scheme by what is wrong with it, and the field to blame.
type wrongMaterial struct {
	name, scheme, field string
	parts               map[string][]byte
}

func wrongMaterials(t *testing.T) []wrongMaterial {
	noah, noba := newNOAH(t, elliptic.P384(), sandbox), newNoba()
	with := func(parts map[string][]byte, part, value string) map[string][]byte {
		parts[part] = []byte(value)
		return parts
	}
	many := make(map[string][]byte)
	for i := range 9 {
		many[fmt.Sprint(i)] = []byte("x")
	}
	return []wrongMaterial{
		{"nothing", "noah", "material", nil},
		{"too many parts", "noah", "material", many},
		{"a huge part", "noah", "material", with(noah.material(), "private_key", strings.Repeat("x", 65537))},
		{"an unknown part", "noah", "material", with(noah.material(), "certificate", "x")},
		{"a part of another scheme", "noah", "material", with(noah.material(), "secret", "x")},
		{"no private key", "noah", "material.private_key", map[string][]byte{"api_key": []byte(noah.apiKey)}},
		{"an empty private key", "noah", "material.private_key", with(noah.material(), "private_key", "")},
		{"no PEM", "noah", "material.private_key", with(noah.material(), "private_key", "x")},
		{"a public key", "noah", "material.private_key", with(noah.material(), "private_key", string(noah.publicPEM(t)))},
		{"two private keys", "noah", "material.private_key", with(noah.material(), "private_key", string(noah.pem)+string(noah.pem))},
		{"an empty API key", "noah", "material.api_key", with(noah.material(), "api_key", "")},
		{"a line end as API key", "noah", "material.api_key", with(noah.material(), "api_key", "\n")},
		{"an API key in another form", "noah", "material.api_key", with(noah.material(), "api_key", "hello")},
		{"an API key of no environment", "noah", "material.api_key", with(noah.material(), "api_key", "apikey_test_x")},
		{"an API key of the other environment", "noah", "material.api_key", with(noah.material(), "api_key", "apikey_prod_x")},
		{"an API key with a space", "noah", "material.api_key", with(noah.material(), "api_key", "apikey_sandbox_a b")},
		{"a long API key", "noah", "material.api_key", with(noah.material(), "api_key", "apikey_sandbox_"+strings.Repeat("x", 1024))},
		{"no secret", "noba", "material.secret", map[string][]byte{"api_key": []byte(noba.apiKey)}},
		{"no Noba API key", "noba", "material.api_key", map[string][]byte{"secret": []byte(noba.secret)}},
		{"a secret of two lines", "noba", "material.secret", with(noba.material(), "secret", "a\nb")},
		{"a secret with a space at its end", "noba", "material.secret", with(noba.material(), "secret", "a ")},
		{"a secret that is no text", "noba", "material.secret", with(noba.material(), "secret", "\xff")},
		{"a private key for Noba", "noba", "material", with(noba.material(), "private_key", string(noah.pem))},
	}
}

var wrongTimes = []*timestamppb.Timestamp{{Seconds: 1 << 60}, {Nanos: -1}, {Seconds: -1 << 60}}

// onNames makes a request with every wrong name.
func onNames(rpcs []string) []invalid {
	var out []invalid
	for _, rpc := range server.RPCs() {
		for _, wanted := range rpcs {
			if string(rpc.Name()) != wanted {
				continue
			}
			for _, s := range wrongNames {
				in, _ := rpc.Messages()
				m := in.ProtoReflect()
				if s != "" {
					m.Set(rpc.Input().Fields().ByName("name"), protoreflect.ValueOfString(s))
				}
				if f := rpc.Input().Fields().ByName("version"); f != nil {
					m.Set(f, protoreflect.ValueOfUint32(1))
				}
				out = append(out, invalid{"name " + s, in, "name"})
			}
		}
	}
	return out
}

func invalidChanges(r *rig, t *testing.T) []invalid {
	shared := newNOAH(t, elliptic.P384(), prod)
	r.imported(t, "prod", "noah", prod, shared.material())
	sharedSecret := newNoba()
	r.imported(t, "prod-noba", "noba", prod, sharedSecret.material())
	out := onNames([]string{"GetKey", "UpdateKey", "EnableKey", "DisableKey", "CreateKeyVersion", "EnableKeyVersion", "DisableKeyVersion", "DestroyKeyVersion",
		"RestoreKeyVersion", "UpdateKeyVersion", "ActivateKeyVersion", "GetPublicKey"})
	add := func(name, field string, in proto.Message) { out = append(out, invalid{name, in, field}) }
	noba := newNoba().material()
	for _, s := range wrongNames {
		add("name "+s, "name", &adminv1.CreateKeyRequest{Name: s, Environment: sandbox})
		add("name "+s, "name", &adminv1.ImportKeyRequest{Name: s, Environment: sandbox, Scheme: "noba", Material: noba})
		add("name "+s, "name", &adminv1.ImportKeyVersionRequest{Name: s, Material: noba})
	}
	for _, s := range wrongNames {
		add("name "+s, "name", &adminv1.CreateImportTicketRequest{Name: s, Environment: sandbox, Scheme: "noba"})
	}
	for _, ttl := range []*durationpb.Duration{{}, {Seconds: -1}, {Seconds: 86401}, {Seconds: 1, Nanos: 1}, {Nanos: -1, Seconds: 1}, {Seconds: 1 << 62}} {
		add("ttl", "ttl", &adminv1.CreateImportTicketRequest{Name: "a", Environment: sandbox, Scheme: "noba", Ttl: ttl})
	}
	for name, sealed := range map[string][]byte{"huge": make([]byte, 1<<20+1), "nonsense": []byte("x")} {
		add("sealed "+name, "sealed", &adminv1.ImportKeyRequest{Name: "a", Environment: sandbox, Scheme: "noba", Sealed: sealed})
		add("sealed "+name, "sealed", &adminv1.ImportKeyVersionRequest{Name: "prod-noba", Sealed: sealed})
	}
	for _, at := range wrongTimes {
		add("expire_time "+at.String(), "expire_time", &adminv1.ImportKeyRequest{Name: "a", Environment: sandbox, Scheme: "noba", Material: noba, ExpireTime: at})
		add("expire_time "+at.String(), "expire_time", &adminv1.ImportKeyVersionRequest{Name: "prod-noba", Material: noba, ExpireTime: at})
	}
	for _, purpose := range []adminv1.ImportPurpose{4, -1} {
		add("purpose "+purpose.String(), "purpose", &adminv1.CreateImportTicketRequest{Name: "a", Environment: sandbox, Scheme: "noba", Purpose: purpose})
	}
	for _, purpose := range []adminv1.ImportPurpose{0, forNewKey, forNewVersion} {
		add("version for "+purpose.String(), "version", &adminv1.CreateImportTicketRequest{Name: "prod-noba", Environment: prod, Scheme: "noba", Purpose: purpose, Version: 1})
	}
	add("no version for an API key", "version", &adminv1.CreateImportTicketRequest{Name: "prod", Purpose: forAPIKey})
	add("a version that has its API key", "version", &adminv1.CreateImportTicketRequest{Name: "prod", Purpose: forAPIKey, Version: 1})
	for _, purpose := range []adminv1.ImportPurpose{forNewVersion, forAPIKey} {
		var version uint32
		if purpose == forAPIKey {
			version = 1
		}
		add("another scheme for "+purpose.String(), "scheme", &adminv1.CreateImportTicketRequest{Name: "prod", Scheme: "noba", Purpose: purpose, Version: version})
		add("another environment for "+purpose.String(), "environment", &adminv1.CreateImportTicketRequest{Name: "prod", Environment: sandbox, Purpose: purpose, Version: version})
	}
	add("a version, sealed and in the clear", "sealed", &adminv1.ImportKeyVersionRequest{Name: "prod-noba", Sealed: []byte("x"), Material: noba})
	add("sealed and in the clear", "sealed", &adminv1.ImportKeyRequest{Name: "a", Environment: sandbox, Scheme: "noba", Sealed: []byte("x"), Material: noba})
	add("no scheme", "scheme", &adminv1.CreateImportTicketRequest{Name: "a", Environment: sandbox})
	for _, env := range []adminv1.Environment{0, 3, -1} {
		add("environment", "environment", &adminv1.CreateImportTicketRequest{Name: "a", Environment: env, Scheme: "noba"})
		add("environment", "environment", &adminv1.CreateKeyRequest{Name: "a", Environment: env})
		add("environment", "environment", &adminv1.ImportKeyRequest{Name: "a", Environment: env, Scheme: "noba", Material: noba})
	}
	for name, labels := range wrongLabels() {
		add("labels "+name, "labels", &adminv1.CreateKeyRequest{Name: "a", Environment: sandbox, Labels: labels})
		add("labels "+name, "labels", &adminv1.ImportKeyRequest{Name: "a", Environment: sandbox, Scheme: "noba", Material: noba, Labels: labels})
		add("labels "+name, "labels", &adminv1.UpdateKeyRequest{Name: "a", Labels: labels})
	}
	add("scheme that is only imported", "scheme", &adminv1.CreateKeyRequest{Name: "a", Environment: sandbox, Scheme: "noba"})
	for _, s := range []string{"moon", "NOAH", "noah ", strings.Repeat("x", 1000)} {
		add("scheme "+s, "scheme", &adminv1.CreateImportTicketRequest{Name: "a", Environment: sandbox, Scheme: s})
		add("scheme "+s, "scheme", &adminv1.CreateKeyRequest{Name: "a", Environment: sandbox, Scheme: s})
		add("scheme "+s, "scheme", &adminv1.ImportKeyRequest{Name: "a", Environment: sandbox, Scheme: s, Material: noba})
	}
	add("no scheme", "scheme", &adminv1.ImportKeyRequest{Name: "a", Environment: sandbox, Material: noba})
	for _, s := range []string{"ES512", "es384", "RS256", "none"} {
		add("algorithm", "algorithm", &adminv1.CreateKeyRequest{Name: "a", Environment: sandbox, Algorithm: s})
		add("algorithm", "algorithm", &adminv1.CreateKeyVersionRequest{Name: "prod", Algorithm: s})
	}
	for _, m := range wrongMaterials(t) {
		add("material: "+m.name, m.field, &adminv1.ImportKeyRequest{Name: "a", Environment: sandbox, Scheme: m.scheme, Material: m.parts})
	}
	add("a private key of prod", "material", &adminv1.ImportKeyRequest{Name: "a", Environment: sandbox, Scheme: "noah",
		Material: noahFrom(t, shared.private, sandbox).material()})
	add("a secret of prod", "material", &adminv1.ImportKeyRequest{Name: "a", Environment: sandbox, Scheme: "noba",
		Material: map[string][]byte{"api_key": []byte("another"), "secret": []byte(sharedSecret.secret)}})
	for _, n := range []int32{-1, 1001, 1 << 30} {
		add("page_size", "page_size", &adminv1.ListKeysRequest{PageSize: n})
	}
	token := base64.RawURLEncoding.EncodeToString
	for _, s := range []string{"*", "a", "YQ==", "Y Q", "YR", "YQ\n", "\nYQ", "\r\n", token([]byte("A")), token([]byte("a\x00")), strings.Repeat("Y", 132)} {
		add("page_token "+s, "page_token", &adminv1.ListKeysRequest{PageToken: s})
	}
	return out
}

func invalidVersions(r *rig, t *testing.T) []invalid {
	r.importedNOAH(t, "noah")
	r.importedNoba(t, "noba")
	_, err := r.admin.CreateKey(as(t, operator), &adminv1.CreateKeyRequest{Name: "pending", Environment: sandbox})
	must(t, err)
	var out []invalid
	add := func(name, field string, in proto.Message) { out = append(out, invalid{name, in, field}) }
	for _, m := range wrongMaterials(t) {
		add("material: "+m.name, m.field, &adminv1.ImportKeyVersionRequest{Name: m.scheme, Material: m.parts})
	}
	add("version 0", "version", &adminv1.ActivateKeyVersionRequest{Name: "noah"})
	add("version 0", "version", &adminv1.EnableKeyVersionRequest{Name: "noah"})
	add("version 0", "version", &adminv1.DisableKeyVersionRequest{Name: "noah"})
	add("a pending version", "version", &adminv1.EnableKeyVersionRequest{Name: "pending", Version: 1})
	add("a pending version", "version", &adminv1.DisableKeyVersionRequest{Name: "pending", Version: 1})
	add("version 0", "version", &adminv1.DestroyKeyVersionRequest{Name: "noah"})
	add("version 0", "version", &adminv1.RestoreKeyVersionRequest{Name: "noah"})
	add("version 0", "version", &adminv1.UpdateKeyVersionRequest{Name: "noah"})
	for _, at := range wrongTimes {
		add("expire_time "+at.String(), "expire_time", &adminv1.UpdateKeyVersionRequest{Name: "noah", Version: 1, ExpireTime: at})
		add("expire_time "+at.String(), "expire_time", &adminv1.ActivateKeyVersionRequest{Name: "noah", Version: 1, ExpireTime: at})
	}
	for name, sealed := range map[string][]byte{"huge": make([]byte, 1<<20+1), "nonsense": []byte("x")} {
		add("sealed "+name, "sealed", &adminv1.ActivateKeyVersionRequest{Name: "pending", Version: 1, Sealed: sealed})
	}
	add("an API key, sealed and in the clear", "sealed", &adminv1.ActivateKeyVersionRequest{Name: "pending", Version: 1, Sealed: []byte("x"), ApiKey: []byte("apikey_sandbox_x")})
	add("a sealed API key for a version that has one", "sealed", &adminv1.ActivateKeyVersionRequest{Name: "noah", Version: 1, Sealed: []byte("x")})
	add("nothing to restore", "version", &adminv1.RestoreKeyVersionRequest{Name: "noah", Version: 1})
	add("the active version, unconfirmed", "confirm", &adminv1.DestroyKeyVersionRequest{Name: "noah", Version: 1})
	for _, s := range []string{"yes", "noah/1/1/168h0m0s", strings.Repeat("x", 257)} {
		add("confirm "+s, "confirm", &adminv1.DestroyKeyVersionRequest{Name: "noah", Version: 1, Confirm: s})
		add("confirm what needs none "+s, "confirm", &adminv1.DestroyKeyVersionRequest{Name: "pending", Version: 1, Confirm: s})
	}
	for _, d := range []*durationpb.Duration{{}, {Seconds: -1}, {Seconds: 59}, {Seconds: 366*24*3600 + 1}, {Seconds: 1 << 62}, {Seconds: 60, Nanos: -1}} {
		add("after "+d.String(), "after", &adminv1.DestroyKeyVersionRequest{Name: "pending", Version: 1, After: d})
	}
	add("no API key for a pending version", "api_key", &adminv1.ActivateKeyVersionRequest{Name: "pending", Version: 1})
	for name, s := range map[string]string{"hello": "hello", "line end": "\n", "space": "apikey_sandbox_a b", "other environment": "apikey_prod_x",
		"huge": string(bytes.Repeat([]byte("x"), 65537))} {
		add("api_key "+name, "api_key", &adminv1.ActivateKeyVersionRequest{Name: "pending", Version: 1, ApiKey: []byte(s)})
	}
	add("an API key for a version that has one", "api_key", &adminv1.ActivateKeyVersionRequest{Name: "noah", Version: 1, ApiKey: []byte("apikey_sandbox_x")})
	add("an API key for Noba", "api_key", &adminv1.ActivateKeyVersionRequest{Name: "noba", Version: 1, ApiKey: []byte("x")})
	add("no login that could be skipped", "skip_login", &adminv1.ActivateKeyVersionRequest{Name: "noba", Version: 1, SkipLogin: true})
	add("a version of what is only imported", "name", &adminv1.CreateKeyVersionRequest{Name: "noba"})
	return out
}
