package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"
)

// query is the typed query parameters of --query, in the order of their first mention.
type query []param

// param has several values when its name was repeated or its value is a list.
type param struct {
	name   string
	values []any
	list   bool // given as a JSON list
}

// maxSafeInteger is the largest integer that a JSON number carries exactly everywhere.
const maxSafeInteger = 1<<53 - 1

// parseQuery reads K=V, a string, and K:=JSON, a typed value. A repeated name becomes a list.
func parseQuery(args []string) (query, error) {
	var q query
	for _, arg := range args {
		p, err := parseParam(arg)
		if err != nil {
			return nil, &usageError{message: fmt.Sprintf("--query %q %v", arg, err), hint: "K=V gives a string, K:=20 a number, K:=true a boolean, K:='[1,2]' a list"}
		}
		i := slices.IndexFunc(q, func(known param) bool { return known.name == p.name })
		switch {
		case i < 0:
			q = append(q, p)
		case q[i].list || p.list:
			return nil, &usageError{message: fmt.Sprintf("--query %q stands beside a list for the same name", arg), hint: "put all values into one list, or repeat single values"}
		default:
			q[i].values = append(q[i].values, p.values...)
		}
	}
	return q, checkText(args)
}

func parseParam(arg string) (param, error) {
	name, value, ok := strings.Cut(arg, "=")
	name, typed := strings.CutSuffix(name, ":")
	switch {
	case !ok:
		return param{}, fmt.Errorf("is neither K=V nor K:=JSON")
	case name == "":
		return param{}, fmt.Errorf("has no name")
	case !typed:
		return param{name: name, values: []any{value}}, nil
	}
	decoder := json.NewDecoder(strings.NewReader(value))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return param{}, fmt.Errorf("does not hold JSON after :=")
	}
	if _, err := decoder.Token(); err != io.EOF {
		return param{}, fmt.Errorf("holds more than one JSON value")
	}
	v, err := exact(v)
	if err != nil {
		return param{}, err
	}
	if list, ok := v.([]any); ok {
		if len(list) == 0 {
			return param{}, fmt.Errorf("is an empty list, which no query can carry")
		}
		return param{name: name, values: list, list: true}, nil
	}
	return param{name: name, values: []any{v}}, nil
}

// exact turns numbers into float64, which is what a Struct carries, and refuses integers that would be rounded.
func exact(v any) (any, error) {
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		if err != nil {
			return nil, fmt.Errorf("holds a number that is too large")
		}
		if f == math.Trunc(f) && math.Abs(f) > maxSafeInteger {
			return nil, fmt.Errorf("holds an integer beyond 2^53-1, which would be rounded; send it as a string, K=V")
		}
		// Negative zero is signed as 0.
		return f + 0, nil
	case []any:
		for i := range v {
			var err error
			if v[i], err = exact(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for name := range v {
			var err error
			if v[name], err = exact(v[name]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// toStruct is nil for no parameters.
func (q query) toStruct() (*structpb.Struct, error) {
	if len(q) == 0 {
		return nil, nil
	}
	fields := make(map[string]any, len(q))
	for _, p := range q {
		fields[p.name] = p.values
		if len(p.values) == 1 && !p.list {
			fields[p.name] = p.values[0]
		}
	}
	return structpb.NewStruct(fields)
}

// encode writes the query string that carries the parameters: percent-encoded, lists as repeated names.
func (q query) encode() (string, error) {
	var pairs []string
	for _, p := range q {
		for _, v := range p.values {
			text, ok := v.(string)
			if !ok {
				b, err := json.Marshal(v)
				if err != nil {
					return "", err
				}
				text = string(b)
			}
			pairs = append(pairs, percentEncode(p.name)+"="+percentEncode(text))
		}
	}
	return strings.Join(pairs, "&"), nil
}

// percentEncode leaves only RFC 3986's unreserved characters: a "+" is a space to some readers and a plus to others.
func percentEncode(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
