package server

import (
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/policy/condition"
	"github.com/signerd/signerd/policy/pattern"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

// noahQuestion is a NOAH request as policy sees it. A body that is only known by its hash can be signed, but no rule can look
// into it.
func noahQuestion(r noah.Request, body []byte) *policy.Request {
	out := &policy.Request{Method: r.Method(), Path: pattern.NewTarget(r.Path()), Query: r.Query(), Body: condition.NewBody(body)}
	if r.BodyWithheld() {
		out.Body = condition.HashedBody()
	}
	return out
}

// nobaQuestion is a Noba request as policy sees it: its query is not signed, and so no rule sees it.
func nobaQuestion(r noba.Request, body []byte) *policy.Request {
	return &policy.Request{Method: r.Method(), Path: pattern.NewTarget(r.Path()), Body: condition.NewBody(body)}
}
