package server

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/upstream/noon"
)

// GetNoonSession implements signerdv1.SignerServiceServer.
func (s *signerService) GetNoonSession(ctx context.Context, in *signerdv1.GetNoonSessionRequest) (*signerdv1.GetNoonSessionResponse, error) {
	authorized, err := s.authorize(ctx, in.GetKey())
	if err != nil {
		return nil, err
	}
	account, c, err := credential[*noon.Credential](ctx, authorized, noon.Name)
	if err != nil {
		return nil, err
	}
	session, err := s.noon.Session(ctx, noon.Account{
		Key: in.GetKey(), Version: c.version, Generation: authorized.key.Generation,
	}, account, in.GetRejectedSessionId())
	if err != nil {
		return nil, err
	}
	return &signerdv1.GetNoonSessionResponse{
		Headers: session.Headers(), Cookies: cookieMessages(session), BaseUrl: session.BaseURL(), SessionId: session.ID,
		ExpireTime: timestamppb.New(session.Expires), KeyVersion: c.version, RecordId: c.recordID,
	}, nil
}

func cookieMessages(s *noon.Session) []*signerdv1.NoonCookie {
	var out []*signerdv1.NoonCookie
	for _, c := range s.Cookies() {
		m := &signerdv1.NoonCookie{Name: c.Name, Value: c.Value, Domain: c.Domain, Path: c.Path, Secure: c.Secure, HttpOnly: c.HttpOnly}
		if !c.Expires.IsZero() {
			m.ExpireTime = timestamppb.New(c.Expires)
		}
		out = append(out, m)
	}
	return out
}
