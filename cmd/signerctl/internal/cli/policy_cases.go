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
judge. With -o json every case is listed.`

func (a *app) policyTest() *cobra.Command {
	var output *choice
	cmd := a.documentCommand("test FILE", "Try out a document's cases", func(cmd *cobra.Command, path string) error {
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
