package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// The forms of output that every command has.
const (
	formatText = "text"
	formatJSON = "json"
)

// outputFlag gives a command -o; the first format is the default.
func outputFlag(cmd *cobra.Command, formats ...string) *choice {
	c := &choice{value: formats[0], allowed: formats}
	cmd.Flags().VarP(c, "output", "o", "form of the output")
	return c
}

// output is standard output. It keeps the first error, so that no command ends well whose output did not arrive.
type output struct {
	to  io.Writer
	err error
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	n, err := o.to.Write(b)
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

// kept refuses to make what is made once, and would be lost. Where standard output is closed (`>&-`), Go's runtime has opened the
// null device in its place, for reading too, which a shell's `> /dev/null` does not.
func (o *output) kept(instead string) error {
	f, ok := o.to.(*os.File)
	if !ok {
		return nil
	}
	null, err := os.Stat(os.DevNull)
	if err != nil {
		return nil
	}
	if at, err := f.Stat(); err != nil || !os.SameFile(at, null) {
		return nil
	}
	if _, err := f.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return nil
	}
	return &failure{what: "writing the output", err: errors.New("standard output is closed, or goes nowhere"), hint: instead}
}

// print writes an answer in the form that was asked for: its message as JSON, or what text writes.
func (a *app) print(format *choice, answer proto.Message, text func(w io.Writer)) error {
	if format.value == formatJSON {
		b, err := messageJSON(answer)
		if err != nil {
			return &failure{what: "writing the output", err: err}
		}
		return a.write(b)
	}
	var buf bytes.Buffer
	text(&buf)
	return a.write(buf.Bytes())
}

// write puts out everything at once, so that half an answer is never taken for a whole one.
func (a *app) write(b []byte) error {
	if _, err := a.stdout.Write(b); err != nil {
		return &failure{what: "writing the output", err: err}
	}
	return nil
}

// tell writes remarks that are not part of the output, such as warnings.
func (a *app) tell(kind string, remarks ...string) {
	for _, remark := range remarks {
		_, _ = fmt.Fprintf(a.stderr, "%s: %s\n", kind, plain(remark))
	}
}

// messageJSON writes a message with the names of the proto files, zero values included. protojson varies its white
// space on purpose; indenting again makes it stable.
func messageJSON(m proto.Message) ([]byte, error) {
	b, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	if err := json.Indent(&buf, b, "", "  "); err != nil {
		return nil, err
	}
	buf.WriteByte('\n')
	return buf.Bytes(), nil
}

// table aligns rows of cells.
func table(w io.Writer, rows ...[]string) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = plain(row[i])
		}
		_, _ = fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	_ = tw.Flush()
}

// plain keeps free text from steering the terminal or breaking a line.
func plain(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

func formatTime(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}

func formatLabels(labels map[string]string) string {
	if len(labels) == 0 {
		return "-"
	}
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, name+"="+labels[name])
	}
	return strings.Join(pairs, ",")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// withLineEnd makes text end with one line end.
func withLineEnd(s string) string { return strings.TrimRight(s, "\n") + "\n" }
