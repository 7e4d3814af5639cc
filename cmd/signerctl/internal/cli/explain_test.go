package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

func TestExplainNamesTheCauseOfEachPreparedRequestFirst(t *testing.T) {
	files, err := filepath.Glob("testdata/refused/*.json")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files are in testdata/refused (%v), want at least 20", len(files), err)
	}
	a := newAccounts(t)
	f := serve(t, a.answers())
	causes := make(map[string]bool)
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			q := readRefused(t, name)
			causes[q.Cause] = true
			if q.How.APIKey == "2" {
				q.How.APIKey = a.noahAPIKeys[1]
			}
			content, secrets := a.capture(t, q)
			r := f.run(t, "", "explain", writeFile(t, content), "--key", q.Partner+"-app", "-o", "json")
			var e explanation
			if err := json.Unmarshal([]byte(r.stdout), &e); err != nil || r.code != 1 {
				t.Fatalf("exit status %d, %v; stderr %s\n%s", r.code, err, r.stderr, r.stdout)
			}
			if len(e.Finding) == 0 || string(e.Finding[0].Cause) != q.Cause || !strings.Contains(e.Finding[0].Text, q.Says) || e.Finding[0].Advice == "" {
				t.Errorf("want cause %s, saying %q; got\n%s", q.Cause, q.Says, r.stdout)
			}
			text := f.run(t, content, "explain", "-", "--key", q.Partner+"-app")
			if first, _, _ := strings.Cut(text.stdout, "\n"); !strings.Contains(first, q.Says) {
				t.Errorf("the first line is %q", first)
			}
			for _, secret := range secrets {
				if out := r.stdout + r.stderr + text.stdout + text.stderr; strings.Contains(out, secret) || strings.Contains(out, secret[:len(secret)-4]) {
					t.Error("an API key or a signature was printed")
				}
			}
		})
	}
	if len(causes) != len(files) {
		t.Errorf("%d files are of %d causes, want one a cause", len(files), len(causes))
	}
}

// readRefused is strict: a misspelt field would prepare another request.
func readRefused(t *testing.T, name string) refusedRequest {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var q refusedRequest
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		t.Fatal(err)
	}
	return q
}

// good is a request with which nothing is wrong.
func good(partner, form string) refusedRequest {
	q := refusedRequest{Partner: partner, Form: form}
	q.Signed.Method, q.Signed.Path, q.Signed.Body = "POST", "/v1/transactions", `{"amount":"100","note":"Zoë"}`
	q.Sent.URL = "https://partner.example/v1/transactions?dry=1"
	if partner == "noah" {
		q.Signed.Query = json.RawMessage(`{"dry":"1"}`)
	}
	return q
}

func TestExplainSaysThatNothingIsWrong(t *testing.T) {
	a := newAccounts(t)
	f := serve(t, a.answers())
	for _, partner := range []string{"noah", "noba"} {
		for _, form := range []string{"curl", "http", "har"} {
			content, _ := a.capture(t, good(partner, form))
			// The only key of the partner is found by itself.
			r := f.run(t, content, "explain", "-")
			if r.code != 0 || r.stderr != "" || !strings.HasPrefix(r.stdout, "Nothing is wrong with the request") || !strings.Contains(r.stdout, "version 2 of key "+partner+"-app") {
				t.Errorf("%s as %s: %+v", partner, form, r)
			}
		}
	}
}

func TestExplainNamesThePartThatWasChangedOnTheWay(t *testing.T) {
	a := newAccounts(t)
	f := serve(t, a.answers())
	for _, tt := range []struct{ partner, from, to, cause, says string }{
		{"noah", `"100"`, `"900"`, "body-differs", "body differs"},
		{"noah", "dry=1", "dry=2", "query-differs", `query parameter "dry": signed "1", sent "2"`},
		{"noah", "/v1/t", "/v2/t", "path-differs", `path: signed "/v1/transactions", sent "/v2/transactions"`},
		{"noba", `"100"`, `"900"`, "something-differs", "the body (30 bytes), or path"},
		{"noba", "/v1/t", "/v2/t", "something-differs", `path "/v2/transactions"`},
	} {
		content, _ := a.capture(t, good(tt.partner, "http"))
		r := f.run(t, strings.Replace(content, tt.from, tt.to, 1), "explain", "-", "--key", tt.partner+"-app", "-o", "json")
		var e explanation
		if err := json.Unmarshal([]byte(r.stdout), &e); err != nil || r.code != 1 || len(e.Finding) != 1 || string(e.Finding[0].Cause) != tt.cause || !strings.Contains(e.Finding[0].Text, tt.says) {
			t.Errorf("%s with %s: %+v", tt.partner, tt.to, r)
		}
	}
}

func TestExplainTellsOfVersionsThatAreNoLongerActive(t *testing.T) {
	a := newAccounts(t)
	all := a.answers()
	key := accountKey("noah", "ES384")
	key.Versions[0].ExpireTime = timestamppb.New(time.Unix(1_700_000_000, 0))
	all["GetKey"] = give(&adminv1.GetKeyResponse{Key: key})
	q := good("noah", "http")
	q.How.Version = 1
	content, _ := a.capture(t, q)
	serve(t, all).run(t, content, "explain", "-", "--key", "noah-app").want(t, 1, `version: version 1 expired at the partner at 2023-11-14T22:13:20Z, as an operator noted
  what to do: get a new API key from the partner, then `+"`signerctl key rotate` and `signerctl key activate`"+`

Found as well:
version: it was signed with version 1, and version 2 is active
  what to do: the partner may have withdrawn the old version; have the request signed again, and do not keep headers

Checked:
  partner noah: headers, form of the token, aud, method, path, query, body and times against the token's claims
  the signature: version 1 of key noah-app made it
`, "signerctl: explaining the request: the partner has reason to refuse it: 2 findings\n")
}

func TestExplainEndsItsSearchAtALimit(t *testing.T) {
	a := newAccounts(t)
	all := a.answers()
	calls := 0
	all["VerifySignature"] = func(ctx context.Context, m proto.Message) (proto.Message, error) {
		if calls++; calls > 1 {
			return refuse(codes.ResourceExhausted, "RATE_LIMITED", "too much")(ctx, m)
		}
		if n := len(m.(*adminv1.VerifySignatureRequest).GetCandidates()); n != maxCandidates {
			t.Errorf("a call has %d candidates", n)
		}
		return a.verify(ctx, m)
	}
	content, _ := a.capture(t, good("noba", "http"))
	r := serve(t, all).run(t, strings.Replace(content, `"100"`, `"900"`, 1), "explain", "-", "--key", "noba-app")
	if r.code != 1 || !strings.HasPrefix(r.stdout, "the body (30 bytes)") || !strings.Contains(r.stderr, "note: signerd's limit ended the search") || calls != 2 {
		t.Errorf("%d calls; got %+v", calls, r)
	}
}

func TestExplainFindsTheKeyByTheAPIKey(t *testing.T) {
	a := newAccounts(t)
	all := a.answers()
	other := accountKey("noah", "ES384")
	other.Name = "a-stranger"
	all["ListKeys"] = give(&adminv1.ListKeysResponse{Keys: []*adminv1.Key{other, accountKey("noah", "ES384")}})
	content, _ := a.capture(t, good("noah", "curl"))
	r := serve(t, all).run(t, content, "explain", "-")
	if r.code != 0 {
		t.Errorf("got %+v", r)
	}
	q := good("noah", "curl")
	q.How.APIKey = "apikey_sandbox_unknown00000000"
	content, _ = a.capture(t, q)
	r = serve(t, all).run(t, content, "explain", "-")
	if r.code != 1 || !strings.HasPrefix(r.stdout, "headers: none of your 2 keys for noah has this API key") {
		t.Errorf("got %+v", r)
	}
}

func TestExplainTellsWhatSignerdLeavesOpen(t *testing.T) {
	a := newAccounts(t)
	content, _ := a.capture(t, good("noah", "curl"))
	all := a.answers()
	all["VerifySignature"] = refuse(codes.PermissionDenied, "DENIED", "not allowed")
	f := serve(t, all)
	f.run(t, content, "explain", "-", "--key", "noah-app").want(t, 1, "",
		"signerctl: verifying the signature with key noah-app: not allowed\nhint: ask whoever sets the policy for a rule; they can find this call by record rec-1\n")
	// What needs no signerd is told all the same.
	r := f.run(t, strings.Replace(content, "dry=1", "dry=2", 1), "explain", "-", "--key", "noah-app")
	if r.code != 1 || !strings.HasPrefix(r.stdout, "query parameter") || !strings.Contains(r.stdout, "not the signature") {
		t.Errorf("got %+v", r)
	}
	// Who may verify need not be allowed to see the key.
	all = a.answers()
	all["GetKey"] = refuse(codes.PermissionDenied, "DENIED", "not allowed")
	if r := serve(t, all).run(t, content, "explain", "-", "--key", "noah-app"); r.code != 0 {
		t.Errorf("got %+v", r)
	}
}

func TestExplainRefusesWhatItCannotExplain(t *testing.T) {
	a := newAccounts(t)
	f := serve(t, a.answers())
	noah, _ := a.capture(t, good("noah", "curl"))
	const hintForms = "hint: `signerctl explain --help` tells which forms there are; --form says which one it is\n"
	for _, tt := range []struct{ args, content, want string }{
		{"", "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", "signerctl: explaining the request: no header of NOAH or Noba is in it\nhint: --partner says whose it should be\n"},
		{"", "wget https://example.org", "signerctl: reading the request: it is neither a curl command, nor an HTTP request, nor a HAR file\n" + hintForms},
		{"--form har", noah, "signerctl: reading the request: it is not a HAR file: it is no JSON, or not of that form\n" + hintForms},
		{"--entry 1", noah, "signerctl: reading the request: it has no entries to choose from: that is for HAR files\n" + hintForms},
		{"--key noon-app", noah, "signerctl: explaining the request: key noon-app is for noon, whose requests carry no signature\n"},
		{"--key noba-app", noah, "signerctl: explaining the request: the request is for noah, and key noba-app for noba\nhint: --key names the key that signed; --partner says whose the request is\n"},
	} {
		f.run(t, tt.content, append([]string{"explain", "-"}, strings.Fields(tt.args)...)...).want(t, 1, "", tt.want)
	}
	f.run(t, "", "explain", "-", "--entry", "-1").want(t, 2, "", "signerctl: explain: --entry counts from 1\nusage: signerctl explain FILE [--key NAME] [--partner noah|noba] [--form curl|http|har] [--entry N] [-o text|json]\nhint: `signerctl explain --help` tells more\n")
}

func TestExplainReadsTheBodyOfACurlCommandFromThisFolderAlone(t *testing.T) {
	a := newAccounts(t)
	f := serve(t, a.answers())
	t.Chdir(t.TempDir())
	q := good("noah", "curl")
	q.Signed.Body = "{\n  \"amount\": \"100\"\n}\n"
	content, _ := a.capture(t, q)
	if err := os.WriteFile("body.json", []byte(q.Signed.Body), 0o600); err != nil {
		t.Fatal(err)
	}
	named := func(flag string) string {
		return strings.Replace(content, "--data-binary "+shellQuote(q.Signed.Body), flag, 1)
	}
	if r := f.run(t, named("--data-binary @body.json"), "explain", "-"); r.code != 0 || !strings.Contains(r.stderr, "read from its file as that is now") {
		t.Errorf("got %+v", r)
	}
	if r := f.run(t, named("-d @body.json"), "explain", "-"); r.code != 1 || !strings.HasPrefix(r.stdout, "body: the file was signed with its line ends") {
		t.Errorf("got %+v", r)
	}
	for _, outside := range []string{"/etc/passwd", "../body.json", "-", "link"} {
		_ = os.Symlink("/etc/passwd", "link")
		if r := f.run(t, named("-d @"+outside), "explain", "-"); r.code != 1 || r.stdout != "" || !strings.Contains(r.stderr, "reading the request") {
			t.Errorf("%s: got %+v", outside, r)
		}
	}
}

func TestSecretsAreHiddenWhereverTheyStand(t *testing.T) {
	const secret = "apikey_sandbox_0123456789abcdef"
	for text, want := range map[string]string{
		`path: signed "/x?key=` + secret + `", sent "/x"`: `path: signed "/x?key=…cdef", sent "/x"`,
		"cut: " + secret[:20] + "…":                       "cut: ……",
		"apikey_sandbox":                                  "…",
		"nothing of it":                                   "nothing of it",
	} {
		if got := hide(text, secret); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}
