package partners

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// parameters are what a query says: the names in the order of the wire, and the
// values of each in that order.
type parameters struct {
	names  []string
	values map[string][]string
}

// fitQuery compares the queryParams claim with the query on the wire. The page
// says: "Must be included if the request uses query parameters; otherwise,
// omit." Its example has the number 20 beside a string; on the wire both are
// text, so a number or boolean stands for its JSON literal.
func (c claims) fitQuery(query string) error {
	wire, err := parseQuery(query)
	if err != nil {
		return err
	}
	claim, present := c.payload.member("queryParams")
	switch {
	case query == "" && present:
		return errors.New("there is a queryParams claim, but the request has no query parameters")
	case query == "":
		return nil
	case !present:
		return errors.New("the request has query parameters, but there is no queryParams claim")
	case claim.kind != kindObject:
		return fmt.Errorf("the queryParams claim is %s, it must be an object", claim.kind)
	}
	claimed := make(map[string]bool, len(claim.members))
	for _, m := range claim.members {
		values, ok := wire.values[m.name]
		if !ok {
			return fmt.Errorf("the queryParams claim has %q, which is not in the request's query", m.name)
		}
		if err := m.value.fitParameter(m.name, values); err != nil {
			return err
		}
		claimed[m.name] = true
	}
	for _, name := range wire.names {
		if !claimed[name] {
			return fmt.Errorf("the query parameter %q is not in the queryParams claim", name)
		}
	}
	return nil
}

// fitParameter compares a claimed value with what the wire has for the name.
func (v value) fitParameter(name string, wire []string) error {
	items := []value{v}
	if v.kind == kindArray {
		items = v.items
	}
	for _, item := range items {
		switch item.kind {
		case kindObject, kindArray, kindNull:
			return fmt.Errorf("the queryParams claim has %s for %q, which no query can say", item.kind, name)
		}
	}
	if len(items) != len(wire) {
		return fmt.Errorf("the number of values for %q differs: the queryParams claim has %d, the request has %d", name, len(items), len(wire))
	}
	for i, item := range items {
		// Text with text: a float64 would confuse integers above 2^53.
		if item.text != wire[i] {
			return fmt.Errorf("the queryParams claim has %q for %q, the request has %q", item.text, name, wire[i])
		}
	}
	return nil
}

// parseQuery reads a query as HTML forms write it: pairs joined by '&', names
// and values percent-encoded with '+' for a space, and "a" the same as "a=".
// Empty pairs are refused, as servers do not agree on them.
func parseQuery(query string) (parameters, error) {
	wire := parameters{values: make(map[string][]string)}
	if query == "" {
		return wire, nil
	}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			return wire, errors.New("the request query has an empty pair")
		}
		name, text, _ := strings.Cut(pair, "=")
		name, err := decodeQuery(name)
		if err != nil {
			return wire, err
		}
		text, err = decodeQuery(text)
		if err != nil {
			return wire, err
		}
		if _, again := wire.values[name]; !again {
			wire.names = append(wire.names, name)
		}
		wire.values[name] = append(wire.values[name], text)
	}
	return wire, nil
}

func decodeQuery(s string) (string, error) {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && !isEscape(s[i:]) {
			return "", errors.New("the request query has a broken percent-escape")
		}
	}
	text := decodePercent(strings.ReplaceAll(s, "+", " "))
	if !utf8.ValidString(text) {
		return "", errors.New("the request query decodes to something that is not UTF-8")
	}
	return text, nil
}

// decodePercent decodes the escapes of a text in which all are well formed.
func decodePercent(s string) string {
	var out []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '%' {
			out = append(out, byte(unhex(s[i+1])<<4|unhex(s[i+2])))
			i += 2
		} else {
			out = append(out, s[i])
		}
	}
	return string(out)
}
