package server

import (
	"google.golang.org/grpc"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// backupPiece is how much of a backup is sent at once, in bytes.
const backupPiece = 64 << 10

// Backup implements adminv1.SystemServiceServer.
func (s *systemService) Backup(_ *adminv1.BackupRequest, stream grpc.ServerStreamingServer[adminv1.BackupResponse]) error {
	ctx := stream.Context()
	keys, _, err := s.decideSystem(ctx)
	if err != nil {
		return err
	}
	if keys == nil {
		return errNotReady
	}
	done, err := s.readWhole(ctx)
	if err != nil {
		return err
	}
	defer done()
	out := &backupStream{stream: stream}
	if _, err := keys.Backup(ctx, out, s.version); err != nil {
		return err
	}
	return out.flush()
}

// backupStream is an io.Writer that sends what it is given in pieces.
type backupStream struct {
	stream  grpc.ServerStreamingServer[adminv1.BackupResponse]
	pending []byte
}

// Write implements io.Writer.
func (b *backupStream) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		n := min(len(p), backupPiece-len(b.pending))
		b.pending, p = append(b.pending, p[:n]...), p[n:]
		if len(b.pending) == backupPiece {
			if err := b.flush(); err != nil {
				return 0, err
			}
		}
	}
	return written, nil
}

func (b *backupStream) flush() error {
	if len(b.pending) == 0 {
		return nil
	}
	err := b.stream.Send(&adminv1.BackupResponse{Data: b.pending})
	b.pending = nil // gRPC may still have it
	return err
}
