package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/grpc/codes"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

const longAuditShow = `Print what is on record of one call: the result, and before it the intention where the call changed something. RECORD_ID is
what the caller was given, and "signerctl audit tail" prints.

With -o json these are the lines as they stand in the log. With --proof it is JSON that proves to an outsider that they
are in the log: each line, its number and the hashes of RFC 6962 that lead from it to the checkpoint, which signerd has
signed. signerctl has checked all that before it prints it. The outsider takes the verifier key from you, not from there.`

func (a *app) auditShow() *cobra.Command {
	var output *choice
	var proof *bool
	cmd := command("show RECORD_ID [--proof] [-o text|json]", "Print what is on record of one call", positional("RECORD_ID"), func(cmd *cobra.Command, args []string) error {
		if *proof && cmd.Flags().Changed("output") && output.value == formatText {
			return &usageError{message: "--proof gives JSON, and does not go with -o text"}
		}
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		what := "showing record " + args[0]
		resp, err := adminv1.NewAuditServiceClient(conn).GetRecord(cmd.Context(), &adminv1.GetRecordRequest{RecordId: args[0], Proof: *proof}, largeAnswers)
		if err != nil {
			f := &failure{what: what, err: err}
			if call, ok := errors.AsType[*callError](err); ok && call.status.Code() == codes.NotFound {
				f.hints = map[string]string{call.reason(): "is it of this signerd, and not so old that retention has deleted it? `signerctl audit tail` prints the newest"}
			}
			return f
		}
		if err := checkRecords(args[0], resp.GetRecords()); err != nil {
			return &failure{what: what, err: err}
		}
		if *proof {
			text, err := outsidersProof(resp)
			if err != nil {
				return &failure{what: what, err: err, hint: "`signerctl audit verify` recomputes the log"}
			}
			return a.write(text)
		}
		if output.value == formatJSON {
			out := &recordWriter{app: a, output: output}
			return out.add(resp.GetRecords())
		}
		var buf bytes.Buffer
		for i, r := range resp.GetRecords() {
			if i > 0 {
				_, _ = fmt.Fprintln(&buf)
			}
			writeRecord(&buf, r.GetLine())
		}
		return a.write(buf.Bytes())
	})
	cmd.Long = longAuditShow
	proof = cmd.Flags().Bool("proof", false, "print what proves to an outsider that the records are in the log")
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

// checkRecords holds signerd to what was asked.
func checkRecords(id string, records []*adminv1.AuditRecord) error {
	if len(records) == 0 {
		return errors.New("signerd answered without a record")
	}
	for _, r := range records {
		parsed, err := parseRecord(r.GetLine())
		if err != nil {
			return fmt.Errorf("record %d: %w", r.GetNumber(), err)
		}
		if !strings.EqualFold(parsed.ID, id) {
			return fmt.Errorf("signerd answered with record %d, which is of another call", r.GetNumber())
		}
	}
	return nil
}

// provenRecord is one record with its proof, for outsiders.
type provenRecord struct {
	Line     string      `json:"line"`
	Number   uint64      `json:"number"`
	TreeSize uint64      `json:"tree_size"`
	Proof    []tlog.Hash `json:"proof"`
}

// outsidersProof gives records with their proofs, checked, as JSON.
func outsidersProof(resp *adminv1.GetRecordResponse) ([]byte, error) {
	c, err := openCheckpoint(resp.GetCheckpoint(), resp.GetVerifierKey())
	if err != nil {
		return nil, err
	}
	if got, want := len(resp.GetProofs()), len(resp.GetRecords()); got != want {
		return nil, fmt.Errorf("signerd proved %d of %s", got, quantity(want, "record"))
	}
	proven := struct {
		Records     []provenRecord `json:"records"`
		Checkpoint  string         `json:"checkpoint"`
		VerifierKey string         `json:"verifier_key"`
	}{Checkpoint: string(resp.GetCheckpoint()), VerifierKey: resp.GetVerifierKey()}
	for i, r := range resp.GetRecords() {
		p := resp.GetProofs()[i]
		hashes, err := treeHashes(p.GetHashes())
		wrong := err != nil || p.GetNumber() != r.GetNumber() || p.GetNumber() >= p.GetTreeSize() || p.GetTreeSize() != uint64(c.Tree.N)
		if wrong || tlog.CheckRecord(hashes, c.Tree.N, c.Tree.Hash, int64(r.GetNumber()), tlog.RecordHash(r.GetLine())) != nil {
			return nil, fmt.Errorf("the proof of record %d is wrong: it does not lead to signerd's checkpoint", r.GetNumber())
		}
		proven.Records = append(proven.Records, provenRecord{Line: string(r.GetLine()), Number: r.GetNumber(), TreeSize: p.GetTreeSize(), Proof: hashes})
	}
	return indentedJSON(proven)
}

func treeHashes(given [][]byte) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, 0, len(given))
	for _, b := range given {
		if len(b) != tlog.HashSize {
			return nil, errors.New("a hash has another length than a SHA-256")
		}
		hashes = append(hashes, tlog.Hash(b))
	}
	return hashes, nil
}

// indentedJSON leaves texts as they are: nobody puts this into a web page unread.
func indentedJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return buf.Bytes(), err
}

// fieldTitles are the names of fields that do not read well as they are.
var fieldTitles = map[string]string{
	"n":           "Number",
	"record_id":   "Record",
	"body_sha256": "Body SHA-256",
	"micros":      "Took",
}

// writeRecord writes every field that a line has, in its order: also those of a signerd newer than this program.
func writeRecord(w io.Writer, line []byte) {
	var rows [][]string
	for _, f := range fieldsOf(line) {
		inner := fieldsOf(f.value)
		if inner == nil {
			rows = append(rows, []string{fieldTitle(f.name) + ":", f.text()})
			continue
		}
		// With an empty cell, so that the columns go on through it.
		rows = append(rows, []string{fieldTitle(f.name) + ":", ""})
		for _, g := range inner {
			name := g.name
			// These have names that are not signerd's own.
			if f.name != "headers" && f.name != "query_values" {
				name = fieldTitle(name)
			}
			rows = append(rows, []string{"  " + name + ":", g.text()})
		}
	}
	var aligned strings.Builder
	table(&aligned, rows...)
	for row := range strings.Lines(aligned.String()) {
		_, _ = fmt.Fprintln(w, strings.TrimRight(row, " \n"))
	}
}

func fieldTitle(name string) string {
	if title, ok := fieldTitles[name]; ok {
		return title
	}
	title := strings.ReplaceAll(name, "_", " ")
	if title == "" {
		return name
	}
	return strings.ToUpper(title[:1]) + title[1:]
}

// field is a member of a JSON object.
type field struct {
	name  string
	value json.RawMessage
}

// fieldsOf gives an object's members in their order; nil for everything else.
func fieldsOf(text []byte) []field {
	dec := json.NewDecoder(bytes.NewReader(text))
	if begin, err := dec.Token(); err != nil || begin != json.Delim('{') {
		return nil
	}
	fields := []field{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil
		}
		f := field{name: fmt.Sprint(name)}
		if err := dec.Decode(&f.value); err != nil {
			return nil
		}
		fields = append(fields, f)
	}
	return fields
}

// text writes a value in one line: times as local ones, lists without brackets.
func (f field) text() string {
	var s string
	if json.Unmarshal(f.value, &s) == nil {
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil && (f.name == "time" || f.name == "from" || f.name == "until") {
			return t.Local().Format(time.RFC3339Nano)
		}
		return s
	}
	if f.name == "micros" {
		if d, err := time.ParseDuration(string(f.value) + "us"); err == nil {
			return d.String()
		}
	}
	var values []string
	var list []json.RawMessage
	if json.Unmarshal(f.value, &list) == nil {
		for _, v := range list {
			values = append(values, plain(field{value: v}.text()))
		}
		return strings.Join(values, ", ")
	}
	inner := fieldsOf(f.value)
	if inner == nil {
		return string(f.value)
	}
	var records recordRange
	if len(inner) == 2 && inner[0].name == "from" && inner[1].name == "until" && json.Unmarshal(f.value, &records) == nil {
		return records.String()
	}
	for _, g := range inner {
		values = append(values, plain(g.name)+" "+plain(g.text()))
	}
	return strings.Join(values, " ")
}
