package server_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

func parameters(list ...*adminv1.PolicyQueryParameter) *adminv1.PolicyQuery {
	return &adminv1.PolicyQuery{Parameters: list}
}

func parameter(name string, values ...string) *adminv1.PolicyQueryParameter {
	return &adminv1.PolicyQueryParameter{Name: name, Values: values}
}

func optional(p *adminv1.PolicyQueryParameter) *adminv1.PolicyQueryParameter {
	p.Optional = true
	return p
}

// asked is a request with a query in its path, or with typed parameters.
func asked(t *testing.T, query string, typed map[string]any) *signerdv1.SignNoahRequestRequest {
	t.Helper()
	in := &signerdv1.SignNoahRequestRequest{Key: "a", Method: "GET", Path: "/v1/things" + query}
	if typed != nil {
		var err error
		in.QueryParams, err = structpb.NewStruct(typed)
		must(t, err)
	}
	return in
}

func TestAQueryIsTheSameInThePathAndTyped(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	spellings := map[string][]struct {
		wire  string
		typed map[string]any
	}{
		"a number":        {{"?n=20", nil}, {"?%6E=%32%30", nil}, {"", map[string]any{"n": 20}}, {"", map[string]any{"n": "20"}}, {"", map[string]any{"n": 20.0}}, {"", map[string]any{"n": []any{20}}}},
		"a fraction":      {{"?n=0.5", nil}, {"", map[string]any{"n": 0.5}}, {"", map[string]any{"n": "0.5"}}},
		"true":            {{"?n=true", nil}, {"", map[string]any{"n": true}}, {"", map[string]any{"n": "true"}}},
		"nothing":         {{"?n=", nil}, {"?n", nil}, {"", map[string]any{"n": ""}}},
		"a space":         {{"?n=a+b", nil}, {"?n=a%20b", nil}, {"", map[string]any{"n": "a b"}}},
		"two values":      {{"?n=1&n=2", nil}, {"", map[string]any{"n": []any{1, 2}}}, {"", map[string]any{"n": []any{"1", 2}}}},
		"another number":  {{"?n=20.0", nil}, {"", map[string]any{"n": "20.0"}}},
		"a long number":   {{"?n=2e1", nil}, {"", map[string]any{"n": "2e1"}}},
		"no query":        {{"", nil}, {"?", nil}, {"", map[string]any{}}},
		"another name":    {{"?N=20", nil}, {"", map[string]any{"N": 20}}},
		"one name more":   {{"?n=20&m=1", nil}, {"?m=1&n=20", nil}, {"", map[string]any{"n": 20, "m": 1}}},
		"a hidden name":   {{"?n=20%26m=1", nil}, {"", map[string]any{"n": "20&m=1"}}},
		"a list of one":   {{"?n[]=20", nil}, {"", map[string]any{"n[]": 20}}},
		"upper-case true": {{"?n=True", nil}, {"", map[string]any{"n": "True"}}},
	}
	for name, tt := range map[string]struct {
		query   *adminv1.PolicyQuery
		effect  adminv1.PolicyEffect
		matches []string
	}{
		"no query":          {&adminv1.PolicyQuery{}, allow, []string{"no query"}},
		"the number 20":     {parameters(parameter("n", "20")), allow, []string{"a number"}},
		"20 or nothing":     {parameters(optional(parameter("n", "20"))), allow, []string{"a number", "no query"}},
		"several":           {parameters(parameter("n", "1", "2", "true", "0.5", "")), allow, []string{"a fraction", "true", "nothing", "two values"}},
		"any value":         {parameters(parameter("n", "*")), allow, []string{"a number", "a fraction", "true", "nothing", "a space", "two values", "another number", "a long number", "a hidden name", "upper-case true"}},
		"two names":         {parameters(parameter("n", "20"), parameter("m", "*")), allow, []string{"one name more"}},
		"denied: 20":        {parameters(parameter("n", "20")), deny, []string{"a number", "one name more"}},
		"denied: one of 2":  {parameters(parameter("n", "2")), deny, []string{"two values"}},
		"denied: any value": {parameters(parameter("m", "*")), deny, []string{"one name more"}},
		"denied: a space":   {parameters(parameter("n", "a b")), deny, []string{"a space"}},
	} {
		t.Run(name, func(t *testing.T) {
			rule := applying("by-query", func(rule *adminv1.PolicyRule) { rule.Query, rule.Effect = tt.query, tt.effect })
			rules := []*adminv1.PolicyRule{rule}
			if tt.effect == deny {
				rules = append(rules, applying("signs", nil))
			}
			r.apply(t, withRules(rules...))
			for query, written := range spellings {
				want := deny
				for _, m := range tt.matches {
					if m == query {
						want = allow
					}
				}
				if tt.effect == deny {
					want = allow + deny - want
				}
				for _, spelling := range written {
					r.decides(t, asked(t, spelling.wire, spelling.typed), want)
				}
			}
		})
	}
}

func TestAConditionReadsTheQueryAsRulesDo(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	r.apply(t, withRules(applying("by-condition", func(rule *adminv1.PolicyRule) {
		rule.When = `request.query == {"n": ["20", "true"]} && request.method == "GET" && request.path == "/v1/things"`
	})))
	r.decides(t, asked(t, "?n=20&n=true", nil), allow)
	r.decides(t, asked(t, "", map[string]any{"n": []any{20, true}}), allow)
	r.decides(t, asked(t, "?n=true&n=20", nil), deny)
	r.decides(t, asked(t, "?n=20", nil), deny)
}

func TestMoneyInABodyIsCompared(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	const number, text = `body.amount <= 500`, `decimal(body.amount) <= 500`
	for _, tt := range []struct {
		body          string
		number, text  adminv1.PolicyEffect
		unintelligble bool // no condition can read it
	}{
		{`{"amount": 500}`, allow, allow, false},
		{`{"amount": 500.00}`, allow, allow, false},
		{`{"amount": 5e2}`, allow, allow, false},
		{`{"amount": 50000e-2}`, allow, allow, false},
		{`{"amount": -1}`, allow, allow, false},
		{`{"amount": 499.999999999999999999}`, allow, allow, false},
		{`{"amount": 500.000001}`, deny, deny, false},
		{`{"amount": 500.0000000000000000000000000001}`, deny, deny, false},
		{`{"amount": 501}`, deny, deny, false},
		{`{"amount": 1e3}`, deny, deny, false},
		{`{"amount": 18446744073709551616}`, deny, deny, false}, // 0 in 64 bits
		{`{"amount": "500"}`, deny, allow, false},
		{`{"amount": "500.00"}`, deny, allow, false},
		{`{"amount": "501"}`, deny, deny, false},
		{`{"amount": "5e2"}`, deny, deny, false},
		{`{"amount": " 500"}`, deny, deny, false},
		{`{"amount": null}`, deny, deny, false},
		{`{"amount": true}`, deny, deny, false},
		{`{"amount": [1]}`, deny, deny, false},
		{`{"Amount": 1}`, deny, deny, false},
		{`{}`, deny, deny, false},
		{`[1]`, deny, deny, false},
		{``, deny, deny, false},
		{`{"amount": 1, "amount": 501}`, deny, deny, true},
		{`{"amount": 1, "\u0061mount": 501}`, deny, deny, true},
		{`{"amount": 1, "x": {"a": 1, "a": 2}}`, deny, deny, true},
		{`{"amount": 1`, deny, deny, true},
		{`{"amount": 1} {"amount": 501}`, deny, deny, true},
		{`{"amount": 1,}`, deny, deny, true},
		{`{'amount': 1}`, deny, deny, true},
		{`{"amount": 01}`, deny, deny, true},
		{`{"amount": NaN}`, deny, deny, true},
		{"\xef\xbb\xbf" + `{"amount": 1}`, deny, deny, true},
		{`{"amount": 1, "x": "` + "\xff" + `"}`, deny, deny, true},
		{`amount=1`, deny, deny, true},
		{`{"amount": 1, "x": ` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, deny, deny, true},
	} {
		for when, want := range map[string]adminv1.PolicyEffect{number: tt.number, text: tt.text} {
			r.setDocument(t, withRules(applying("by-amount", func(rule *adminv1.PolicyRule) { rule.When = when })))
			r.decides(t, &signerdv1.SignNoahRequestRequest{Key: "a", Method: "POST", Path: "/v1", Content: body(tt.body)}, want)
			if unevaluated := r.last(t).Unevaluated; tt.unintelligble && len(unevaluated) != 1 {
				t.Errorf("%s of %s: the log has unevaluated %q", when, tt.body, unevaluated)
			}
		}
		// What cannot be read, a rule that denies by it denies.
		r.setDocument(t, withRules(applying("signs", nil), applying("by-amount", func(rule *adminv1.PolicyRule) { rule.Effect, rule.When = deny, `body.amount > 500` })))
		r.decides(t, &signerdv1.SignNoahRequestRequest{Key: "a", Method: "POST", Path: "/v1", Content: body(tt.body)}, tt.number)
	}
}

func TestABodyThatStaysWithTheCallerIsNotLookedInto(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	const small = `{"amount": 1}`
	hashed := &signerdv1.SignNoahRequestRequest{Key: "a", Method: "POST", Path: "/v1", Content: bodyHash(small)}
	whole := &signerdv1.SignNoahRequestRequest{Key: "a", Method: "POST", Path: "/v1", Content: body(small)}
	none := &signerdv1.SignNoahRequestRequest{Key: "a", Method: "POST", Path: "/v1"}
	hashedNone := &signerdv1.SignNoahRequestRequest{Key: "a", Method: "POST", Path: "/v1", Content: bodyHash("")}
	for when, want := range map[string][4]adminv1.PolicyEffect{ // of an allow rule for hashed, whole, none and the hash of none
		`body.amount <= 500`:       {deny, allow, deny, deny},
		`body == null`:             {deny, deny, allow, allow},
		`body != null`:             {deny, allow, deny, deny},
		`true || body == null`:     {deny, allow, allow, allow},
		`request.method == "POST"`: {allow, allow, allow, allow},
	} {
		r.apply(t, withRules(applying("looks", func(rule *adminv1.PolicyRule) { rule.When = when })))
		for i, in := range []*signerdv1.SignNoahRequestRequest{hashed, whole, none, hashedNone} {
			r.decides(t, in, want[i])
		}
	}
	r.apply(t, withRules(applying("signs", nil), applying("looks", func(rule *adminv1.PolicyRule) { rule.Effect, rule.When = deny, `body.amount > 500` })))
	r.decides(t, hashed, deny)
	if logged := r.last(t); logged.Rule != "looks" || len(logged.Unevaluated) != 1 || logged.Unevaluated[0] != "looks" {
		t.Errorf("the log has %+v", logged)
	}
	r.decides(t, whole, allow)
}

func TestANobaRequestIsDecidedByWhatItsSignatureCovers(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	a := r.importedNoba(t, "n")
	rule := ruleFor("buys", allow, theApplication, "ComputeNobaSignature")
	rule.Methods, rule.Paths, rule.When = []string{"POST"}, []string{"/v1/buy/*"}, `body.amount <= 500`
	r.apply(t, withRules(rule))
	partner := nobaPartner(r, a, sandbox)
	sign := func(method, path, text string) (*signerdv1.ComputeNobaSignatureResponse, error) {
		return r.signer.ComputeNobaSignature(as(t, application), &signerdv1.ComputeNobaSignatureRequest{Key: "n", Method: method, Path: path, Body: []byte(text)})
	}
	// The query is not signed, and decides nothing.
	for _, path := range []string{"/v1/buy/7", "/v1/buy/7?admin=true", "/v1/buy/%37?&&"} {
		out, err := sign("post", path, `{"amount":500}`)
		must(t, err)
		must(t, partner.Check(onTheWire("POST", path, out.GetHeaders(), []byte(`{"amount":500}`))))
	}
	for _, tt := range [][3]string{
		{"GET", "/v1/buy/7", `{"amount":500}`}, {"POST", "/v1/sell/7", `{"amount":500}`}, {"POST", "/v1/buy/7", `{"amount":501}`},
		{"POST", "/v1/buy/7", `{"amount":"500"}`}, {"POST", "/v1/buy/7", `{"amount":1,"amount":501}`}, {"POST", "/v1/buy/7", ``},
		{"POST", "/v1/buy/7/../../sell/7", `{"amount":500}`}, {"POST", "/v1/buy/..%2fsell", `{"amount":500}`},
	} {
		_, err := sign(tt[0], tt[1], tt[2])
		r.denied(t, err, "")
	}
	for field, spoil := range map[string]func(*adminv1.PolicyRule){
		"rules[0].query": func(rule *adminv1.PolicyRule) { rule.Query = parameters(parameter("a", "*")) },
		"rules[0].when":  func(rule *adminv1.PolicyRule) { rule.When = `request.query == {}` },
	} {
		bad := ruleFor("a", allow, "*", "ComputeNobaSignature")
		spoil(bad)
		r.notSet(t, bad, field)
		bad.Effect = deny // which would be as deceptive
		r.notSet(t, bad, field)
		bad.Operations = []string{"SignNoahRequest", "ComputeNobaSignature"}
		r.notSet(t, bad, field)
	}
}

// notSet wants a rule to be refused for a field of its own.
func (r *rig) notSet(t *testing.T, rule *adminv1.PolicyRule, field string) {
	t.Helper()
	_, err := r.policy.SetPolicy(as(t, administrator), &adminv1.SetPolicyRequest{
		Policy: &adminv1.Policy{Rules: []*adminv1.PolicyRule{rule}}, Generation: r.inForce(t).GetGeneration()})
	if _, fields := r.refused(t, err, codes.InvalidArgument, "INVALID_REQUEST"); len(fields) != 1 || fields[0] != "policy."+field {
		t.Errorf("it names %q, want policy.%s", fields, field)
	}
}

func TestARuleOnNoonOrOnOperatorsNamesNoRequest(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	for _, operation := range []string{"GetNoonSession", "GetKey", "SetPolicy", "*"} {
		for field, spoil := range map[string]func(*adminv1.PolicyRule){
			"rules[0].methods": func(rule *adminv1.PolicyRule) { rule.Methods = []string{"GET"} },
			"rules[0].paths":   func(rule *adminv1.PolicyRule) { rule.Paths = []string{"**"} },
			"rules[0].query":   func(rule *adminv1.PolicyRule) { rule.Query = parameters(parameter("a", "*")) },
			"rules[0].when":    func(rule *adminv1.PolicyRule) { rule.When = `body == null` },
		} {
			for _, effect := range []adminv1.PolicyEffect{allow, deny} {
				rule := ruleFor("a", effect, "*", operation)
				spoil(rule)
				r.notSet(t, rule, field)
			}
		}
	}
	r.importedNoon(t, "n")
	rule := ruleFor("sessions", allow, theApplication, "GetNoonSession")
	rule.When = `key.scheme == "noon" && caller == "unix:uid=3000" && now > timestamp("2026-01-01T00:00:00Z")`
	r.apply(t, withRules(rule))
	_, err := r.signer.GetNoonSession(as(t, application), &signerdv1.GetNoonSessionRequest{Key: "n"})
	must(t, err)
}

func TestAConditionReadsTheServersClock(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	// The tests' clock stands at 12:00:00.25.
	r.apply(t, withRules(applying("until", func(rule *adminv1.PolicyRule) { rule.When = `now < timestamp("2026-03-01T12:00:01Z")` })))
	r.decides(t, asked(t, "", nil), allow)
	r.clock.advance(749_000_000)
	r.decides(t, asked(t, "", nil), allow)
	r.clock.advance(1_000_000)
	r.decides(t, asked(t, "", nil), deny)
}

func TestAPathIsMatchedAsItIsSigned(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	partner := noahPartner(t, r, r.importedNOAH(t, "a"))
	r.apply(t, withRules(applying("customers", func(rule *adminv1.PolicyRule) {
		rule.Methods, rule.Paths = []string{"GET"}, []string{"/v1/customers/*/cards"}
	}),
		applying("not-7", func(rule *adminv1.PolicyRule) { rule.Effect, rule.Paths = deny, []string{"/v1/customers/7/**"} })))
	for path, want := range map[string]adminv1.PolicyEffect{
		"/v1/customers/8/cards": allow, "/v1/customers/%38/cards": allow, "/v1/customers/%C3%A4/cards": allow, "/v1/customers/8/cards?a=b": allow,
		"/v1/customers/7/cards": deny, "/v1/customers/%37/cards": deny, "/V1/customers/8/cards": deny, "/v1/customers/8/cards/": deny,
		"/v1/customers//cards": deny, "/v1/customers/8%2Fcards": deny, "/v1/customers/8/x/../cards": deny, "/v1/customers/8;a/cards": deny, "/v1/customers/%2e%2e/cards": deny,
	} {
		in := &signerdv1.SignNoahRequestRequest{Key: "a", Method: "get", Path: path}
		r.decides(t, in, want)
		if want == allow {
			out, err := r.signer.SignNoahRequest(as(t, application), in)
			must(t, err)
			must(t, partner.Check(onTheWire("GET", path, out.GetHeaders(), nil)))
		}
	}
}
