package server

import (
	"context"
	"errors"
	"runtime"

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
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
	if ready.Keys() == nil {
		return out, nil
	}
	stats := ready.Keys().Stats()
	out.KeyCount, out.KeyVersionCount = uint32(stats.Keys), uint32(stats.Versions)
	inForce := ready.Keys().View().Policy()
	out.PolicyGeneration, out.PolicyRuleCount = inForce.Generation, uint32(inForce.Policy.Rules())
	out.StoreCounter, out.RootKeyId = stats.Counter, stats.RootKeyID
	return out, nil
}
