package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/grpc/codes"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/checkpoint"
)

func TestAuditShowTellsEveryField(t *testing.T) {
	l := newLog(t, 1,
		`{"n":0,"kind":"intention","record_id":"`+recordID(0)+`","time":"2026-11-22T08:30:00.123456Z"}`,
		`{"n":1,"kind":"call","record_id":"`+recordID(0)+`","time":"2026-11-22T08:30:00.123456Z","caller":"unix:uid=1000","version":2,`+
			`"path":"/\u001b[2J","query_names":["a","b\u0007"],"query_values":{"a":["1","2"]},"body_sha256":"00ff","cut":true,"headers":{"X-Api-Key":"aa","Api-Signature":"bb"},`+
			`"micros":1234,"acknowledgement":{"note":"n","missing":[{"from":5,"until":9},{"from":12,"until":13}]},"of_later":{"x":{"y":1}}}`)
	f := serve(t, answers{"GetRecord": give(&adminv1.GetRecordResponse{Records: l.records(0, 1)})})
	at, err := time.Parse(time.RFC3339Nano, "2026-11-22T08:30:00.123456Z")
	if err != nil {
		t.Fatal(err)
	}
	r := f.run(t, "", "audit", "show", recordID(0))
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("got %+v", r)
	}
	for _, has := range []string{
		"Number: 0\n", "Kind: intention\n", "Record: " + recordID(0) + "\n", "Time: " + at.Local().Format(time.RFC3339Nano) + "\n",
		"Caller: unix:uid=1000\n", "Version: 2\n", `Path: "/\x1b[2J"` + "\n", `Query names: a, "b\a"` + "\n", "Query values:\n", " a: 1, 2\n",
		"Body SHA-256: 00ff\n", "Cut: true\n", "Headers:\n X-Api-Key: aa\n Api-Signature: bb\n", "Took: 1.234ms\n",
		"Acknowledgement:\n Note: n\n Missing: records 5 to 8, record 12\n", "Of later:\n X: y 1\n",
	} {
		if got := squeeze(r.stdout); !strings.Contains(got, has) {
			t.Errorf("no %q in\n%s", has, got)
		}
	}
	f.wantRequests(t, &adminv1.GetRecordRequest{RecordId: recordID(0)})
	f.run(t, "", "audit", "show", recordID(0), "-o", "json").want(t, 0, string(l.lines[0])+"\n"+string(l.lines[1])+"\n", "")
}

func TestAuditShowAlignsFields(t *testing.T) {
	var w strings.Builder
	writeRecord(&w, []byte(`{"n":6,"headers":{"Api-Signature":"bb"},"micros":2137}`))
	if diff := cmp.Diff("Number:           6\nHeaders:\n  Api-Signature:  bb\nTook:             2.137ms\n", w.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// squeeze takes alignment out.
func squeeze(s string) string {
	for strings.Contains(s, "  ") {
		s = strings.ReplaceAll(s, "  ", " ")
	}
	return strings.ReplaceAll(s, " \n", "\n")
}

func TestAuditShowRefusesOtherRecords(t *testing.T) {
	const what = "signerctl: showing record " + "01990000-0000-7000-8000-000000000000" + ": "
	for _, tt := range []struct {
		records []*adminv1.AuditRecord
		want    string
	}{
		{nil, "signerd answered without a record"},
		{newLog(t, 1, numbered(2)...).records(0, 1), "signerd answered with record 1, which is of another call"},
		{[]*adminv1.AuditRecord{{Number: 3, Line: []byte("\x1b[2J")}}, "record 3: it is not one line of JSON"},
	} {
		f := serve(t, answers{"GetRecord": give(&adminv1.GetRecordResponse{Records: tt.records})})
		f.run(t, "", "audit", "show", recordID(0)).want(t, 1, "", what+tt.want+"\n")
	}
	f := serve(t, answers{"GetRecord": refuse(codes.NotFound, "RECORD_NOT_FOUND", "there is no such record")})
	f.run(t, "", "audit", "show", recordID(0)).want(t, 1, "", what+"there is no such record\n"+
		"hint: is it of this signerd, and not so old that retention has deleted it? `signerctl audit tail` prints the newest\n")
}

// What is printed is enough for somebody who has nothing but the verifier key.
func TestAuditShowProvesToOutsiders(t *testing.T) {
	lines := numbered(7)
	lines[5] = strings.Replace(lines[5], recordID(5), recordID(4), 1)
	lines[4] = strings.Replace(lines[4], `"code":"OK"`, `"path":"/<&\u001b é"`, 1)
	l := newLog(t, 1, lines...)
	f := serve(t, answers{"GetRecord": give(l.proven(t, 4, 5))})
	r := f.run(t, "", "audit", "show", recordID(4), "--proof")
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("got %+v", r)
	}
	f.wantRequests(t, &adminv1.GetRecordRequest{RecordId: recordID(4), Proof: true})
	var proof struct {
		Records []struct {
			Line     string
			Number   int64
			TreeSize int64 `json:"tree_size"`
			Proof    []tlog.Hash
		}
		Checkpoint  string
		VerifierKey string `json:"verifier_key"`
	}
	if err := json.Unmarshal([]byte(r.stdout), &proof); err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(l.signer.VerifierKey())
	if err != nil || proof.VerifierKey != l.signer.VerifierKey() {
		t.Fatal(err, proof.VerifierKey)
	}
	c, err := checkpoint.Open([]byte(proof.Checkpoint), verifier)
	if err != nil {
		t.Fatal(err)
	}
	if len(proof.Records) != 2 {
		t.Fatalf("%d records", len(proof.Records))
	}
	for i, p := range proof.Records {
		if p.Line != lines[4+i] || p.TreeSize != c.Tree.N {
			t.Errorf("got %+v", p)
		}
		if err := tlog.CheckRecord(p.Proof, c.Tree.N, c.Tree.Hash, p.Number, tlog.RecordHash([]byte(p.Line))); err != nil {
			t.Error(err)
		}
	}
}

func TestAuditShowPrintsNoWrongProof(t *testing.T) {
	other := newLog(t, 2, numbered(7)...)
	const wrongProof = "the proof of record 4 is wrong: it does not lead to signerd's checkpoint"
	const unsigned = "signerd's checkpoint is not one that its verifier key signed"
	for name, tt := range map[string]struct {
		spoil func(r *adminv1.GetRecordResponse)
		want  string
	}{
		"a bit of a hash":         {func(r *adminv1.GetRecordResponse) { r.Proofs[0].Hashes[1][7] ^= 1 }, wrongProof},
		"a short hash":            {func(r *adminv1.GetRecordResponse) { r.Proofs[0].Hashes[1] = r.Proofs[0].Hashes[1][:31] }, wrongProof},
		"a hash too few":          {func(r *adminv1.GetRecordResponse) { r.Proofs[0].Hashes = r.Proofs[0].Hashes[:2] }, wrongProof},
		"a hash too many":         {func(r *adminv1.GetRecordResponse) { r.Proofs[0].Hashes = append(r.Proofs[0].Hashes, make([]byte, 32)) }, wrongProof},
		"another line":            {func(r *adminv1.GetRecordResponse) { r.Records[0].Line = append(r.Records[0].Line, ' ') }, wrongProof},
		"another number":          {func(r *adminv1.GetRecordResponse) { r.Proofs[0].Number = 5 }, wrongProof},
		"another size":            {func(r *adminv1.GetRecordResponse) { r.Proofs[0].TreeSize = 6 }, wrongProof},
		"a number without end":    {func(r *adminv1.GetRecordResponse) { r.Records[0].Number = 1 << 63; r.Proofs[0].Number = 1 << 63 }, "the proof of record 9223372036854775808 is wrong: it does not lead to signerd's checkpoint"},
		"no proof":                {func(r *adminv1.GetRecordResponse) { r.Proofs = nil }, "signerd proved 0 of 1 record"},
		"no checkpoint":           {func(r *adminv1.GetRecordResponse) { r.Checkpoint = nil }, unsigned},
		"a bit of the checkpoint": {func(r *adminv1.GetRecordResponse) { r.Checkpoint[len(r.Checkpoint)-30] ^= 1 }, unsigned},
		"a checkpoint of others":  {func(r *adminv1.GetRecordResponse) { r.Checkpoint = other.checkpoint(t, 7) }, unsigned},
		"a key that is none":      {func(r *adminv1.GetRecordResponse) { r.VerifierKey = "x" }, "signerd's verifier key: it is no verifier key, NAME+HASH+KEY; `signerctl audit key` prints signerd's"},
		"an older checkpoint":     {func(r *adminv1.GetRecordResponse) { r.Checkpoint = newLog(t, 1, numbered(7)...).checkpoint(t, 6) }, wrongProof},
		"a signature that steers": {func(r *adminv1.GetRecordResponse) {
			r.Checkpoint = append(r.Checkpoint, "— x\u009b2J AAAAAAAA\n"...)
		}, "signerd's checkpoint has characters that cannot be printed"},
	} {
		t.Run(name, func(t *testing.T) {
			resp := newLog(t, 1, numbered(7)...).proven(t, 4)
			tt.spoil(resp)
			f := serve(t, answers{"GetRecord": give(resp)})
			f.run(t, "", "audit", "show", recordID(4), "--proof").want(t, 1, "",
				"signerctl: showing record "+recordID(4)+": "+tt.want+"\nhint: `signerctl audit verify` recomputes the log\n")
		})
	}
}
