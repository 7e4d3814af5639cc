package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/signerd/signerd/cmd/signerctl/internal/capture"
	"github.com/signerd/signerd/internal/diagnosis"
)

const longExplain = `Say why NOAH or Noba refused a request: what of it is not what was signed, and the likely cause.

FILE holds the request as it went out, or - for standard input: a curl command (a browser's "Copy as cURL (bash)"), the text
of an HTTP request, or a HAR file, of which the only signed entry counts, or else the only one that was answered with 401 or
403, or the one of --entry. A request holds an API key and a signature, which are as good as a secret for minutes or longer: delete
the file, and never put one on a command line. Nothing of them is printed.

The request is compared with what its signature says. signerd is asked which of the key's versions made it, and has the API key;
it needs the permission VerifySignature of the key, and the call is on record. Without --key the key is found by the API key.

A curl command may name a file of this folder as its body, as with --data-binary @body.json; it is read as it is now.

The exit status is 0 when nothing is wrong with the request, and 1 when something is.`

// maxCaptureBytes bounds what is read: a HAR file holds all answers of a page.
const maxCaptureBytes = 128 << 20

func (a *app) explainCommand() *cobra.Command {
	var key text
	var entry *int
	var output *choice
	partner := &choice{allowed: []string{"noah", "noba"}}
	form := &choice{allowed: []string{capture.Curl, capture.HTTP, capture.HAR}}
	use := "explain FILE [--key NAME] [--partner noah|noba] [--form curl|http|har] [--entry N] [-o text|json]"
	cmd := a.documentCommand(use, "Say why a partner refused a request", func(cmd *cobra.Command, path string) error {
		if err := checkText([]string{key.value}); err != nil {
			return err
		}
		if *entry < 0 {
			return &usageError{message: "--entry counts from 1"}
		}
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		captured, err := a.readCapture(path, capture.Options{Form: form.value, Entry: *entry, ReadFile: readNamedFile})
		if err != nil {
			return err
		}
		e := newExplainer(conn, captured.Request, time.Now())
		if err := e.explain(cmd.Context(), partner.value, key.value); err != nil {
			return err
		}
		a.tell("note", captured.Notes...)
		a.tell("note", e.notes...)
		if err := a.writeReport(output, e.report()); err != nil {
			return err
		}
		if n := len(e.found); n > 0 {
			return &failure{what: "explaining the request", err: fmt.Errorf("the partner has reason to refuse it: %s", quantity(n, "finding"))}
		}
		return nil
	})
	cmd.Long = longExplain
	textVar(cmd.Flags(), &key, "key", "the `NAME` of the key that signed (default: found by the API key)")
	cmd.Flags().Var(partner, "partner", "the partner (default: told by the headers)")
	cmd.Flags().Var(form, "form", "what FILE holds (default: told by its beginning)")
	entry = cmd.Flags().Int("entry", 0, "the request `N` of a HAR file, from 1")
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

// readNamedFile reads what a curl command names. Its errors do not repeat the name.
func readNamedFile(name string) ([]byte, error) {
	// Not by a link out of the folder: a pasted command may come from anybody.
	folder, err := os.OpenRoot(".")
	if err != nil {
		return nil, errors.New("this folder cannot be read")
	}
	defer func() { _ = folder.Close() }()
	info, err := folder.Stat(name)
	switch {
	case err != nil:
		return nil, errors.New("it is not there, or may not be read")
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Size() > maxBodyBytes:
		return nil, fmt.Errorf("it has more than %d MiB", maxBodyBytes>>20)
	}
	b, err := folder.ReadFile(name)
	if err != nil {
		return nil, errors.New("it may not be read")
	}
	return b, nil
}

func (a *app) readCapture(path string, o capture.Options) (*capture.Captured, error) {
	content, err := a.read(&file{flag: "FILE", path: path}, maxCaptureBytes)
	if err != nil {
		return nil, err
	}
	captured, err := capture.Read(content, o)
	if err != nil {
		return nil, &failure{what: "reading the request", err: err, hint: "`signerctl explain --help` tells which forms there are; --form says which one it is"}
	}
	return captured, nil
}

// partnerOf tells a request's partner by its headers; empty where they do not tell.
func partnerOf(r diagnosis.Request) (string, error) {
	noah := r.Header.Get("Api-Signature") != "" || r.Header.Get("X-Api-Key") != ""
	noba := false
	for name := range r.Header {
		noba = noba || strings.HasPrefix(name, "X-Noba-")
	}
	switch {
	case noah && noba:
		return "", &failure{what: "explaining the request", err: errors.New("it has headers of NOAH and of Noba"), hint: "--partner says whose it is"}
	case noba:
		return "noba", nil
	case noah || noahHosts["prod"] == "https://"+r.Host || noahHosts["sandbox"] == "https://"+r.Host:
		return "noah", nil
	}
	return "", nil
}
