package server

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/version"
	"github.com/signerd/signerd/keystore"
)

// systemService implements signerd.admin.v1.SystemService.
type systemService struct {
	adminv1.UnimplementedSystemServiceServer
	*Server
}

// GetStatus implements adminv1.SystemServiceServer. It answers before keys are loaded, too.
func (s *systemService) GetStatus(ctx context.Context, _ *adminv1.GetStatusRequest) (*adminv1.GetStatusResponse, error) {
	if _, _, err := s.decideSystem(ctx); err != nil {
		return nil, err
	}
	c, err := callFrom(ctx)
	if err != nil {
		return nil, err
	}
	out := &adminv1.GetStatusResponse{
		Version: s.version, GoVersion: runtime.Version(), StartTime: timestamppb.New(s.started),
		Development: s.development, Caller: c.caller.String(),
		Fips140: version.FIPS(), CryptoModule: version.Module(),
	}
	ready := s.Readiness()
	out.Serving, out.Reason = ready.Reason == "", ready.Text
	if ready.log != nil {
		out.AuditRecords = uint64(ready.log.Tree().N)
		if err := ready.log.Err(); err != nil {
			out.AuditFault = err.Error()
		}
		if err := errors.Join(ready.log.CheckpointErr(), ready.log.ChoresErr()); err != nil {
			out.AuditWarning = err.Error()
		}
	}
	if s.copyLost != nil {
		out.AuditCopyLost = s.copyLost()
	}
	if held := s.held.Load(); held != nil {
		out.Freeze = freezeMessage(*held)
	}
	if ready.Keys() == nil {
		return out, nil
	}
	stats := ready.Keys().Stats()
	out.KeyCount, out.KeyVersionCount = uint32(stats.Keys), uint32(stats.Versions)
	if err := errors.Join(ready.Keys().CompactErr(), s.clock.Err()); err != nil {
		out.StoreWarning = err.Error()
	}
	out.ScheduledDestructionCount, out.NextDestroyTime = uint32(stats.Scheduled), knownTime(stats.NextDestroy)
	out.ExpiringVersionCount, out.ExpiredVersionCount = uint32(stats.Expiring), uint32(stats.Expired)
	out.UnusedVersionCount, out.UsesKnownSince = uint32(stats.Unused), knownTime(ready.Keys().UsesKnownSince())
	view := ready.Keys().View()
	inForce := view.Policy()
	out.Freeze = freezeMessage(s.freezeInForce(view))
	out.PolicyGeneration, out.PolicyRuleCount = inForce.Generation, uint32(inForce.Policy.Rules())
	out.StoreCounter, out.RootKeyId, out.RecoveryKeyId = stats.Counter, stats.RootKeyID, stats.RecoveryKeyID
	return out, nil
}

// RotateRootKey implements adminv1.SystemServiceServer.
func (s *systemService) RotateRootKey(_ *adminv1.RotateRootKeyRequest, stream grpc.ServerStreamingServer[adminv1.RotateRootKeyResponse]) error {
	ctx := stream.Context()
	keys, _, err := s.decideSystem(ctx)
	if err != nil {
		return err
	}
	if keys == nil {
		return errNotReady
	}
	var root keystore.RootKey
	if s.nextRootKey != nil {
		if root, err = s.nextRootKey(ctx); err != nil {
			s.log.Error("the next root key cannot be used", "cause", err.Error())
			return fmt.Errorf("%w: %w", errRootKey, err)
		}
	}
	said := time.Now()
	err = keys.RotateRootKey(ctx, root, func(done, total int) {
		if now := time.Now(); now.Sub(said) >= progressEvery {
			said = now
			// A client that is gone ends the context, which is looked at.
			_ = stream.Send(&adminv1.RotateRootKeyResponse{Done: uint64(done), Total: uint64(total)})
		}
	})
	if errors.Is(err, keystore.ErrUnfitRootKey) {
		s.log.Error("the next root key cannot be used", "cause", err.Error())
		err = fmt.Errorf("%w: %w", errRootKey, err)
	}
	if err != nil {
		return err
	}
	last := &adminv1.RotateRootKeyResponse{RootKeyId: keys.Stats().RootKeyID}
	if err := keys.CompactErr(); err != nil {
		s.log.Error("the root key is rotated, but the store is not compacted yet", "cause", err.Error())
		last.Warning = err.Error()
	}
	return stream.Send(last)
}
