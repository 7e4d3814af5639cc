package server

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestAConnectionClosesItselfAtItsEndAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		conn := newExpiringConn(near, time.Hour)
		opened := time.Now()
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || time.Since(opened) != time.Hour {
			t.Errorf("it ended with %v after %v", err, time.Since(opened))
		}
		_ = conn.Close()
	})
}

func TestAConnectionThatWasClosedLeavesNoTimer(t *testing.T) {
	near, far := net.Pipe()
	defer func() { _ = far.Close() }()
	conn := newExpiringConn(near, time.Hour)
	if err := conn.Close(); err != nil || conn.end.Stop() {
		t.Errorf("the timer still runs (%v)", err)
	}
}
