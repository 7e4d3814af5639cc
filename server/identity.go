package server

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/signerd/signerd/policy"
)

// Identify establishes who calls. It fails when nobody can be named; tests put another in its place.
type Identify func(ctx context.Context) (policy.Caller, error)

// PeerCaller identifies the process at the other end of a Unix socket by the credentials that the kernel vouches for, and a
// TLS client by its certificate.
func PeerCaller(ctx context.Context) (policy.Caller, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return policy.Caller{}, errors.New("the connection has no peer")
	}
	switch info := p.AuthInfo.(type) {
	case unixPeer:
		return policy.UnixCaller(info.uid)
	case *tlsPeer:
		return info.identify()
	}
	return policy.Caller{}, errors.New("the connection proves nobody's identity")
}

// admitHealth lets a health check pass without identity from the host itself. From elsewhere it needs one, like any
// request, so that strangers do not learn even whether signerd serves.
func (s *Server) admitHealth(ctx context.Context) error {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	if _, remote := p.AuthInfo.(*tlsPeer); !remote {
		return nil
	}
	if addr, ok := p.Addr.(*net.TCPAddr); ok && addr.IP.IsLoopback() {
		return nil
	}
	return s.admitIdentified(ctx)
}

// admitIdentified lets pass whoever has an identity, for what needs no permission.
func (s *Server) admitIdentified(ctx context.Context) error {
	if _, err := s.identify(ctx); err != nil {
		st, _ := statusFor(ctx, fmt.Errorf("%w: %w", errNoIdentity, err), newRecordID(s.now()))
		return st.Err()
	}
	return nil
}

// unixPeer is what the kernel said when the connection was made.
type unixPeer struct {
	credentials.CommonAuthInfo
	uid uint32
}

// AuthType implements credentials.AuthInfo.
func (unixPeer) AuthType() string { return "unix" }

// peerCredentials reads the peer's uid as a connection's handshake. There is no encryption: a Unix socket is private to
// its two ends.
type peerCredentials struct{}

// ServerHandshake implements credentials.TransportCredentials.
func (peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, nil, errors.New("not a Unix socket")
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, nil, fmt.Errorf("reading peer credentials: %w", err)
	}
	var cred *unix.Ucred
	var sysErr error
	err = raw.Control(func(fd uintptr) {
		cred, sysErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, sysErr); err != nil {
		return nil, nil, fmt.Errorf("reading peer credentials: %w", err)
	}
	common := credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}
	return conn, unixPeer{common, cred.Uid}, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (peerCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("peer credentials are for servers")
}

// Info implements credentials.TransportCredentials.
func (peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "unix"}
}

// Clone implements credentials.TransportCredentials.
func (peerCredentials) Clone() credentials.TransportCredentials { return peerCredentials{} }

// OverrideServerName implements credentials.TransportCredentials.
func (peerCredentials) OverrideServerName(string) error { return nil }
