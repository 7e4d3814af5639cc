package server_test

import (
	"crypto/elliptic"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/partners"
)

const (
	pending  = adminv1.KeyVersionState_KEY_VERSION_STATE_PENDING
	enabled  = adminv1.KeyVersionState_KEY_VERSION_STATE_ENABLED
	disabled = adminv1.KeyVersionState_KEY_VERSION_STATE_DISABLED
)

func TestANOAHKeyLivesFromItsMakingToItsNextVersion(t *testing.T) {
	t.Parallel()
	const colleague = 1001
	r := start(t, setup{bolt: true, rules: []allowance{everything(t, operator), everything(t, colleague)}})
	partner := partners.NewNOAH("sandbox", r.clock.Now)
	began := timestamppb.New(r.clock.Now())
	labels := map[string]string{"team": "payments", "cost.center": "42 – Köln"}

	made, err := r.admin.CreateKey(as(t, operator), &adminv1.CreateKeyRequest{Name: "a", Environment: sandbox, Labels: labels})
	must(t, err)
	first := &adminv1.KeyVersion{Number: 1, State: pending, Algorithm: "ES384", PublicKeySha256: sha256OfPEM(t, made.GetPublicKeyPem()),
		CreateTime: began, Creator: "unix:uid=1000"}
	want := &adminv1.Key{Name: "a", Scheme: "noah", Environment: sandbox, Labels: labels, Enabled: true, Versions: []*adminv1.KeyVersion{first},
		Generation: 3, CreateTime: began, UpdateTime: began}
	same(t, made.GetKey(), want)
	_, err = r.signNOAH(as(t, operator), "a")
	r.refused(t, err, codes.FailedPrecondition, "NO_ACTIVE_VERSION")

	// changed holds what a change answers, and GetKey after it, against want.
	changed := func(got *adminv1.Key, err error) {
		t.Helper()
		must(t, err)
		want.Generation++
		want.UpdateTime = timestamppb.New(r.clock.Now())
		same(t, got, want)
		read, err := r.admin.GetKey(as(t, operator), &adminv1.GetKeyRequest{Name: "a"})
		must(t, err)
		same(t, read.GetKey(), want)
		r.clock.advance(time.Minute)
	}
	r.clock.advance(time.Minute)

	// The partner's dashboard takes the public key and gives the API key, which an editor ends with a line end.
	apiKey, err := partner.CreateAPIKey([]byte(made.GetPublicKeyPem()))
	must(t, err)
	activated, err := r.admin.ActivateKeyVersion(as(t, colleague), &adminv1.ActivateKeyVersionRequest{Name: "a", Version: 1, ApiKey: []byte(apiKey + "\r\n"), Generation: 3})
	first.State, want.ActiveVersion = enabled, 1
	changed(activated.GetKey(), err)
	if notes := activated.GetNotes(); len(notes) != 1 || !strings.Contains(notes[0], "line end") {
		t.Errorf("the notes are %q", notes)
	}
	accepted := func(version uint32) {
		t.Helper()
		out, err := r.signNOAH(as(t, operator), "a")
		must(t, err)
		if err := partner.Check(onTheWire("GET", "/v1/things", out.GetHeaders(), nil)); err != nil || out.GetKeyVersion() != version {
			t.Errorf("version %d: %v; want version %d", out.GetKeyVersion(), err, version)
		}
		want.Versions[version-1].LastUseTime = timestamppb.New(r.clock.Now().Truncate(time.Second))
	}
	accepted(1)

	next, err := r.admin.CreateKeyVersion(as(t, colleague), &adminv1.CreateKeyVersionRequest{Name: "a", Algorithm: "ES256", Generation: 4})
	must(t, err)
	second := &adminv1.KeyVersion{Number: 2, State: pending, Algorithm: "ES256", PublicKeySha256: sha256OfPEM(t, next.GetPublicKeyPem()),
		CreateTime: timestamppb.New(r.clock.Now()), Creator: "unix:uid=1001"}
	want.Versions = append(want.Versions, second)
	changed(next.GetKey(), err)
	if next.GetVersion() != 2 {
		t.Errorf("the new version is %d", next.GetVersion())
	}
	accepted(1)

	apiKey, err = partner.CreateAPIKey([]byte(next.GetPublicKeyPem()))
	must(t, err)
	activated, err = r.admin.ActivateKeyVersion(as(t, operator), &adminv1.ActivateKeyVersionRequest{Name: "a", Version: 2, ApiKey: []byte(apiKey)})
	second.State, want.ActiveVersion = enabled, 2
	changed(activated.GetKey(), err)
	if len(activated.GetNotes()) > 0 {
		t.Errorf("the notes are %q", activated.GetNotes())
	}
	accepted(2)

	off, err := r.admin.DisableKeyVersion(as(t, operator), &adminv1.DisableKeyVersionRequest{Name: "a", Version: 1, Generation: 6})
	first.State = disabled
	changed(off.GetKey(), err)
	accepted(2)
	on, err := r.admin.EnableKeyVersion(as(t, operator), &adminv1.EnableKeyVersionRequest{Name: "a", Version: 1})
	first.State = enabled
	changed(on.GetKey(), err)
	stopped, err := r.admin.DisableKey(as(t, operator), &adminv1.DisableKeyRequest{Name: "a"})
	want.Enabled = false
	changed(stopped.GetKey(), err)
	back, err := r.admin.EnableKey(as(t, operator), &adminv1.EnableKeyRequest{Name: "a"})
	want.Enabled = true
	changed(back.GetKey(), err)
	labelled, err := r.admin.UpdateKey(as(t, operator), &adminv1.UpdateKeyRequest{Name: "a", Labels: map[string]string{"team": "other"}})
	want.Labels = map[string]string{"team": "other"}
	changed(labelled.GetKey(), err)
	labelled, err = r.admin.UpdateKey(as(t, operator), &adminv1.UpdateKeyRequest{Name: "a", Generation: 11})
	want.Labels = nil
	changed(labelled.GetKey(), err)

	// What changes nothing keeps the generation.
	again, err := r.admin.EnableKey(as(t, operator), &adminv1.EnableKeyRequest{Name: "a", Generation: 12})
	must(t, err)
	same(t, again.GetKey(), want)
}

func TestImportSaysWhatItChanged(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	noah, noba := newNOAH(t, elliptic.P384(), sandbox), newNoba()
	tests := []struct {
		name, scheme string
		material     map[string][]byte
		notes        []string
	}{
		{"nothing", "noah", noah.material(), nil},
		{"line end", "noah", map[string][]byte{"private_key": []byte(strings.ReplaceAll(string(noah.pem), "\n", "\r\n")), "api_key": []byte(noah.apiKey + "\n")},
			[]string{"api_key: one line end at the end was cut"}},
		{"line ends", "noba", map[string][]byte{"api_key": []byte(noba.apiKey + "\n"), "secret": []byte(noba.secret + "\r\n")},
			[]string{"api_key: one line end at the end was cut", "secret: one line end at the end was cut"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name := strings.ReplaceAll(tt.name, " ", "-")
			made, err := r.admin.ImportKey(as(t, operator), &adminv1.ImportKeyRequest{Name: name, Scheme: tt.scheme, Environment: sandbox, Material: tt.material})
			must(t, err)
			if !slices.Equal(made.GetNotes(), tt.notes) {
				t.Errorf("the notes are %q, want %q", made.GetNotes(), tt.notes)
			}
			if key := made.GetKey(); key.GetActiveVersion() != 1 || key.GetVersions()[0].GetState() != enabled {
				t.Errorf("it is not active: %v", key)
			}
			added, err := r.admin.ImportKeyVersion(as(t, operator), &adminv1.ImportKeyVersionRequest{Name: name, Material: tt.material})
			must(t, err)
			if !slices.Equal(added.GetNotes(), tt.notes) || added.GetVersion() != 2 || added.GetKey().GetActiveVersion() != 1 {
				t.Errorf("the version has %v", added)
			}
		})
	}
}

func TestAnImportedPrivateKeyWaitsForItsAPIKey(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	a := newNOAH(t, elliptic.P384(), sandbox)
	key := r.imported(t, "a", "noah", sandbox, map[string][]byte{"private_key": a.pem})
	if key.GetActiveVersion() != 0 || key.GetVersions()[0].GetState() != pending {
		t.Errorf("got %v", key)
	}
	_, err := r.admin.ActivateKeyVersion(as(t, operator), &adminv1.ActivateKeyVersionRequest{Name: "a", Version: 1, ApiKey: []byte(a.apiKey)})
	must(t, err)
	out, err := r.signNOAH(as(t, operator), "a")
	must(t, err)
	if err := noahPartner(t, r, a).Check(onTheWire("GET", "/v1/things", out.GetHeaders(), nil)); err != nil {
		t.Error(err)
	}
}

func TestLabelsReachTheirLimits(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNoba(t, "a")
	labels := map[string]string{"a": "", "0": strings.Repeat("x", 256), "a.b_c-d": strings.Repeat("ä", 128), strings.Repeat("a", 63): "\n\t\x00 anything"}
	for i := range 28 {
		labels["more-"+string(rune('a'+i%26))+string(rune('a'+i/26))] = "x"
	}
	if len(labels) != 32 {
		t.Fatalf("%d labels", len(labels))
	}
	out, err := r.admin.UpdateKey(as(t, operator), &adminv1.UpdateKeyRequest{Name: "a", Labels: labels})
	must(t, err)
	if !maps.Equal(out.GetKey().GetLabels(), labels) {
		t.Errorf("got %v", out.GetKey().GetLabels())
	}
	// What was refused has changed nothing.
	for _, wrong := range wrongLabels() {
		_, err := r.admin.UpdateKey(as(t, operator), &adminv1.UpdateKeyRequest{Name: "a", Labels: wrong})
		r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST")
	}
	got, err := r.admin.GetKey(as(t, operator), &adminv1.GetKeyRequest{Name: "a"})
	must(t, err)
	same(t, got.GetKey(), out.GetKey())
}
