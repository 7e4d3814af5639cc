package soak

import (
	"context"
	"fmt"
	"maps"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/signerd/signerd/audit"
	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// The operations that an operator does in turns, and the label that one of them changes.
const (
	updateKey = "UpdateKey"
	setPolicy = "SetPolicy"
	label     = "soak"
)

// state is a thing that an operator changes, as a value and a generation.
type state struct {
	value      string
	generation uint64
}

// operator changes a key and the policy, and knows what signerd acknowledged.
type operator struct {
	key, caller  string
	made         int // changes that were acknowledged, and those that were made nevertheless
	now          map[string]state
	tried        map[string]string // values of changes without an answer
	acknowledged []acknowledged    // in this round
}

// acknowledged is a change that signerd said it made.
type acknowledged struct {
	operation  string
	generation uint64
}

// change makes one change. After an error nobody knows whether it was made.
func (o *operator) change(ctx context.Context, conn *grpc.ClientConn) error {
	operation := updateKey
	if o.made%2 == 1 {
		operation = setPolicy
	}
	before, next := o.now[operation], state{value: fmt.Sprintf("change-%d", o.made)}
	o.tried[operation] = next.value
	switch operation {
	case updateKey:
		got, err := adminv1.NewKeyServiceClient(conn).UpdateKey(ctx, &adminv1.UpdateKeyRequest{
			Name: o.key, Labels: map[string]string{label: next.value}, Generation: before.generation})
		if err != nil {
			return err
		}
		next.generation = got.GetKey().GetGeneration()
	case setPolicy:
		got, err := adminv1.NewPolicyServiceClient(conn).SetPolicy(ctx, &adminv1.SetPolicyRequest{
			Policy: allowing(next.value, o.caller), Generation: before.generation})
		if err != nil {
			return err
		}
		next.generation = got.GetGeneration()
	}
	delete(o.tried, operation)
	o.now[operation] = next
	o.made++
	o.acknowledged = append(o.acknowledged, acknowledged{operation, next.generation})
	return nil
}

// look asks signerd what there is.
func (o *operator) look(t *testing.T, conn *grpc.ClientConn) map[string]state {
	t.Helper()
	key, err := adminv1.NewKeyServiceClient(conn).GetKey(t.Context(), &adminv1.GetKeyRequest{Name: o.key})
	must(t, err)
	policy, err := adminv1.NewPolicyServiceClient(conn).GetPolicy(t.Context(), &adminv1.GetPolicyRequest{})
	must(t, err)
	return map[string]state{
		updateKey: {key.GetKey().GetLabels()[label], key.GetKey().GetGeneration()},
		setPolicy: {policy.GetPolicy().GetRules()[0].GetDescription(), policy.GetGeneration()},
	}
}

// check wants every acknowledged change to be in force and twice on record, before and after it. One without an answer may have been made
// or not, but not without being on record before.
func (o *operator) check(t *testing.T, conn *grpc.ClientConn, records []line) {
	t.Helper()
	intentions, results := make(map[string]line), make(map[acknowledged][]line)
	intended := make(map[string]int)
	for _, r := range records {
		if r.Operation != updateKey && r.Operation != setPolicy {
			continue
		}
		switch {
		case r.Kind == audit.KindIntention:
			intentions[r.ID] = r
			intended[r.Operation]++
		case r.Kind == audit.KindCall && r.Code == codes.OK.String():
			change := acknowledged{r.Operation, r.Generation}
			results[change] = append(results[change], r)
		default:
			t.Errorf("on record is %+v", r.Record)
		}
	}
	made := make(map[string]int)
	for _, change := range o.acknowledged {
		made[change.operation]++
		got := results[change]
		delete(results, change)
		if len(got) != 1 {
			t.Errorf("the result of %+v is %d times on record", change, len(got))
			continue
		}
		if before, ok := intentions[got[0].ID]; !ok || before.N >= got[0].N || before.Operation != change.operation {
			t.Errorf("%+v is on record as %+v, and before that as %+v", change, got[0].Record, before.Record)
		}
	}
	found := o.look(t, conn)
	for operation, is := range found {
		tried, open := o.tried[operation]
		switch was := o.now[operation]; {
		case is == was:
		case open && is.value == tried && is.generation > was.generation:
			made[operation]++
			o.made++
			delete(results, acknowledged{operation, is.generation}) // it may be there or not
		default:
			t.Errorf("%s: signerd has %+v, acknowledged was %+v, tried %q", operation, is, was, tried)
		}
		if extra := intended[operation] - made[operation]; extra < 0 || extra > 0 && !open || extra > 1 {
			t.Errorf("%s: %d were intended, and %d made", operation, intended[operation], made[operation])
		}
	}
	if len(results) > 0 {
		t.Errorf("on record are changes that were not made: %v", results)
	}
	o.now, o.acknowledged = maps.Clone(found), nil
	clear(o.tried)
}
