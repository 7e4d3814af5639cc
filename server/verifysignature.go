package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

// VerifySignature implements adminv1.KeyServiceServer. It gets verifiers from the key, and no credential: it cannot sign.
func (s *keyService) VerifySignature(ctx context.Context, in *adminv1.VerifySignatureRequest) (*adminv1.VerifySignatureResponse, error) {
	a, err := s.authorize(ctx, in.GetKey(), nil)
	if err != nil {
		return nil, err
	}
	c, err := callFrom(ctx)
	if err != nil {
		return nil, err
	}
	c.record.Note = fmt.Sprintf("candidates=%d", len(in.GetCandidates()))
	if err := verifiable(a.key.Scheme, in.GetCandidates()); err != nil {
		return nil, err
	}
	verifiers, err := a.key.Verifiers(a.permit)
	if err != nil {
		return nil, err
	}
	if after := s.verifications.charge(c.caller.String(), tries(verifiers, in), s.now()); after > 0 {
		return nil, &limitedError{after}
	}
	out := &adminv1.VerifySignatureResponse{RecordId: c.record.ID, Versions: make([]uint32, 0, len(in.GetCandidates()))}
	for _, candidate := range in.GetCandidates() {
		version, err := madeBy(ctx, verifiers, candidate)
		if err != nil {
			return nil, err
		}
		out.Versions = append(out.Versions, version)
		if c.record.Version == 0 {
			c.record.Version = version
		}
	}
	out.ApiKeyVersion = hasAPIKey(verifiers, in.GetApiKey())
	c.record.Note += verdictNote(c.record.Version, in.GetApiKey() != "", out.GetApiKeyVersion())
	return out, nil
}

// verifiable refuses keys whose partner has no signatures, and candidates for another partner than the key's.
func verifiable(scheme string, candidates []*adminv1.SignatureCandidate) error {
	if scheme != noah.Name && scheme != noba.Name {
		return errWrongScheme
	}
	for _, candidate := range candidates {
		if scheme == noah.Name && candidate.GetNoah() == nil || scheme == noba.Name && candidate.GetNoba() == nil {
			return errWrongScheme
		}
	}
	return nil
}

// madeBy is the version that made a candidate's signature, 0 for none.
func madeBy(ctx context.Context, verifiers []keystore.VersionVerifier, candidate *adminv1.SignatureCandidate) (uint32, error) {
	for _, version := range verifiers {
		// Many versions take a while, which nobody may be waiting for.
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		made, err := verifies(version.Verifier, candidate)
		if err != nil {
			return 0, err
		}
		if made {
			return version.Number, nil
		}
	}
	return 0, nil
}

func verifies(verifier upstream.Verifier, candidate *adminv1.SignatureCandidate) (bool, error) {
	switch v := verifier.(type) {
	case *noah.Verifier:
		return v.Verifies(candidate.GetNoah().GetToken()), nil
	case *noba.Verifier:
		c := candidate.GetNoba()
		return v.Verifies(noba.Signature{Timestamp: c.GetTimestamp(), APIKey: c.GetApiKey(), Method: c.GetMethod(), Path: c.GetPath(),
			Body: c.GetBody(), MAC: c.GetSignature()})
	}
	return false, fmt.Errorf("no signature is checked by %T", verifier)
}

// hasAPIKey is the version that has an API key, 0 for none.
func hasAPIKey(verifiers []keystore.VersionVerifier, apiKey string) uint32 {
	for _, version := range verifiers {
		if version.HasAPIKey(apiKey) {
			return version.Number
		}
	}
	return 0
}

// verdictNote is what the record says of an answer.
func verdictNote(version uint32, asked bool, apiKeyVersion uint32) string {
	yes := map[bool]string{true: "yes", false: "no"}
	note := " verified=" + yes[version != 0]
	if asked {
		note += " api_key=" + yes[apiKeyVersion != 0]
	}
	return note
}

// What one caller may have verified: so many tries at once, and then so many a second. A try is the API key or one candidate against
// one version; a candidate counts as one more for every tryBytes that it has.
const (
	verifyTries          = 2000
	verifyTriesPerSecond = 50
	tryBytes             = 64 << 10
)

// tries is what a request costs: one at least.
func tries(verifiers []keystore.VersionVerifier, in *adminv1.VerifySignatureRequest) int {
	each := 1
	for _, candidate := range in.GetCandidates() {
		each += 1 + len(candidate.GetNoba().GetBody())/tryBytes
	}
	return max(1, each*len(verifiers))
}

// verifications bounds what each caller has verified. A call is let in while the caller owes less than verifyTries, whatever the
// call costs, so that keys of many versions can be asked about; what it costs is owed. Safe for concurrent use.
type verifications struct {
	mu    sync.Mutex
	owed  map[string]time.Time // caller → when it will owe nothing
	swept time.Time
}

// charge takes a call's tries off a caller's allowance, or takes nothing and says how long the caller has to wait.
func (v *verifications) charge(caller string, tries int, now time.Time) time.Duration {
	const each = time.Second / verifyTriesPerSecond
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sweep(now)
	owed := max(0, v.owed[caller].Sub(now))
	if wait := owed + each - verifyTries*each; wait > 0 {
		return wait
	}
	v.owed[caller] = now.Add(owed + time.Duration(tries)*each)
	return 0
}

// sweep forgets who owes nothing, once a minute.
func (v *verifications) sweep(now time.Time) {
	if v.owed == nil {
		v.owed = make(map[string]time.Time)
	}
	if d := now.Sub(v.swept); d >= 0 && d < time.Minute {
		return
	}
	v.swept = now
	for caller, until := range v.owed {
		if !until.After(now) {
			delete(v.owed, caller)
		}
	}
}
