package server_test

import (
	"crypto/elliptic"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/signerd/signerd/audit"
	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/policy"
)

func noahCandidate(token string) *adminv1.SignatureCandidate {
	return &adminv1.SignatureCandidate{Signature: &adminv1.SignatureCandidate_Noah{Noah: &adminv1.NoahSignature{Token: token}}}
}

func nobaCandidate(s *adminv1.NobaSignature) *adminv1.SignatureCandidate {
	return &adminv1.SignatureCandidate{Signature: &adminv1.SignatureCandidate_Noba{Noba: s}}
}

// verifies asks about tokens.
func (r *rig) verifies(t testing.TB, who uint32, key, apiKey string, tokens ...string) (*adminv1.VerifySignatureResponse, error) {
	t.Helper()
	in := &adminv1.VerifySignatureRequest{Key: key, ApiKey: apiKey}
	for _, token := range tokens {
		in.Candidates = append(in.Candidates, noahCandidate(token))
	}
	return r.admin.VerifySignature(as(t, who), in)
}

// token is what the active version signs.
func (r *rig) token(t testing.TB, key string) string {
	t.Helper()
	out, err := r.signNOAH(as(t, operator), key)
	must(t, err)
	return out.GetHeaders()["Api-Signature"]
}

// nobaSigned is what Noba gets of a request that the active version signs.
func (r *rig) nobaSigned(t testing.TB, key, method, path, body string) *adminv1.NobaSignature {
	t.Helper()
	out, err := r.signer.ComputeNobaSignature(as(t, operator), &signerdv1.ComputeNobaSignatureRequest{Key: key, Method: method, Path: path, Body: []byte(body)})
	must(t, err)
	mac, err := hex.DecodeString(out.GetHeaders()["X-Noba-Signature"])
	must(t, err)
	path, _, _ = strings.Cut(path, "?")
	return &adminv1.NobaSignature{Timestamp: out.GetHeaders()["X-Noba-Timestamp"], ApiKey: out.GetHeaders()["X-Noba-API-Key"],
		Method: method, Path: path, Body: []byte(body), Signature: mac}
}

// foundVersions wants an answer, and what its record says.
func (r *rig) foundVersions(t testing.TB, out *adminv1.VerifySignatureResponse, err error, apiKey uint32, versions ...uint32) {
	t.Helper()
	must(t, err)
	if !slices.Equal(out.GetVersions(), versions) || out.GetApiKeyVersion() != apiKey {
		t.Errorf("got %v, API key of %d; want %v and %d", out.GetVersions(), out.GetApiKeyVersion(), versions, apiKey)
	}
	if logged := r.record(t, out.GetRecordId()); logged.Operation != "VerifySignature" || logged.Code != "OK" {
		t.Errorf("the log has %+v", logged)
	}
}

func TestATokenIsOfTheVersionWhoseKeyMadeIt(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	ctx := as(t, operator)
	first, second := newNOAH(t, elliptic.P384(), sandbox), newNOAH(t, elliptic.P256(), sandbox)
	r.imported(t, "a", "noah", sandbox, first.material())
	r.importedNOAH(t, "other")
	one := r.token(t, "a")
	_, err := r.admin.ImportKeyVersion(ctx, &adminv1.ImportKeyVersionRequest{Name: "a", Material: second.material()})
	must(t, err)
	_, err = r.admin.ActivateKeyVersion(ctx, &adminv1.ActivateKeyVersionRequest{Name: "a", Version: 2})
	must(t, err)
	two, foreign := r.token(t, "a"), r.token(t, "other")
	cut := strings.LastIndexByte(one, '.')
	out, err := r.verifies(t, operator, "a", first.apiKey, one, two, foreign, one[:cut]+two[strings.LastIndexByte(two, '.'):], "x"+one, two)
	r.foundVersions(t, out, err, 1, 1, 2, 0, 0, 0, 2)
	out, err = r.verifies(t, operator, "a", second.apiKey)
	r.foundVersions(t, out, err, 2)
	for _, apiKey := range []string{"", first.apiKey[1:], first.apiKey + " ", strings.ToUpper(first.apiKey), strings.Repeat("x", 512)} {
		out, err = r.verifies(t, operator, "a", apiKey)
		r.foundVersions(t, out, err, 0)
	}
}

func TestANobaSignatureIsHeldAgainstExactlyWhatIsGiven(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	account := r.importedNoba(t, "n")
	good := r.nobaSigned(t, "n", "POST", "/v1/transactions?dry=1", `{"a":1}`)
	in := &adminv1.VerifySignatureRequest{Key: "n", ApiKey: account.apiKey}
	var want []uint32
	try := func(version uint32, change func(*adminv1.NobaSignature)) {
		s := proto.Clone(good).(*adminv1.NobaSignature)
		change(s)
		in.Candidates, want = append(in.Candidates, nobaCandidate(s)), append(want, version)
	}
	try(1, func(*adminv1.NobaSignature) {})
	try(0, func(s *adminv1.NobaSignature) { s.Method = "post" })
	try(0, func(s *adminv1.NobaSignature) { s.Path += "?dry=1" })
	try(0, func(s *adminv1.NobaSignature) { s.Body = append(s.Body, '\n') })
	try(0, func(s *adminv1.NobaSignature) { s.Body = []byte(`{"a": 1}`) })
	try(0, func(s *adminv1.NobaSignature) { s.Timestamp += "0" })
	try(0, func(s *adminv1.NobaSignature) { s.ApiKey = "" })
	try(0, func(s *adminv1.NobaSignature) { s.Signature[31] ^= 1 })
	// The partner's string to sign has no separators.
	try(1, func(s *adminv1.NobaSignature) { s.Path, s.Body = s.Path+string(s.Body), nil })
	empty := r.nobaSigned(t, "n", "GET", "/v1", "")
	try(0, func(s *adminv1.NobaSignature) { proto.Reset(s); proto.Merge(s, empty) })
	try(1, func(s *adminv1.NobaSignature) { proto.Reset(s); proto.Merge(s, empty); s.Body = []byte("{}") })
	out, err := r.admin.VerifySignature(as(t, operator), in)
	r.foundVersions(t, out, err, 1, want...)
}

func TestEveryVersionIsTriedThatIsNotDestroyed(t *testing.T) {
	t.Parallel()
	r := start(t, setup{bolt: true})
	ctx := as(t, operator)
	account := r.importedNOAH(t, "a")
	token := r.token(t, "a")
	yes := func(when string) {
		t.Helper()
		out, err := r.verifies(t, operator, "a", account.apiKey, token)
		t.Log(when)
		r.foundVersions(t, out, err, 1, 1)
	}
	_, err := r.admin.DisableKeyVersion(ctx, &adminv1.DisableKeyVersionRequest{Name: "a", Version: 1})
	must(t, err)
	yes("disabled")
	_, err = r.admin.DisableKey(ctx, &adminv1.DisableKeyRequest{Name: "a"})
	must(t, err)
	yes("with its key")
	r.freeze(t, "a test")
	yes("frozen")
	r.unfreeze(t)
	_, err = r.admin.ImportKeyVersion(ctx, &adminv1.ImportKeyVersionRequest{Name: "a", Material: newNOAH(t, elliptic.P384(), sandbox).material()})
	must(t, err)
	_, err = r.admin.ActivateKeyVersion(ctx, &adminv1.ActivateKeyVersionRequest{Name: "a", Version: 2})
	must(t, err)
	_, err = r.admin.DestroyKeyVersion(ctx, &adminv1.DestroyKeyVersionRequest{Name: "a", Version: 1})
	must(t, err)
	yes("to be destroyed")
	r.clock.advance(8 * 24 * time.Hour)
	_, _, err = r.keys.DestroyVersion(t.Context(), "a", 1)
	must(t, err)
	out, err := r.verifies(t, operator, "a", account.apiKey, token)
	r.foundVersions(t, out, err, 0, 0)
	// A pair whose API key has not come has a key that signs, and no API key: not the empty one either.
	_, err = r.admin.CreateKey(ctx, &adminv1.CreateKeyRequest{Name: "pending", Environment: sandbox})
	must(t, err)
	out, err = r.verifies(t, operator, "pending", "", token)
	r.foundVersions(t, out, err, 0, 0)
}

func TestGarbageIsOfNoVersion(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	r.importedNoba(t, "n")
	token := r.token(t, "a")
	cut := strings.LastIndexByte(token, '.')
	garbage := []string{"", ".", "..", "...", "a", token[:cut], token[:cut+1], token + ".", token + "=", token + "\n", "\r\n" + token, token[:cut+9] + "\n" + token[cut+9:],
		" " + token, token + token, token[:len(token)-1], strings.ReplaceAll(token, ".", ""), strings.Repeat(".", 16384), strings.Repeat("A", 16384),
		token[:cut+1] + strings.Repeat("A", 128), token[:cut+1] + strings.Repeat("_", 128), "\x00.\x00.\x00", "é.é.é", "bnVsbA.bnVsbA.", "eyJhbGciOiJub25lIn0.e30."}
	out, err := r.verifies(t, operator, "a", "\x00é", garbage...)
	r.foundVersions(t, out, err, 0, make([]uint32, len(garbage))...)
	out, err = r.verifies(t, operator, "a", "", slices.Repeat([]string{token}, 32)...)
	r.foundVersions(t, out, err, 0, slices.Repeat([]uint32{1}, 32)...)
	out, err = r.verifies(t, operator, "a", "")
	r.foundVersions(t, out, err, 0)
	noba := &adminv1.VerifySignatureRequest{Key: "n"}
	for range 32 {
		noba.Candidates = append(noba.Candidates, nobaCandidate(&adminv1.NobaSignature{Timestamp: "\x00", Method: "é", Path: "no path", Body: []byte("\xff"), Signature: make([]byte, 32)}))
	}
	out, err = r.admin.VerifySignature(as(t, operator), noba)
	r.foundVersions(t, out, err, 0, make([]uint32, 32)...)
}

// invalidVerifications are requests whose messages are wrong, whatever the key.
func invalidVerifications() []invalid {
	var out []invalid
	add := func(name, field string, in proto.Message) { out = append(out, invalid{name, in, field}) }
	for _, s := range wrongNames {
		add("key "+s, "key", &adminv1.VerifySignatureRequest{Key: s})
	}
	add("a long API key", "api_key", &adminv1.VerifySignatureRequest{Key: "a", ApiKey: strings.Repeat("x", 513)})
	for name, candidate := range map[string]*adminv1.SignatureCandidate{
		"nothing": {}, "a long token": noahCandidate(strings.Repeat("x", 16385)),
		"no signature":      nobaCandidate(&adminv1.NobaSignature{}),
		"a short signature": nobaCandidate(&adminv1.NobaSignature{Signature: make([]byte, 31)}),
		"a long signature":  nobaCandidate(&adminv1.NobaSignature{Signature: make([]byte, 33)}),
		"a long timestamp":  nobaCandidate(&adminv1.NobaSignature{Signature: make([]byte, 32), Timestamp: strings.Repeat("1", 65)}),
		"a long Noba key":   nobaCandidate(&adminv1.NobaSignature{Signature: make([]byte, 32), ApiKey: strings.Repeat("1", 513)}),
		"a long method":     nobaCandidate(&adminv1.NobaSignature{Signature: make([]byte, 32), Method: strings.Repeat("1", 65)}),
		"a long path":       nobaCandidate(&adminv1.NobaSignature{Signature: make([]byte, 32), Path: strings.Repeat("1", 16385)}),
	} {
		add("candidates: "+name, "candidates", &adminv1.VerifySignatureRequest{Key: "a", Candidates: []*adminv1.SignatureCandidate{noahCandidate("x"), candidate}})
	}
	add("33 candidates", "candidates", &adminv1.VerifySignatureRequest{Key: "a", Candidates: slices.Repeat([]*adminv1.SignatureCandidate{noahCandidate("x")}, 33)})
	return out
}

func TestAnotherPartnersSignaturesAreNotVerified(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "noah")
	r.importedNoba(t, "noba")
	r.importedNoon(t, "noon")
	noah, noba := noahCandidate("x"), nobaCandidate(&adminv1.NobaSignature{Signature: make([]byte, 32)})
	for _, tt := range []struct {
		key        string
		candidates []*adminv1.SignatureCandidate
	}{
		{"noah", []*adminv1.SignatureCandidate{noba}}, {"noah", []*adminv1.SignatureCandidate{noah, noba}},
		{"noba", []*adminv1.SignatureCandidate{noah}}, {"noba", []*adminv1.SignatureCandidate{noba, noah}},
		{"noon", []*adminv1.SignatureCandidate{noah}}, {"noon", []*adminv1.SignatureCandidate{noba}}, {"noon", nil},
	} {
		_, err := r.admin.VerifySignature(as(t, operator), &adminv1.VerifySignatureRequest{Key: tt.key, Candidates: tt.candidates})
		r.refused(t, err, codes.FailedPrecondition, "WRONG_SCHEME")
	}
}

func TestWhoMayVerifyIsARuleOnTheKey(t *testing.T) {
	t.Parallel()
	const verifier, signs = 3001, 3002
	r := start(t, setup{rules: []allowance{everything(t, operator), allows(t, verifier, []string{"mine"}, "VerifySignature"),
		allows(t, signs, []string{policy.Any}, "SignNoahRequest", "ComputeNobaSignature", "GetKey", "GetPublicKey")}})
	account := r.importedNOAH(t, "mine")
	r.importedNOAH(t, "theirs")
	out, err := r.verifies(t, verifier, "mine", account.apiKey, r.token(t, "mine"))
	r.foundVersions(t, out, err, 1, 1)
	token := r.token(t, "theirs")
	for _, who := range []uint32{verifier, signs, stranger, administrator} {
		for _, key := range []string{"theirs", "absent"} {
			_, err := r.verifies(t, who, key, "", token)
			r.refused(t, err, codes.PermissionDenied, "DENIED")
		}
	}
	_, err = r.signNOAH(as(t, verifier), "mine") // it gives no signature
	r.refused(t, err, codes.PermissionDenied, "DENIED")
	_, err = r.verifies(t, operator, "absent", "", token)
	r.refused(t, err, codes.NotFound, "KEY_NOT_FOUND")
	rule := ruleFor("limited", allow, theApplication, "VerifySignature")
	rule.Limits = &adminv1.PolicyLimits{PerHour: 2}
	r.apply(t, withRules(rule))
	for range 2 {
		_, err := r.verifies(t, application, "theirs", "")
		must(t, err)
	}
	_, err = r.verifies(t, application, "theirs", "")
	if retry := r.limited(t, err); retry != time.Hour {
		t.Errorf("RetryInfo %v", retry)
	}
}

func TestWhatACallerMayHaveVerifiedIsBoundedWhateverThePolicySays(t *testing.T) {
	t.Parallel()
	r := start(t, setup{rules: []allowance{everything(t, operator), everything(t, application)}})
	r.importedTwice(t, "a")
	r.importedNoba(t, "n")
	tokens := slices.Repeat([]string{"e30.e30.AAAA"}, 32)
	// With two versions a call is 2 × (1 + 32) tries; it may go beyond 2000, and then there is a wait.
	calls := 0
	for ; ; calls++ {
		if _, err := r.verifies(t, application, "a", "", tokens...); err != nil {
			// 31 calls are 2046: 47 tries until one is free, at 50 a second.
			if retry := r.limited(t, err); calls != 31 || retry != 940*time.Millisecond {
				t.Errorf("after %d calls RetryInfo is %v", calls, retry)
			}
			break
		}
	}
	r.clock.advance(939 * time.Millisecond)
	_, err := r.verifies(t, application, "n", "") // another key's tries are the same caller's
	if retry := r.limited(t, err); retry != time.Millisecond {
		t.Errorf("just before, RetryInfo is %v", retry)
	}
	if _, err := r.verifies(t, operator, "a", ""); err != nil {
		t.Errorf("another caller: %v", err)
	}
	if _, err := r.signNOAH(as(t, application), "a"); err != nil {
		t.Errorf("signing: %v", err)
	}
	r.clock.advance(time.Millisecond)
	_, err = r.verifies(t, application, "n", "")
	must(t, err)
	_, err = r.verifies(t, application, "n", "")
	r.limited(t, err)
	r.clock.advance(time.Hour)
	for range 7 { // a body of 3 MiB costs 48 tries more
		_, err = r.admin.VerifySignature(as(t, application), &adminv1.VerifySignatureRequest{Key: "n", Candidates: []*adminv1.SignatureCandidate{
			nobaCandidate(&adminv1.NobaSignature{Body: make([]byte, 3<<20), Signature: make([]byte, 32)})}})
		must(t, err)
	}
}

func TestTheRecordOfAVerificationSaysWhatWasAnswered(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	account := r.importedNoba(t, "n")
	good := r.nobaSigned(t, "n", "POST", "/v1/canary-path", `{"a":"canary-body"}`)
	bad := proto.Clone(good).(*adminv1.NobaSignature)
	bad.Method = "PUT"
	type asked struct {
		apiKey     string
		candidates []*adminv1.NobaSignature
	}
	notes := map[string]asked{
		"candidates=0 verified=no":              {},
		"candidates=2 verified=yes api_key=yes": {account.apiKey, []*adminv1.NobaSignature{bad, good}},
		"candidates=1 verified=no api_key=no":   {"canary-api-key", []*adminv1.NobaSignature{bad}},
		"candidates=2 verified=no api_key=yes":  {account.apiKey, []*adminv1.NobaSignature{bad, bad}},
		"candidates=3 verified=yes":             {"", []*adminv1.NobaSignature{good, good, bad}},
		"candidates=1 verified=yes api_key=no":  {"canary", []*adminv1.NobaSignature{good}},
	}
	for note, ask := range notes {
		in := &adminv1.VerifySignatureRequest{Key: "n", ApiKey: ask.apiKey}
		for _, c := range ask.candidates {
			in.Candidates = append(in.Candidates, nobaCandidate(c))
		}
		out, err := r.admin.VerifySignature(as(t, operator), in)
		must(t, err)
		found := 0
		for _, record := range r.records(t) {
			if record.ID != out.GetRecordId() {
				continue
			}
			found++
			var version uint32
			if strings.Contains(note, "verified=yes") {
				version = 1
			}
			if record.Kind != audit.KindCall || record.Note != note || record.Key != "n" || record.Version != version || record.Scheme != "noba" || len(record.Headers) > 0 ||
				record.Method+record.Path+record.BodySHA256 != "" {
				t.Errorf("on record is %+v, want %q", record, note)
			}
		}
		if found != 1 {
			t.Errorf("%d records of %q", found, note)
		}
	}
	for name, text := range map[string]string{"the record": r.recordText(t), "the log": r.log.String()} {
		for _, canary := range []string{"canary", account.apiKey, account.secret, fmt.Sprintf("%x", good.GetSignature())} {
			// The path is on record since it was signed.
			if strings.Contains(strings.ReplaceAll(text, "/v1/canary-path", ""), canary) {
				t.Errorf("%s has %q", name, canary)
			}
		}
	}
}
