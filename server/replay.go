package server

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/audit/reader"
	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/policy/condition"
	"github.com/signerd/signerd/policy/pattern"
)

// What ReplayPolicy keeps and gives of calls that it decides otherwise: groups beyond the first are counted, and not told apart.
const (
	maxReplayedGroups = 100_000
	maxReplayedBytes  = 32 << 20 // of their texts, which callers may make long
	maxReplayedGiven  = 1000
)

// ReplayPolicy implements adminv1.PolicyServiceServer.
func (s *policyService) ReplayPolicy(in *adminv1.ReplayPolicyRequest, stream grpc.ServerStreamingServer[adminv1.ReplayPolicyResponse]) error {
	since, err := optionalTime("since", in.GetSince())
	if err != nil {
		return err
	}
	ctx := stream.Context()
	o, err := s.authorizeAudit(ctx)
	if err != nil {
		return err
	}
	candidate, err := compilePolicy(in.GetPolicy())
	if err != nil {
		return err
	}
	done, err := s.readWhole(ctx)
	if err != nil {
		return err
	}
	defer done()
	r := replay{policy: candidate, bounds: s.bounds.Load(), view: o.keys.View(), groups: make(map[replayedGroup]*replayedCalls)}
	said := time.Now()
	err = o.source().List(ctx, reader.Filter{Since: since}, func(line reader.Line) error {
		// A line that cannot be read is for VerifyLog to name.
		if record, err := audit.Parse(line.Text); err == nil {
			r.take(&record)
		}
		if now := time.Now(); now.Sub(said) >= progressEvery {
			said = now
			return stream.Send(&adminv1.ReplayPolicyResponse{Calls: r.calls})
		}
		return nil
	})
	if err != nil {
		return err
	}
	return stream.Send(&adminv1.ReplayPolicyResponse{Calls: r.calls, Result: r.result()})
}

// replay decides past calls anew.
type replay struct {
	policy *policy.Policy
	bounds *policy.Bounds
	view   keystore.View

	calls, same, different, unknown uint64
	groups                          map[replayedGroup]*replayedCalls
	omitted                         uint32
	bytes                           int
}

// replayedGroup is what calls have in common that are told together.
type replayedGroup struct {
	caller, operation, key, method, path, then, ruleThen, now, ruleNow string
}

func (g replayedGroup) bytes() int {
	return len(g.caller) + len(g.operation) + len(g.key) + len(g.method) + len(g.path) + len(g.ruleThen) + len(g.ruleNow)
}

type replayedCalls struct {
	count  uint64
	newest string
}

// take decides one call, unless policy was never asked about it. What an intention is about has a result, or never happened.
func (r *replay) take(record *audit.Record) {
	if record.Kind != audit.KindCall || record.Decision == "" || record.Needs != "" {
		return
	}
	question, ok := r.question(record)
	if !ok {
		return
	}
	r.calls++
	decided := r.bounds.Replay(r.policy, question)
	switch {
	case decided.Effect == "" || record.Cut && question.Request != nil || decided.Effect == policy.Allow && r.mayNotLabel(question):
		r.unknown++
		decided.Effect = ""
	case string(decided.Effect) == record.Decision:
		r.same++
		return
	default:
		r.different++
	}
	group := replayedGroup{record.Caller, record.Operation, record.Key, record.Method, record.Path, record.Decision, record.Rule,
		string(decided.Effect), decided.Rule}
	calls := r.groups[group]
	if calls == nil {
		if r.bytes += group.bytes(); len(r.groups) == maxReplayedGroups || r.bytes > maxReplayedBytes {
			r.omitted++
			return
		}
		calls = &replayedCalls{}
		r.groups[group] = calls
	}
	calls.count++
	calls.newest = record.ID
}

// labelling are the operations that may change labels, which are not on record.
var labelling = []policy.Operation{"CreateKey", "ImportKey", "UpdateKey"}

// mayNotLabel says whether a call that is allowed may be refused all the same, for labels that the policy reads (mayLabel).
func (r *replay) mayNotLabel(q policy.Past) bool {
	if !slices.Contains(labelling, q.Operation) || !r.policy.ReadsLabels() {
		return false
	}
	set := policy.Past{Question: policy.Question{Caller: q.Caller, Operation: setPolicy, Now: q.Now}}
	return r.bounds.Replay(r.policy, set).Effect != policy.Allow
}

// question is what was asked then. The key counts as it is now: its labels are not on record.
func (r *replay) question(record *audit.Record) (policy.Past, bool) {
	var q policy.Past
	var err error
	if q.Caller, err = policy.ParseCaller(record.Caller); err != nil {
		return q, false
	}
	q.Operation, q.Now = policy.Operation(record.Operation), record.Time
	needed, known := permissionFor(q.Operation)
	if !known {
		return q, false
	}
	if record.Key != "" {
		key := r.view.Lookup(record.Key)
		q.Key = knownKey(record.Key, key)
		if needed.makesKey && record.Scheme != "" {
			// It was decided by what the key was to be, or as a ticket for a key that there is, by what it is.
			q.Key = policy.Key{Name: record.Key, Known: true, Scheme: record.Scheme, Environment: record.Environment, Labels: q.Key.Labels}
			q.LabelsWithheld = key == nil
		}
	}
	if needed.covers == (policy.Covers{}) {
		return q, true
	}
	q.Request = &policy.Request{Method: record.Method, Path: pattern.NewTarget(record.Path), Body: condition.NewBody(nil), Query: record.QueryValues}
	if record.BodySHA256 != "" {
		q.Request.Body = condition.HashedBody()
	}
	if len(record.QueryNames) > 0 && len(record.QueryValues) == 0 {
		q.QueryWithheld = true
		q.Request.Query = make(map[string][]string, len(record.QueryNames))
		for _, name := range record.QueryNames {
			q.Request.Query[name] = nil
		}
	}
	return q, true
}

func (r *replay) result() *adminv1.ReplayPolicyResult {
	out := &adminv1.ReplayPolicyResult{Same: r.same, Different: r.different, Unknown: r.unknown, Omitted: r.omitted}
	for group, calls := range r.groups {
		out.Calls = append(out.Calls, &adminv1.ReplayedCalls{
			Count: calls.count, Caller: group.caller, Operation: group.operation, Key: group.key, Method: group.method, Path: group.path,
			EffectThen: effectOf(group.then), RuleThen: group.ruleThen, Effect: effectOf(group.now), Rule: group.ruleNow, RecordId: calls.newest,
		})
	}
	slices.SortFunc(out.Calls, func(a, b *adminv1.ReplayedCalls) int {
		return cmp.Or(cmp.Compare(b.GetCount(), a.GetCount()), cmp.Compare(b.GetRecordId(), a.GetRecordId()))
	})
	if more := len(out.Calls) - maxReplayedGiven; more > 0 {
		out.Omitted += uint32(more)
		out.Calls = out.Calls[:maxReplayedGiven]
	}
	return out
}

func effectOf(decision string) adminv1.PolicyEffect {
	switch decision {
	case string(policy.Allow):
		return adminv1.PolicyEffect_POLICY_EFFECT_ALLOW
	case string(policy.Deny):
		return adminv1.PolicyEffect_POLICY_EFFECT_DENY
	}
	return adminv1.PolicyEffect_POLICY_EFFECT_UNSPECIFIED
}
