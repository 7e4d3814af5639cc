package server

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/signerd/signerd/audit"
	"github.com/signerd/signerd/keystore"
)

// destroyEvery is how often signerd looks for versions whose time has come.
const destroyEvery = time.Minute

// destroyInTime destroys what is due, as soon as keys are served and every minute, until ctx ends.
func (s *Server) destroyInTime(ctx context.Context) {
	t := time.NewTicker(destroyEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-s.opened:
		case <-ctx.Done():
			return
		}
		s.destroyDue(ctx)
	}
}

// destroyDue destroys the material of every version whose time has come, and has the store compacted. What fails is tried again at the
// next look; without a record nothing is destroyed, and nor is it while the clock is not believed.
func (s *Server) destroyDue(ctx context.Context) {
	keys, err := s.loaded()
	if err != nil {
		return
	}
	list := keys.Due()
	if (len(list) > 0 || s.clock.Err() != nil) && !s.believeClock() {
		list = nil
	}
	for _, due := range list {
		if err := s.destroy(ctx, keys, due); err != nil {
			s.log.Error("a version whose time has come is not destroyed yet", "key", due.Key.Name, "version", due.Version, "cause", err.Error())
		}
	}
	if err := keys.Purge(ctx); err != nil {
		s.log.Error("the store is not compacted yet: its file may still hold what was destroyed, or sealed for another root key", "cause", err.Error())
	}
}

// believeClock reports whether what is due by the clock is to be destroyed.
func (s *Server) believeClock() bool {
	news, err := s.clock.look(s.now(), time.Since(s.running))
	switch {
	case err != nil && news:
		s.log.Error("the clock jumped ahead", "cause", err.Error())
	case news:
		s.log.Info("the clock is believed again: what is due by it is destroyed")
	}
	return err == nil
}

// destroy destroys one version. Its intention is on record before, its result after.
func (s *Server) destroy(ctx context.Context, keys *keystore.Keystore, due keystore.Doomed) error {
	start := s.now()
	r := audit.Record{ID: newRecordID(start), Time: start, Operation: string(destroyKeyVersion), Scheme: due.Key.Scheme,
		Key: due.Key.Name, Version: due.Version, Environment: string(due.Key.Environment)}
	intention := r
	intention.Kind = audit.KindIntention
	if err := s.append(ctx, &intention); err != nil {
		return err
	}
	key, done, err := keys.DestroyVersion(ctx, due.Key.Name, due.Version)
	r.Kind, r.Code = audit.KindCall, codes.OK.String()
	switch {
	case err != nil:
		r.Code, r.Reason = recordedAs(ctx, err, r.ID)
	case !done:
		// Somebody took it back in the last moment, or another process was faster.
		r.Code, r.Reason = recordedAs(ctx, keystore.ErrConflict, r.ID)
	default:
		r.Generation = key.Generation
		s.log.Info("destroyed", "key", key.Name, "version", due.Version, "record_id", r.ID)
	}
	r.Micros = s.now().Sub(start).Microseconds()
	if failed := s.append(ctx, &r); err == nil {
		err = failed
	}
	return err
}

// recordedAs is what a record says of an error.
func recordedAs(ctx context.Context, err error, recordID string) (code, reason string) {
	st, reason := statusFor(ctx, err, recordID)
	return st.Code().String(), reason
}
