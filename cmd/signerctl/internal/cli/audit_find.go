package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// maxFindValues bounds the searches, each of which may read the whole log.
const maxFindValues = 100

const longAuditFind = `Find the calls that were handed out a header's value: whose signature or session is this?

The file holds values or whole header lines ("Api-Signature: eyJ..."), one a line, at most 64 KiB and 100 lines. signerctl
sends their SHA-256 alone: the values stay on this machine, and are not printed. A value is found as a whole, as it was
handed out; of a Cookie header that is all of it, not a single cookie. An API key goes with many calls, a signature with one.

The exit status is 1 when no value is found.

` + longStreamTimeout

func (a *app) auditFind() *cobra.Command {
	var header file
	var last *uint32
	var output *choice
	cmd := command("find --header FILE [-n N] [-o text|json]", "Find the calls that were handed out a header", positional(), func(cmd *cobra.Command, _ []string) error {
		if err := checkLast(*last); err != nil {
			return err
		}
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		content, err := a.read(&header, maxSecretBytes)
		if err != nil {
			return err
		}
		searched, err := parseSearched(content)
		if err != nil {
			return &failure{what: "reading --header", err: err}
		}
		a.patient(cmd)
		out := &recordWriter{app: a, output: output}
		return a.findHeaders(cmd, conn, searched, *last, out)
	})
	cmd.Long = longAuditFind
	fileVar(cmd.Flags(), &header, "header", "values of headers, or header lines; - for standard input")
	require(cmd, "header")
	last = lastFlag(cmd)
	cmd.Flags().Lookup("last").Usage = "only the last `N` calls for each value; 0 for all"
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

// searched is one line of what is looked for.
type searched struct {
	line int
	// hashes are those of the whole line, and of what follows a header's name: a value may look like a header line.
	hashes [][sha256.Size]byte
}

func parseSearched(content []byte) ([]searched, error) {
	var all []searched
	number := 0
	for line := range bytes.Lines(content) {
		number++
		line = bytes.Trim(line, " \t\r\n")
		if len(line) == 0 {
			continue
		}
		s := searched{line: number, hashes: [][sha256.Size]byte{sha256.Sum256(line)}}
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && isToken(name) {
			if value = bytes.Trim(value, " \t"); len(value) > 0 {
				s.hashes = append(s.hashes, sha256.Sum256(value))
			}
		}
		if all = append(all, s); len(all) > maxFindValues {
			return nil, fmt.Errorf("it has more than %d values", maxFindValues)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("it holds no value")
	}
	return all, nil
}

// isToken says whether a text can be a header's name (RFC 9110, section 5.6.2).
func isToken(name []byte) bool {
	for _, b := range name {
		letter := b|0x20 >= 'a' && b|0x20 <= 'z'
		if !letter && (b < '0' || b > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(b)) {
			return false
		}
	}
	return len(name) > 0
}

func (a *app) findHeaders(cmd *cobra.Command, conn *grpc.ClientConn, all []searched, last uint32, out *recordWriter) error {
	const what = "finding calls by a header"
	var missing, cut []string
	// One call may have handed out several of the values.
	seen := map[uint64]bool{}
	for _, s := range all {
		found := uint32(0)
		for _, hash := range s.hashes {
			req := &adminv1.ListRecordsRequest{HeaderSha256: hash[:], Last: last}
			err := receive(cmd, listRecords(conn, req), func(part *adminv1.ListRecordsResponse) error {
				var fresh []*adminv1.AuditRecord
				for _, r := range part.GetRecords() {
					if !handedOut(r, hash) {
						return fmt.Errorf("signerd answered with record %d, which is of other headers", r.GetNumber())
					}
					found++
					if !seen[r.GetNumber()] {
						seen[r.GetNumber()] = true
						fresh = append(fresh, r)
					}
				}
				return out.add(fresh)
			})
			if err != nil {
				return auditFailure(what, err)
			}
		}
		switch {
		case found == 0:
			missing = append(missing, fmt.Sprint(s.line))
		case last > 0 && found >= last:
			cut = append(cut, fmt.Sprint(s.line))
		}
	}
	if len(missing) == len(all) {
		return &failure{what: what, err: errors.New("nothing is found: no call on record was handed out " + oneOf(len(all))),
			hint: "a value is found as a whole, exactly as signerd gave it; records that retention has deleted are not searched"}
	}
	if len(missing) > 0 {
		a.tell("note", "no call on record was handed out what is in line "+strings.Join(missing, ", "))
	}
	if len(cut) > 0 {
		a.tell("note", fmt.Sprintf("of line %s there may be more calls than the last %d: -n 0 shows all", strings.Join(cut, ", "), last))
	}
	return nil
}

func oneOf(values int) string {
	if values == 1 {
		return "this value"
	}
	return fmt.Sprintf("any of these %d values", values)
}

func handedOut(answer *adminv1.AuditRecord, hash [sha256.Size]byte) bool {
	r, err := parseRecord(answer.GetLine())
	if err != nil {
		return false
	}
	for _, h := range r.Headers {
		if h == hex.EncodeToString(hash[:]) {
			return true
		}
	}
	return false
}
