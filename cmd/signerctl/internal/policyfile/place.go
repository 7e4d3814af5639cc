package policyfile

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// path leads to a value: keys of mappings and indexes of lists.
type path []any

// to makes a new path; the old one stays as it is.
func (p path) to(step any) path { return append(p[:len(p):len(p)], step) }

// String writes a path as people do: callers[0].
func (p path) String() string {
	var b strings.Builder
	for _, step := range p {
		switch step := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", step)
		case string:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(step)
		}
	}
	return b.String()
}

// place names a path, and the rule or case in it by its own name.
func place(root *yaml.Node, p path) string {
	if len(p) < 2 {
		return p.String()
	}
	text := p[:2].String()
	if n, ok := find(root, p[:2].to("name")); ok && n.Kind == yaml.ScalarNode && n.Value != "" {
		text += " (" + shorten(n.Value) + ")"
	}
	if len(p) > 2 {
		text += " " + p[2:].String()
	}
	return text
}

// shorten cuts names that no signerd would accept.
func shorten(name string) string {
	const most = 63
	if runes := []rune(name); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return name
}

// find gives the value at the end of a path; where there is none, the nearest thing around it.
func find(n *yaml.Node, p path) (node *yaml.Node, whole bool) {
	for _, step := range p {
		next := child(n, step)
		if next == nil {
			return n, false
		}
		n = next
	}
	return resolve(n), true
}

func child(n *yaml.Node, step any) *yaml.Node {
	n = resolve(n)
	switch step := step.(type) {
	case int:
		if n.Kind == yaml.SequenceNode && step < len(n.Content) {
			return n.Content[step]
		}
	case string:
		if n.Kind != yaml.MappingNode {
			return nil
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if resolve(n.Content[i]).Value == step {
				return n.Content[i+1]
			}
		}
	}
	return nil
}

// resolve follows an alias.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// Fault says where in the document a field of the message stands that signerd finds fault with, such as
// policy.rules[3].paths[0] or policy.cases[2].request.path.
func (d *Document) Fault(field, description string) Fault {
	p := pathOf(field)
	n, whole := find(d.root, p)
	line := n.Line
	// A condition's own lines are counted from 1; below a "|" they begin on the next line.
	if whole && n.Kind == yaml.ScalarNode && n.Style&yaml.LiteralStyle != 0 {
		if match := lineWithin.FindStringSubmatch(description); match != nil {
			if within, err := strconv.Atoi(match[1]); err == nil && within <= strings.Count(n.Value, "\n")+1 {
				line += within
			}
		}
	}
	return Fault{Line: line, Place: place(d.root, p), Problem: description}
}

var lineWithin = regexp.MustCompile(`^line ([0-9]{1,7})\b`)

var fieldStep = regexp.MustCompile(`\[([0-9]{1,9})\]|\["((?:[^"\\]|\\.)*)"\]|([^.\[\]]+)`)

// pathOf turns the message's names into the document's.
func pathOf(field string) path {
	var p path
	for _, match := range fieldStep.FindAllStringSubmatch(field, -1) {
		switch number, key, name := match[1], match[2], match[3]; {
		case number != "":
			i, err := strconv.Atoi(number)
			if err != nil {
				return p
			}
			p = p.to(i)
		case key != "":
			p = p.to(key)
		case len(p) == 0 && name == "policy", len(p) == 2 && name == "request", len(p) == 3 && name == "parameters":
		case len(p) == 2 && name == "query_params":
			p = p.to("query")
		default:
			p = p.to(name)
		}
	}
	return p
}
