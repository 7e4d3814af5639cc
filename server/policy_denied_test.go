package server_test

import (
	"fmt"
	"strings"
	"testing"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/server"
)

// hiding are policies that allow application nothing of keys that are there in inEveryState, for a different reason each.
func hiding() map[string][]*adminv1.PolicyRule {
	narrow := func(f func(*adminv1.PolicyRule)) []*adminv1.PolicyRule {
		rule := ruleFor("narrow", allow, theApplication, server.OperationsOnKeys()...)
		f(rule)
		return []*adminv1.PolicyRule{rule}
	}
	signing := func(f func(*adminv1.PolicyRule)) []*adminv1.PolicyRule {
		rule := ruleFor("narrow", allow, theApplication, "SignNoahRequest")
		f(rule)
		return []*adminv1.PolicyRule{rule}
	}
	return map[string][]*adminv1.PolicyRule{
		"labels": narrow(func(rule *adminv1.PolicyRule) { rule.Labels = map[string]string{"team": "another"} }),
		"environment": narrow(func(rule *adminv1.PolicyRule) {
			rule.Environments, rule.Labels = []adminv1.Environment{prod}, map[string]string{"team": "x"}
		}),
		"a label":              narrow(func(rule *adminv1.PolicyRule) { rule.When = `key.labels.team == "another"` }),
		"no label":             narrow(func(rule *adminv1.PolicyRule) { rule.When = `key.labels.exists(l, l == "none")` }),
		"a partner":            narrow(func(rule *adminv1.PolicyRule) { rule.When = `key.scheme == "noon"` }),
		"another key":          narrow(func(rule *adminv1.PolicyRule) { rule.Keys = []string{"elsewhere"} }),
		"shadow":               narrow(func(rule *adminv1.PolicyRule) { rule.Mode = adminv1.PolicyMode_POLICY_MODE_SHADOW }),
		"a method":             signing(func(rule *adminv1.PolicyRule) { rule.Methods = []string{"PATCH"} }),
		"a path":               signing(func(rule *adminv1.PolicyRule) { rule.Paths = []string{"/v9"} }),
		"a query":              signing(func(rule *adminv1.PolicyRule) { rule.Query = parameters(parameter("z", "*")) }),
		"a body":               signing(func(rule *adminv1.PolicyRule) { rule.When = `body.amount <= 500` }),
		"a body and the key":   signing(func(rule *adminv1.PolicyRule) { rule.When = `body.amount <= 500 && key.environment == "prod"` }),
		"a rule that denies":   {ruleFor("opened", allow, theApplication, "*"), ruleFor("closed", deny, theApplication, "*")},
		"one that cannot tell": {ruleFor("opened", allow, theApplication, "SignNoahRequest"), withWhen(ruleFor("closed", deny, theApplication, "SignNoahRequest"), `body.amount > 500`)},
		"nothing":              nil,
	}
}

func withWhen(rule *adminv1.PolicyRule, when string) *adminv1.PolicyRule {
	rule.When = when
	return rule
}

func TestADenialTellsNothingOfTheRuleOrTheKey(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.inEveryState(t)
	keys := []string{"absent", "absent-too", "noah", "noba", "prod", "pending", "key-disabled", "version-disabled", "labelled"}
	heardOf := make(map[string]string)
	for name, rules := range hiding() {
		r.apply(t, withRules(rules...))
		for _, rpc := range server.RPCs() {
			if rpc.KeyField() == "" || rpc.Name() == "CreateKey" || rpc.Name() == "ImportKey" { // decided by what would be made
				continue
			}
			for _, key := range keys {
				_, out := rpc.Messages()
				got := heard(as(t, application), t, r.conn, rpc.Path, minimal(t, rpc, key), out)
				if !strings.Contains(got, "DENIED") {
					t.Errorf("%s: %s of %s: %s", name, rpc.Name(), key, got)
				}
				heardOf[got] = fmt.Sprintf("%s: %s of %s", name, rpc.Name(), key)
			}
		}
	}
	if len(heardOf) != 1 {
		t.Errorf("denials differ: %v", heardOf)
	}
}
