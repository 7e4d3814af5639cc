package server

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/signerd/signerd/audit"
	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/keystore"
)

// errFrozen says that an operator has stopped all signing. Callers are not told why: that is the operators' word to each other.
var errFrozen = errors.New("all signing is stopped")

// What is wrong with a freeze that stops signing in this process, and is not in the store.
var (
	errFreezeUnstored   = errors.New("signing is stopped, and the freeze is not stored")
	errFreezeUnrecorded = errors.New("signing is stopped, and the freeze is not recorded")
)

// frozen is errFrozen while all signing is stopped, by the store or in this process alone.
func (s *Server) frozen(keys *keystore.Keystore) error {
	if s.held.Load() != nil || keys.View().Freeze().Frozen {
		return errFrozen
	}
	return nil
}

// freezeInForce is the stored freeze, or else one of this process alone.
func (s *Server) freezeInForce(view keystore.View) keystore.Freeze {
	stored := view.Freeze()
	if held := s.held.Load(); held != nil && !stored.Frozen {
		return *held
	}
	return stored
}

// passGate is asked for every answer that signs something, before it is put on record as handed out. It leaves the crowd when it
// is with its connection; nil is left at once.
func (s *Server) passGate(c *call, err error) (*crowd, error) {
	if err != nil || !c.permission.signs {
		return nil, err
	}
	if c.keys == nil {
		return nil, errors.New("something was signed without a key that was authorized")
	}
	leaving := s.gate.enter()
	// By the state of now: the one that was decided on may be older than the freeze.
	return leaving, s.frozen(c.keys)
}

// freezeMoved takes in that signing was stopped or may go on. The keystore tells, whichever process brought it about, and so does
// whoever changes what is held.
func (s *Server) freezeMoved() {
	var now bool
	s.become(func(r *Readiness) {
		if r.keys == nil {
			return
		}
		now = s.frozen(r.keys) != nil
		if r.Reason == "" || r.Reason == ReasonFrozen {
			r.say(nil, s.held.Load() != nil)
		}
	})
	if now {
		s.noon.Abandon()
	}
}

// Freeze implements adminv1.SystemServiceServer. Once it is allowed, signing is stopped in this process before anything else, and stays
// so whatever becomes of the rest.
func (s *systemService) Freeze(ctx context.Context, in *adminv1.FreezeRequest) (*adminv1.FreezeResponse, error) {
	c, err := callFrom(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := s.decideFreeze(ctx, in.GetReason())
	// An intention that cannot be recorded is one that was allowed.
	unrecorded := errors.Is(err, audit.ErrUnavailable)
	if !c.allowed && !unrecorded {
		return nil, err
	}
	held := &keystore.Freeze{Frozen: true, Reason: in.GetReason(), Time: s.now(), Author: string(actor(ctx))}
	s.hold(held)
	var inForce keystore.Freeze
	changed := false
	if err == nil {
		inForce, changed, err = keys.Freeze(ctx, actor(ctx), in.GetReason())
	}
	if err != nil {
		// Somebody may have ended it meanwhile, who knew nothing of what would become of this one.
		s.hold(held)
		s.gate.wait()
		s.log.Error("signing is stopped, and the freeze is not stored: a restart may end it", "record_id", c.record.ID, "cause", err.Error())
		if unrecorded {
			return nil, fmt.Errorf("%w: %w", errFreezeUnrecorded, err)
		}
		return nil, fmt.Errorf("%w: %w", errFreezeUnstored, err)
	}
	s.held.CompareAndSwap(held, nil) // the stored one holds
	s.freezeMoved()
	s.gate.wait()
	return &adminv1.FreezeResponse{Freeze: freezeMessage(inForce), Changed: changed, Generation: inForce.Generation}, nil
}

// hold stops all signing in this process, until an Unfreeze.
func (s *Server) hold(f *keystore.Freeze) {
	s.held.Store(f)
	s.freezeMoved()
}

// Unfreeze implements adminv1.SystemServiceServer.
func (s *systemService) Unfreeze(ctx context.Context, _ *adminv1.UnfreezeRequest) (*adminv1.UnfreezeResponse, error) {
	keys, err := s.decideFreeze(ctx, "")
	if err != nil {
		return nil, err
	}
	held := s.held.Load()
	before, after, changed, err := keys.Unfreeze(ctx, actor(ctx))
	if err != nil {
		return nil, err
	}
	out := &adminv1.UnfreezeResponse{Changed: changed, Generation: after.Generation}
	if changed {
		out.Ended = freezeMessage(before)
	}
	// One that came after this was begun stays.
	if held != nil && s.held.CompareAndSwap(held, nil) {
		s.freezeMoved()
		if !changed {
			out.Changed, out.Ended = true, freezeMessage(*held)
		}
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
