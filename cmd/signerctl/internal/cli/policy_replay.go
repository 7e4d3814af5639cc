package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// replayPolicy tries a document on what was really called.
func (a *app) replayPolicy(cmd *cobra.Command, path string, since *moment, output *choice) error {
	a.patient(cmd)
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
	result, err := a.replay(cmd, conn, &adminv1.ReplayPolicyRequest{Policy: d.Policy, Since: since.timestamp()})
	if _, ok := errors.AsType[*callError](err); ok {
		return d.refused(what, err)
	}
	if err != nil {
		return auditFailure(what, err)
	}
	if err := a.print(output, result, func(w io.Writer) { writeReplay(w, result) }); err != nil {
		return err
	}
	if n := result.GetDifferent(); n > 0 {
		return &failure{what: what, err: fmt.Errorf("%s would be decided otherwise", quantity(n, "past call"))}
	}
	return nil
}

func (a *app) replay(cmd *cobra.Command, conn *grpc.ClientConn, req *adminv1.ReplayPolicyRequest) (*adminv1.ReplayPolicyResult, error) {
	shown := a.progress()
	defer shown.end()
	var result *adminv1.ReplayPolicyResult
	err := receive(cmd, func(ctx context.Context) (grpc.ServerStreamingClient[adminv1.ReplayPolicyResponse], error) {
		return adminv1.NewPolicyServiceClient(conn).ReplayPolicy(ctx, req, largeAnswers)
	}, func(part *adminv1.ReplayPolicyResponse) error {
		if result != nil {
			return errors.New("signerd went on after its result")
		}
		result = part.GetResult()
		shown.show("%s decided", quantity(part.GetCalls(), "call"))
		return nil
	})
	if err == nil && result == nil {
		err = errors.New("signerd ended without a result")
	}
	return result, err
}

func writeReplay(w io.Writer, r *adminv1.ReplayPolicyResult) {
	rows := [][]string{{"CALLS", "CALLER", "OPERATION", "KEY", "REQUEST", "THEN", "NOW", "NEWEST"}}
	for _, c := range r.GetCalls() {
		now := "cannot be said"
		switch {
		case c.GetEffect() != adminv1.PolicyEffect_POLICY_EFFECT_UNSPECIFIED:
			now = decision(c.GetEffect(), c.GetRule())
		case c.GetRule() != "":
			now += " for " + c.GetRule()
		}
		row := cells(c.GetCaller(), c.GetOperation(), c.GetKey(), strings.TrimSpace(c.GetMethod()+" "+c.GetPath()),
			decision(c.GetEffectThen(), c.GetRuleThen()), now, c.GetRecordId())
		rows = append(rows, append([]string{strconv.FormatUint(c.GetCount(), 10)}, row...))
	}
	if len(rows) > 1 {
		table(w, rows...)
		_, _ = fmt.Fprintln(w)
	}
	if n := r.GetOmitted(); n > 0 {
		_, _ = fmt.Fprintf(w, "Left out: %s, of fewer calls each.\n", quantity(n, "more group"))
	}
	if r.GetSame()+r.GetDifferent()+r.GetUnknown() == 0 {
		_, _ = fmt.Fprintln(w, "No call is on record since then, and so nothing was tried.")
		return
	}
	unknown := ""
	if n := r.GetUnknown(); n > 0 {
		unknown = fmt.Sprintf("; of %d it cannot be said", n)
	}
	_, _ = fmt.Fprintf(w, "%s decided the same, %d otherwise%s.\n", quantity(r.GetSame(), "call"), r.GetDifferent(), unknown)
}
