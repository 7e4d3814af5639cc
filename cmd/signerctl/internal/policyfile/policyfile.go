// Package policyfile reads and writes policy documents as YAML, which is how operators keep them.
//
// It is for signerctl. It knows the form of a document and where each value stands; whether a rule makes sense is for
// signerd to say, whose words Document.Fault puts beside the lines they are about.
package policyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// Document is a policy document that was read.
type Document struct {
	// Policy is what the document says. Each of its cases has a request.
	Policy *adminv1.Policy
	// Generation is what the document was made from; nil when it does not say.
	Generation *uint64

	root *yaml.Node
}

// Fault is something wrong at a place in a document.
type Fault struct {
	Line    int    // 0 when it is not known
	Place   string // such as "rules[3] (checkout-buys) paths[0]"; empty for the document as a whole
	Problem string
}

// String is place and problem, without the line.
func (f Fault) String() string {
	if f.Place == "" {
		return f.Problem
	}
	return f.Place + ": " + f.Problem
}

// Faults is what keeps a document from being read, never empty.
type Faults []Fault

// Error implements error, one fault a line.
func (f Faults) Error() string {
	texts := make([]string, len(f))
	for i, one := range f {
		texts[i] = fmt.Sprintf("line %d: %v", one.Line, one)
	}
	return strings.Join(texts, "\n")
}

// Parse reads a document. Its errors are Faults.
//
// Nothing is passed over in silence: not an unknown or doubled key, not a missing value, and not an empty list or a zero
// where that would mean "unbounded" although it looks like "nothing".
func Parse(text []byte) (*Document, error) {
	if fault, ok := findForbidden(text); ok {
		return nil, Faults{fault}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var tree yaml.Node
	switch err := decoder.Decode(&tree); {
	case errors.Is(err, io.EOF):
		return nil, Faults{{Line: 1, Problem: "the document is empty; `rules: []` is the policy that allows nobody"}}
	case err != nil:
		return nil, Faults{syntaxFault(err)}
	}
	var second yaml.Node
	switch err := decoder.Decode(&second); {
	case err == nil:
		return nil, Faults{{Line: second.Line, Problem: "there is more than one YAML document"}}
	case !errors.Is(err, io.EOF):
		return nil, Faults{syntaxFault(err)}
	}
	r := &reader{source: newSource(text), root: tree.Content[0], left: maxExpandedBytes}
	d := r.document()
	if len(r.faults) > 0 {
		return nil, r.faults
	}
	return d, nil
}

// findForbidden finds what no YAML may hold: the library tells of it without the line.
func findForbidden(text []byte) (Fault, bool) {
	line := 1
	for i := 0; i < len(text); {
		c, size := utf8.DecodeRune(text[i:])
		switch {
		case c == utf8.RuneError && size == 1:
			return Fault{Line: line, Problem: "it is not UTF-8"}, true
		case c == '\n':
			line++
		case c < ' ' && c != '\t' && c != '\r', c >= 0x7f && c < 0xa0 && c != 0x85, c == 0xfffe, c == 0xffff:
			return Fault{Line: line, Problem: fmt.Sprintf("there is a control character, %U; in \"double quotes\" it can be written as an escape", c)}, true
		}
		i += size
	}
	return Fault{}, false
}

var lineOfError = regexp.MustCompile(`^line ([0-9]+): `)

// syntaxFault takes apart what the YAML library says.
func syntaxFault(err error) Fault {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	match := lineOfError.FindStringSubmatch(message)
	if match == nil {
		return Fault{Problem: message}
	}
	line, err := strconv.Atoi(match[1])
	if err != nil {
		return Fault{Problem: message}
	}
	return Fault{Line: line, Problem: message[len(match[0]):]}
}
