package noah

import (
	"encoding/json"
	"math"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/signerd/signerd/upstream"
)

// queryParams is the claim of that name: JSON values by parameter name. Nil means no query.
type queryParams map[string]json.RawMessage

// maxSafeInteger is the largest integer that JavaScript, which NOAH's own code is written in, holds exactly.
const maxSafeInteger = 1<<53 - 1

// maxQueryBytes bounds typed parameters as the API bounds path, for they end up in it.
const maxQueryBytes = 16 << 10

// newQueryParams takes the query on the wire or typed parameters, never both.
func newQueryParams(wire string, typed map[string]any) (queryParams, error) {
	if wire != "" && len(typed) > 0 {
		return nil, upstream.Invalid("query_params", "path carries a query as well; wanted one of the two")
	}
	if wire != "" {
		return parseQuery(wire)
	}
	if len(typed) == 0 {
		return nil, nil
	}
	params := make(queryParams, len(typed))
	size := 0
	for name, value := range typed {
		if !utf8.ValidString(name) {
			return nil, upstream.Invalid("query_params", "it holds a name that is not UTF-8")
		}
		text, err := encodeValue(value, true)
		if err != nil {
			return nil, err
		}
		if size += len(name) + len(text); size > maxQueryBytes {
			return nil, upstream.Invalid("query_params", "names and values have more than %d bytes; no request target is that long", maxQueryBytes)
		}
		params[name] = text
	}
	return params, nil
}

// parseQuery decodes a query as HTML forms encode one: every value a string, a repeated name an array in order.
func parseQuery(wire string) (queryParams, error) {
	values := make(map[string][]string)
	for pair := range strings.SplitSeq(wire, "&") {
		if pair == "" {
			return nil, upstream.Invalid("path", "its query holds an empty pair (&& or & at an end)")
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := unescape(rawName)
		if err != nil {
			return nil, err
		}
		value, err := unescape(rawValue)
		if err != nil {
			return nil, err
		}
		values[name] = append(values[name], value)
	}
	params := make(queryParams, len(values))
	for name, list := range values {
		var v any = list
		if len(list) == 1 {
			v = list[0]
		}
		text, err := marshal(v)
		if err != nil {
			return nil, err
		}
		params[name] = text
	}
	return params, nil
}

func unescape(s string) (string, error) {
	decoded, err := url.QueryUnescape(s)
	if err != nil {
		return "", upstream.Invalid("path", "its query holds a %% that two hexadecimal digits do not follow")
	}
	if !utf8.ValidString(decoded) {
		return "", upstream.Invalid("path", "its query is not UTF-8 once percent-decoded")
	}
	return decoded, nil
}

// encodeValue writes one typed value as JSON. Lists hold scalars only.
func encodeValue(value any, listAllowed bool) (json.RawMessage, error) {
	const field = "query_params"
	switch v := value.(type) {
	case string:
		if !utf8.ValidString(v) {
			return nil, upstream.Invalid(field, "it holds text that is not UTF-8")
		}
		return marshal(v)
	case bool:
		return marshal(v)
	case float64:
		return encodeNumber(v)
	case []any:
		if !listAllowed {
			return nil, upstream.Invalid(field, "it holds a list within a list")
		}
		if len(v) == 0 {
			return nil, upstream.Invalid(field, "it holds an empty list, which no query on the wire can be; leave the name out")
		}
		items := make([]json.RawMessage, len(v))
		for i, item := range v {
			text, err := encodeValue(item, false)
			if err != nil {
				return nil, err
			}
			items[i] = text
		}
		return marshal(items)
	}
	return nil, upstream.Invalid(field, "it holds a null or an object; wanted strings, booleans, numbers, or lists of these")
}

// encodeNumber writes a number as ECMAScript's Number::toString does. encoding/json follows it but for negative zero.
func encodeNumber(n float64) (json.RawMessage, error) {
	const field = "query_params"
	switch {
	case math.IsNaN(n) || math.IsInf(n, 0):
		return nil, upstream.Invalid(field, "it holds a number that JSON cannot write (NaN or infinity)")
	case n == 0:
		return json.RawMessage("0"), nil
	case n == math.Trunc(n) && math.Abs(n) > maxSafeInteger:
		return nil, upstream.Invalid(field, "it holds an integer beyond 2^53-1, which is no longer exact; send it as a string")
	}
	return marshal(n)
}

// marshal is json.Marshal with this package's kind of error.
func marshal(v any) (json.RawMessage, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, upstream.Invalid("query_params", "it cannot be written as JSON")
	}
	return text, nil
}

// texts are the values of one parameter as they go on the wire. value is JSON that this package wrote.
func texts(value json.RawMessage) []string {
	switch value[0] {
	case '[':
		var items []json.RawMessage
		if json.Unmarshal(value, &items) != nil {
			return nil
		}
		var out []string
		for _, item := range items {
			out = append(out, texts(item)...)
		}
		return out
	case '"':
		var text string
		if json.Unmarshal(value, &text) != nil {
			return nil
		}
		return []string{text}
	}
	return []string{string(value)} // a number, true or false
}
