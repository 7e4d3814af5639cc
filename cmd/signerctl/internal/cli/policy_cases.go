package cli

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

const longPolicyTest = `Decide a document's own cases by it, and compare with the policy in force; nothing is changed. FILE may be - for standard
input.

Shown are the cases that fail, which are decided otherwise than they expect, and those that change, which the policy in
force allows and the document denies, or the other way round. The exit status is 1 when a case fails; changes are for you to
judge. With -o json every case is listed.

With --against-audit, such as --against-audit 7d, the calls on record since then are decided by the document in place of its
cases, and what it would decide otherwise is shown, alike calls together. The exit status is 1 when any call would be
decided otherwise; calls of which it cannot be said, as a rule reads what is not on record, such as the body, are shown and
do not count. Keys are taken as they are now, and limits do not count. --timeout is then 5m unless it is given, and begins
anew with each part of the answer.`

func (a *app) policyTest() *cobra.Command {
	var output *choice
	var since moment
	cmd := a.documentCommand("test FILE [--against-audit D|TIME]", "Try out a document's cases, or try it on past calls", func(cmd *cobra.Command, path string) error {
		if since.given() {
			return a.replayPolicy(cmd, path, &since, output)
		}
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		d, err := a.readDocument(path)
		if err != nil {
			return err
		}
		what := "testing " + d.name
		results, resp, err := d.test(cmd, adminv1.NewPolicyServiceClient(conn), what)
		if err != nil {
			return err
		}
		if d.Generation != nil && *d.Generation != resp.GetGeneration() {
			a.tell("note", fmt.Sprintf("the document was made from generation %d, and generation %d is in force: as it is, it cannot be applied", *d.Generation, resp.GetGeneration()))
		}
		if err := a.print(output, resp, func(w io.Writer) { d.writeResults(w, results, resp.GetGeneration()) }); err != nil {
			return err
		}
		if failed, _ := tally(results); failed > 0 {
			return &failure{what: what, err: errors.New(failing(failed, len(results)))}
		}
		return nil
	})
	cmd.Long = longPolicyTest
	momentVar(cmd.Flags(), &since, "against-audit", "decide the calls on record since then: 15m, 24h, 7d, or a time such as 2026-11-22T08:30:00Z")
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

// test gives one result for each case.
func (d *document) test(cmd *cobra.Command, client adminv1.PolicyServiceClient, what string) ([]*adminv1.PolicyCaseResult, *adminv1.TestPolicyResponse, error) {
	resp, err := client.TestPolicy(cmd.Context(), &adminv1.TestPolicyRequest{Policy: d.Policy}, largeAnswers)
	if err != nil {
		return nil, nil, d.refused(what, err)
	}
	if got, want := len(resp.GetResults()), len(d.Policy.GetCases()); got != want {
		return nil, nil, &failure{what: what, err: fmt.Errorf("signerd answered for %d of %d cases", got, want)}
	}
	return resp.GetResults(), resp, nil
}

func changes(r *adminv1.PolicyCaseResult) bool { return r.GetEffect() != r.GetEffectInForce() }

func tally(results []*adminv1.PolicyCaseResult) (failed, changed int) {
	for _, r := range results {
		if !r.GetPassed() {
			failed++
		}
		if changes(r) {
			changed++
		}
	}
	return failed, changed
}

func expectation(c *adminv1.PolicyCase) string {
	if c.GetRule() != "" {
		return effectName(c.GetExpect()) + " by " + c.GetRule()
	}
	return effectName(c.GetExpect())
}

func (d *document) writeResults(w io.Writer, results []*adminv1.PolicyCaseResult, generation uint64) {
	if len(results) == 0 {
		_, _ = fmt.Fprintf(w, "The document is sound (%s). It has no cases, and so nothing was tried.\n", quantity(len(d.Policy.GetRules()), "rule"))
		return
	}
	rows := [][]string{{"LINE", "CASE", "RESULT", "EXPECTED", "DECIDED", "IN FORCE"}}
	for i, r := range results {
		result, inForce := "passes", "the same"
		if !r.GetPassed() {
			result = "FAILS"
		}
		if changes(r) {
			result, inForce = result+", changes", decision(r.GetEffectInForce(), r.GetRuleInForce())
		}
		if r.GetPassed() && !changes(r) {
			continue
		}
		line := d.Fault(fmt.Sprintf("policy.cases[%d]", i), "").Line
		rows = append(rows, []string{strconv.Itoa(line), r.GetName(), result, expectation(d.Policy.GetCases()[i]), decision(r.GetEffect(), r.GetRule()), inForce})
	}
	if len(rows) > 1 {
		table(w, rows...)
		_, _ = fmt.Fprintln(w)
	}
	failed, changed := tally(results)
	outcome := failing(failed, len(results))
	if failed == 0 {
		outcome = quantity(len(results), "case") + passing(len(results))
	}
	otherwise := fmt.Sprintf("the policy in force (generation %d) decides each the same", generation)
	if changed > 0 {
		otherwise = fmt.Sprintf("the policy in force (generation %d) decides %d otherwise", generation, changed)
	}
	_, _ = fmt.Fprintf(w, "%s; %s.\n", outcome, otherwise)
}
