package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
)

// The forms of output that sign has beside JSON.
const (
	formatHeaders = "headers"
	formatCurl    = "curl"
)

func (a *app) signCommand() *cobra.Command {
	return group("sign", "Sign one request to a partner", a.signNoah(), a.signNoba())
}

// bodyFlag gives a command --body.
func bodyFlag(cmd *cobra.Command) *file {
	f := new(file)
	fileVar(cmd.Flags(), f, "body", "the body, exactly as it will be sent")
	return f
}

// readBody is nil without --body.
func (a *app) readBody(f *file) ([]byte, error) {
	if !f.given() {
		return nil, nil
	}
	return a.read(f, maxBodyBytes)
}

// signed is what the answers to signing have in common.
type signed interface {
	proto.Message
	GetHeaders() map[string]string
}

// printSigned writes an answer as headers, JSON or a curl command, which makeCurl gives.
func (a *app) printSigned(output *choice, resp signed, body *file, makeCurl func() (string, error)) error {
	if output.value != formatCurl {
		return a.print(output, resp, func(w io.Writer) { writeHeaders(w, resp.GetHeaders()) })
	}
	line, err := makeCurl()
	if err != nil {
		return &failure{what: "writing a curl command", err: err}
	}
	if body.isStdin() {
		a.tell("note", "curl reads the body from its standard input: feed it the same bytes")
	}
	return a.write([]byte(line))
}

func writeHeaders(w io.Writer, headers map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		_, _ = fmt.Fprintf(w, "%s: %s\n", name, headers[name])
	}
}
