package server

import (
	"context"
	"errors"

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/keystore"
)

// errFrozen says that an operator has stopped all signing. Callers are not told why: that is the operators' word to each other.
var errFrozen = errors.New("all signing is stopped")

// frozen is errFrozen while all signing is stopped.
func frozen(keys *keystore.Keystore) error {
	if keys.View().Freeze().Frozen {
		return errFrozen
	}
	return nil
}

// passGate is asked for every answer that signs something, before it is put on record as handed out. It leaves the crowd when it
// was; nil is left at once.
func (s *Server) passGate(c *call, err error) (*crowd, error) {
	if err != nil || !c.permission.signs {
		return nil, err
	}
	if c.keys == nil {
		return nil, errors.New("something was signed without a key that was authorized")
	}
	leaving := s.gate.enter()
	// By the state of now: the one that was decided on may be older than the freeze.
	return leaving, frozen(c.keys)
}

// freezeMoved takes in that signing was stopped or may go on. The keystore tells, whichever process brought it about.
func (s *Server) freezeMoved() {
	var now bool
	s.become(func(r *Readiness) {
		if r.keys == nil {
			return
		}
		now = r.keys.View().Freeze().Frozen
		if r.Reason == "" || r.Reason == ReasonFrozen {
			r.say(nil)
		}
	})
	if now {
		s.noon.Abandon()
	}
}

// Freeze implements adminv1.SystemServiceServer.
func (s *systemService) Freeze(ctx context.Context, in *adminv1.FreezeRequest) (*adminv1.FreezeResponse, error) {
	keys, err := s.decideFreeze(ctx, in.GetReason())
	if err != nil {
		return nil, err
	}
	inForce, changed, err := keys.Freeze(ctx, actor(ctx), in.GetReason())
	// What was stopped stays stopped even if that could not be confirmed.
	s.gate.wait()
	if err != nil {
		return nil, err
	}
	return &adminv1.FreezeResponse{Freeze: freezeMessage(inForce), Changed: changed, Generation: inForce.Generation}, nil
}

// Unfreeze implements adminv1.SystemServiceServer.
func (s *systemService) Unfreeze(ctx context.Context, _ *adminv1.UnfreezeRequest) (*adminv1.UnfreezeResponse, error) {
	keys, err := s.decideFreeze(ctx, "")
	if err != nil {
		return nil, err
	}
	before, after, changed, err := keys.Unfreeze(ctx, actor(ctx))
	if err != nil {
		return nil, err
	}
	out := &adminv1.UnfreezeResponse{Changed: changed, Generation: after.Generation}
	if changed {
		out.Ended = freezeMessage(before)
	}
	return out, nil
}

// decideFreeze decides on a change of the freeze, and puts its reason on record. Without keys there is nothing to stop.
func (s *Server) decideFreeze(ctx context.Context, reason string) (*keystore.Keystore, error) {
	c, err := callFrom(ctx)
	if err != nil {
		return nil, err
	}
	c.record.Note = reason
	keys, _, err := s.decideSystem(ctx)
	if err == nil && keys == nil {
		err = errNotReady
	}
	return keys, err
}

// freezeMessage is nil while nothing is frozen.
func freezeMessage(f keystore.Freeze) *adminv1.FreezeState {
	if !f.Frozen {
		return nil
	}
	return &adminv1.FreezeState{Reason: f.Reason, Author: f.Author, Time: timestamppb.New(f.Time)}
}
