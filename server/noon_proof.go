package server

import (
	"context"
	"errors"
	"fmt"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noon"
)

// errUnproven says that a version was not activated since Noon refuses its credential.
var errUnproven = errors.New("the version is not proven")

// noteSkippedLogin puts it on record that an operator wants a version activated which nothing proves.
func noteSkippedLogin(ctx context.Context, in *adminv1.ActivateKeyVersionRequest) error {
	if !in.GetSkipLogin() {
		return nil
	}
	c, err := callFrom(ctx)
	if err != nil {
		return err
	}
	c.record.Note = "without a login"
	return nil
}

// proveLogin logs in at Noon with the version of a Noon key that is to be activated, of a disabled key too: it may be enabled once it
// has a credential that works. It gives the proof, nil where there is nothing to prove, and the generation that it holds for.
// What cannot be activated is not proven: the keystore says why.
func (s *Server) proveLogin(ctx context.Context, a authorized, in *adminv1.ActivateKeyVersionRequest) (keystore.Precondition, *noon.Proof, error) {
	expected := keystore.Precondition(in.GetGeneration())
	isNoon := a.key.Scheme == noon.Name
	switch {
	case in.GetSkipLogin() && !isNoon:
		return 0, nil, upstream.Invalid("skip_login", "versions of this partner's keys are activated without a login anyway")
	case in.GetSkipLogin() || !isNoon:
		return expected, nil, nil
	case expected != 0 && uint64(expected) != a.key.Generation:
		return 0, nil, keystore.ErrConflict
	}
	// Whatever the key becomes while the login is under way is not what is proven.
	expected = keystore.Precondition(a.key.Generation)
	v, ok := a.key.Version(in.GetVersion())
	if !ok || v.State != keystore.Enabled || v.Number == a.key.Active || len(in.GetApiKey()) > 0 {
		return expected, nil, nil
	}
	candidate, err := a.key.Candidate(a.permit, v.Number)
	if err != nil {
		return 0, nil, err
	}
	credential, ok := candidate.(*noon.Credential)
	if !ok {
		return 0, nil, fmt.Errorf("a %s key opened as %T", noon.Name, candidate)
	}
	if err := s.frozen(a.keys); err != nil {
		return 0, nil, err
	}
	proof, err := s.noon.Prove(ctx, noon.Account{Key: a.key.Name, Version: v.Number, Generation: a.key.Generation}, credential)
	if stopped := s.frozen(a.keys); stopped != nil {
		err = stopped
	}
	if err == nil {
		return expected, proof, nil
	}
	if proof != nil {
		proof.Discard()
	}
	if errors.Is(err, noon.ErrRejectedCredential) {
		err = fmt.Errorf("%w: %w", errUnproven, err)
	}
	return 0, nil, err
}

// settleLogin gives callers the session of a proof if its version signs now, and forgets it otherwise.
func settleLogin(proof *noon.Proof, after *keystore.Key, err error) {
	if proof == nil {
		return
	}
	defer proof.Discard()
	if err != nil {
		return
	}
	// A disabled key has no session.
	if _, err := after.Signing(); err == nil {
		proof.Adopt(after.Generation)
	}
}
