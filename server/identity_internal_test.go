package server

import (
	"net"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

func TestOnlyAnExistingUserAtAUnixSocketIsSomebody(t *testing.T) {
	tests := []struct {
		name string
		peer *peer.Peer
		want string // empty: nobody
	}{
		{"a user", &peer.Peer{AuthInfo: unixPeer{uid: 1000}}, "unix:uid=1000"},
		{"root", &peer.Peer{AuthInfo: unixPeer{uid: 0}}, "unix:uid=0"},
		{"the overflow user", &peer.Peer{AuthInfo: unixPeer{uid: 65534}}, ""},
		{"no peer at the other end", &peer.Peer{AuthInfo: unixPeer{uid: 1<<32 - 1}}, ""},
		{"no peer", nil, ""},
		{"no credentials", &peer.Peer{}, ""},
		{"TLS", &peer.Peer{AuthInfo: credentials.TLSInfo{}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx := t.Context()
			if tt.peer != nil {
				ctx = peer.NewContext(ctx, tt.peer)
			}
			got, err := PeerCaller(ctx)
			if got.String() != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("got %q and %v, want %q", got, err, tt.want)
			}
			s := bare(t, true)
			s.identify = PeerCaller
			_, err = s.Invoke(ctx, adminv1.SystemService_GetStatus_FullMethodName, &adminv1.GetStatusRequest{})
			if nobody := status.Code(err) == codes.Unauthenticated; nobody != (tt.want == "") {
				t.Fatalf("got %v", err)
			}
			if tt.want == "" {
				if info, ok := status.Convert(err).Details()[0].(*errdetails.ErrorInfo); !ok || info.GetReason() != "NO_IDENTITY" {
					t.Errorf("got %v", info)
				}
			}
		})
	}
}

func TestAConnectionThatIsNoUnixSocketFailsItsHandshake(t *testing.T) {
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	if conn, info, err := (peerCredentials{}).ServerHandshake(a); err == nil || conn != nil || info != nil {
		t.Errorf("got %v, %v, %v", conn, info, err)
	}
	if _, _, err := (peerCredentials{}).ClientHandshake(t.Context(), "", a); err == nil {
		t.Error("peer credentials served a client")
	}
}
