package server

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/policy/condition"
	"github.com/signerd/signerd/policy/pattern"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

// asked is what is to be signed, for policy and for the record.
type asked struct {
	policy     *policy.Request
	path       string
	bodySHA256 string // hexadecimal; empty without a body
	bodyBytes  int64
}

// question is nil for operations that sign nothing.
func (a *asked) question() *policy.Request {
	if a == nil {
		return nil
	}
	return a.policy
}

// noahAsked is a NOAH request. A body that is only known by its hash can be signed, but no rule can look into it.
func noahAsked(r noah.Request, body []byte) *asked {
	out := &policy.Request{Method: r.Method(), Path: pattern.NewTarget(r.Path()), Query: r.Query(), Body: condition.NewBody(body)}
	if r.BodyWithheld() {
		out.Body = condition.HashedBody()
	}
	return &asked{out, r.Path(), r.BodySHA256(), int64(len(body))}
}

// nobaAsked is a Noba request: its query is not signed, and so no rule sees it.
func nobaAsked(r noba.Request, body []byte) *asked {
	out := &asked{policy: &policy.Request{Method: r.Method(), Path: pattern.NewTarget(r.Path()), Body: condition.NewBody(body)}, path: r.Path(), bodyBytes: int64(len(body))}
	if len(body) > 0 {
		sum := sha256.Sum256(body)
		out.bodySHA256 = hex.EncodeToString(sum[:])
	}
	return out
}
