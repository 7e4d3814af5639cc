package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

const longPolicyExplain = `Decide one request by the policy in force and show which rules matched, and why the others did not. Nothing is signed.

METHOD and PATH are left out for operations that have none, and --key for those that concern no key. Without --operation
the request is one to be signed for the key's partner. --query gives typed parameters, as for "signerctl sign noah".

With --env the request is decided as if the key were in that environment, for the partner of --scheme and with no labels
but those of --label: for a key that there is not yet, or that is to be thought of as another. Without --env the key that
there is counts.

Rules that name another caller, operation or key are left out; --all shows them too. The exit status is 0 whatever is
decided.`

func (a *app) policyExplain() *cobra.Command {
	var caller, key, operation text
	var queryArgs, labelArgs *[]string
	scheme := &choice{allowed: []string{"noah", "noba", "noon"}}
	env := &choice{allowed: []string{"sandbox", "prod"}}
	var body *file
	var all *bool
	var output *choice
	use := "explain --as CALLER --key NAME METHOD PATH [--query K=V|K:=JSON ...] [--body FILE] [--operation OP] [--env sandbox|prod [--scheme noah|noba|noon] [--label K=V ...]] [--all]"
	cmd := command(use, "Show how a request is decided, and why", methodAndPath, func(cmd *cobra.Command, args []string) error {
		if !key.given() && !operation.given() {
			return &usageError{message: "--key is missing, or --operation for one that concerns no key"}
		}
		if err := checkText([]string{caller.value, key.value, operation.value}); err != nil {
			return err
		}
		labels, err := parseLabels(*labelArgs)
		if err != nil {
			return err
		}
		switch {
		case env.value == "" && (scheme.value != "" || len(labels) > 0):
			return &usageError{message: "--scheme and --label describe a key, and need its --env as well"}
		case env.value != "" && !key.given():
			return &usageError{message: "--env describes a key, and needs its name: --key is missing"}
		}
		query, err := parseQuery(*queryArgs)
		if err != nil {
			return err
		}
		req := &adminv1.PolicyRequest{Caller: caller.value, Operation: operation.value, Key: key.value,
			Scheme: scheme.value, Environment: environments[env.value], Labels: labels}
		if len(args) > 0 {
			req.Method, req.Path = args[0], args[1]
		}
		if req.QueryParams, err = query.toStruct(); err != nil {
			return &usageError{message: "--query: " + err.Error()}
		}
		conn, err := a.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		if body.given() {
			content, err := a.readBody(body)
			if err != nil {
				return err
			}
			req.Content = &adminv1.PolicyRequest_Body{Body: content}
		}
		resp, err := adminv1.NewPolicyServiceClient(conn).ExplainPolicy(cmd.Context(), &adminv1.ExplainPolicyRequest{Request: req, All: *all}, largeAnswers)
		if err != nil {
			return &failure{what: "explaining a decision", key: key.value, err: err}
		}
		return a.print(output, resp, func(w io.Writer) { writeExplanation(w, resp) })
	})
	cmd.Long = longPolicyExplain
	textVar(cmd.Flags(), &caller, "as", "the `CALLER`, such as unix:uid=1000 or spiffe://example.org/orders")
	require(cmd, "as")
	textVar(cmd.Flags(), &key, "key", "the `NAME` of the key")
	textVar(cmd.Flags(), &operation, "operation", "the RPC `OP`, such as SignNoahRequest (default: the one that signs for the key's partner)")
	cmd.Flags().Var(env, "env", "the environment of the key as it is to be thought of")
	cmd.Flags().Var(scheme, "scheme", "the partner of that key")
	labelArgs = cmd.Flags().StringArray("label", nil, "a label `K=V` of that key; repeatable")
	queryArgs = cmd.Flags().StringArray("query", nil, "a query parameter, `K=V` or K:=JSON; repeatable")
	body = bodyFlag(cmd)
	all = cmd.Flags().Bool("all", false, "also show the rules that name another caller, operation or key")
	output = outputFlag(cmd, formatText, formatJSON)
	return cmd
}

// methodAndPath wants both or neither.
func methodAndPath(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return positional("METHOD", "PATH")(cmd, args)
}

func writeExplanation(w io.Writer, e *adminv1.ExplainPolicyResponse) {
	table(w,
		[]string{"Decision:", decision(e.GetEffect(), e.GetRule())},
		[]string{"Operation:", e.GetOperation()},
		[]string{"Generation:", strconv.FormatUint(e.GetGeneration(), 10)})
	rows := [][]string{{"RULE", "EFFECT", "MODE", "MATCHES", "WHY"}}
	for _, r := range e.GetRules() {
		why := r.GetWhy()
		if why == "" {
			why = "-"
		}
		mode := "enforce"
		if r.GetMode() != adminv1.PolicyMode_POLICY_MODE_UNSPECIFIED {
			mode = strings.ToLower(strings.TrimPrefix(r.GetMode().String(), "POLICY_MODE_"))
		}
		rows = append(rows, []string{r.GetName(), effectName(r.GetEffect()), mode, yesNo(r.GetMatched()), why})
	}
	if len(rows) > 1 {
		_, _ = fmt.Fprintln(w)
		table(w, rows...)
	}
	if n := e.GetOmitted(); n > 0 {
		_, _ = fmt.Fprintf(w, "\nLeft out: %s for another caller, operation or key; --all shows them.\n", quantity(int(n), "rule"))
	}
}
