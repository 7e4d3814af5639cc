package cli

import (
	"strings"
	"testing"

	"google.golang.org/grpc"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

func TestStatusTellsThatTheStoreIsNotCompacted(t *testing.T) {
	for _, tt := range []struct {
		warning string
		shown   bool
	}{{"no space left on device", true}, {"", false}} {
		f := serve(t, answers{"GetStatus": give(&adminv1.GetStatusResponse{StoreWarning: tt.warning})})
		out := f.run(t, "", "status").stdout
		if strings.Contains(out, "Store warning:") != tt.shown || !strings.Contains(out, tt.warning) {
			t.Errorf("with the warning %q the status is\n%s", tt.warning, out)
		}
	}
}

func (s fakeSystem) RotateRootKey(req *adminv1.RotateRootKeyRequest, stream grpc.ServerStreamingServer[adminv1.RotateRootKeyResponse]) error {
	return s.f.stream("RotateRootKey", stream, req)
}

func TestARotationWhoseStoreIsNotCompactedIsToldAsDoneAndWarnsOfIt(t *testing.T) {
	for _, warning := range []string{"", "no space left on device"} {
		f := serveStreams(t, nil, streams{"RotateRootKey": parts(&adminv1.RotateRootKeyResponse{Done: 1, Total: 2},
			&adminv1.RotateRootKeyResponse{RootKeyId: "file:next", Warning: warning})})
		got := f.run(t, "", "root-key", "rotate")
		if got.code != 0 || !strings.Contains(got.stdout, "Its root key is file:next.") || strings.Contains(got.stdout, "not compacted yet") != (warning != "") ||
			!strings.Contains(got.stdout, warning) {
			t.Errorf("with the warning %q: status %d\n%s", warning, got.code, got.stdout)
		}
	}
}
