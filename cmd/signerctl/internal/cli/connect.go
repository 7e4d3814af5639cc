package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

const (
	addressVariable = "SIGNERD_ADDRESS"
	// devSocket is where `signerd dev` listens.
	devSocket = ".signerd/signerd.sock"
	// maxTLSFileBytes bounds a PEM file of certificates.
	maxTLSFileBytes = 1 << 20
)

// endpoint is where signerd listens, as net.Dial takes it.
type endpoint struct{ network, address string }

func (e endpoint) isUnix() bool { return e.network == "unix" }

// parseAddress reads unix:///abs/path, unix:path or host:port.
func parseAddress(s string) (endpoint, error) {
	wrong := func(format string, args ...any) (endpoint, error) {
		return endpoint{}, &usageError{
			message: fmt.Sprintf("the address %q %s", s, fmt.Sprintf(format, args...)),
			hint:    "an address is unix:///absolute/path, unix:relative/path or host:port",
		}
	}
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if rest, ok := strings.CutPrefix(path, "//"); ok {
			if !filepath.IsAbs(rest) {
				return wrong("has no absolute path after unix://")
			}
			path = rest
		}
		if path == "" {
			return wrong("names no socket")
		}
		return endpoint{"unix", path}, nil
	}
	if strings.Contains(s, "/") {
		return wrong("is neither a Unix socket nor host:port")
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return wrong("is neither a Unix socket nor host:port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return wrong("has no port from 1 to 65535")
	}
	return endpoint{"tcp", s}, nil
}

// endpoint finds signerd by the flag, the environment or the development socket, in this order.
func (a *app) endpoint() (endpoint, error) {
	if a.address != "" {
		return parseAddress(a.address)
	}
	if address := os.Getenv(addressVariable); address != "" {
		return parseAddress(address)
	}
	if info, err := os.Stat(devSocket); err == nil && info.Mode()&os.ModeSocket != 0 {
		return endpoint{"unix", devSocket}, nil
	}
	return endpoint{}, &usageError{
		message: "where signerd listens is not known",
		hint:    "give --address or set " + addressVariable + ", or run `signerd dev` in this folder: it listens on ./" + devSocket,
	}
}

// dial makes a connection that is opened by its first call. It ends with a usage error before anything is read when
// the address is wrong.
func (a *app) dial() (*grpc.ClientConn, error) {
	server, err := a.endpoint()
	if err != nil {
		return nil, err
	}
	creds, err := a.credentials(server)
	if err != nil {
		return nil, err
	}
	authority := server.address
	if server.isUnix() {
		authority = "localhost"
	}
	d := &dialer{server: server}
	// passthrough: the address is not a name to resolve, the dialer knows it.
	conn, err := grpc.NewClient("passthrough:///"+authority,
		grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(d.dial),
		grpc.WithUnaryInterceptor(a.callWith(d)),
		grpc.WithStreamInterceptor(a.streamWith(d)))
	if err != nil {
		return nil, &failure{what: "connecting to signerd", err: err}
	}
	return conn, nil
}

// credentials decides how the connection is protected: a Unix socket by the kernel, all else by mutual TLS 1.3.
func (a *app) credentials(server endpoint) (credentials.TransportCredentials, error) {
	given := 0
	for _, f := range []*file{&a.tlsCert, &a.tlsKey, &a.tlsCA} {
		if f.given() {
			given++
		}
	}
	switch {
	case server.isUnix() && given > 0:
		return nil, &usageError{message: "--tls-cert, --tls-key and --tls-ca go with host:port, not with a Unix socket"}
	case server.isUnix():
		return insecure.NewCredentials(), nil
	case given < 3:
		return nil, &usageError{message: "host:port is spoken to over mutual TLS alone: --tls-cert, --tls-key and --tls-ca are all needed"}
	}
	config, err := a.tlsConfig(server)
	if err != nil {
		return nil, err
	}
	return credentials.NewTLS(config), nil
}

func (a *app) tlsConfig(server endpoint) (*tls.Config, error) {
	host, _, err := net.SplitHostPort(server.address)
	if err != nil {
		return nil, err
	}
	var pem [3][]byte
	for i, f := range []*file{&a.tlsCert, &a.tlsKey, &a.tlsCA} {
		if pem[i], err = a.read(f, maxTLSFileBytes); err != nil {
			return nil, err
		}
	}
	certificate, err := tls.X509KeyPair(pem[0], pem[1])
	if err != nil {
		return nil, &failure{what: "loading --tls-cert and --tls-key", err: err}
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(pem[2]) {
		return nil, &failure{what: "loading --tls-ca", err: errors.New("it holds no certificate in PEM")}
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		ServerName:   host,
		RootCAs:      authorities,
		Certificates: []tls.Certificate{certificate},
	}, nil
}

// dialer opens connections and remembers why the last one did not come about; gRPC keeps the reason's text alone.
type dialer struct {
	server endpoint

	mu  sync.Mutex
	err error
}

func (d *dialer) dial(ctx context.Context, _ string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, d.server.network, d.server.address)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
	return conn, err
}

func (d *dialer) lastError() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// callWith ends every call by --timeout and by an interrupt, and turns its error into a *callError.
func (a *app) callWith(d *dialer) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		// Only here: while signerctl reads its input, an interrupt ends it as it ends any program.
		ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
		defer stop()
		ctx, cancel := context.WithTimeout(ctx, a.timeout)
		defer cancel()
		err := invoke(ctx, method, req, reply, cc, opts...)
		if err == nil {
			return nil
		}
		return &callError{status: status.Convert(err), dial: d.lastError(), server: d.server, timeout: a.timeout}
	}
}
