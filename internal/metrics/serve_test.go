package metrics_test

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"github.com/signerd/signerd/internal/metrics"
)

func TestMetricsAreServedToTheHostAlone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := metrics.NewServer(metrics.New("v1", func() metrics.State { return metrics.State{} }), slog.New(slog.DiscardHandler))
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for host, want := range map[string]int{
		"127.0.0.1:" + port: http.StatusOK, "localhost": http.StatusOK, "[::1]:" + port: http.StatusOK,
		"evil.example": http.StatusMisdirectedRequest, "127.0.0.1.evil.example:" + port: http.StatusMisdirectedRequest, "192.0.2.1": http.StatusMisdirectedRequest,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String()+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("host %s: %s, want %d", host, resp.Status, want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

func TestManyConnectionsWaitForTheFirstToEnd(t *testing.T) {
	l := &countingListener{accepted: make(chan net.Conn, 100)}
	var err error
	if l.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s := metrics.NewServer(metrics.New("v1", func() metrics.State { return metrics.State{} }), slog.New(slog.DiscardHandler))
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	for range 40 {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
	}
	for range 16 {
		<-l.accepted
	}
	// Only the end of one lets another in.
	select {
	case <-l.accepted:
		t.Error("more than 16 connections were accepted")
	default:
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	<-served
}

// countingListener tells of what it accepts.
type countingListener struct {
	net.Listener
	accepted chan net.Conn
}

func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.accepted <- conn
	}
	return conn, err
}
