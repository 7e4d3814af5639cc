package policyfile

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	// maxExpandedBytes bounds what a document is once its aliases are written out.
	maxExpandedBytes = 16 << 20
	// maxFaults bounds how many are told.
	maxFaults = 20
)

// reader turns YAML into a message and notes every fault on the way.
type reader struct {
	source *source
	root   *yaml.Node
	faults Faults
	more   int // faults beyond maxFaults
	left   int // bytes that aliases may still become
}

// visit reads the value at a path.
type visit func(n *yaml.Node, p path)

func (r *reader) fault(line int, p path, format string, args ...any) {
	if len(r.faults) < maxFaults {
		r.faults = append(r.faults, Fault{Line: line, Place: place(r.root, p), Problem: fmt.Sprintf(format, args...)})
		return
	}
	if r.more++; r.more == 1 {
		r.faults = append(r.faults, Fault{Line: line})
	}
	r.faults[maxFaults].Problem = fmt.Sprintf("%d more from here on", r.more)
}

// enter follows an alias and tells whether the value is of a kind; what it is not is a fault.
func (r *reader) enter(n *yaml.Node, p path, kind yaml.Kind, wanted string) (*yaml.Node, bool) {
	line := n.Line
	n = resolve(n)
	switch r.left -= len(n.Value) + 1; {
	case r.left < 0:
		if r.left+len(n.Value)+1 >= 0 {
			r.fault(line, p, "with its aliases written out the document is too large")
		}
		return nil, false
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		r.fault(line, p, "a value is missing here")
		return nil, false
	case n.Kind != kind:
		r.fault(line, p, "wanted %s", wanted)
		return nil, false
	}
	return n, true
}

// untagged refuses explicit tags, which would change what a value is.
func (r *reader) untagged(n *yaml.Node, p path) bool {
	if n.Style&yaml.TaggedStyle != 0 && n.ShortTag() != "!!str" && n.ShortTag() != "!!map" && n.ShortTag() != "!!seq" {
		r.fault(n.Line, p, "the tag %s means nothing here", n.ShortTag())
		return false
	}
	return true
}

// pairs calls each for every key of a mapping, once.
func (r *reader) pairs(n *yaml.Node, p path, each func(key string, keyLine int, value *yaml.Node)) {
	n, ok := r.enter(n, p, yaml.MappingNode, "keys with values")
	if !ok || !r.untagged(n, p) {
		return
	}
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		keyLine := n.Content[i].Line
		key, ok := r.enter(n.Content[i], p, yaml.ScalarNode, "a word as the key")
		if !ok || !r.untagged(key, p) {
			continue
		}
		if first, doubled := seen[key.Value]; doubled {
			r.fault(keyLine, p.to(key.Value), "the key is doubled; it stands on line %d already", first)
			continue
		}
		seen[key.Value] = keyLine
		each(key.Value, keyLine, n.Content[i+1])
	}
}

// fields reads a mapping whose keys are known.
func (r *reader) fields(n *yaml.Node, p path, known map[string]visit) {
	r.pairs(n, p, func(key string, keyLine int, value *yaml.Node) {
		read, ok := known[key]
		if !ok {
			r.fault(keyLine, p.to(key), "the key is unknown")
			return
		}
		read(value, p.to(key))
	})
}

// items reads a list, and tells how long it is.
func (r *reader) items(n *yaml.Node, p path, item visit) int {
	n, ok := r.enter(n, p, yaml.SequenceNode, "a list")
	if !ok || !r.untagged(n, p) {
		return -1
	}
	for i, each := range n.Content {
		item(each, p.to(i))
	}
	return len(n.Content)
}

// scalar is nil after a fault.
func (r *reader) scalar(n *yaml.Node, p path, wanted string) *yaml.Node {
	line := n.Line
	n, ok := r.enter(n, p, yaml.ScalarNode, wanted)
	if !ok || !r.untagged(n, p) {
		return nil
	}
	// Faults are told where the value is used, not where its anchor stands.
	copied := *n
	copied.Line = line
	return &copied
}

// text takes what stands there: an unquoted 007 is the text "007".
func (r *reader) text(out *string) visit {
	return func(n *yaml.Node, p path) {
		if n = r.scalar(n, p, "text"); n != nil {
			*out = n.Value
		}
	}
}

// texts takes a list that is not empty: in the message, an empty one is as good as none, and none matches everything.
func (r *reader) texts(out *[]string) visit {
	return func(n *yaml.Node, p path) {
		if r.items(n, p, func(n *yaml.Node, p path) {
			var s string
			r.text(&s)(n, p)
			*out = append(*out, s)
		}) == 0 {
			r.fault(n.Line, p, "the list is empty; name something, or leave the key out")
		}
	}
}

func (r *reader) labels(out *map[string]string, emptyAllowed bool) visit {
	return func(n *yaml.Node, p path) {
		faults := len(r.faults)
		labels := make(map[string]string)
		r.pairs(n, p, func(key string, _ int, value *yaml.Node) {
			var s string
			r.text(&s)(value, p.to(key))
			labels[key] = s
		})
		if len(labels) == 0 && !emptyAllowed && len(r.faults) == faults {
			r.fault(n.Line, p, "there is no label; name some, or leave the key out")
		}
		*out = labels
	}
}

// word takes one of few.
func word[T any](r *reader, out *T, words map[string]T, wanted string) visit {
	return func(n *yaml.Node, p path) {
		if n = r.scalar(n, p, wanted); n == nil {
			return
		}
		v, ok := words[n.Value]
		if !ok {
			r.fault(n.Line, p, "wanted %s", wanted)
			return
		}
		*out = v
	}
}

// count takes a whole number of so many bits.
func count[T uint32 | uint64](r *reader, out *T, bits, least int) visit {
	wanted := fmt.Sprintf("a whole number from %d to 2^%d-1", least, bits)
	return func(n *yaml.Node, p path) {
		if n = r.scalar(n, p, wanted); n == nil {
			return
		}
		v, err := strconv.ParseUint(n.Value, 10, bits)
		if err != nil || v < uint64(least) || n.ShortTag() != "!!int" {
			r.fault(n.Line, p, "wanted %s", wanted)
			return
		}
		*out = T(v)
	}
}

// jsonNumber leaves out what YAML reads as numbers beside: octal, hexadecimal, underscores, infinity.
var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

func (r *reader) rate(out *float64) visit {
	return func(n *yaml.Node, p path) {
		const wanted = "a number above 0, such as 5 or 0.5"
		if n = r.scalar(n, p, wanted); n == nil {
			return
		}
		v, err := strconv.ParseFloat(n.Value, 64)
		if err != nil || v <= 0 || n.Style != 0 || !jsonNumber.MatchString(n.Value) {
			r.fault(n.Line, p, "wanted %s", wanted)
			return
		}
		*out = v
	}
}

func (r *reader) truth(out *bool) visit {
	return word(r, out, map[string]bool{"true": true, "false": false}, "true or false")
}

// body takes text, or bytes that are no text as base64 under the tag !!binary.
func (r *reader) body(out *[]byte) visit {
	return func(n *yaml.Node, p path) {
		if resolved := resolve(n); resolved.Kind != yaml.ScalarNode || resolved.ShortTag() != "!!binary" {
			var s string
			r.text(&s)(n, p)
			*out = []byte(s)
			return
		}
		line := n.Line
		n, ok := r.enter(n, p, yaml.ScalarNode, "text")
		if !ok {
			return
		}
		b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), ""))
		if err != nil {
			r.fault(line, p, "wanted base64 after !!binary")
			return
		}
		*out = b
	}
}

func (r *reader) sha256(out *[]byte) visit {
	return func(n *yaml.Node, p path) {
		const wanted = "a SHA-256 as 64 hexadecimal digits"
		if n = r.scalar(n, p, wanted); n == nil {
			return
		}
		b, err := hex.DecodeString(n.Value)
		if err != nil || len(b) != 32 {
			r.fault(n.Line, p, "wanted %s", wanted)
			return
		}
		*out = b
	}
}

// queryParams takes typed parameters: strings, booleans, numbers, and lists of these.
func (r *reader) queryParams(out **structpb.Struct) visit {
	return func(n *yaml.Node, p path) {
		s := &structpb.Struct{Fields: make(map[string]*structpb.Value)}
		r.pairs(n, p, func(key string, _ int, value *yaml.Node) {
			at := p.to(key)
			if resolve(value).Kind != yaml.SequenceNode {
				s.Fields[key] = r.queryValue(value, at)
				return
			}
			list := &structpb.ListValue{}
			if r.items(value, at, func(n *yaml.Node, p path) { list.Values = append(list.Values, r.queryValue(n, p)) }) == 0 {
				r.fault(value.Line, at, "the list is empty, which no query can carry")
			}
			s.Fields[key] = structpb.NewListValue(list)
		})
		*out = s
	}
}

// maxSafeInteger is the largest integer that a JSON number carries exactly everywhere.
const maxSafeInteger = 1<<53 - 1

func (r *reader) queryValue(n *yaml.Node, p path) *structpb.Value {
	if n = r.scalar(n, p, "text, a number, true, false, or a list of these"); n == nil {
		return nil
	}
	switch tag := n.ShortTag(); {
	case tag == "!!bool":
		return structpb.NewBoolValue(slices.Contains([]string{"true", "True", "TRUE"}, n.Value))
	case tag != "!!int" && tag != "!!float" && (n.Style != 0 || !jsonNumber.MatchString(n.Value)):
		return structpb.NewStringValue(n.Value)
	case !jsonNumber.MatchString(n.Value):
		r.fault(n.Line, p, "wanted a number as JSON writes it; in quotes it is text")
		return nil
	}
	v, err := strconv.ParseFloat(n.Value, 64)
	if err != nil || v == math.Trunc(v) && math.Abs(v) > maxSafeInteger {
		r.fault(n.Line, p, "the number is beyond 2^53-1 and would be rounded; in quotes it is text")
		return nil
	}
	// Negative zero is signed as 0.
	return structpb.NewNumberValue(v + 0)
}
