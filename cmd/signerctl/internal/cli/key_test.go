package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

const publicPEM = "-----BEGIN PUBLIC KEY-----\nMHYw\n-----END PUBLIC KEY-----\n"

var made = timestamppb.New(time.Date(2026, 11, 22, 8, 30, 0, 0, time.UTC))

// ordersKey is a key in the middle of its first rotation.
func ordersKey() *adminv1.Key {
	return &adminv1.Key{
		Name: "orders", Scheme: "noah", Environment: adminv1.Environment_ENVIRONMENT_SANDBOX,
		Labels: map[string]string{"team": "payments", "app": "shop"}, Enabled: true, ActiveVersion: 1, Generation: 7,
		CreateTime: made, UpdateTime: made,
		Versions: []*adminv1.KeyVersion{
			{Number: 1, State: adminv1.KeyVersionState_KEY_VERSION_STATE_ENABLED, Algorithm: "ES384", PublicKeySha256: "ab12", CreateTime: made, Creator: "unix:uid=1000"},
			{Number: 2, State: adminv1.KeyVersionState_KEY_VERSION_STATE_PENDING, Algorithm: "ES256", PublicKeySha256: "cd34", CreateTime: made, Creator: "unix:uid=1000"},
		},
	}
}

func nobaKey() *adminv1.Key {
	return &adminv1.Key{
		Name: "refunds", Scheme: "noba", Environment: adminv1.Environment_ENVIRONMENT_PROD, ActiveVersion: 1, Generation: 9,
		Versions: []*adminv1.KeyVersion{{Number: 1, State: adminv1.KeyVersionState_KEY_VERSION_STATE_DISABLED, Algorithm: "HMAC-SHA256", Creator: "spiffe://a/b"}},
	}
}

func TestKeyCreatePrintsThePublicKeyAndWhatToDoWithIt(t *testing.T) {
	f := serve(t, answers{"CreateKey": give(&adminv1.CreateKeyResponse{Key: ordersKey(), PublicKeyPem: publicPEM})})
	f.run(t, "", "key", "create", "orders", "--env", "sandbox", "--alg", "ES256", "--label", "team=payments", "--label", "note=a=b,c").want(t, 0,
		`Key orders is made. Its private key stays in signerd.
Version 1 waits for its API key. Its public key:

-----BEGIN PUBLIC KEY-----
MHYw
-----END PUBLIC KEY-----

Next:
  1. In NOAH's sandbox dashboard choose Configuration, then Create New Key, and hand over the public key above.
  2. NOAH shows the API key once: keep it in a file that only you can read.
  3. signerctl key activate orders --version 1 --api-key FILE
     If somebody else has it, signerctl import-ticket orders --version 1 lets them seal it for you.
`, "")
	f.wantRequests(t, &adminv1.CreateKeyRequest{
		Name: "orders", Scheme: "noah", Environment: adminv1.Environment_ENVIRONMENT_SANDBOX, Algorithm: "ES256",
		Labels: map[string]string{"team": "payments", "note": "a=b,c"},
	})
}

func TestKeyImportSendsTheFilesAsTheyAre(t *testing.T) {
	imported := &adminv1.ImportKeyResponse{Key: nobaKey(), Notes: []string{"secret: one line end at the end was cut"}}
	f := serve(t, answers{"ImportKey": give(imported)})
	f.run(t, "the secret\r\n", "key", "import", "refunds", "--scheme", "noba", "--env", "prod",
		"--api-key", writeFile(t, "the API key\n"), "--secret", "-").want(t, 0,
		"Key refunds is imported; version 1 signs.\n", "note: secret: one line end at the end was cut\n")
	f.wantRequests(t, &adminv1.ImportKeyRequest{
		Name: "refunds", Scheme: "noba", Environment: adminv1.Environment_ENVIRONMENT_PROD,
		Material: map[string][]byte{"api_key": []byte("the API key\n"), "secret": []byte("the secret\r\n")},
	})
}

func TestKeyImportNoon(t *testing.T) {
	robot := &adminv1.Key{Name: "robot", Scheme: "noon", ActiveVersion: 1, Generation: 1}
	f := serve(t, answers{"ImportKey": give(&adminv1.ImportKeyResponse{Key: robot})})
	importing := []string{"key", "import", "robot", "--scheme", "noon", "--env", "sandbox", "--credentials"}
	f.run(t, "", append(importing, writeFile(t, "{}\n"))...).want(t, 0, "Key robot is imported; version 1 signs.\n", "")
	f.run(t, "{ }", append(importing, "-", "--user-agent", "robot/1.0 (x)", "--base-url", "http://127.0.0.1:8080")...).want(t, 0,
		"Key robot is imported; version 1 signs.\n", "")
	request := func(material map[string][]byte) proto.Message {
		return &adminv1.ImportKeyRequest{Name: "robot", Scheme: "noon", Environment: adminv1.Environment_ENVIRONMENT_SANDBOX, Material: material}
	}
	f.wantRequests(t,
		request(map[string][]byte{"credentials": []byte("{}\n")}),
		request(map[string][]byte{"credentials": []byte("{ }"), "user_agent": []byte("robot/1.0 (x)"), "base_url": []byte("http://127.0.0.1:8080")}))
}

func TestKeyListReadsEveryPage(t *testing.T) {
	f := serve(t, answers{"ListKeys": func(_ context.Context, req proto.Message) (proto.Message, error) {
		if req.(*adminv1.ListKeysRequest).GetPageToken() == "" {
			return &adminv1.ListKeysResponse{Keys: []*adminv1.Key{ordersKey()}, NextPageToken: "p2"}, nil
		}
		return &adminv1.ListKeysResponse{Keys: []*adminv1.Key{nobaKey()}}, nil
	}})
	f.run(t, "", "key", "list").want(t, 0,
		`NAME     SCHEME  ENV      STATUS    ACTIVE        VERSIONS  LABELS
orders   noah    sandbox  enabled   1             2         app=shop,team=payments
refunds  noba    prod     disabled  1 (DISABLED)  1         -
`, "")
	f.wantRequests(t, &adminv1.ListKeysRequest{}, &adminv1.ListKeysRequest{PageToken: "p2"})
}

func TestKeyListWithoutKeys(t *testing.T) {
	f := serve(t, answers{"ListKeys": give(&adminv1.ListKeysResponse{})})
	f.run(t, "", "key", "list").want(t, 0, "", "note: there is no key that you may see\n")
	f.run(t, "", "key", "list", "-o", "json").want(t, 0, "{\n  \"keys\": [],\n  \"next_page_token\": \"\"\n}\n", "")
}

func TestKeyShow(t *testing.T) {
	k := ordersKey()
	k.Labels["note"] = "\x1b[31mred\ttext"
	k.Versions[0].LastUseTime = timestamppb.New(time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC))
	f := serve(t, answers{"GetKey": give(&adminv1.GetKeyResponse{Key: k, UsesKnownSince: made})})
	f.run(t, "", "key", "show", "orders").want(t, 0,
		`Name:            orders
Scheme:          noah
Environment:     sandbox
Enabled:         yes
Active version:  1
Labels:          "app=shop,note=\x1b[31mred\ttext,team=payments"
Generation:      7
Created:         2026-11-22T08:30:00Z
Updated:         2026-11-22T08:30:00Z

VERSION  STATE    ALGORITHM  CREATED               CREATOR        LAST USED             PUBLIC KEY SHA-256
1        ENABLED  ES384      2026-11-22T08:30:00Z  unix:uid=1000  2026-11-22T09:00:00Z  ab12
2        PENDING  ES256      2026-11-22T08:30:00Z  unix:uid=1000  never                 cd34
`, "")
	f.wantRequests(t, &adminv1.GetKeyRequest{Name: "orders"})
}

func TestJSONHasTheNamesOfTheProtoAndIsStable(t *testing.T) {
	k := nobaKey()
	k.CreateTime = made
	f := serve(t, answers{"GetKey": give(&adminv1.GetKeyResponse{Key: k})})
	f.run(t, "", "key", "show", "refunds", "-o", "json").want(t, 0, `{
  "key": {
    "name": "refunds",
    "scheme": "noba",
    "environment": "ENVIRONMENT_PROD",
    "labels": {},
    "enabled": false,
    "versions": [
      {
        "number": 1,
        "state": "KEY_VERSION_STATE_DISABLED",
        "algorithm": "HMAC-SHA256",
        "public_key_sha256": "",
        "creator": "spiffe://a/b"
      }
    ],
    "active_version": 1,
    "generation": "9",
    "create_time": "2026-11-22T08:30:00Z"
  }
}
`, "")
}

func TestKeyPublicPrintsTheKeyAlone(t *testing.T) {
	f := serve(t, answers{"GetPublicKey": give(&adminv1.GetPublicKeyResponse{Pem: publicPEM, Jwk: `{"kty":"EC"}`, Version: 2})})
	f.run(t, "", "key", "public", "orders").want(t, 0, publicPEM, "")
	f.run(t, "", "key", "public", "orders", "--version", "2", "--format", "jwk").want(t, 0, "{\"kty\":\"EC\"}\n", "")
	f.wantRequests(t, &adminv1.GetPublicKeyRequest{Name: "orders"}, &adminv1.GetPublicKeyRequest{Name: "orders", Version: 2})
}

func TestKeyRotate(t *testing.T) {
	completed := ordersKey()
	completed.Versions[1].State = adminv1.KeyVersionState_KEY_VERSION_STATE_ENABLED
	steps := `Key orders has a new version.
Version 2 waits for its API key. Its public key:

-----BEGIN PUBLIC KEY-----
MHYw
-----END PUBLIC KEY-----

Next:
  1. In NOAH's sandbox dashboard choose Configuration, then Create New Key, and hand over the public key above.
  2. NOAH shows the API key once: keep it in a file that only you can read.
  3. signerctl key activate orders --version 2 --api-key FILE
     If somebody else has it, signerctl import-ticket orders --version 2 lets them seal it for you.
`
	for _, tt := range []struct {
		name    string
		args    []string
		answer  answers
		stdout  string
		request proto.Message
	}{
		{"a pair made inside", []string{"--alg", "ES256", "--generation", "7"},
			answers{"CreateKeyVersion": give(&adminv1.CreateKeyVersionResponse{Key: ordersKey(), Version: 2, PublicKeyPem: publicPEM})},
			steps, &adminv1.CreateKeyVersionRequest{Name: "orders", Algorithm: "ES256", Generation: 7}},
		{"a private key without its API key", []string{"--private-key", "-", "--generation", "7"},
			answers{"ImportKeyVersion": give(&adminv1.ImportKeyVersionResponse{Key: ordersKey(), Version: 2})},
			"Key orders has a new version 2, which does not sign yet.\nNext: signerctl key activate orders --version 2 --api-key FILE\n",
			&adminv1.ImportKeyVersionRequest{Name: "orders", Material: map[string][]byte{"private_key": []byte("stdin")}, Generation: 7}},
		{"everything", []string{"--private-key", writeFile(t, "pem"), "--api-key", "-"},
			answers{"ImportKeyVersion": give(&adminv1.ImportKeyVersionResponse{Key: completed, Version: 2})},
			"Key orders has a new version 2, which does not sign yet.\nNext: signerctl key activate orders --version 2\n",
			&adminv1.ImportKeyVersionRequest{Name: "orders", Material: map[string][]byte{"private_key": []byte("pem"), "api_key": []byte("stdin")}}},
		{"a credential file", []string{"--credentials", "-", "--user-agent", "robot/1.0", "--base-url", "https://x"},
			answers{"ImportKeyVersion": give(&adminv1.ImportKeyVersionResponse{Key: completed, Version: 2})},
			"Key orders has a new version 2, which does not sign yet.\nNext: signerctl key activate orders --version 2\n",
			&adminv1.ImportKeyVersionRequest{Name: "orders", Material: map[string][]byte{
				"credentials": []byte("stdin"), "user_agent": []byte("robot/1.0"), "base_url": []byte("https://x")}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := serve(t, tt.answer)
			f.run(t, "stdin", append([]string{"key", "rotate", "orders"}, tt.args...)...).want(t, 0, tt.stdout, "")
			f.wantRequests(t, tt.request)
		})
	}
}

func TestKeyActivate(t *testing.T) {
	f := serve(t, answers{"ActivateKeyVersion": give(&adminv1.ActivateKeyVersionResponse{Key: ordersKey(), Notes: []string{"cut"}})})
	f.run(t, "apikey_sandbox_x", "key", "activate", "orders", "--version", "2", "--api-key", "-", "--generation", "6").want(t, 0,
		"Version 2 of key orders is active (generation 7).\n", "note: cut\n")
	f.wantRequests(t, &adminv1.ActivateKeyVersionRequest{Name: "orders", Version: 2, ApiKey: []byte("apikey_sandbox_x"), Generation: 6})
}

func TestKeyActivateTellsOfTheLogin(t *testing.T) {
	f := serve(t, answers{"ActivateKeyVersion": give(&adminv1.ActivateKeyVersionResponse{Key: ordersKey(), LoggedIn: true})})
	f.run(t, "", "key", "activate", "orders", "--version", "2").want(t, 0,
		"Version 2 of key orders has logged in at the partner.\nVersion 2 of key orders is active (generation 7).\n", "")
	f = serve(t, answers{"ActivateKeyVersion": give(&adminv1.ActivateKeyVersionResponse{Key: ordersKey()})})
	f.run(t, "", "key", "activate", "orders", "--version", "2", "--without-login").want(t, 0,
		"Version 2 of key orders is active (generation 7).\n",
		"note: no login has proven it: `signerctl session noon orders` tells whether the partner takes it\n")
	f.wantRequests(t, &adminv1.ActivateKeyVersionRequest{Name: "orders", Version: 2, SkipLogin: true})
}

func TestKeyActivateSaysThatNothingChangedWhenTheLoginFails(t *testing.T) {
	f := serve(t, answers{"ActivateKeyVersion": refuse(codes.FailedPrecondition, "UPSTREAM_REJECTED_CREDENTIAL", "Noon refuses it")})
	f.run(t, "", "key", "activate", "orders", "--version", "2").want(t, 1, "",
		"signerctl: activating version 2 of key orders: Noon refuses it\nhint: the version that was active still is. "+
			"See in the partner's console whether this one's key is there and active; it may be tried again later\n")
}

func TestKeyActivateTellsWhenTheKeyIsDisabled(t *testing.T) {
	f := serve(t, answers{"ActivateKeyVersion": give(&adminv1.ActivateKeyVersionResponse{Key: nobaKey()})})
	f.run(t, "", "key", "activate", "refunds", "--version", "1").want(t, 0,
		"Version 1 of key refunds is active (generation 9).\n", "note: the key itself is disabled: `signerctl key enable refunds` lets it sign\n")
}

func TestKeyEnableAndDisable(t *testing.T) {
	k := ordersKey()
	f := serve(t, answers{
		"EnableKey":         give(&adminv1.EnableKeyResponse{Key: k}),
		"DisableKey":        give(&adminv1.DisableKeyResponse{Key: k}),
		"EnableKeyVersion":  give(&adminv1.EnableKeyVersionResponse{Key: k}),
		"DisableKeyVersion": give(&adminv1.DisableKeyVersionResponse{Key: k}),
	})
	f.run(t, "", "key", "enable", "orders").want(t, 0, "Key orders is enabled (generation 7).\n", "")
	f.run(t, "", "key", "disable", "orders", "--generation", "6").want(t, 0, "Key orders is disabled (generation 7).\n", "")
	f.run(t, "", "key", "enable", "orders", "--version", "2").want(t, 0, "Version 2 of key orders is enabled (generation 7).\n", "")
	f.run(t, "", "key", "disable", "orders", "--version", "1", "--generation", "6").want(t, 0, "Version 1 of key orders is disabled (generation 7).\n",
		"note: it is the active version: requests are refused until it is enabled or another is activated\n")
	f.wantRequests(t,
		&adminv1.EnableKeyRequest{Name: "orders"},
		&adminv1.DisableKeyRequest{Name: "orders", Generation: 6},
		&adminv1.EnableKeyVersionRequest{Name: "orders", Version: 2},
		&adminv1.DisableKeyVersionRequest{Name: "orders", Version: 1, Generation: 6})
}

func TestKeyLabelKeepsOtherLabelsAndTheGenerationItRead(t *testing.T) {
	f := serve(t, answers{
		"GetKey":    give(&adminv1.GetKeyResponse{Key: ordersKey()}),
		"UpdateKey": give(&adminv1.UpdateKeyResponse{Key: ordersKey()}),
	})
	f.run(t, "", "key", "label", "orders", "tier=gold", "app-", "gone-").want(t, 0,
		"Key orders has the labels app=shop,team=payments (generation 7).\n", "")
	f.run(t, "", "key", "label", "orders", "team=", "--generation", "5").want(t, 0,
		"Key orders has the labels app=shop,team=payments (generation 7).\n", "")
	get := &adminv1.GetKeyRequest{Name: "orders"}
	f.wantRequests(t,
		get, &adminv1.UpdateKeyRequest{Name: "orders", Labels: map[string]string{"team": "payments", "tier": "gold"}, Generation: 7},
		get, &adminv1.UpdateKeyRequest{Name: "orders", Labels: map[string]string{"team": "", "app": "shop"}, Generation: 5})
}

func TestStatus(t *testing.T) {
	f := serve(t, answers{"GetStatus": give(&adminv1.GetStatusResponse{
		Reason: "the store is locked", Version: "1.2.3", GoVersion: "go1.26.8", StartTime: made, Development: true,
		KeyCount: 2, KeyVersionCount: 3, PolicyGeneration: 9, PolicyRuleCount: 4, StoreCounter: 12, RootKeyId: "file:1", Caller: "unix:uid=1000",
		Fips140: "on", CryptoModule: "v1.0.0", RecoveryKeyId: "recovery:2",
	})})
	f.run(t, "", "status").want(t, 0, `Serving:        no, the store is locked
Version:        1.2.3 (go1.26.8)
Started:        2026-11-22T08:30:00Z
Development:    yes, not for production keys
Keys:           2, with 3 versions
Policy:         generation 9, with 4 rules
Store counter:  12
Root key:       file:1
Audit:          no records
Recovery key:   recovery:2
Cryptography:   module v1.0.0, FIPS 140-3 on
You are:        unix:uid=1000
`, "")
}

// Whatever happens, what was read from a secret's file or typed in its place is not printed.
func TestSecretsAreNeverPrinted(t *testing.T) {
	const canary = "canary-apikey_prod_0123"
	f := serve(t, answers{
		"ImportKey":          refuse(codes.Internal, "INTERNAL", "internal error"),
		"ActivateKeyVersion": give(&adminv1.ActivateKeyVersionResponse{Key: ordersKey()}),
	})
	for _, args := range [][]string{
		{"key", "import", "orders", "--scheme", "noah", "--env", "prod", "--api-key", canary},
		{"key", "import", "orders", "--scheme", "noah", "--env", "prod", "--api-key", writeFile(t, canary)},
		{"key", "import", "orders", "--scheme", "noon", "--env", "prod", "--credentials", canary},
		{"key", "import", "orders", "--scheme", "noon", "--env", "prod", "--credentials", "-"},
		{"key", "import", "orders", canary, "--scheme", "noah", "--env", "prod"},
		{"key", "activate", "orders", "--version", "1", "--api-key", "-", "-o", "json"},
	} {
		r := f.run(t, canary, args...)
		if strings.Contains(r.stdout, canary) || strings.Contains(r.stderr, canary) {
			t.Errorf("%q printed the secret:\n%s%s", args[:2], r.stdout, r.stderr)
		}
	}
}
