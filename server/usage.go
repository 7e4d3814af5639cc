package server

import (
	"context"
	"time"
)

// keepUsageEvery is how often the keys' last uses are stored; a crash loses those since.
const keepUsageEvery = time.Hour

// keepUsageHourly stores the keys' last uses every hour, until ctx ends. Close does it once more.
func (s *Server) keepUsageHourly(ctx context.Context) {
	t := time.NewTicker(keepUsageEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.keepUsage(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// keepUsage stores the keys' last uses. What fails is tried again an hour later: nothing waits for it.
func (s *Server) keepUsage(ctx context.Context) {
	keys, err := s.loaded()
	if err != nil {
		return
	}
	if err := keys.KeepUsage(ctx); err != nil {
		s.log.Warn("when keys were last used is not stored", "cause", err.Error())
	}
}
