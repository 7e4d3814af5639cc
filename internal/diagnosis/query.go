package diagnosis

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const adviceQuery = "sign the query that goes out: build the URL once, and have that URL's target signed"

// pair is a query parameter as it is on the wire.
type pair struct{ name, value string }

// wirePairs takes a query apart without decoding it.
func wirePairs(query string) []pair {
	var all []pair
	for text := range strings.SplitSeq(query, "&") {
		if text == "" {
			continue
		}
		name, v, _ := strings.Cut(text, "=")
		all = append(all, pair{name, v})
	}
	return all
}

// formDecode is how a server reads a name or a value: a + is a space.
func formDecode(s string) string {
	if decoded, err := url.QueryUnescape(s); err == nil {
		return decoded
	}
	return s
}

// fitQuery names the differences between the claim queryParams, nil where it is not there, and the query that was sent.
func fitQuery(claim json.RawMessage, query string) []Finding {
	sent := make(map[string][]string)
	for _, p := range wirePairs(query) {
		name := formDecode(p.name)
		sent[name] = append(sent[name], p.value)
	}
	if claim == nil && len(sent) > 0 {
		return []Finding{{QueryUnsigned, "query: parameters were sent, and none were signed", "have the target signed with its query; for signerd, path is PATH?QUERY"}}
	}
	if claim == nil {
		return nil
	}
	var signed map[string]json.RawMessage
	if json.Unmarshal(claim, &signed) != nil {
		return []Finding{{QueryTyped, "query: the claim queryParams is not an object", "queryParams is a map from names to values"}}
	}
	if len(sent) == 0 {
		return []Finding{{QueryParameter, "query: parameters were signed" + named(slices.Sorted(maps.Keys(signed))) + ", and none were sent",
			"leave queryParams out where a request has no query; or is the query lost on the way?"}}
	}
	var found []Finding
	for _, name := range slices.Sorted(maps.Keys(signed)) {
		wire, ok := sent[name]
		if !ok {
			found = append(found, Finding{QueryParameter, fmt.Sprintf("query parameter %s: it was signed, and not sent", shown(name)), adviceQuery})
			continue
		}
		if f := fitParameter(name, signed[name], wire); f != nil {
			found = append(found, *f)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sent)) {
		if _, ok := signed[name]; !ok {
			found = append(found, Finding{QueryParameter, fmt.Sprintf("query parameter %s: it was sent, and not signed", shown(name)), adviceQuery})
		}
	}
	return found
}

func named(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return " (" + shown(strings.Join(names, ", ")) + ")"
}

// fitParameter compares what was signed for one name with what was sent, which is not decoded yet.
func fitParameter(name string, claim json.RawMessage, wire []string) *Finding {
	items := []json.RawMessage{claim}
	if claim[0] == '[' && json.Unmarshal(claim, &items) != nil {
		items = nil
	}
	about := "query parameter " + shown(name) + ": "
	if len(items) != len(wire) {
		return &Finding{QueryParameter, fmt.Sprintf("%ssigned %d times, sent %d times", about, len(items), len(wire)), adviceQuery}
	}
	var signed, sent []string
	for i, item := range items {
		signed, sent = append(signed, claimText(item)), append(sent, formDecode(wire[i]))
	}
	if slices.Equal(signed, sent) {
		return nil
	}
	if slices.Equal(slices.Sorted(slices.Values(signed)), slices.Sorted(slices.Values(sent))) {
		return &Finding{QueryOrder, about + "its values were signed in another order than they were sent", adviceQuery}
	}
	for i := range items {
		if signed[i] != sent[i] {
			return differentValue(about, items[i], signed[i], wire[i], sent[i])
		}
	}
	return nil
}

// claimText is the text on the wire that a claimed value stands for.
func claimText(item json.RawMessage) string {
	var text string
	if item[0] == '"' && json.Unmarshal(item, &text) == nil {
		return text
	}
	return string(item)
}

func differentValue(about string, item json.RawMessage, signed, wire, sent string) *Finding {
	both := fmt.Sprintf("signed %s, sent %s", shown(signed), shown(wire))
	plain, _ := url.PathUnescape(wire)
	undone := formDecode(signed)
	switch {
	case item[0] != '"' && sameValue(item, sent):
		return &Finding{QueryTyped, about + "it was signed as " + kindOf(item) + " that is not written as it was sent: " + both,
			"sign the text of the parameter as a string, or a number or boolean that is written in JSON as on the wire"}
	case item[0] == '{' || item[0] == '[' || string(item) == "null":
		return &Finding{QueryTyped, about + "it was signed as " + kindOf(item) + ", which no query can say", "sign strings, numbers, booleans, or lists of these"}
	case signed == plain && strings.Contains(wire, "+"):
		return &Finding{QueryPlus, about + "a + was signed as it is, and a + in a query is a space: " + both, "write a plus sign as %2B and a space as %20 or +, in what is signed and in what is sent"}
	case strings.ReplaceAll(sent, "+", " ") == signed || strings.ReplaceAll(signed, "+", " ") == sent:
		return &Finding{QueryPlus, about + "a space of one is a + of the other: " + both, "write a plus sign as %2B and a space as %20 or +, in what is signed and in what is sent"}
	case undone == sent:
		return &Finding{QueryEncoding, about + "it was signed with its percent-encoding: " + both, "sign the decoded value, or let signerd take the target as it is on the wire"}
	case formDecode(sent) == signed:
		return &Finding{QueryEncoding, about + "it was percent-encoded twice before it was sent: " + both, adviceQuery}
	}
	return &Finding{QueryDiffers, about + both, adviceQuery}
}

func kindOf(item json.RawMessage) string {
	switch item[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// sameValue says whether a number or boolean is what a text means.
func sameValue(item json.RawMessage, sent string) bool {
	if item[0] == 't' || item[0] == 'f' {
		b, err := strconv.ParseBool(strings.ToLower(sent))
		return err == nil && b == (item[0] == 't')
	}
	a, err := strconv.ParseFloat(string(item), 64)
	if err != nil {
		return false
	}
	b, err := strconv.ParseFloat(sent, 64)
	return err == nil && a == b
}
