package server

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/signerd/signerd/audit"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/upstream/noon"
)

// maxChanges is how many changes of a key one call follows. Each is an operator's, and they are seldom two.
const maxChanges = 5

// GetNoonSession implements signerdv1.SignerServiceServer. A call whose key changes under it, by a rotation as a rule, is decided
// anew on what the key has become.
func (s *signerService) GetNoonSession(ctx context.Context, in *signerdv1.GetNoonSessionRequest) (*signerdv1.GetNoonSessionResponse, error) {
	for range maxChanges {
		out, err := s.noonSession(ctx, in)
		if !errors.Is(err, noon.ErrKeyChanged) {
			return out, err
		}
		c, err := callFrom(ctx)
		if err != nil {
			return nil, err
		}
		c.anew = true
	}
	return s.noonSession(ctx, in)
}

func (s *signerService) noonSession(ctx context.Context, in *signerdv1.GetNoonSessionRequest) (*signerdv1.GetNoonSessionResponse, error) {
	authorized, err := s.authorize(ctx, in.GetKey(), nil)
	if err != nil {
		return nil, err
	}
	account, c, err := credential[*noon.Credential](ctx, authorized, noon.Name)
	if err != nil {
		return nil, err
	}
	session, err := s.noon.Session(ctx, noon.Account{
		Key: in.GetKey(), Version: c.record.Version, Generation: authorized.key.Generation,
	}, account, in.GetRejectedSessionId())
	if err := s.frozen(authorized.keys); err != nil {
		return nil, err
	}
	if changed := s.stillSigns(in.GetKey(), c.record.Version); changed != nil {
		return nil, changed
	}
	if err != nil {
		return nil, err
	}
	return &signerdv1.GetNoonSessionResponse{
		Headers: session.Headers(), Cookies: cookieMessages(session), BaseUrl: session.BaseURL(), SessionId: session.ID,
		ExpireTime: timestamppb.New(session.Expires), KeyVersion: c.record.Version, RecordId: c.record.ID,
	}, nil
}

// recordLogins puts every login on record before it is sent, and how it ended after. What cannot be recorded is not sent.
func (s *Server) recordLogins(c noon.BrokerConfig) noon.BrokerConfig {
	next := c.LoginStarting
	c.LoginStarting = func(a noon.Account) (func(noon.Outcome, error), error) {
		if keys := s.ready.Load().keys; keys != nil {
			if err := s.frozen(keys); err != nil {
				return nil, err
			}
		}
		start := s.now()
		intention := audit.Record{Kind: audit.KindIntention, ID: newRecordID(start), Time: start, Operation: loginOperation,
			Scheme: noon.Name, Key: a.Key, Version: a.Version}
		result := intention
		if err := s.append(context.Background(), &intention); err != nil {
			return nil, err
		}
		var ended func(noon.Outcome, error)
		if next != nil {
			var err error
			if ended, err = next(a); err != nil {
				return nil, err
			}
		}
		return func(outcome noon.Outcome, err error) {
			if ended != nil {
				ended(outcome, err)
			}
			s.metrics.Login(string(outcome))
			result.Kind, result.Code, result.Micros = audit.KindLogin, codes.OK.String(), s.now().Sub(start).Microseconds()
			if err != nil {
				row := rowFor(err)
				result.Code, result.Reason = row.code.String(), row.reason
			}
			// The session is handed out on records of its own.
			if err := s.append(context.Background(), &result); err != nil {
				s.log.Error("how a login at Noon ended is not on record", "record_id", result.ID, "cause", err.Error())
			}
		}, nil
	}
	return c
}

// loginOperation is what records call a login at Noon.
const loginOperation = "NoonLogin"

// stillSigns looks at a key again after a login, which takes its time: of a key that was disabled meanwhile nothing is
// handed out, and nothing is kept.
func (s *Server) stillSigns(name string, version uint32) error {
	keys, err := s.loaded()
	if err != nil {
		return err
	}
	key := keys.Lookup(name)
	if key == nil {
		return keystore.ErrNotFound
	}
	signing, err := key.Signing()
	switch {
	case err != nil:
		s.noon.Drop(name, key.Generation)
		return err
	case signing.Number != version:
		return noon.ErrKeyChanged
	}
	return nil
}

// credentialChanged drops the Noon session of a key that no longer signs with what it did before a write, and says what
// the write gave. A write that failed may have been made all the same: then the key counts as it is now.
func (s *Server) credentialChanged(a authorized, after *keystore.Key, err error) error {
	if err != nil {
		after = a.keys.Lookup(a.key.Name)
	}
	if after.Scheme != noon.Name {
		return err
	}
	before, _ := a.key.Signing()
	if now, stopped := after.Signing(); stopped != nil || now.Number != before.Number {
		s.noon.Drop(after.Name, after.Generation)
	}
	return err
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
