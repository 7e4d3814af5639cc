package server

import (
	"context"
	"encoding/base64"
	"errors"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/policy"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
)

// keyService implements signerd.admin.v1.KeyService.
type keyService struct {
	adminv1.UnimplementedKeyServiceServer
	*Server
}

// CreateKey implements adminv1.KeyServiceServer.
func (s *keyService) CreateKey(ctx context.Context, in *adminv1.CreateKeyRequest) (*adminv1.CreateKeyResponse, error) {
	a, err := s.authorizeName(ctx, in.GetName())
	if err != nil {
		return nil, err
	}
	scheme := in.GetScheme()
	if scheme == "" {
		scheme = noah.Name
	}
	key, err := a.keys.Create(ctx, actor(ctx), keystore.NewKey{
		Name: in.GetName(), Scheme: scheme, Environment: environment(in.GetEnvironment()), Labels: in.GetLabels(),
	}, in.GetAlgorithm())
	if err != nil {
		return nil, onlyImported(err)
	}
	newest := newestVersion(key)
	return &adminv1.CreateKeyResponse{Key: keyMessage(key), PublicKeyPem: publicPEM(newest)}, nil
}

// onlyImported says which field is to blame when a scheme's keys cannot be generated.
func onlyImported(err error) error {
	if errors.Is(err, upstream.ErrNotGenerated) {
		return upstream.Invalid("scheme", "%v", upstream.ErrNotGenerated)
	}
	return err
}

// ImportKey implements adminv1.KeyServiceServer.
func (s *keyService) ImportKey(ctx context.Context, in *adminv1.ImportKeyRequest) (*adminv1.ImportKeyResponse, error) {
	material := takeMaterial(in.GetMaterial())
	defer material.Wipe()
	a, err := s.authorizeName(ctx, in.GetName())
	if err != nil {
		return nil, err
	}
	key, notes, err := a.keys.Import(ctx, actor(ctx), keystore.NewKey{
		Name: in.GetName(), Scheme: in.GetScheme(), Environment: environment(in.GetEnvironment()), Labels: in.GetLabels(),
	}, material)
	if err != nil {
		return nil, err
	}
	return &adminv1.ImportKeyResponse{Key: keyMessage(key), Notes: notes}, nil
}

// takeMaterial makes secrets of a message's bytes, in place: wiping them wipes the message.
func takeMaterial(parts map[string][]byte) upstream.Material {
	m := make(upstream.Material, len(parts))
	for part, b := range parts {
		m[part] = secret.New(b)
	}
	return m
}

// GetKey implements adminv1.KeyServiceServer.
func (s *keyService) GetKey(ctx context.Context, in *adminv1.GetKeyRequest) (*adminv1.GetKeyResponse, error) {
	a, err := s.authorize(ctx, in.GetName())
	if err != nil {
		return nil, err
	}
	return &adminv1.GetKeyResponse{Key: keyMessage(a.key)}, nil
}

// defaultPageSize is the number of keys in a page when the request does not say.
const defaultPageSize = 100

// ListKeys implements adminv1.KeyServiceServer. Keys that the caller may not list are left out.
func (s *keyService) ListKeys(ctx context.Context, in *adminv1.ListKeysRequest) (*adminv1.ListKeysResponse, error) {
	after, err := base64.RawURLEncoding.DecodeString(in.GetPageToken())
	// The decoder is lenient: only what encodes as itself was made here.
	if err != nil || base64.RawURLEncoding.EncodeToString(after) != in.GetPageToken() || len(after) > 0 && !policy.ValidKeyName(string(after)) {
		return nil, upstream.Invalid("page_token", "it is not a next_page_token of ListKeys")
	}
	if _, err := s.decide(ctx, ""); err != nil {
		return nil, err
	}
	keys, err := s.loaded()
	if err != nil {
		return nil, err
	}
	c, err := callFrom(ctx)
	if err != nil {
		return nil, err
	}
	size := int(in.GetPageSize())
	if size == 0 {
		size = defaultPageSize
	}
	out := &adminv1.ListKeysResponse{}
	for name := string(after); ; {
		page := keys.List(name, size+1)
		for _, key := range page {
			name = key.Name
			if _, err := s.policy.Load().Decide(policy.Question{Caller: c.caller, Operation: c.permission.operation, Key: key.Name}); err != nil {
				continue
			}
			// Only a key that the caller may list makes a next page: others must not show in the token.
			if len(out.Keys) == size {
				out.NextPageToken = base64.RawURLEncoding.EncodeToString([]byte(out.Keys[size-1].Name))
				return out, nil
			}
			out.Keys = append(out.Keys, keyMessage(key))
		}
		if len(page) <= size {
			return out, nil
		}
	}
}

// UpdateKey implements adminv1.KeyServiceServer.
func (s *keyService) UpdateKey(ctx context.Context, in *adminv1.UpdateKeyRequest) (*adminv1.UpdateKeyResponse, error) {
	a, err := s.authorize(ctx, in.GetName())
	if err != nil {
		return nil, err
	}
	key, err := a.keys.SetLabels(ctx, in.GetName(), keystore.Precondition(in.GetGeneration()), in.GetLabels())
	if err != nil {
		return nil, err
	}
	return &adminv1.UpdateKeyResponse{Key: keyMessage(key)}, nil
}

// EnableKey implements adminv1.KeyServiceServer.
func (s *keyService) EnableKey(ctx context.Context, in *adminv1.EnableKeyRequest) (*adminv1.EnableKeyResponse, error) {
	key, err := s.setEnabled(ctx, in, true)
	return &adminv1.EnableKeyResponse{Key: key}, err
}

// DisableKey implements adminv1.KeyServiceServer.
func (s *keyService) DisableKey(ctx context.Context, in *adminv1.DisableKeyRequest) (*adminv1.DisableKeyResponse, error) {
	key, err := s.setEnabled(ctx, in, false)
	return &adminv1.DisableKeyResponse{Key: key}, err
}

// change is what every request that changes a key has.
type change interface {
	GetName() string
	GetGeneration() uint64
}

func (s *keyService) setEnabled(ctx context.Context, in change, enabled bool) (*adminv1.Key, error) {
	a, err := s.authorize(ctx, in.GetName())
	if err != nil {
		return nil, err
	}
	key, err := a.keys.SetEnabled(ctx, in.GetName(), keystore.Precondition(in.GetGeneration()), enabled)
	if err := s.credentialChanged(a, key, err); err != nil {
		return nil, err
	}
	return keyMessage(key), nil
}

// GetPublicKey implements adminv1.KeyServiceServer.
func (s *keyService) GetPublicKey(ctx context.Context, in *adminv1.GetPublicKeyRequest) (*adminv1.GetPublicKeyResponse, error) {
	a, err := s.authorize(ctx, in.GetName())
	if err != nil {
		return nil, err
	}
	v, err := publicVersion(a.key, in.GetVersion())
	if err != nil {
		return nil, err
	}
	if v.PublicKey() == nil {
		return nil, errWrongScheme
	}
	jwk, err := publicJWK(v)
	if err != nil {
		return nil, err
	}
	return &adminv1.GetPublicKeyResponse{
		Pem: publicPEM(v), Jwk: jwk, Version: v.Number, Algorithm: v.Algorithm, Sha256: publicSHA256(v),
	}, nil
}

// publicVersion is the version asked for: by default the active one, or the newest while none is active.
func publicVersion(key *keystore.Key, number uint32) (keystore.Version, error) {
	if number == 0 {
		number = key.Active
	}
	if number == 0 {
		return newestVersion(key), nil
	}
	v, ok := key.Version(number)
	if !ok {
		return keystore.Version{}, keystore.ErrNotFound
	}
	return v, nil
}
