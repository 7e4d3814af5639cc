package client

import (
	"errors"
	"fmt"
	"net/http"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// What a RoundTripper refuses by itself, before signerd is asked. An *Error wraps them.
var (
	// ErrOtherHost means that a request, or a redirect, is for another host than the partner's.
	ErrOtherHost = errors.New("the request is for a host that is not among the partner's base URLs")
	// ErrUnsignable means that what goes out would be more than a signature covers, or other bytes.
	ErrUnsignable = errors.New("the request cannot be signed")
	// ErrBodyTooLarge means that the body is longer than Config allows.
	ErrBodyTooLarge = errors.New("the body is too large")
)

// Error says why a request was not sent. It wraps this package's sentinels, or the status that the call to signerd ended with (status.FromError finds it,
// through *url.Error too), and the context's error when that ended. It tells the method and the host alone: http.Client
// puts the whole URL in front of it.
type Error struct {
	// Method and Host are the request's.
	Method, Host string
	// Reason is signerd's stable reason, as "DENIED"; empty when signerd did not say one.
	Reason string
	// RecordID names the record of the call at signerd; empty when there is none. An operator can look it up.
	RecordID string

	status *status.Status // of the call to signerd; nil when there was none
	err    error
}

// Error implements error.
func (e *Error) Error() string {
	text := fmt.Sprintf("client: %s %s: ", e.Method, e.Host)
	switch {
	case e.status == nil:
		return text + e.err.Error()
	case e.Reason != "":
		text += fmt.Sprintf("signerd refused it: %s: %s", e.Reason, e.status.Message())
	default:
		text += fmt.Sprintf("asking signerd: %s: %s", e.status.Code(), e.status.Message())
	}
	if e.RecordID != "" {
		text += fmt.Sprintf(" (record %s)", e.RecordID)
	}
	return text
}

// Unwrap gives what it wraps.
func (e *Error) Unwrap() error { return e.err }

// bothErrors is a status, and the end of the context that it comes from.
type bothErrors struct{ status, ended error }

func (e bothErrors) Error() string   { return e.status.Error() }
func (e bothErrors) Unwrap() []error { return []error{e.status, e.ended} }

// failed makes an *Error of what kept a request from being sent.
func failed(req *http.Request, err error) *Error {
	e := &Error{Method: method(req), err: err}
	if req.URL != nil {
		e.Host = req.URL.Host
	}
	st, ok := status.FromError(err)
	if !ok {
		return e
	}
	e.status = st
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == errorDomain {
			e.Reason, e.RecordID = info.GetReason(), info.GetMetadata()[metadataRecordID]
		}
	}
	if ended := req.Context().Err(); ended != nil {
		e.err = bothErrors{err, ended}
	}
	return e
}

// method is the request's as net/http sends it.
func method(req *http.Request) string {
	if req.Method == "" {
		return http.MethodGet
	}
	return req.Method
}
