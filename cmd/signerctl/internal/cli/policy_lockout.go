package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/signerd/signerd/cmd/signerctl/internal/policyfile"
	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// guardLockout keeps a document from being the last that its author could apply. allowed is for who means it: what could
// not be found out stops nothing then.
func (a *app) guardLockout(cmd *cobra.Command, conn grpc.ClientConnInterface, d *document, what string, allowed bool) error {
	lockout, err := d.lockout(cmd, conn, what)
	switch {
	case allowed:
		if lockout != "" {
			a.tell("note", lockout)
		}
		return nil
	case err != nil:
		return err
	case lockout != "":
		return &failure{what: what, err: errors.New("nothing was applied: " + lockout),
			hint: "keep a rule that allows you SetPolicy, or have the configuration file name you in administrators; --allow-lockout applies the document all the same"}
	}
	return nil
}

// lockout says that by the document the caller could not apply another; it is empty when they could, administrators always.
func (d *document) lockout(cmd *cobra.Command, conn grpc.ClientConnInterface, what string) (string, error) {
	hints := map[string]string{"DENIED": "apply asks GetStatus and TestPolicy whether you could still replace the policy; " +
		"ask for a rule that allows you both, or apply with --allow-lockout"}
	status, err := adminv1.NewSystemServiceClient(conn).GetStatus(cmd.Context(), &adminv1.GetStatusRequest{})
	if err != nil {
		return "", &failure{what: what, err: err, hints: hints}
	}
	// The document's own cases stay out: they may be as many as signerd takes, and one may have this one's name.
	asked := &document{name: d.name, Document: d.with(&adminv1.PolicyCase{
		Name: "the author applies another policy", Expect: adminv1.PolicyEffect_POLICY_EFFECT_ALLOW,
		Request: &adminv1.PolicyRequest{Caller: status.GetCaller(), Operation: "SetPolicy"},
	})}
	results, _, err := asked.test(cmd, adminv1.NewPolicyServiceClient(conn), what)
	if f, ok := errors.AsType[*failure](err); ok {
		f.hints = hints
	}
	if err != nil {
		return "", err
	}
	switch result := results[0]; {
	case result.GetEffect() == adminv1.PolicyEffect_POLICY_EFFECT_ALLOW,
		// Who may not replace the policy as it is loses nothing: signerd will refuse, and say so.
		result.GetEffectInForce() == adminv1.PolicyEffect_POLICY_EFFECT_DENY:
		return "", nil
	default:
		return fmt.Sprintf("by this document you (%s) could not replace the policy again (SetPolicy: %s)",
			status.GetCaller(), decision(result.GetEffect(), result.GetRule())), nil
	}
}

// with is the document with one case instead of its own.
func (d *document) with(one *adminv1.PolicyCase) *policyfile.Document {
	other := *d.Document
	other.Policy = &adminv1.Policy{Rules: d.Policy.GetRules(), Cases: []*adminv1.PolicyCase{one}}
	return &other
}
