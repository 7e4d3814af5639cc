package cli

import (
	"context"
	"errors"
	"unicode/utf8"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/diagnosis"
)

// verifyNoba tries what may have been signed, until one is it.
func (e *explainer) verifyNoba(ctx context.Context) error {
	sum, readable := diagnosis.NobaSum(e.r.Header.Get("X-Noba-Signature"))
	if !readable {
		_, version, err := e.ask(ctx, &adminv1.VerifySignatureRequest{Key: e.key.GetName(), ApiKey: e.sentAPIKey()})
		if err == nil {
			e.fitAPIKey(version)
		}
		return err
	}
	tried, apiKeyVersion := 0, uint32(0)
	for batch := range batches(diagnosis.NobaCandidates(e.r)) {
		req := &adminv1.VerifySignatureRequest{Key: e.key.GetName(), ApiKey: e.sentAPIKey()}
		for _, c := range batch {
			req.Candidates = append(req.Candidates, &adminv1.SignatureCandidate{Signature: &adminv1.SignatureCandidate_Noba{Noba: &adminv1.NobaSignature{
				Timestamp: c.Timestamp, ApiKey: c.APIKey, Method: c.Method, Path: c.Path, Body: c.Body, Signature: sum}}})
		}
		versions, version, err := e.ask(ctx, req)
		if err != nil {
			if call, ok := errors.AsType[*callError](err); ok && call.reason() == "RATE_LIMITED" && tried > 0 {
				e.notes = append(e.notes, "signerd's limit ended the search for what was signed; in a minute it may find more")
				break
			}
			return err
		}
		apiKeyVersion = version
		for i, v := range versions {
			if v > 0 {
				e.signedNoba(batch[i], tried+i == 0, v, version)
				return nil
			}
		}
		tried += len(batch)
	}
	e.check("the signature: with key %s it fits none of %s that are usual", e.key.GetName(), quantity(tried, "variant"))
	if e.fitAPIKey(apiKeyVersion); apiKeyVersion > 0 || e.sentAPIKey() == "" {
		e.found = append(e.found, diagnosis.NobaUnexplained(e.r))
	}
	return nil
}

// signedNoba is for a candidate that turned out to be what was signed.
func (e *explainer) signedNoba(c diagnosis.Candidate, right bool, signed, apiKeyVersion uint32) {
	e.fitVersions(signed, apiKeyVersion)
	if !right {
		e.found = append(e.found, diagnosis.NobaSigned(e.r, c))
		e.check("timestamp, method, path and body: the signature is over something else")
		return
	}
	e.check("timestamp, method, path and body: they are what was signed")
	e.found = append(e.found, diagnosis.NobaBody(e.r)...)
}

// batches cuts candidates into what one call takes, and leaves out what none does.
func batches(all []diagnosis.Candidate) func(yield func([]diagnosis.Candidate) bool) {
	return func(yield func([]diagnosis.Candidate) bool) {
		var batch []diagnosis.Candidate
		size := 0
		for _, c := range all {
			if len(c.Timestamp) > 64 || len(c.APIKey) > 512 || len(c.Method) > 64 || len(c.Path) > 16<<10 ||
				!utf8.ValidString(c.Timestamp) || !utf8.ValidString(c.APIKey) || !utf8.ValidString(c.Method) || !utf8.ValidString(c.Path) {
				continue
			}
			if len(batch) == maxCandidates || len(batch) > 0 && size+len(c.Body) > maxCandidateBytes {
				if !yield(batch) {
					return
				}
				batch, size = nil, 0
			}
			batch, size = append(batch, c), size+len(c.Body)
		}
		if len(batch) > 0 {
			yield(batch)
		}
	}
}
