package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

const longPolicyApply = `Replace the policy by a document; "signerctl policy --help" shows what one looks like. FILE may be - for standard input.

The document names the generation of the policy that it was made from, as "signerctl policy get" prints it, or --generation
does. If another policy was applied since, nothing is replaced. A document that names none can only be the first; --force
replaces whatever is there.

The document's own cases are tried first: if one of them fails, nothing is replaced and the exit status is 1.
--skip-cases leaves them out.

Nothing is replaced either by a document by which you yourself could not apply another, because it does not allow you
SetPolicy; --allow-lockout applies it all the same, and notes it. Administrators of the configuration file can always apply
another. To find this out, apply calls GetStatus and TestPolicy.`

// applying is what the command line of apply says beside the document.
type applying struct {
	generation      uint64
	generationGiven bool
	force           bool
	skipCases       bool
	allowLockout    bool
}

func (a *app) policyApply() *cobra.Command {
	var how applying
	var output *choice
	use := "apply FILE [--generation N | --force] [--skip-cases] [--allow-lockout]"
	cmd := a.documentCommand(use, "Replace the policy by a document", func(cmd *cobra.Command, path string) error {
		how.generationGiven = cmd.Flags().Changed("generation")
		if how.force && how.generationGiven {
			return &usageError{message: "--generation and --force exclude each other"}
		}
		return a.applyPolicy(cmd, path, how, output)
	})
	cmd.Long = longPolicyApply
	cmd.Flags().Uint64Var(&how.generation, "generation", 0, "the generation `N` that a document was made from which does not say so itself")
	cmd.Flags().BoolVar(&how.force, "force", false, "replace the policy whatever its generation is")
	cmd.Flags().BoolVar(&how.skipCases, "skip-cases", false, "do not try the document's cases first")
	cmd.Flags().BoolVar(&how.allowLockout, "allow-lockout", false, "apply the document also when it does not let you apply another")
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

func (a *app) applyPolicy(cmd *cobra.Command, path string, how applying, output *choice) error {
	conn, err := a.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	d, err := a.readDocument(path)
	if err != nil {
		return err
	}
	client := adminv1.NewPolicyServiceClient(conn)
	what := "applying " + d.name
	present, err := client.GetPolicy(cmd.Context(), &adminv1.GetPolicyRequest{}, largeAnswers)
	if err != nil {
		return &failure{what: what, err: err}
	}
	generation, err := d.precondition(what, how, present)
	if err != nil {
		return err
	}
	cases := len(d.Policy.GetCases())
	tried := quantity(cases, "case")
	switch {
	case cases > 0 && how.skipCases:
		tried += ", not tried"
	case cases > 0:
		if err := d.tryCases(cmd, client, what); err != nil {
			return err
		}
		tried += passing(cases)
	}
	if err := a.guardLockout(cmd, conn, d, what, how.allowLockout); err != nil {
		return err
	}
	resp, err := client.SetPolicy(cmd.Context(), &adminv1.SetPolicyRequest{Policy: d.Policy, Generation: generation})
	if err != nil {
		f := d.refused(what, err)
		f.hints = map[string]string{"CONFLICT": hintStale(generation)}
		return f
	}
	if len(d.Policy.GetRules()) == 0 {
		a.tell("note", "the policy has no rules: nobody is allowed anything but by the configuration file")
	}
	if d.Generation != nil {
		a.tell("note", fmt.Sprintf("the document still says generation %d: make it %d before you apply it again", *d.Generation, resp.GetGeneration()))
	}
	changes := compareRules(present.GetPolicy(), d.Policy)
	return a.print(output, resp, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "The policy is replaced (generation %d): %s, %s.\n", resp.GetGeneration(), quantity(len(d.Policy.GetRules()), "rule"), tried)
		changes.write(w)
	})
}

func passing(cases int) string {
	if cases == 1 {
		return ", which passes"
	}
	return ", which all pass"
}

func hintStale(generation uint64) string {
	return fmt.Sprintf("somebody applied another policy since generation %d: `signerctl policy get`, merge, apply again", generation)
}

// precondition is the generation that the policy in force must have. signerd holds it too; what can be seen here is told
// before the cases are tried, and better.
func (d *document) precondition(what string, how applying, present *adminv1.GetPolicyResponse) (uint64, error) {
	if how.force {
		return present.GetGeneration(), nil
	}
	refuse := func(hint, format string, args ...any) (uint64, error) {
		return 0, &failure{what: what, err: fmt.Errorf(format, args...), hint: hint}
	}
	inForce := fmt.Sprintf("generation %d is in force", present.GetGeneration())
	if present.GetGeneration() != 0 {
		inForce += fmt.Sprintf(", set %s by %s", formatTime(present.GetUpdateTime()), present.GetAuthor())
	}
	made := how.generation
	switch {
	case d.Generation != nil && how.generationGiven && *d.Generation != how.generation:
		return refuse("leave one of them out", "the document names generation %d, and --generation %d", *d.Generation, how.generation)
	case d.Generation != nil:
		made = *d.Generation
	case !how.generationGiven && present.GetGeneration() != 0:
		return refuse(fmt.Sprintf("begin with `signerctl policy get`; or give --generation %d once you know what it replaces, or --force", present.GetGeneration()),
			"the document does not say which generation it was made from, and %s", inForce)
	}
	switch {
	case made < present.GetGeneration():
		return refuse(hintStale(made), "the document was made from generation %d, and %s", made, inForce)
	case made > present.GetGeneration():
		return refuse("is it the right signerd, and its newest store? --force replaces the policy all the same",
			"the document was made from generation %d, and %s", made, inForce)
	}
	return made, nil
}

// tryCases fails when one of them is not decided as expected.
func (d *document) tryCases(cmd *cobra.Command, client adminv1.PolicyServiceClient, what string) error {
	results, _, err := d.test(cmd, client, what)
	if err != nil {
		return err
	}
	f := &failure{what: what, hint: "correct the rules or the cases; `signerctl policy test` shows more, and --skip-cases applies the document all the same"}
	for i, result := range results {
		if !result.GetPassed() {
			expected := d.Policy.GetCases()[i]
			f.lines = append(f.lines, d.at(d.Fault(fmt.Sprintf("policy.cases[%d]", i),
				fmt.Sprintf("expected %s, decided %s", expectation(expected), decision(result.GetEffect(), result.GetRule())))))
		}
	}
	if len(f.lines) == 0 {
		return nil
	}
	f.err = errors.New("nothing was applied: " + failing(len(f.lines), len(results)))
	return f
}

func failing(failed, all int) string {
	if failed == 1 {
		return fmt.Sprintf("1 of %s fails", quantity(all, "case"))
	}
	return fmt.Sprintf("%d of %s fail", failed, quantity(all, "case"))
}

// ruleChanges compares two policies by the names of their rules.
type ruleChanges struct{ added, changed, removed []string }

func (c ruleChanges) write(w io.Writer) {
	if len(c.added)+len(c.changed)+len(c.removed) == 0 {
		_, _ = fmt.Fprintln(w, "No rule is added, changed or removed.")
		return
	}
	for _, part := range []struct {
		title string
		names []string
	}{{"Added: ", c.added}, {"Changed: ", c.changed}, {"Removed: ", c.removed}} {
		if len(part.names) > 0 {
			_, _ = fmt.Fprintf(w, "%s%s.\n", part.title, enumerate(part.names))
		}
	}
}

// enumerate lists names, not without end.
func enumerate(names []string) string {
	const most = 20
	shown := make([]string, 0, most)
	for _, name := range names[:min(len(names), most)] {
		shown = append(shown, plain(name))
	}
	text := strings.Join(shown, ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// compareRules tells rules by their names.
func compareRules(before, after *adminv1.Policy) ruleChanges {
	old := make(map[string]*adminv1.PolicyRule, len(before.GetRules()))
	for _, r := range before.GetRules() {
		old[r.GetName()] = r
	}
	var c ruleChanges
	kept := make(map[string]bool, len(after.GetRules()))
	for _, r := range after.GetRules() {
		kept[r.GetName()] = true
		switch was, ok := old[r.GetName()]; {
		case !ok:
			c.added = append(c.added, r.GetName())
		case !proto.Equal(was, r):
			c.changed = append(c.changed, r.GetName())
		}
	}
	for _, r := range before.GetRules() {
		if !kept[r.GetName()] {
			c.removed = append(c.removed, r.GetName())
		}
	}
	return c
}
