package server_test

import (
	"crypto/elliptic"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/policy"
)

// keepers may change keys in every way, but may not set the policy.
func keepers() *adminv1.PolicyRule {
	return ruleFor("keepers", allow, theApplication, "CreateKey", "ImportKey", "UpdateKey", "GetKey")
}

func TestLabelsThatThePolicyReadsAreChangedByWhoMaySetItAlone(t *testing.T) {
	t.Parallel()
	reads := func(narrow func(*adminv1.PolicyRule)) *adminv1.PolicyRule {
		rule := ruleFor("reads", allow, "unix:uid=77", "SignNoahRequest")
		narrow(rule)
		return rule
	}
	when := func(text string) *adminv1.PolicyRule {
		return reads(func(rule *adminv1.PolicyRule) { rule.When = text })
	}
	shadow := reads(func(rule *adminv1.PolicyRule) {
		rule.Labels, rule.Mode = map[string]string{"team": "x"}, adminv1.PolicyMode_POLICY_MODE_SHADOW
	})
	for name, tt := range map[string]struct {
		rule *adminv1.PolicyRule
		all  bool // it reads every label
	}{
		"labels of a rule":     {reads(func(rule *adminv1.PolicyRule) { rule.Labels = map[string]string{"team": "never"} }), false},
		"labels in shadow":     {shadow, false},
		"a field":              {when(`key.labels.team == "x"`), false},
		"an index":             {when(`key.labels["team"] == "x"`), false},
		"in":                   {when(`"team" in key.labels`), false},
		"has":                  {when(`has(key.labels.team)`), false},
		"an index in disguise": {when(`key.labels[caller] == "x"`), true},
		"a loop":               {when(`key.labels.exists(name, name == "x")`), true},
		"its size":             {when(`size(key.labels) == 2`), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, setup{})
			r.importedNOAH(t, "a")
			before := map[string]string{"team": "orders", "note": "free"}
			must(t, r.label(as(t, operator), "a", before))
			generation := r.apply(t, withRules(tt.rule, keepers()))
			app := as(t, application)
			for change, after := range map[string]map[string]string{
				"change": {"team": "billing", "note": "free"}, "removal": {"note": "free"}, "change to nothing": {"team": "", "note": "free"}, "removal of all": nil,
			} {
				logged := r.denied(t, r.label(app, "a", after), "")
				if logged.Needs != "SetPolicy" || logged.Policy != generation || logged.Key != "a" {
					t.Errorf("%s: the log has %+v", change, logged)
				}
			}
			must(t, r.label(app, "a", before))
			for change, after := range map[string]map[string]string{
				"change": {"team": "orders", "note": "other"}, "removal": {"team": "orders"}, "addition": {"team": "orders", "more": "x"},
			} {
				err := r.label(app, "a", after)
				if tt.all {
					r.denied(t, err, "")
				} else if err != nil {
					t.Errorf("%s of a label that nothing reads: %v", change, err)
				}
			}
			must(t, r.label(as(t, operator), "a", map[string]string{}))
			r.denied(t, r.label(app, "a", map[string]string{"team": "orders"}), "")
			r.makesLabelled(t, tt.all)
		})
	}
}

// makesLabelled makes keys with labels that the policy reads, and with others, as application.
func (r *rig) makesLabelled(t *testing.T, all bool) {
	t.Helper()
	app := as(t, application)
	for name, labels := range map[string]map[string]string{"team": {"team": "x"}, "note": {"note": "x"}, "none": nil} {
		refused := name == "team" || all && name == "note"
		_, err := r.admin.CreateKey(app, &adminv1.CreateKeyRequest{Name: "created-" + name, Environment: sandbox, Labels: labels})
		_, err2 := r.admin.ImportKey(app, &adminv1.ImportKeyRequest{Name: "imported-" + name, Scheme: "noba", Environment: sandbox, Labels: labels, Material: newNoba().material()})
		for _, err := range []error{err, err2} {
			if refused {
				r.denied(t, err, "")
			} else if err != nil {
				t.Errorf("labels %v: %v", labels, err)
			}
		}
		if there := r.keys.Lookup("created-"+name) != nil || r.keys.Lookup("imported-"+name) != nil; there == refused {
			t.Errorf("labels %v: a key is there: %t", labels, there)
		}
	}
}

func TestWhoMaySetThePolicyMayChangeWhatItReads(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	reading := ruleFor("reads", allow, "unix:uid=77", "SignNoahRequest")
	reading.Labels = map[string]string{"team": "x"}
	r.apply(t, withRules(reading, keepers(), ruleFor("setters", allow, theApplication, "SetPolicy"),
		// An administrator may always set it, but needs a rule to change keys.
		ruleFor("administrators", allow, theAdministrator, "UpdateKey")))
	for _, who := range []uint32{application, administrator, operator} {
		must(t, r.label(as(t, who), "a", map[string]string{"team": fmt.Sprint(who)}))
	}
	r.apply(t, withRules(reading, keepers(), ruleFor("setters", allow, theApplication, "SetPolicy"), ruleFor("no-setters", deny, theApplication, "SetPolicy")))
	if logged := r.denied(t, r.label(as(t, application), "a", nil), "no-setters"); logged.Needs != "SetPolicy" {
		t.Errorf("the log has %+v", logged)
	}
}

func TestAGuardedLabelCannotBeChangedByGuessingTheNextGeneration(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	reading := ruleFor("reads", deny, "*", "SignNoahRequest")
	reading.Labels = map[string]string{"stopped": "yes"}
	r.apply(t, withRules(reading, keepers()))
	stopped := map[string]string{"stopped": "yes"}
	// While the request to remove nothing is decided, the label comes.
	next := r.keys.Stats().Counter + 1
	r.clock.onceAt(3, func() { must(t, r.label(as(t, operator), "a", stopped)) })
	_, err := r.admin.UpdateKey(as(t, application), &adminv1.UpdateKeyRequest{Name: "a", Generation: next})
	r.refused(t, err, codes.Aborted, "CONFLICT")
	if key := r.keys.Lookup("a"); key.Generation != next || key.Labels()["stopped"] != "yes" {
		t.Errorf("the key is at generation %d, want %d, with labels %v", key.Generation, next, key.Labels())
	}
}

func TestALabelThatThePolicyComesToReadWhileItIsChangedIsGuarded(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	r.apply(t, withRules(keepers()))
	reading := ruleFor("reads", deny, "*", "SignNoahRequest")
	reading.Labels = map[string]string{"stopped": "yes"}
	r.clock.onceAt(3, func() { r.apply(t, withRules(reading, keepers())) })
	r.denied(t, r.label(as(t, application), "a", map[string]string{"stopped": "yes"}), "")
}

func TestAnOperatorMayMakeKeysOfOneEnvironmentOnly(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	for _, name := range []string{"CreateKey", "ImportKey"} {
		maker := ruleFor("makers", allow, theApplication, name)
		maker.Environments = []adminv1.Environment{sandbox}
		r.apply(t, withRules(maker))
		make := func(key string, env adminv1.Environment) error {
			var err error
			if name == "CreateKey" {
				_, err = r.admin.CreateKey(as(t, application), &adminv1.CreateKeyRequest{Name: key, Environment: env})
			} else {
				_, err = r.admin.ImportKey(as(t, application), &adminv1.ImportKeyRequest{
					Name: key, Scheme: "noah", Environment: env, Material: newNOAH(t, elliptic.P256(), env).material()})
			}
			return err
		}
		must(t, make(nameOnly(name)+"-sandbox", sandbox))
		r.denied(t, make(nameOnly(name)+"-prod", prod), "")
		if r.keys.Lookup(nameOnly(name)+"-prod") != nil {
			t.Error("the key was made")
		}
		// By what it would be, not by what there is of that name.
		must(t, r.label(as(t, operator), nameOnly(name)+"-sandbox", map[string]string{"a": "b"}))
		r.denied(t, make(nameOnly(name)+"-sandbox", prod), "")
		r.refused(t, make(nameOnly(name)+"-sandbox", sandbox), codes.AlreadyExists, "KEY_EXISTS")
	}
}

func TestKeysAreMadeByNameLabelsAndPartnerOfARule(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	maker := ruleFor("makers", allow, theApplication, "CreateKey")
	maker.Keys, maker.Labels, maker.When = []string{"a", "b"}, map[string]string{"team": "orders"}, `key.scheme == "noah" && key.name != "b"`
	r.apply(t, withRules(maker, ruleFor("setters", allow, theApplication, "SetPolicy")))
	create := func(name string, labels map[string]string) error {
		_, err := r.admin.CreateKey(as(t, application), &adminv1.CreateKeyRequest{Name: name, Environment: prod, Labels: labels})
		return err
	}
	team := map[string]string{"team": "orders"}
	r.denied(t, create("a", nil), "")
	r.denied(t, create("a", map[string]string{"team": "billing"}), "")
	r.denied(t, create("b", team), "")
	r.denied(t, create("c", team), "")
	must(t, create("a", team))
}

func TestSandboxOnlyCallersNeverGetAProdKey(t *testing.T) {
	t.Parallel()
	r := start(t, setup{sandboxOnly: []string{theApplication}})
	r.imported(t, "sandbox", "noba", sandbox, newNoba().material())
	r.imported(t, "prod", "noba", prod, newNoba().material())
	opened := ruleFor("open", allow, "*", "*")
	prodOnly := ruleFor("prod-only", allow, theApplication, "ComputeNobaSignature")
	prodOnly.Environments = []adminv1.Environment{prod}
	r.apply(t, &adminv1.Policy{Rules: []*adminv1.PolicyRule{opened, prodOnly}})
	app := as(t, application)
	_, err := r.computeNoba(app, "sandbox")
	must(t, err)
	_, err = r.computeNoba(app, "prod")
	r.denied(t, err, policy.RuleSandboxOnly)
	_, err = r.admin.CreateKey(app, &adminv1.CreateKeyRequest{Name: "mine", Environment: prod})
	r.denied(t, err, policy.RuleSandboxOnly)
	_, err = r.admin.ImportKey(app, &adminv1.ImportKeyRequest{Name: "mine", Scheme: "noba", Environment: prod, Material: newNoba().material()})
	r.denied(t, err, policy.RuleSandboxOnly)
	for name, call := range map[string]func() error{
		"get":     func() error { return r.get(app, "prod") },
		"label":   func() error { return r.label(app, "prod", nil) },
		"disable": func() error { _, err := r.admin.DisableKey(app, &adminv1.DisableKeyRequest{Name: "prod"}); return err },
	} {
		t.Run(name, func(t *testing.T) { r.denied(t, call(), policy.RuleSandboxOnly) })
	}
	if names := r.list(t, application, 10); !slices.Equal(names, []string{"sandbox"}) {
		t.Errorf("it lists %q", names)
	}
	if names := r.list(t, operator, 10); !slices.Equal(names, []string{"prod", "sandbox"}) {
		t.Errorf("to others it lists %q", names)
	}
}

func TestKeysAreListedByTheRulesOfGetKey(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	for _, name := range []string{"orders", "billing", "hidden", "prod-orders"} {
		env := sandbox
		if name == "prod-orders" {
			env = prod
		}
		r.imported(t, name, "noba", env, newNoba().material())
		must(t, r.label(as(t, operator), name, map[string]string{"team": nameOnly(name)}))
	}
	must(t, r.label(as(t, operator), "prod-orders", map[string]string{"team": "orders"}))
	lister := ruleFor("listers", allow, theApplication, "ListKeys")
	for name, tt := range map[string]struct {
		rules []*adminv1.PolicyRule
		want  []string
	}{
		"no rule":    {nil, nil},
		"by label":   {[]*adminv1.PolicyRule{getting("a", allow, func(r *adminv1.PolicyRule) { r.Labels = map[string]string{"team": "orders"} })}, []string{"orders", "prod-orders"}},
		"by both":    {[]*adminv1.PolicyRule{getting("a", allow, nil), getting("b", deny, func(r *adminv1.PolicyRule) { r.Environments = []adminv1.Environment{prod} })}, []string{"billing", "hidden", "orders"}},
		"by name":    {[]*adminv1.PolicyRule{getting("a", allow, func(r *adminv1.PolicyRule) { r.Keys = []string{"hidden"} })}, []string{"hidden"}},
		"by CEL":     {[]*adminv1.PolicyRule{getting("a", allow, func(r *adminv1.PolicyRule) { r.When = `key.labels.team == key.name` })}, []string{"billing", "hidden", "orders"}},
		"by nothing": {[]*adminv1.PolicyRule{getting("a", allow, func(r *adminv1.PolicyRule) { r.When = `key.labels.absent == "x"` })}, nil},
		"in shadow":  {[]*adminv1.PolicyRule{getting("a", allow, func(r *adminv1.PolicyRule) { r.Mode = adminv1.PolicyMode_POLICY_MODE_SHADOW })}, nil},
		"limited":    {[]*adminv1.PolicyRule{getting("a", allow, func(r *adminv1.PolicyRule) { r.Limits = &adminv1.PolicyLimits{PerDay: 1} })}, []string{"billing", "hidden", "orders", "prod-orders"}},
	} {
		t.Run(name, func(t *testing.T) {
			r.apply(t, withRules(append(tt.rules, lister)...))
			for _, size := range []int32{1, 2, 10} {
				if got := r.list(t, application, size); !slices.Equal(got, tt.want) {
					t.Errorf("pages of %d: it lists %q, want %q", size, got, tt.want)
				}
			}
		})
	}
	r.apply(t, withRules(getting("a", allow, nil)))
	_, err := r.admin.ListKeys(as(t, application), &adminv1.ListKeysRequest{})
	r.denied(t, err, "")
}

func getting(name string, effect adminv1.PolicyEffect, narrow func(*adminv1.PolicyRule)) *adminv1.PolicyRule {
	rule := ruleFor(name, effect, theApplication, "GetKey")
	if narrow != nil {
		narrow(rule)
	}
	return rule
}

func TestAListShowsKeysAsTheyWereUnderThePolicyThatDecidesIt(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNoba(t, "a")
	must(t, r.label(as(t, operator), "a", map[string]string{"team": "billing"}))
	of := func(team string) *adminv1.Policy {
		return withRules(ruleFor("listers", allow, theApplication, "ListKeys"),
			getting("by-team", allow, func(rule *adminv1.PolicyRule) { rule.Labels = map[string]string{"team": team} }))
	}
	r.apply(t, of("orders"))
	// The key moves to the team only when the team is no longer what the policy asks for.
	r.clock.onceAt(3, func() {
		r.apply(t, of("nobody"))
		must(t, r.label(as(t, operator), "a", map[string]string{"team": "orders"}))
	})
	out, err := r.admin.ListKeys(as(t, application), &adminv1.ListKeysRequest{})
	must(t, err)
	if len(out.GetKeys()) > 0 {
		t.Errorf("a list that no policy allowed: %v", out.GetKeys())
	}
}
