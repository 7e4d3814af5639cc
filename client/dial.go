package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// DefaultTimeout bounds a call to signerd whose context has no deadline, all its attempts together.
const DefaultTimeout = 10 * time.Second

// A connection that carries nothing is looked after, so that one that a firewall forgot is noticed before a request meets it. signerd allows it every 30 seconds.
const (
	keepaliveTime    = time.Minute
	keepaliveTimeout = 20 * time.Second
)

// Reconnecting begins early, for signerd is near and restarts quickly.
const (
	connectDelay    = 100 * time.Millisecond
	maxConnectDelay = 5 * time.Second
	connectPatience = 5 * time.Second
)

// Option changes what Dial does.
type Option func(*options)

type options struct {
	authority, certificate, key string
	timeout                     time.Duration
	dial                        []grpc.DialOption
}

func (o options) tls() bool { return o.authority != "" || o.certificate != "" || o.key != "" }

// WithTLSFiles names the PEM files of mutual TLS: the authorities that signerd's certificate is checked against, and the caller's own certificate
// and key. Certificate and key are read again for each new connection, the authorities once. They go with host:port, which needs them all.
func WithTLSFiles(authority, certificate, key string) Option {
	return func(o *options) { o.authority, o.certificate, o.key = authority, certificate, key }
}

// WithTimeout bounds calls whose context has no deadline, instead of DefaultTimeout.
func WithTimeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// WithDialOptions adds options of gRPC's, for traces or metrics say. They come last, and so can replace what Dial sets.
func WithDialOptions(dial ...grpc.DialOption) Option {
	return func(o *options) { o.dial = append(o.dial, dial...) }
}

// Dial makes a connection to signerd at "unix:///path/to.sock" (the kernel tells signerd who calls) or at "host:port" (TLS 1.3, see WithTLSFiles).
// It connects at the first call, and again whenever the connection was lost; proxies of the environment are not used. The connection
// is safe for concurrent use, and one is enough for any number of RoundTrippers. Close it when they are done.
//
// Its unary calls have a deadline. One that ends with UNAVAILABLE is made again, twice at most and a moment later, since signing twice does no harm; not so when
// signerd says that an operator has stopped all signing (FROZEN) or that it will take longer. Calls do not wait for a connection to become ready
// (grpc.WaitForReady): without signerd they end within a second and say why, and not at their deadline.
func Dial(target string, opts ...Option) (*grpc.ClientConn, error) {
	o := options{timeout: DefaultTimeout}
	for _, opt := range opts {
		opt(&o)
	}
	if o.timeout <= 0 {
		return nil, fmt.Errorf("client: connecting to %s: the timeout is not positive", target)
	}
	address, creds, err := o.endpoint(target)
	if err != nil {
		return nil, fmt.Errorf("client: connecting to %s: %w", target, err)
	}
	delays := backoff.DefaultConfig
	delays.BaseDelay, delays.MaxDelay = connectDelay, maxConnectDelay
	conn, err := grpc.NewClient(address, append([]grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(), // what DNS says of retries
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: delays, MinConnectTimeout: connectPatience}),
		grpc.WithChainUnaryInterceptor(patiently(o.timeout)),
	}, o.dial...)...)
	if err != nil {
		return nil, fmt.Errorf("client: connecting to %s: %w", target, err)
	}
	return conn, nil
}

// endpoint gives a target as gRPC takes it, and how the connection is protected.
func (o options) endpoint(target string) (string, credentials.TransportCredentials, error) {
	if path, ok := strings.CutPrefix(target, "unix:"); ok {
		if abs, ok := strings.CutPrefix(path, "//"); ok && !strings.HasPrefix(abs, "/") || path == "" {
			return "", nil, errors.New("wanted unix:///absolute/path or unix:relative/path")
		}
		if o.tls() {
			return "", nil, errors.New("TLS files go with host:port, not with a Unix socket")
		}
		return target, insecure.NewCredentials(), nil
	}
	host, port, err := net.SplitHostPort(target)
	if err != nil || host == "" || port == "" || strings.Contains(target, "/") {
		return "", nil, errors.New("wanted unix:///path/to.sock or host:port")
	}
	config, err := o.tlsConfig(host)
	if err != nil {
		return "", nil, err
	}
	return "dns:///" + target, credentials.NewTLS(config), nil
}

func (o options) tlsConfig(host string) (*tls.Config, error) {
	if o.authority == "" || o.certificate == "" || o.key == "" {
		return nil, errors.New("host:port is spoken to over mutual TLS alone: authority, certificate and key are all needed")
	}
	pem, err := os.ReadFile(o.authority)
	if err != nil {
		return nil, err
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", o.authority)
	}
	if _, err := o.load(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: host, RootCAs: authorities,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return o.load() },
	}, nil
}

func (o options) load() (*tls.Certificate, error) {
	certificate, err := tls.LoadX509KeyPair(o.certificate, o.key)
	if err != nil {
		return nil, fmt.Errorf("loading %s and %s: %w", o.certificate, o.key, err)
	}
	return &certificate, nil
}
