package cli

import (
	"crypto/ecdh"
	"crypto/fips140"
	"crypto/hpke"
	"encoding/json"
	"encoding/pem"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/importticket"
)

var (
	newNoba    = importticket.Use{Purpose: importticket.NewKey, Name: "shop", Scheme: "noba", Environment: "prod"}
	newNoahNo2 = importticket.Use{Purpose: importticket.NewVersion, Name: "shop", Scheme: "noah", Environment: "sandbox"}
	apiKeyOf2  = importticket.Use{Purpose: importticket.APIKey, Name: "shop", Scheme: "noah", Environment: "sandbox", Version: 2}
)

// newTicket makes a ticket that is good for long, also where FIPS 140-3 is enforced.
func newTicket(t *testing.T, use importticket.Use) (ticket importticket.Ticket, private hpke.PrivateKey, text string) {
	t.Helper()
	fips140.WithoutEnforcement(func() {
		var err error
		if ticket, private, err = importticket.New(use, time.Date(2226, 3, 1, 12, 0, 0, 0, time.UTC)); err != nil {
			t.Fatal(err)
		}
	})
	b, err := ticket.Text()
	if err != nil {
		t.Fatal(err)
	}
	return ticket, private, string(b)
}

// seal runs as if FIPS 140-3 were not enforced.
func seal(t *testing.T, stdin string, args ...string) (r result) {
	t.Helper()
	fips140.WithoutEnforcement(func() { r = run(t, stdin, append([]string{"seal"}, args...)...) })
	return r
}

func TestWhatSealMakesOpensWithTheStandardLibraryAndTheTicketsKey(t *testing.T) {
	ticket, private, text := newTicket(t, newNoba)
	out := filepath.Join(t.TempDir(), "sealed")
	r := seal(t, "a canary", "--api-key", writeFile(t, "an API key\n"), "--secret", "-", "--ticket", writeFile(t, text), "--out", out)
	r.want(t, 0, "", "note: sealed for the new key shop (noba, prod), until 2226-03-01T12:00:00Z\n"+
		"note: the ticket's fingerprint is "+ticket.Fingerprint()+": pass nothing on unless import-ticket printed the same\n")
	file, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := pem.Decode(file)
	var plaintext []byte
	fips140.WithoutEnforcement(func() {
		plaintext, err = hpke.Open(private, hpke.HKDFSHA384(), hpke.AES256GCM(), ticket.Info(), p.Bytes[17:])
	})
	if err != nil {
		t.Fatal(err)
	}
	var body struct{ Material map[string][]byte }
	if err := json.Unmarshal(plaintext, &body); err != nil || len(body.Material) != 2 || string(body.Material["secret"]) != "a canary" || string(body.Material["api_key"]) != "an API key\n" {
		t.Errorf("got %q, %v", plaintext, err)
	}
}

func TestATicketSurvivesMailAndClipboard(t *testing.T) {
	_, _, text := newTicket(t, newNoba)
	for name, changed := range map[string]string{
		"CRLF":             strings.ReplaceAll(text, "\n", "\r\n"),
		"blank lines":      "\n \n" + text + "\n\n",
		"byte order mark":  "\ufeff" + text,
		"no last line end": strings.TrimSpace(text),
		"short lines":      strings.ReplaceAll(text, "A", "A\n"),
	} {
		if name == "short lines" { // of its content alone
			begin, end := strings.Index(text, "\n"), strings.LastIndex(text, "-----END")
			changed = text[:begin] + strings.ReplaceAll(text[begin:end], "A", "A\n") + text[end:]
		}
		if r := seal(t, "", "--api-key", writeFile(t, "x"), "--secret", writeFile(t, "y"), "--ticket", writeFile(t, changed)); r.code != 0 {
			t.Errorf("with %s: %+v", name, r)
		}
	}
}

func TestWhatCannotBeSealedIsSaid(t *testing.T) {
	_, _, noba := newTicket(t, newNoba)
	_, _, noah := newTicket(t, newNoahNo2)
	_, _, apiKey := newTicket(t, apiKeyOf2)
	sealed := seal(t, "", "--api-key", writeFile(t, "x"), "--ticket", writeFile(t, apiKey)).stdout
	secret, empty, huge := writeFile(t, "a canary"), writeFile(t, ""), filepath.Join(t.TempDir(), "huge")
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 100<<20); err != nil {
		t.Fatal(err)
	}
	const (
		noTicket = "signerctl: reading --ticket: it is no import ticket of a format that this program reads\n" +
			"hint: `signerctl import-ticket` prints one: take it whole, from -----BEGIN to -----END, and nothing else\n"
		hintFile = "hint: --secret wants the name of a file, or - for standard input\n"
	)
	for name, tt := range map[string]struct {
		ticket string
		args   []string
		want   string
	}{
		"a ticket on one line":      {strings.ReplaceAll(noba, "\n", ""), []string{"--api-key", secret, "--secret", secret}, noTicket},
		"a ticket in a mail":        {"Hello!\n" + noba, []string{"--api-key", secret, "--secret", secret}, noTicket},
		"a ticket cut short":        {noba[:200], []string{"--api-key", secret, "--secret", secret}, noTicket},
		"a secret as ticket":        {"a canary", []string{"--api-key", secret, "--secret", secret}, noTicket},
		"a sealed file as ticket":   {sealed, []string{"--api-key", secret, "--secret", secret}, noTicket},
		"one secret of two":         {noba, []string{"--api-key", secret}, "signerctl: sealing: the ticket is for the new key shop (noba, prod): it also needs --secret\n"},
		"secrets of another":        {noba, []string{"--credentials", secret}, "signerctl: sealing: the ticket is for the new key shop (noba, prod): it also needs --api-key and --secret\n"},
		"too many secrets":          {noba, []string{"--api-key", secret, "--secret", secret, "--private-key", secret}, "signerctl: sealing: the ticket is for the new key shop (noba, prod): there is no use for --private-key\n"},
		"no private key":            {noah, []string{"--api-key", secret}, "signerctl: sealing: the ticket is for a new version of key shop (noah, sandbox): it also needs --private-key\n"},
		"a pair for an API key":     {apiKey, []string{"--api-key", secret, "--private-key", secret}, "signerctl: sealing: the ticket is for the API key of version 2 of key shop (noah, sandbox): there is no use for --private-key\n"},
		"a folder":                  {noba, []string{"--api-key", secret, "--secret", t.TempDir()}, "signerctl: reading --secret: is a directory\n" + hintFile},
		"no file":                   {noba, []string{"--api-key", secret, "--secret", "a canary"}, "signerctl: reading --secret: no such file or directory\n" + hintFile},
		"an empty file":             {noba, []string{"--api-key", secret, "--secret", empty}, "signerctl: reading --secret: it is empty\n"},
		"a file of 100 MB":          {noba, []string{"--api-key", secret, "--secret", huge}, "signerctl: reading --secret: it has more than 64 KiB\n" + hintFile},
		"a secret typed, not named": {noba, []string{"--api-key", secret, "--secret", "/a canary"}, "signerctl: reading --secret: no such file or directory\n" + hintFile},
	} {
		t.Run(name, func(t *testing.T) {
			r := seal(t, "", append(tt.args, "--ticket", writeFile(t, tt.ticket))...)
			r.want(t, 1, "", tt.want)
		})
	}
	seal(t, "", "--api-key", secret, "--secret", secret, "--ticket", huge).want(t, 1, "",
		"signerctl: reading --ticket: it has more than 8 KiB\nhint: --ticket wants the name of a file, or - for standard input\n")
}

func TestSignerdsOwnFilesAreTakenForNoSecret(t *testing.T) {
	_, _, noba := newTicket(t, newNoba)
	f := serve(t, answers{})
	for kind, content := range map[string]string{
		"a root key":                         "signerd-root-key-v1:a canary\n",
		"the private half of a recovery key": "\ufeffsignerd-recovery-private-key-v1:a canary\n",
		"a sealed file":                      "\n-----BEGIN SIGNERD SEALED IMPORT-----\n",
		"an import ticket":                   noba,
		"a backup":                           "signerd backup\n\x00",
	} {
		secret, own := writeFile(t, "x"), writeFile(t, content)
		problem := ": it holds " + kind + " of signerd's own, which is no partner's secret\n"
		for _, args := range [][]string{{"key", "import", "shop", "--scheme", "noba", "--env", "prod"}, {"key", "rotate", "shop"}} {
			f.run(t, "", append(args, "--api-key", secret, "--secret", own)...).want(t, 1, "", "signerctl: reading --secret"+problem)
		}
		f.run(t, content, "key", "activate", "shop", "--version", "1", "--api-key", "-").want(t, 1, "", "signerctl: reading --api-key"+problem)
		seal(t, "", "--api-key", secret, "--secret", own, "--ticket", writeFile(t, noba)).want(t, 1, "", "signerctl: reading --secret"+problem)
	}
	f.wantRequests(t)
}

func TestSealWarnsOfATicketWhoseTimeIsOver(t *testing.T) {
	ticket, _, _ := newTicket(t, apiKeyOf2)
	ticket.Expires = time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	text, err := ticket.Text()
	if err != nil {
		t.Fatal(err)
	}
	r := seal(t, "", "--api-key", writeFile(t, "x"), "--ticket", writeFile(t, string(text)))
	if r.code != 0 || !strings.Contains(r.stderr, "\nwarning: by this machine's clock the ticket's time is over") {
		t.Errorf("got %+v", r)
	}
}

func TestImportTicketPrintsTheFingerprintOfWhatItGotAndWhatComesNext(t *testing.T) {
	for _, tt := range []struct {
		use        importticket.Use
		args       []string
		request    *adminv1.CreateImportTicketRequest
		seal, open string
	}{
		{newNoba, []string{"--scheme", "noba", "--env", "prod", "--ttl", "2h"},
			&adminv1.CreateImportTicketRequest{Scheme: "noba", Environment: adminv1.Environment_ENVIRONMENT_PROD, Purpose: adminv1.ImportPurpose_IMPORT_PURPOSE_NEW_KEY, Ttl: durationpb.New(2 * time.Hour)},
			"--api-key FILE --secret FILE", "key import shop --scheme noba --env prod"},
		{newNoahNo2, []string{"--new-version"}, &adminv1.CreateImportTicketRequest{Purpose: adminv1.ImportPurpose_IMPORT_PURPOSE_NEW_VERSION},
			"--private-key FILE", "key rotate shop"},
		{apiKeyOf2, []string{"--version", "2", "--env", "sandbox"},
			&adminv1.CreateImportTicketRequest{Purpose: adminv1.ImportPurpose_IMPORT_PURPOSE_API_KEY, Version: 2, Environment: adminv1.Environment_ENVIRONMENT_SANDBOX},
			"--api-key FILE", "key activate shop --version 2"},
	} {
		ticket, _, text := newTicket(t, tt.use)
		f := serve(t, answers{"CreateImportTicket": give(&adminv1.CreateImportTicketResponse{Ticket: []byte(text), Fingerprint: "of another", ExpireTime: timestamppb.New(ticket.Expires)})})
		f.run(t, "", append([]string{"import-ticket", "shop"}, tt.args...)...).want(t, 0, text,
			"note: it is for "+tt.use.String()+", until 2226-03-01T12:00:00Z\n"+
				"note: the ticket's fingerprint is "+ticket.Fingerprint()+"\n"+
				"note: who holds the secrets runs `signerctl seal "+tt.seal+" --ticket FILE --out SEALED`, and compares the fingerprint with you\n"+
				"note: then run `signerctl "+tt.open+" --sealed SEALED`\n")
		tt.request.Name = "shop"
		f.wantRequests(t, tt.request)
	}
}

func TestATicketThatIsRefusedSaysWhichOneToAskFor(t *testing.T) {
	f := serve(t, answers{"CreateImportTicket": refuse(codes.AlreadyExists, "KEY_EXISTS", "a key of this name exists")})
	f.run(t, "", "import-ticket", "shop", "--scheme", "noba", "--env", "prod").want(t, 1, "",
		"signerctl: making an import ticket for key shop: a key of this name exists\nhint: choose another name, or make a ticket for a version of it with --new-version\n")
}

func TestWhatIsSealedIsSentAsItIsWithItsDate(t *testing.T) {
	_, _, text := newTicket(t, apiKeyOf2)
	sealed := seal(t, "", "--api-key", writeFile(t, "x"), "--ticket", writeFile(t, text)).stdout
	file, ends := writeFile(t, sealed), timestamppb.New(time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC))
	f := serve(t, answers{
		"ImportKey":          give(&adminv1.ImportKeyResponse{Key: nobaKey()}),
		"ImportKeyVersion":   give(&adminv1.ImportKeyVersionResponse{Key: ordersKey(), Version: 2}),
		"ActivateKeyVersion": give(&adminv1.ActivateKeyVersionResponse{Key: ordersKey()}),
	})
	for _, args := range [][]string{
		{"key", "import", "refunds", "--scheme", "noba", "--env", "prod"}, {"key", "rotate", "orders"}, {"key", "activate", "orders", "--version", "2"},
	} {
		if r := f.run(t, "", append(args, "--sealed", file, "--expires", "2027-01-31")...); r.code != 0 {
			t.Errorf("%q: %+v", args, r)
		}
		f.run(t, "a canary", append(args, "--sealed", "-")...).want(t, 1, "", "signerctl: reading --sealed: it is no sealed file for this ticket, or is damaged\n"+
			"hint: `signerctl seal` makes one: take it whole, from -----BEGIN to -----END, and nothing else\n")
	}
	f.wantRequests(t,
		&adminv1.ImportKeyRequest{Name: "refunds", Scheme: "noba", Environment: adminv1.Environment_ENVIRONMENT_PROD, Sealed: []byte(sealed), ExpireTime: ends},
		&adminv1.ImportKeyVersionRequest{Name: "orders", Sealed: []byte(sealed), ExpireTime: ends},
		&adminv1.ActivateKeyVersionRequest{Name: "orders", Version: 2, Sealed: []byte(sealed), ExpireTime: ends})
}

// Enforcement holds from a process' start: where it is not in force, the test runs itself once more. Which module is in force was decided
// when it was built: `make test-fips` has the one that cannot seal.
func TestEnforcedFIPSSealsNothingThatItMayNotAndNeverPanics(t *testing.T) {
	if !fips140.Enforced() {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), self, "-test.run", "^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
			t.Errorf("it ended with %v and says:\n%s", err, out)
		}
		return
	}
	_, _, text := newTicket(t, apiKeyOf2)
	r := run(t, "", "seal", "--api-key", writeFile(t, "x"), "--ticket", writeFile(t, text))
	public, err := hpke.DHKEM(ecdh.P384()).GenerateKey()
	if err == nil {
		_, err = hpke.Seal(public.PublicKey(), hpke.HKDFSHA384(), hpke.AES256GCM(), nil, nil)
	}
	if err == nil && r.code == 0 {
		return // a later module has HPKE
	}
	r.want(t, 1, "", "signerctl: sealing: the cryptographic module in force does not allow HPKE\n"+
		"hint: this signerctl runs in FIPS 140-3 mode `only`: seal with one that does not\n")
}

func TestEveryPartnerHasItsSealableFiles(t *testing.T) {
	if got := slices.Sorted(maps.Keys(schemeFile)); !slices.Equal(got, []string{"noah", "noba", "noon"}) {
		t.Errorf("they are of %q", got)
	}
}
