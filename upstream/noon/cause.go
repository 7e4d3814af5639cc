package noon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
)

// Errors that stand for those of net/http, which quote what the gateway or a proxy sent.
var (
	errMalformed = errors.New("the answer is not well-formed HTTP, or the reason might quote it and is withheld")
	errTimedOut  = errors.New("it took too long")
)

// plainCauses say no more than themselves.
var plainCauses = []error{
	context.Canceled, context.DeadlineExceeded, io.ErrUnexpectedEOF, io.EOF, http.ErrSchemeMismatch, net.ErrClosed,
}

// cause is what may be said of an error of net/http: an operator's log gets it. What is not known to be free of the
// gateway's words, which may be a cookie, and of a proxy's URL, becomes errMalformed.
func cause(err error) error {
	for _, plain := range plainCauses {
		if errors.Is(err, plain) {
			return plain
		}
	}
	var (
		network     *net.OpError
		name        *net.DNSError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		timeout     net.Error
	)
	switch {
	case errors.As(err, &network):
		return networkCause(network)
	case errors.As(err, &name):
		return name
	case errors.As(err, &certificate):
		return certificate
	case errors.As(err, &record):
		return record
	case errors.As(err, &timeout) && timeout.Timeout():
		return errTimedOut
	}
	return errMalformed
}

// networkCause lets an operation's error pass if nothing that was read can be in it: the operation is one before
// anything is read, or a TLS alert, or the error is the system's.
func networkCause(err *net.OpError) error {
	if err.Op == "proxyconnect" {
		return fmt.Errorf("the proxy: %w", cause(err.Err))
	}
	var system syscall.Errno
	switch {
	case err.Op == "dial", err.Op == "remote error", err.Op == "local error", errors.As(err.Err, &system):
		return err
	case err.Timeout():
		return errTimedOut
	}
	return errMalformed
}
