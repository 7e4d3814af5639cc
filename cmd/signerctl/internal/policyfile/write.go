package policyfile

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// ErrLossy is returned for a policy that YAML cannot hold as it is, such as one with fields that this program does not know:
// applied again, it would be another policy.
var ErrLossy = errors.New("the policy holds more than this program can write as YAML")

// Format writes a policy so that Parse reads the same. The comments, a line each, follow the generation.
func Format(policy *adminv1.Policy, generation uint64, comments ...string) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "generation: %d\n", generation)
	for _, comment := range comments {
		fmt.Fprintf(&b, "# %s\n", oneLine(comment))
	}
	rules := make([]*yaml.Node, len(policy.GetRules()))
	for i, r := range policy.GetRules() {
		rules[i] = ruleNode(r)
	}
	cases := make([]*yaml.Node, len(policy.GetCases()))
	for i, c := range policy.GetCases() {
		cases[i] = caseNode(c)
	}
	if err := writeList(&b, "rules", rules); err != nil {
		return nil, err
	}
	if len(cases) > 0 {
		if err := writeList(&b, "cases", cases); err != nil {
			return nil, err
		}
	}
	if err := readsBack(b.Bytes(), policy, generation); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// readsBack catches everything that has no YAML, now and in policies of newer servers.
func readsBack(text []byte, policy *adminv1.Policy, generation uint64) error {
	want := &adminv1.Policy{}
	proto.Merge(want, policy)
	for _, c := range want.GetCases() {
		if c.GetRequest() == nil {
			c.Request = &adminv1.PolicyRequest{}
		}
	}
	d, err := Parse(text)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLossy, err)
	}
	if d.Generation == nil || *d.Generation != generation || !proto.Equal(d.Policy, want) {
		return ErrLossy
	}
	return nil
}

// writeList writes a list under a key, with blank lines that the YAML library would leave out.
func writeList(b *bytes.Buffer, key string, items []*yaml.Node) error {
	if len(items) == 0 {
		fmt.Fprintf(b, "%s: []\n", key)
		return nil
	}
	fmt.Fprintf(b, "%s:\n", key)
	for i, item := range items {
		if i > 0 {
			b.WriteByte('\n')
		}
		var text bytes.Buffer
		encoder := yaml.NewEncoder(&text)
		encoder.SetIndent(2)
		if err := encoder.Encode(&yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{item}}); err != nil {
			return fmt.Errorf("%w: %w", ErrLossy, err)
		}
		if err := encoder.Close(); err != nil {
			return fmt.Errorf("%w: %w", ErrLossy, err)
		}
		for line := range bytes.Lines(text.Bytes()) {
			if len(line) > 1 {
				b.WriteString("  ")
			}
			b.Write(line)
		}
	}
	return nil
}

func ruleNode(r *adminv1.PolicyRule) *yaml.Node {
	m := &mapping{}
	m.text("name", r.GetName())
	m.text("description", r.GetDescription())
	m.add("effect", enumNode(effects, r.GetEffect()))
	m.add("mode", enumNode(modes, r.GetMode()))
	m.texts("callers", r.GetCallers())
	m.texts("keys", r.GetKeys())
	m.texts("operations", r.GetOperations())
	var in []*yaml.Node
	for _, e := range r.GetEnvironments() {
		// One without a name is left out, and readsBack notices.
		if n := enumNode(environments, e); n != nil {
			in = append(in, n)
		}
	}
	m.list("environments", in)
	m.labels(r.GetLabels())
	m.texts("methods", r.GetMethods())
	m.texts("paths", r.GetPaths())
	if r.GetQuery() != nil {
		m.add("query", queryNode(r.GetQuery()))
	}
	m.text("when", r.GetWhen())
	if l := r.GetLimits(); l != nil {
		limits := &mapping{}
		if l.GetPerSecond() != 0 {
			limits.add("per_second", numberNode(l.GetPerSecond()))
		}
		limits.count("burst", uint64(l.GetBurst()))
		limits.count("per_hour", l.GetPerHour())
		limits.count("per_day", l.GetPerDay())
		m.add("limits", limits.flow())
	}
	return m.block()
}

func queryNode(q *adminv1.PolicyQuery) *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, p := range q.GetParameters() {
		m := &mapping{}
		m.add("name", textNode(p.GetName()))
		m.texts("values", p.GetValues())
		if p.GetOptional() {
			m.add("optional", plainNode("true"))
		}
		list.Content = append(list.Content, m.shortest())
	}
	if len(list.Content) == 0 {
		list.Style = yaml.FlowStyle
	}
	return list
}

func caseNode(c *adminv1.PolicyCase) *yaml.Node {
	r, m := c.GetRequest(), &mapping{}
	m.text("name", c.GetName())
	m.text("caller", r.GetCaller())
	m.text("key", r.GetKey())
	m.text("scheme", r.GetScheme())
	m.add("environment", enumNode(environments, r.GetEnvironment()))
	m.labels(r.GetLabels())
	m.text("operation", r.GetOperation())
	m.text("method", r.GetMethod())
	m.text("path", r.GetPath())
	if r.GetQueryParams() != nil {
		query := &mapping{}
		for _, name := range slices.Sorted(maps.Keys(r.GetQueryParams().GetFields())) {
			query.add(name, valueNode(r.GetQueryParams().GetFields()[name]))
		}
		m.add("query", query.flow())
	}
	switch content := r.GetContent().(type) {
	case *adminv1.PolicyRequest_Body:
		m.add("body", bodyNode(content.Body))
	case *adminv1.PolicyRequest_BodySha256:
		m.add("body_sha256", textNode(hex.EncodeToString(content.BodySha256)))
	}
	m.add("expect", enumNode(effects, c.GetExpect()))
	m.text("rule", c.GetRule())
	return m.block()
}

// mapping collects keys with values; what is empty is left out.
type mapping struct{ content []*yaml.Node }

func (m *mapping) add(key string, n *yaml.Node) {
	if n != nil {
		m.content = append(m.content, textNode(key), n)
	}
}

func (m *mapping) text(key, s string) {
	if s != "" {
		m.add(key, textNode(s))
	}
}

func (m *mapping) texts(key string, list []string) {
	nodes := make([]*yaml.Node, len(list))
	for i, s := range list {
		nodes[i] = textNode(s)
	}
	m.list(key, nodes)
}

func (m *mapping) list(key string, nodes []*yaml.Node) {
	if len(nodes) > 0 {
		m.add(key, shortest(&yaml.Node{Kind: yaml.SequenceNode, Content: nodes}))
	}
}

func (m *mapping) count(key string, n uint64) {
	if n != 0 {
		m.add(key, plainNode(strconv.FormatUint(n, 10)))
	}
}

func (m *mapping) labels(labels map[string]string) {
	if len(labels) == 0 {
		return
	}
	each := &mapping{}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		each.add(name, textNode(labels[name]))
	}
	m.add("labels", each.shortest())
}

func (m *mapping) block() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode, Content: m.content} }

func (m *mapping) flow() *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle, Content: m.content}
}

func (m *mapping) shortest() *yaml.Node { return shortest(m.block()) }

// shortest puts what fits on one line there, unless that would put quotes around it.
func shortest(n *yaml.Node) *yaml.Node {
	if width(n) <= 90 && !holdsColon(n) {
		n.Style = yaml.FlowStyle
	}
	return n
}

func holdsColon(n *yaml.Node) bool {
	return strings.Contains(n.Value, ":") || slices.ContainsFunc(n.Content, holdsColon)
}

func width(n *yaml.Node) int {
	w := len(n.Value) + 2
	for _, child := range n.Content {
		w += width(child)
	}
	return w
}

// enumNode is nil for what has no name.
func enumNode[T comparable](words map[string]T, v T) *yaml.Node {
	for word, each := range words {
		if each == v {
			return plainNode(word)
		}
	}
	return nil
}

func plainNode(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }

// otherYAML is text to YAML 1.2, and true or false to YAML 1.1.
var otherYAML = regexp.MustCompile(`^(?i:y|n|yes|no|on|off)$`)

// textNode chooses the style in which text reads best; the YAML library quotes it where it must.
func textNode(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	switch {
	case strings.ContainsFunc(strings.ReplaceAll(s, "\n", ""), func(r rune) bool { return !unicode.IsPrint(r) }):
		n.Style = yaml.DoubleQuotedStyle
	case strings.Contains(s, "\n"):
		n.Style = yaml.DoubleQuotedStyle
		if literal(s) {
			n.Style = yaml.LiteralStyle
		}
	case otherYAML.MatchString(s), jsonNumber.MatchString(s):
		n.Style = yaml.DoubleQuotedStyle
	case strings.ContainsAny(s, `"\`):
		n.Style = yaml.SingleQuotedStyle
	}
	return n
}

// literal reports whether lines can stand below a "|" without any doubt about their spaces.
func literal(s string) bool {
	if strings.HasSuffix(s, "\n\n") || strings.HasPrefix(s, "\n") || strings.HasPrefix(s, " ") {
		return false
	}
	for line := range strings.SplitSeq(s, "\n") {
		if strings.HasSuffix(line, " ") {
			return false
		}
	}
	return true
}

func bodyNode(b []byte) *yaml.Node {
	if utf8.Valid(b) {
		return textNode(string(b))
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!binary", Value: base64.StdEncoding.EncodeToString(b)}
}

func numberNode(f float64) *yaml.Node {
	b, err := json.Marshal(f)
	if err != nil {
		// NaN or infinity.
		return nil
	}
	return plainNode(string(b))
}

// valueNode is nil for what no query can carry.
func valueNode(v *structpb.Value) *yaml.Node {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return textNode(kind.StringValue)
	case *structpb.Value_BoolValue:
		return plainNode(strconv.FormatBool(kind.BoolValue))
	case *structpb.Value_NumberValue:
		return numberNode(kind.NumberValue)
	case *structpb.Value_ListValue:
		list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, item := range kind.ListValue.GetValues() {
			if n := valueNode(item); n != nil {
				list.Content = append(list.Content, n)
			}
		}
		return list
	}
	return nil
}

// oneLine keeps a comment one.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
