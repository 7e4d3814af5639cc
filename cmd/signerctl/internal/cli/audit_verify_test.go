package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// verified is the good result of a log, grown from then records.
func (l *fakeLog) verified(t *testing.T, then int) *adminv1.VerifyLogResult {
	t.Helper()
	r := &adminv1.VerifyLogResult{Good: true, Checkpoint: l.checkpoint(t, len(l.lines)), VerifierKey: l.signer.VerifierKey()}
	if then > 0 {
		r.ConsistencyProof = l.grownFrom(t, then)
	}
	return r
}

func verifies(t *testing.T, r *adminv1.VerifyLogResult) *fake {
	t.Helper()
	return serveStreams(t, nil, streams{"VerifyLog": parts(&adminv1.VerifyLogResponse{Done: 3, Total: 7}, &adminv1.VerifyLogResponse{Done: 7, Total: 7, Result: r})})
}

const hintEvidence = "hint: keep the log as it is, with all checkpoints, and find out who could write it\n"

func TestAuditVerifySaysThatTheLogIsGood(t *testing.T) {
	l := newLog(t, 1, numbered(7)...)
	f := verifies(t, l.verified(t, 0))
	f.run(t, "", "audit", "verify").want(t, 0, "good: 7 records, root "+l.root(t)+"\n", "")
	f.wantRequests(t, &adminv1.VerifyLogRequest{})
}

func TestAuditVerifySaysWhatIsNoMoreThere(t *testing.T) {
	l := newLog(t, 1, numbered(7)...)
	r := l.verified(t, 0)
	r.FirstKept, r.Acknowledged = 2, []*adminv1.AuditRange{{First: 3, End: 5}, {First: 5, End: 6}}
	verifies(t, r).run(t, "", "audit", "verify").want(t, 0, "good: 7 records, root "+l.root(t)+
		"\nThose before record 2 were deleted by retention.\nMissing, and acknowledged: records 3 to 4, record 5.\n", "")
}

func TestAuditVerifySaysTheFirstFault(t *testing.T) {
	const not = "signerctl: verifying the log: the log is not good\n"
	for _, tt := range []struct {
		result *adminv1.VerifyLogResult
		stdout string
		hint   string
	}{
		{&adminv1.VerifyLogResult{FaultNumber: 1234, FaultKind: "changed", Fault: "its hash is another"}, "record 1234: changed: its hash is another\n", hintEvidence},
		{&adminv1.VerifyLogResult{FaultNumber: 5, FaultKind: "missing", Fault: "3 records are not there"}, "record 5: missing: 3 records are not there\n",
			"hint: look for the files, in backups too; if they are gone for good, `signerctl audit acknowledge` lets signing go on\n"},
		{&adminv1.VerifyLogResult{FaultKind: "file", Fault: "\x1b[2J"}, `"record 0: file: \x1b[2J"` + "\n", hintEvidence},
		{&adminv1.VerifyLogResult{}, "record 0: \n", hintEvidence},
	} {
		verifies(t, tt.result).run(t, "", "audit", "verify").want(t, 1, tt.stdout, not+tt.hint)
	}
	// Good and faulty at once is not good.
	r := newLog(t, 1, numbered(7)...).verified(t, 0)
	r.FaultKind = "changed"
	if got := verifies(t, r).run(t, "", "audit", "verify"); got.code != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestAuditVerifyHoldsTheLogToACheckpoint(t *testing.T) {
	l := newLog(t, 1, numbered(7)...)
	key := writeFile(t, l.signer.VerifierKey()+"\n")
	const note = "note: both checkpoints are checked by the key that signerd gives now, and so it vouches for itself: --verifier-key gives one that was kept\n"
	for n := 1; n <= 7; n++ {
		since := l.checkpoint(t, n)
		f := verifies(t, l.verified(t, n))
		want := "good: 7 records, root " + l.root(t) + "\nIt has grown from the " + quantity(n, "record") + " at the checkpoint of --since.\n"
		f.run(t, string(since), "audit", "verify", "--since", "-", "--verifier-key", key).want(t, 0, want, "")
		f.wantRequests(t, &adminv1.VerifyLogRequest{Checkpoint: since})
		f.run(t, string(since), "audit", "verify", "--since", "-").want(t, 0, want, note)
	}
	empty := verifies(t, l.verified(t, 0))
	if r := empty.run(t, string(l.checkpoint(t, 0)), "audit", "verify", "--since", "-", "--verifier-key", key); r.code != 0 {
		t.Errorf("got %+v", r)
	}
}

// signerd says good, and what can be checked here says otherwise.
func TestAuditVerifyDoesNotBelieveSignerd(t *testing.T) {
	l := newLog(t, 1, numbered(7)...)
	rewritten := append([]string{strings.Replace(numbered(1)[0], "OK", "No", 1)}, numbered(7)[1:]...)
	const unproven = "rewritten: signerd cannot prove that the log has grown from the 4 records at the checkpoint of --since\n"
	for name, tt := range map[string]struct {
		since []byte
		spoil func(r *adminv1.VerifyLogResult)
		want  string
	}{
		"a bit of the proof":   {l.checkpoint(t, 4), func(r *adminv1.VerifyLogResult) { r.ConsistencyProof[0][0] ^= 1 }, unproven},
		"no proof":             {l.checkpoint(t, 4), func(r *adminv1.VerifyLogResult) { r.ConsistencyProof = nil }, unproven},
		"a short hash":         {l.checkpoint(t, 4), func(r *adminv1.VerifyLogResult) { r.ConsistencyProof[0] = nil }, unproven},
		"a rewritten log":      {newLog(t, 1, rewritten...).checkpoint(t, 4), func(*adminv1.VerifyLogResult) {}, unproven},
		"a log that was cut":   {newLog(t, 1, numbered(9)...).checkpoint(t, 9), func(*adminv1.VerifyLogResult) {}, "rewritten: the log has 7 records, and had 9 at the checkpoint of --since\n"},
		"a log that was empty": {l.checkpoint(t, 4), func(r *adminv1.VerifyLogResult) { r.Checkpoint = l.checkpoint(t, 0) }, "rewritten: the log has no records, and had 4 at the checkpoint of --since\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := l.verified(t, 4)
			tt.spoil(r)
			since := writeFile(t, string(tt.since))
			save := filepath.Join(t.TempDir(), "save")
			f := verifies(t, r)
			key := writeFile(t, l.signer.VerifierKey())
			f.run(t, "", "audit", "verify", "--since", since, "--verifier-key", key, "--save", save).want(t, 1, tt.want,
				"signerctl: verifying the log: the log is not good\n"+hintEvidence)
			if _, err := os.Stat(save); err == nil {
				t.Error("the checkpoint was saved")
			}
			var said verdict
			if err := json.Unmarshal([]byte(f.run(t, "", "audit", "verify", "--since", since, "--verifier-key", key, "-o", "json").stdout), &said); err != nil {
				t.Fatal(err)
			}
			if said.Good || said.FaultKind != "rewritten" || said.GrownFrom != nil {
				t.Errorf("got %+v", said)
			}
		})
	}
}

func TestAuditVerifyWantsTheRightKey(t *testing.T) {
	l, other := newLog(t, 1, numbered(7)...), newLog(t, 2, numbered(7)...)
	const what = "signerctl: verifying the log: "
	key, foreign := writeFile(t, l.signer.VerifierKey()), writeFile(t, other.signer.VerifierKey())
	f := verifies(t, l.verified(t, 4))
	f.run(t, "", "audit", "verify", "--verifier-key", foreign).want(t, 1, "",
		what+"signerd's checkpoint is not signed by the key of --verifier-key: it is another log, or another key signs it now\n")
	const invalid = "it is no checkpoint of this log: it is malformed, or another key signed it\n"
	f.run(t, string(other.checkpoint(t, 4)), "audit", "verify", "--since", "-").want(t, 1, "", what+"--since: "+invalid)
	asked := len(f.requests)
	f.run(t, string(other.checkpoint(t, 4)), "audit", "verify", "--since", "-", "--verifier-key", key).want(t, 1, "", "signerctl: reading --since: "+invalid)
	f.run(t, "x", "audit", "verify", "--verifier-key", "-").want(t, 1, "",
		"signerctl: reading --verifier-key: it is no verifier key, NAME+HASH+KEY; `signerctl audit key` prints signerd's\n")
	f.run(t, "", "audit", "verify", "--since", filepath.Join(t.TempDir(), "none")).want(t, 1, "", "signerctl: reading --since: no such file or directory\n"+
		"hint: a first run has none: `signerctl audit verify --save FILE`; but if there was one, ask who took it away\n")
	if len(f.requests) != asked {
		t.Error("the log was read although the files are wrong")
	}
	for _, spoil := range []func(r *adminv1.VerifyLogResult){
		func(r *adminv1.VerifyLogResult) { r.Checkpoint[len(r.Checkpoint)-30] ^= 1 },
		func(r *adminv1.VerifyLogResult) { r.Checkpoint = nil },
		func(r *adminv1.VerifyLogResult) { r.Checkpoint = other.checkpoint(t, 7) },
	} {
		r := l.verified(t, 0)
		spoil(r)
		verifies(t, r).run(t, "", "audit", "verify").want(t, 1, "", what+"signerd's checkpoint is not one that its verifier key signed\n")
	}
}

func TestAuditVerifyWantsAResult(t *testing.T) {
	l := newLog(t, 1, numbered(7)...)
	done := &adminv1.VerifyLogResponse{Done: 7, Total: 7, Result: l.verified(t, 0)}
	for _, tt := range []struct {
		answer []proto.Message
		want   string
	}{
		{nil, "signerd ended without a result"},
		{[]proto.Message{&adminv1.VerifyLogResponse{Done: 7, Total: 7}}, "signerd ended without a result"},
		{[]proto.Message{done, done}, "signerd went on after its result"},
	} {
		f := serveStreams(t, nil, streams{"VerifyLog": parts(tt.answer...)})
		f.run(t, "", "audit", "verify").want(t, 1, "", "signerctl: verifying the log: "+tt.want+"\n")
	}
}

// The daily job of the help.
func TestAuditVerifyKeepsCheckpoints(t *testing.T) {
	key := writeFile(t, newLog(t, 1).signer.VerifierKey())
	last := filepath.Join(t.TempDir(), "last")
	verify := func(l *fakeLog, then int, args ...string) result {
		t.Helper()
		return verifies(t, l.verified(t, then)).run(t, "", append([]string{"audit", "verify", "--verifier-key", key, "--save", last}, args...)...)
	}
	holds := func(want []byte) {
		t.Helper()
		got, err := os.ReadFile(last)
		if err != nil || string(got) != string(want) {
			t.Errorf("%v, the file holds\n%s", err, got)
		}
	}
	first, second := newLog(t, 1, numbered(3)...), newLog(t, 1, numbered(7)...)
	if r := verify(first, 0); r.code != 0 {
		t.Fatalf("got %+v", r)
	}
	holds(first.checkpoint(t, 3))
	info, err := os.Stat(last)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Error(err, info.Mode())
	}
	const refused = ": there is something in it that the log is not held to\n" +
		"hint: if it is a checkpoint of this log, give it to --since too: it is replaced once the log is proven to have grown from it\n"
	verify(second, 0).want(t, 1, "", "signerctl: saving the checkpoint in "+last+refused)
	verify(second, 2, "--since", writeFile(t, string(first.checkpoint(t, 2)))).want(t, 1, "", "signerctl: saving the checkpoint in "+last+refused)
	holds(first.checkpoint(t, 3))
	if r := verify(second, 3, "--since", last); r.code != 0 {
		t.Fatalf("got %+v", r)
	}
	holds(second.checkpoint(t, 7))
	// What is no checkpoint is never replaced, and neither is a folder.
	for _, content := range []string{"", "my notes", strings.Repeat("x", 1<<20)} {
		if err := os.WriteFile(last, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := verify(second, 0); r.code != 1 || !strings.HasSuffix(r.stderr, refused) {
			t.Errorf("got %+v", r)
		}
		holds([]byte(content))
	}
	last = t.TempDir()
	if r := verify(second, 0); r.code != 1 || r.stdout != "" {
		t.Errorf("got %+v", r)
	}
}

// Whoever writes the file while the log is read is not overwritten.
func TestAuditVerifyLooksAgainBeforeItSaves(t *testing.T) {
	l := newLog(t, 1, numbered(7)...)
	save := filepath.Join(t.TempDir(), "save")
	f := serveStreams(t, nil, streams{"VerifyLog": func(stream grpc.ServerStream, req proto.Message) error {
		if err := os.WriteFile(save, []byte("another's"), 0o600); err != nil {
			return err
		}
		return parts(&adminv1.VerifyLogResponse{Result: l.verified(t, 0)})(stream, req)
	}})
	if r := f.run(t, "", "audit", "verify", "--save", save); r.code != 1 {
		t.Errorf("got %+v", r)
	}
	if b, err := os.ReadFile(save); err != nil || string(b) != "another's" {
		t.Errorf("%v, %q", err, b)
	}
}

func TestAuditVerifyTellsPrograms(t *testing.T) {
	l := newLog(t, 1, numbered(7)...)
	r := l.verified(t, 4)
	r.Acknowledged = []*adminv1.AuditRange{{First: 3, End: 5}}
	f := verifies(t, r)
	key := writeFile(t, l.signer.VerifierKey())
	signed, err := json.Marshal(string(l.checkpoint(t, 7)))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(signed), `\u0026`, "&")
	f.run(t, string(l.checkpoint(t, 4)), "audit", "verify", "--since", "-", "--verifier-key", key, "-o", "json").want(t, 0, `{
  "good": true,
  "records": 7,
  "root": "`+l.root(t)+`",
  "fault_kind": "",
  "fault_number": 0,
  "fault": "",
  "first_kept": 0,
  "acknowledged": [
    {
      "first": 3,
      "end": 5
    }
  ],
  "grown_from": 4,
  "checkpoint": `+text+`,
  "verifier_key": "`+l.signer.VerifierKey()+`"
}
`, "")
}

func TestAuditCheckpointAndKey(t *testing.T) {
	l, other := newLog(t, 1, numbered(7)...), newLog(t, 2, numbered(7)...)
	f := serve(t, answers{"GetCheckpoint": give(&adminv1.GetCheckpointResponse{Checkpoint: l.checkpoint(t, 7), VerifierKey: l.signer.VerifierKey()})})
	f.run(t, "", "audit", "checkpoint").want(t, 0, string(l.checkpoint(t, 7)), "")
	f.run(t, "", "audit", "key").want(t, 0, l.signer.VerifierKey()+"\n", "")
	f.run(t, "", "audit", "key", "-o", "json").want(t, 0, "{\n  \"verifier_key\": \""+l.signer.VerifierKey()+"\"\n}\n", "")
	var got struct {
		Checkpoint string `json:"checkpoint"`
	}
	if err := json.Unmarshal([]byte(f.run(t, "", "audit", "checkpoint", "-o", "json").stdout), &got); err != nil || got.Checkpoint != string(l.checkpoint(t, 7)) {
		t.Error(err, got)
	}
	wrong := serve(t, answers{"GetCheckpoint": give(&adminv1.GetCheckpointResponse{Checkpoint: other.checkpoint(t, 7), VerifierKey: l.signer.VerifierKey()})})
	for _, command := range []string{"checkpoint", "key"} {
		wrong.run(t, "", "audit", command).want(t, 1, "", "signerctl: getting a checkpoint: signerd's checkpoint is not one that its verifier key signed\n")
	}
}
