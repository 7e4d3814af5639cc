package cli

import (
	"crypto/hpke"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/importticket"
)

func TestWhatSealMakesOpensWithTheStandardLibraryAndTheTicketsKey(t *testing.T) {
	ticket, private, err := importticket.New("shop", "noba", "prod", time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	text, err := ticket.Text()
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "sealed")
	r := run(t, "a canary", "seal", "--api-key", writeFile(t, "an API key\n"), "--secret", "-", "--ticket", writeFile(t, string(text)), "--out", out)
	if r.code != 0 || r.stdout != "" || !strings.Contains(r.stderr, ticket.Fingerprint()) || strings.Contains(r.stderr, "canary") {
		t.Fatalf("got %+v", r)
	}
	file, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := pem.Decode(file)
	plaintext, err := hpke.Open(private, hpke.HKDFSHA384(), hpke.AES256GCM(), ticket.Info(), p.Bytes[17:])
	if err != nil {
		t.Fatal(err)
	}
	var body struct{ Material map[string][]byte }
	if err := json.Unmarshal(plaintext, &body); err != nil || len(body.Material) != 2 || string(body.Material["secret"]) != "a canary" || string(body.Material["api_key"]) != "an API key\n" {
		t.Errorf("got %q, %v", plaintext, err)
	}
}

func TestImportTicketPrintsTheFingerprintOfWhatItGot(t *testing.T) {
	ticket, _, err := importticket.New("shop", "noba", "prod", time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	text, err := ticket.Text()
	if err != nil {
		t.Fatal(err)
	}
	f := serve(t, answers{"CreateImportTicket": give(&adminv1.CreateImportTicketResponse{Ticket: text, Fingerprint: "of another", ExpireTime: timestamppb.New(ticket.Expires)})})
	r := f.run(t, "", "import-ticket", "shop", "--scheme", "noba", "--env", "prod", "--ttl", "2h")
	if r.code != 0 || r.stdout != string(text) || !strings.Contains(r.stderr, "the ticket's fingerprint is "+ticket.Fingerprint()+"\n") {
		t.Errorf("got %+v", r)
	}
	f.wantRequests(t, &adminv1.CreateImportTicketRequest{Name: "shop", Scheme: "noba", Environment: adminv1.Environment_ENVIRONMENT_PROD, Ttl: durationpb.New(2 * time.Hour)})
}
