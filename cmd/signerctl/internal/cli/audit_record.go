package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// record is what of a line of the log the listings show; the protocol promises JSON.
type record struct {
	Kind      string            `json:"kind"`
	ID        string            `json:"record_id"`
	Time      time.Time         `json:"time"`
	Caller    string            `json:"caller"`
	Operation string            `json:"operation"`
	Key       string            `json:"key"`
	Method    string            `json:"method"`
	Path      string            `json:"path"`
	Code      string            `json:"code"`
	Reason    string            `json:"reason"`
	Headers   map[string]string `json:"headers"`

	Excess struct {
		Calls uint64    `json:"calls"`
		From  time.Time `json:"from"`
		Until time.Time `json:"until"`
	} `json:"excess"`
	Start struct {
		Version   string `json:"version"`
		Uncertain uint64 `json:"uncertain"`
		TornBytes uint64 `json:"torn_bytes"`
	} `json:"start"`
	Outage struct {
		From  time.Time    `json:"from"`
		Calls uint64       `json:"calls"`
		Cause string       `json:"cause"`
		Late  *recordRange `json:"late"`
	} `json:"outage"`
	Acknowledgement struct {
		Note    string        `json:"note"`
		Missing []recordRange `json:"missing"`
	} `json:"acknowledgement"`
	Retention struct {
		First uint64   `json:"first"`
		Files []string `json:"files"`
	} `json:"retention"`
}

// recordRange is records from From to before Until.
type recordRange struct {
	From  uint64 `json:"from"`
	Until uint64 `json:"until"`
}

// String counts as people do: the last record is part of it.
func (r recordRange) String() string {
	if r.Until <= r.From+1 {
		return fmt.Sprintf("record %d", r.From)
	}
	return fmt.Sprintf("records %d to %d", r.From, r.Until-1)
}

func rangeNames(ranges []*adminv1.AuditRange) []string {
	var names []string
	for _, r := range ranges {
		names = append(names, recordRange{From: r.GetFirst(), Until: r.GetEnd()}.String())
	}
	return names
}

var errNoLine = errors.New("it is not one line of JSON")

// checkLine refuses what would not be one line of JSON to whoever reads it.
func checkLine(line []byte) error {
	if !json.Valid(line) || !utf8.Valid(line) || bytes.ContainsAny(line, "\r\n") {
		return errNoLine
	}
	return nil
}

func parseRecord(line []byte) (record, error) {
	if err := checkLine(line); err != nil {
		return record{}, err
	}
	var r record
	err := json.Unmarshal(line, &r)
	return r, err
}

// outcome says in a word what became of a call, or else what kind of record it is.
func (r record) outcome() string {
	result := r.Code
	if r.Reason != "" {
		result = r.Reason
	}
	switch r.Kind {
	case "call":
		return result
	case "login":
		return strings.TrimSpace("login " + result)
	}
	return r.Kind
}

// tells is what a record has to say that is not about a single call.
func (r record) tells() (text string, ok bool) {
	switch r.Kind {
	case "call", "intention", "login":
		return "", false
	case "excess":
		return fmt.Sprintf("%s refused for being too many, from %s to %s", were(r.Excess.Calls, "call"), clock(r.Excess.From), clock(r.Excess.Until)), true
	case "file":
		return "a new file begins", true
	case "start":
		text = "signerd " + r.Start.Version + " started"
		if n := r.Start.Uncertain; n > 0 {
			text += fmt.Sprintf("; %s after the last checkpoint", quantity(int(n), "record"))
		}
		if n := r.Start.TornBytes; n > 0 {
			text += fmt.Sprintf("; an unfinished line of %s was removed", quantity(int(n), "byte"))
		}
	case "outage":
		text = fmt.Sprintf("since %s nothing could be recorded, and %s refused: %s", clock(r.Outage.From), were(r.Outage.Calls, "call"), r.Outage.Cause)
		if r.Outage.Late != nil {
			text += "; late: " + r.Outage.Late.String()
		}
	case "acknowledgement":
		var missing []string
		for _, m := range r.Acknowledgement.Missing {
			missing = append(missing, m.String())
		}
		text = "missing: " + enumerate(missing) + ": " + r.Acknowledgement.Note
	case "retention":
		text = fmt.Sprintf("records before %d are deleted, in %s", r.Retention.First, quantity(len(r.Retention.Files), "file"))
	}
	return text, true
}

func were(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing + " was"
	}
	return quantity(int(n), thing) + " were"
}

// clock is the local time, as short as a row wants it.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// listing writes records as rows. Its columns widen with what they hold, and never narrow: rows that come later are in line
// with those that came before.
type listing struct {
	widths [6]int
	begun  bool
}

// widest bounds each column but the last; what is longer stands out in its own row alone.
var widest = [6]int{19, 20, 36, 22, 24, 44}

// gap is between two columns.
const gap = 2

var listingTitle = []string{"TIME", "OUTCOME", "CALLER", "OPERATION", "KEY", "REQUEST", "RECORD"}

// add writes some of the rows, the title before the first.
func (l *listing) add(w io.Writer, records []*adminv1.AuditRecord) {
	if len(records) == 0 {
		return
	}
	var rows [][]string
	if !l.begun {
		rows = append(rows, listingTitle)
		l.begun = true
	}
	for _, r := range records {
		rows = append(rows, recordRow(r))
	}
	for _, row := range rows {
		for i, cell := range row[:len(row)-1] {
			if n := utf8.RuneCountInString(cell); n <= widest[i] {
				l.widths[i] = max(l.widths[i], n)
			}
		}
	}
	for _, row := range rows {
		_, _ = fmt.Fprintln(w, l.align(row))
	}
}

// align puts each cell where its column begins, or as near as a longer cell before it lets it.
func (l *listing) align(row []string) string {
	var line strings.Builder
	at, column := 0, 0
	for i, cell := range row {
		line.WriteString(cell)
		if i == len(row)-1 {
			break
		}
		at += utf8.RuneCountInString(cell)
		column += l.widths[i] + gap
		space := max(gap, column-at)
		line.WriteString(strings.Repeat(" ", space))
		at += space
	}
	return line.String()
}

// recordRow is a record as printable cells. A text about more than one call takes the place of the cells from OPERATION on.
func recordRow(answer *adminv1.AuditRecord) []string {
	r, err := parseRecord(answer.GetLine())
	if err != nil {
		return cells("-", "UNREADABLE", "-", fmt.Sprintf("record %d cannot be read; `signerctl audit verify` tells more", answer.GetNumber()))
	}
	if text, ok := r.tells(); ok {
		row := cells(clock(r.Time), r.outcome(), r.Caller, text)
		if r.ID != "" {
			row[3] += "  " + plain(r.ID)
		}
		return row
	}
	return cells(clock(r.Time), r.outcome(), r.Caller, r.Operation, r.Key, strings.TrimSpace(r.Method+" "+r.Path), r.ID)
}

func cells(values ...string) []string {
	for i, v := range values {
		if values[i] = plain(v); v == "" {
			values[i] = "-"
		}
	}
	return values
}
