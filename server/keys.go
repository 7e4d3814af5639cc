package server

import (
	"context"
	"encoding/base64"
	"errors"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/importticket"
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
	n := keystore.NewKey{Name: in.GetName(), Scheme: in.GetScheme(), Environment: environment(in.GetEnvironment()), Labels: in.GetLabels()}
	if n.Scheme == "" {
		n.Scheme = noah.Name
	}
	keys, err := s.authorizeNew(ctx, n)
	if err != nil {
		return nil, err
	}
	key, err := keys.Create(ctx, actor(ctx), n, in.GetAlgorithm())
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
	defer importticket.Wipe(in.GetMaterial())
	if err := oneMaterial(in); err != nil {
		return nil, err
	}
	expires, err := optionalTime("expire_time", in.GetExpireTime())
	if err != nil {
		return nil, err
	}
	n := keystore.NewKey{Name: in.GetName(), Scheme: in.GetScheme(), Environment: environment(in.GetEnvironment()), Labels: in.GetLabels(), ExpireTime: expires}
	keys, err := s.authorizeNew(ctx, n)
	if err != nil {
		return nil, err
	}
	material, err := s.materialOf(in, newKeyUse(n))
	if err != nil {
		return nil, err
	}
	defer material.Wipe()
	key, notes, err := keys.Import(ctx, actor(ctx), n, material.Material)
	material.settle(err)
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
	a, err := s.authorize(ctx, in.GetName(), nil)
	if err != nil {
		return nil, err
	}
	return &adminv1.GetKeyResponse{Key: keyMessage(a.key), UsesKnownSince: knownTime(a.keys.UsesKnownSince())}, nil
}

// defaultPageSize is the number of keys in a page when the request does not say.
const defaultPageSize = 100

// ListKeys implements adminv1.KeyServiceServer. Keys that the caller may not get are left out.
func (s *keyService) ListKeys(ctx context.Context, in *adminv1.ListKeysRequest) (*adminv1.ListKeysResponse, error) {
	after, err := base64.RawURLEncoding.DecodeString(in.GetPageToken())
	// The decoder is lenient: only what encodes as itself was made here.
	if err != nil || base64.RawURLEncoding.EncodeToString(after) != in.GetPageToken() || len(after) > 0 && !policy.ValidKeyName(string(after)) {
		return nil, upstream.Invalid("page_token", "it is not a next_page_token of ListKeys")
	}
	keys, view, err := s.decideSystem(ctx)
	if err != nil {
		return nil, err
	}
	c, err := callFrom(ctx)
	if err != nil {
		return nil, err
	}
	mayGet := s.getting(c.caller, view)
	size := int(in.GetPageSize())
	if size == 0 {
		size = defaultPageSize
	}
	out := &adminv1.ListKeysResponse{}
	for name := string(after); ; {
		page := keys.List(name, size+1)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for _, listed := range page {
			name = listed.Name
			// As it was when the policy was what decides here; a key that is newer is on the next list.
			key := view.Lookup(name)
			if key == nil || !mayGet(key) {
				continue
			}
			// Only a key that the caller may get makes a next page: others must not show in the token.
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

// getting decides which keys are shown, all within the same bounds and at the same time. It charges no limit: the list is
// one request.
func (s *Server) getting(caller policy.Caller, view keystore.View) func(*keystore.Key) bool {
	bounds, inForce, now := s.bounds.Load(), view.Policy().Policy, s.now()
	return func(key *keystore.Key) bool {
		return bounds.Decide(inForce, policy.Question{Caller: caller, Operation: getKey, Key: key.Known(), Now: now}).Err() == nil
	}
}

// UpdateKey implements adminv1.KeyServiceServer.
func (s *keyService) UpdateKey(ctx context.Context, in *adminv1.UpdateKeyRequest) (*adminv1.UpdateKeyResponse, error) {
	a, err := s.authorize(ctx, in.GetName(), nil)
	if err != nil {
		return nil, err
	}
	// By the policy in force now, which may have come after the decision: a label that it reads is not to slip through.
	if err := s.mayLabel(ctx, a.keys.View(), a.key.Labels(), in.GetLabels()); err != nil {
		return nil, err
	}
	// The labels that were looked at are those that are replaced: a generation to come could be guessed.
	if in.GetGeneration() != 0 && in.GetGeneration() != a.key.Generation {
		return nil, keystore.ErrConflict
	}
	key, err := a.keys.SetLabels(ctx, in.GetName(), keystore.Precondition(a.key.Generation), in.GetLabels())
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
	a, err := s.authorize(ctx, in.GetName(), nil)
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
	a, err := s.authorize(ctx, in.GetName(), nil)
	if err != nil {
		return nil, err
	}
	v, err := publicVersion(a.key, in.GetVersion())
	if err != nil {
		return nil, err
	}
	if v.State == keystore.Destroyed {
		return nil, keystore.ErrVersionDestroyed
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
