package policyfile

import (
	"go.yaml.in/yaml/v3"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

var (
	effects = map[string]adminv1.PolicyEffect{
		"allow": adminv1.PolicyEffect_POLICY_EFFECT_ALLOW,
		"deny":  adminv1.PolicyEffect_POLICY_EFFECT_DENY,
	}
	modes = map[string]adminv1.PolicyMode{
		"enforce": adminv1.PolicyMode_POLICY_MODE_ENFORCE,
		"shadow":  adminv1.PolicyMode_POLICY_MODE_SHADOW,
	}
	environments = map[string]adminv1.Environment{
		"sandbox": adminv1.Environment_ENVIRONMENT_SANDBOX,
		"prod":    adminv1.Environment_ENVIRONMENT_PROD,
	}
)

const (
	wantedEffect      = "allow or deny"
	wantedMode        = "enforce or shadow"
	wantedEnvironment = "sandbox or prod"
)

func (r *reader) document() *Document {
	d := &Document{Policy: &adminv1.Policy{}, root: r.root}
	hasRules := false
	r.fields(r.root, nil, map[string]visit{
		"generation": func(n *yaml.Node, p path) {
			var generation uint64
			count(r, &generation, 64, 0)(n, p)
			d.Generation = &generation
		},
		"rules": func(n *yaml.Node, p path) {
			hasRules = true
			r.items(n, p, func(n *yaml.Node, p path) { d.Policy.Rules = append(d.Policy.Rules, r.rule(n, p)) })
		},
		"cases": func(n *yaml.Node, p path) {
			r.items(n, p, func(n *yaml.Node, p path) { d.Policy.Cases = append(d.Policy.Cases, r.policyCase(n, p)) })
		},
	})
	if !hasRules && len(r.faults) == 0 {
		// A document that was cut short must not take everything from everybody.
		r.fault(r.root.Line, path{"rules"}, "the key is required; `rules: []` allows nobody")
	}
	return d
}

func (r *reader) rule(n *yaml.Node, p path) *adminv1.PolicyRule {
	rule := &adminv1.PolicyRule{}
	r.fields(n, p, map[string]visit{
		"name":        r.text(&rule.Name),
		"description": r.text(&rule.Description),
		"effect":      word(r, &rule.Effect, effects, wantedEffect),
		"mode":        word(r, &rule.Mode, modes, wantedMode),
		"callers":     r.texts(&rule.Callers),
		"keys":        r.texts(&rule.Keys),
		"operations":  r.texts(&rule.Operations),
		"environments": func(n *yaml.Node, p path) {
			if r.items(n, p, func(n *yaml.Node, p path) {
				var e adminv1.Environment
				word(r, &e, environments, wantedEnvironment)(n, p)
				rule.Environments = append(rule.Environments, e)
			}) == 0 {
				r.fault(n.Line, p, "the list is empty; name something, or leave the key out")
			}
		},
		"labels":  r.labels(&rule.Labels, false),
		"methods": r.texts(&rule.Methods),
		"paths":   r.texts(&rule.Paths),
		"query": func(n *yaml.Node, p path) {
			rule.Query = &adminv1.PolicyQuery{}
			r.items(n, p, func(n *yaml.Node, p path) {
				parameter := &adminv1.PolicyQueryParameter{}
				r.fields(n, p, map[string]visit{
					"name":     r.text(&parameter.Name),
					"values":   r.texts(&parameter.Values),
					"optional": r.truth(&parameter.Optional),
				})
				rule.Query.Parameters = append(rule.Query.Parameters, parameter)
			})
		},
		"when": r.condition(&rule.When),
		"limits": func(n *yaml.Node, p path) {
			rule.Limits = &adminv1.PolicyLimits{}
			r.fields(n, p, map[string]visit{
				"per_second": r.rate(&rule.Limits.PerSecond),
				"burst":      count(r, &rule.Limits.Burst, 32, 1),
				"per_hour":   count(r, &rule.Limits.PerHour, 64, 1),
				"per_day":    count(r, &rule.Limits.PerDay, 64, 1),
			})
		},
	})
	return rule
}

func (r *reader) policyCase(n *yaml.Node, p path) *adminv1.PolicyCase {
	request := &adminv1.PolicyRequest{}
	one := &adminv1.PolicyCase{Request: request}
	// once keeps the second of two bodies out.
	once := func(out *[]byte, read visit, set func()) visit {
		return func(n *yaml.Node, p path) {
			if request.Content != nil {
				r.fault(n.Line, p, "wanted body or body_sha256, not both")
				return
			}
			read(n, p)
			// Never nil: an empty body is given all the same.
			*out = append([]byte{}, *out...)
			set()
		}
	}
	body, hash := &adminv1.PolicyRequest_Body{}, &adminv1.PolicyRequest_BodySha256{}
	r.fields(n, p, map[string]visit{
		"name":        r.text(&one.Name),
		"caller":      r.text(&request.Caller),
		"key":         r.text(&request.Key),
		"scheme":      r.text(&request.Scheme),
		"environment": word(r, &request.Environment, environments, wantedEnvironment),
		"labels":      r.labels(&request.Labels, true),
		"operation":   r.text(&request.Operation),
		"method":      r.text(&request.Method),
		"path":        r.text(&request.Path),
		"query":       r.queryParams(&request.QueryParams),
		"body":        once(&body.Body, r.body(&body.Body), func() { request.Content = body }),
		"body_sha256": once(&hash.BodySha256, r.sha256(&hash.BodySha256), func() { request.Content = hash }),
		"expect":      word(r, &one.Expect, effects, wantedEffect),
		"rule":        r.text(&one.Rule),
	})
	return one
}
