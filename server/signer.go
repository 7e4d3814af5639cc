package server

import (
	"context"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
	"github.com/signerd/signerd/upstream/noba"
)

// signerService implements signerd.v1.SignerService. Each RPC does the same: check the request, authorize, sign.
type signerService struct {
	signerdv1.UnimplementedSignerServiceServer
	*Server
}

// SignNoahRequest implements signerdv1.SignerServiceServer.
func (s *signerService) SignNoahRequest(ctx context.Context, in *signerdv1.SignNoahRequestRequest) (*signerdv1.SignNoahRequestResponse, error) {
	request, err := noahRequest(in)
	if err != nil {
		return nil, err
	}
	authorized, err := s.authorize(ctx, in.GetKey(), noahAsked(request, in.GetBody()))
	if err != nil {
		return nil, err
	}
	signer, c, err := credential[*noah.Credential](ctx, authorized, noah.Name)
	if err != nil {
		return nil, err
	}
	headers, expires, err := signer.Sign(request, s.now())
	if err != nil {
		return nil, err
	}
	return &signerdv1.SignNoahRequestResponse{
		Headers: headers, KeyVersion: c.record.Version, RecordId: c.record.ID, ExpireTime: timestamppb.New(expires),
	}, nil
}

func noahRequest(in *signerdv1.SignNoahRequestRequest) (noah.Request, error) {
	params := noah.RequestParams{Method: in.GetMethod(), Path: in.GetPath(), Body: in.GetBody(), BodySHA256: in.GetBodySha256()}
	if in.GetTtl() != nil {
		if in.GetTtl().CheckValid() != nil {
			return noah.Request{}, upstream.Invalid("ttl", "its seconds and nanos do not make a duration")
		}
		params.TTL = in.GetTtl().AsDuration()
	}
	params.QueryParams = plainParams(in.GetQueryParams())
	return noah.NewRequest(params)
}

// plainParams gives typed query parameters as package noah takes them; nil for none.
func plainParams(in *structpb.Struct) map[string]any {
	fields := in.GetFields()
	if len(fields) == 0 {
		return nil
	}
	out := make(map[string]any, len(fields))
	for name, value := range fields {
		out[name] = plainValue(value, 0)
	}
	return out
}

// plainValue gives scalars and lists as package noah takes them. Everything else becomes nil, which it refuses; so
// does what is nested deeper than it accepts.
func plainValue(v *structpb.Value, depth int) any {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return kind.StringValue
	case *structpb.Value_BoolValue:
		return kind.BoolValue
	case *structpb.Value_NumberValue:
		return kind.NumberValue
	case *structpb.Value_ListValue:
		if depth > 1 {
			return nil
		}
		items := make([]any, len(kind.ListValue.GetValues()))
		for i, item := range kind.ListValue.GetValues() {
			items[i] = plainValue(item, depth+1)
		}
		return items
	}
	return nil
}

// ComputeNobaSignature implements signerdv1.SignerServiceServer.
func (s *signerService) ComputeNobaSignature(ctx context.Context, in *signerdv1.ComputeNobaSignatureRequest) (*signerdv1.ComputeNobaSignatureResponse, error) {
	now := s.now()
	request, err := noba.NewRequest(noba.RequestParams{
		Method: in.GetMethod(), Path: in.GetPath(), Body: in.GetBody(), TimestampMillis: in.TimestampMillis,
	}, now)
	if err != nil {
		return nil, err
	}
	authorized, err := s.authorize(ctx, in.GetKey(), nobaAsked(request, in.GetBody()))
	if err != nil {
		return nil, err
	}
	if key := authorized.key; request.Testing() && key.Scheme == noba.Name && key.Environment != upstream.Sandbox {
		return nil, upstream.Invalid("timestamp_millis", "0 is the partner's testing value, and only sandbox keys sign it")
	}
	signer, c, err := credential[*noba.Credential](ctx, authorized, noba.Name)
	if err != nil {
		return nil, err
	}
	if err := signer.Allowed(); err != nil {
		return nil, err
	}
	return &signerdv1.ComputeNobaSignatureResponse{
		Headers: signer.Sign(request, now), KeyVersion: c.record.Version, RecordId: c.record.ID, Warnings: request.Warnings(),
	}, nil
}
