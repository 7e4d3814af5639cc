package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

// NewNOAH makes a RoundTripper for the NOAH Business API that signs with a key of signerd's, by its name.
func NewNOAH(conn grpc.ClientConnInterface, key string, c Config) (*Transport, error) {
	if c.Warn != nil {
		return nil, errors.New("client: Warn is for Noba, NOAH's signatures come without warnings")
	}
	signer := signerdv1.NewSignerServiceClient(conn)
	most, err := c.maxBody(defaultMaxBody, 1<<62)
	if err != nil {
		return nil, err
	}
	return newTransport(c, key, &signed{maxBody: most, sign: func(req *http.Request, target string, body []byte) (map[string]string, error) {
		in := &signerdv1.SignNoahRequestRequest{Key: key, Method: method(req), Path: target}
		if c.TTL != 0 {
			in.Ttl = durationpb.New(c.TTL)
		}
		if c.KeepBody || len(body) > MaxMessageBody {
			sum := sha256.Sum256(body)
			in.Content = &signerdv1.SignNoahRequestRequest_BodySha256{BodySha256: sum[:]}
		} else {
			in.Content = &signerdv1.SignNoahRequestRequest_Body{Body: body}
		}
		out, err := signer.SignNoahRequest(req.Context(), in)
		return out.GetHeaders(), err
	}})
}

// NewNoba makes a RoundTripper for Noba that signs with a key of signerd's, by its name. Bodies are empty, or JSON objects or arrays.
func NewNoba(conn grpc.ClientConnInterface, key string, c Config) (*Transport, error) {
	if c.TTL != 0 || c.KeepBody {
		return nil, errors.New("client: TTL and KeepBody are for NOAH")
	}
	signer := signerdv1.NewSignerServiceClient(conn)
	most, err := c.maxBody(MaxMessageBody, MaxMessageBody)
	if err != nil {
		return nil, err
	}
	return newTransport(c, key, &signed{maxBody: most, sign: func(req *http.Request, target string, body []byte) (map[string]string, error) {
		out, err := signer.ComputeNobaSignature(req.Context(), &signerdv1.ComputeNobaSignatureRequest{Key: key, Method: method(req), Path: target, Body: body})
		if warnings := out.GetWarnings(); len(warnings) > 0 && c.Warn != nil {
			c.Warn(req, warnings)
		}
		return out.GetHeaders(), err
	}})
}

func (c Config) maxBody(standard, most int64) (int64, error) {
	switch {
	case c.MaxBodyBytes == 0:
		return standard, nil
	case c.MaxBodyBytes < 0 || c.MaxBodyBytes > most:
		return 0, fmt.Errorf("client: MaxBodyBytes is %d; wanted at most %d", c.MaxBodyBytes, most)
	}
	return c.MaxBodyBytes, nil
}

// signed is a partner that wants a signature over each request.
type signed struct {
	maxBody int64
	sign    func(req *http.Request, target string, body []byte) (map[string]string, error)
}

func (s *signed) send(base http.RoundTripper, req *http.Request, target string) (*http.Response, error) {
	body, err := readBody(req, s.maxBody)
	if err != nil {
		return nil, failed(req, err)
	}
	headers, err := s.sign(req, target, body)
	if err != nil {
		return nil, failed(req, err)
	}
	out := withHeaders(req, headers)
	out.TransferEncoding = nil
	out.ContentLength = int64(len(body))
	out.GetBody = func() (io.ReadCloser, error) {
		if len(body) == 0 {
			return http.NoBody, nil
		}
		return io.NopCloser(bytes.NewReader(body)), nil
	}
	if out.Body, err = out.GetBody(); err != nil {
		return nil, failed(req, err)
	}
	return base.RoundTrip(out)
}

// readBody reads the body to its end, and closes it. It gives up when the request has ended, for a body may wait for its next bytes
// forever (a pipe's say); as with http.Transport, a Read may then still be under way.
func readBody(req *http.Request, most int64) ([]byte, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return nil, nil
	}
	defer closeBody(req)
	if req.ContentLength > most {
		return nil, tooLarge(most)
	}
	type read struct {
		body []byte
		err  error
	}
	done := make(chan read, 1)
	go func(from io.Reader, length int64) {
		body, err := readAll(from, length, most)
		done <- read{body, err}
	}(contextReader{req.Context(), req.Body}, req.ContentLength)
	select {
	case r := <-done:
		return r.body, r.err
	case <-req.Context().Done():
		return nil, fmt.Errorf("reading the body: %w", req.Context().Err())
	}
}

// readAll reads a body of at most most bytes to its end. It must have length bytes, unless that is zero or less.
func readAll(from io.Reader, length, most int64) ([]byte, error) {
	var body bytes.Buffer
	if length > 0 {
		body.Grow(int(length) + bytes.MinRead)
	}
	n, err := body.ReadFrom(io.LimitReader(from, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the body: %w", err)
	case n > most:
		return nil, tooLarge(most)
	case length > 0 && n != length:
		return nil, fmt.Errorf("reading the body: it has %d bytes, the request's ContentLength says %d", n, length)
	}
	return body.Bytes(), nil
}

func tooLarge(most int64) error {
	return fmt.Errorf("%w: it is longer than %d bytes", ErrBodyTooLarge, most)
}

// contextReader stops reading when the request has ended.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
