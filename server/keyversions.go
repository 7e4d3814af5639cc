package server

import (
	"context"
	"errors"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/importticket"
	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/upstream"
)

// CreateKeyVersion implements adminv1.KeyServiceServer.
func (s *keyService) CreateKeyVersion(ctx context.Context, in *adminv1.CreateKeyVersionRequest) (*adminv1.CreateKeyVersionResponse, error) {
	a, err := s.authorize(ctx, in.GetName(), nil)
	if err != nil {
		return nil, err
	}
	key, number, err := a.keys.CreateVersion(ctx, actor(ctx), in.GetName(), keystore.Precondition(in.GetGeneration()), in.GetAlgorithm())
	if err != nil {
		if errors.Is(err, upstream.ErrNotGenerated) {
			return nil, upstream.Invalid("name", "%v", upstream.ErrNotGenerated)
		}
		return nil, err
	}
	v, _ := key.Version(number)
	return &adminv1.CreateKeyVersionResponse{Key: keyMessage(key), Version: number, PublicKeyPem: publicPEM(v)}, nil
}

// ImportKeyVersion implements adminv1.KeyServiceServer.
func (s *keyService) ImportKeyVersion(ctx context.Context, in *adminv1.ImportKeyVersionRequest) (*adminv1.ImportKeyVersionResponse, error) {
	defer importticket.Wipe(in.GetMaterial())
	if err := oneMaterial(in); err != nil {
		return nil, err
	}
	expires, err := optionalTime("expire_time", in.GetExpireTime())
	if err != nil {
		return nil, err
	}
	a, err := s.authorize(ctx, in.GetName(), nil)
	if err != nil {
		return nil, err
	}
	if err := stillAt(a.key, in.GetGeneration()); err != nil {
		return nil, err
	}
	material, err := s.materialOf(in, newVersionUse(a.key))
	if err != nil {
		return nil, err
	}
	defer material.Wipe()
	key, number, notes, err := a.keys.ImportVersion(ctx, actor(ctx), in.GetName(), material.expected(in.GetGeneration(), a.key), material.Material, expires)
	material.settle(err)
	if err != nil {
		return nil, err
	}
	return &adminv1.ImportKeyVersionResponse{Key: keyMessage(key), Version: number, Notes: notes}, nil
}

// ActivateKeyVersion implements adminv1.KeyServiceServer.
func (s *keyService) ActivateKeyVersion(ctx context.Context, in *adminv1.ActivateKeyVersionRequest) (*adminv1.ActivateKeyVersionResponse, error) {
	completing := taken{Material: upstream.Material{}}
	if len(in.GetApiKey()) > 0 {
		completing.Material[upstream.PartAPIKey] = secret.New(in.GetApiKey())
	}
	defer func() { completing.Wipe() }()
	if err := refuseOwn(upstream.PartAPIKey, map[string][]byte{upstream.PartAPIKey: in.GetApiKey()}); err != nil {
		return nil, err
	}
	if len(in.GetApiKey()) > 0 && len(in.GetSealed()) > 0 {
		return nil, upstream.Invalid("sealed", "there is an API key in the clear as well")
	}
	expires, err := optionalTime("expire_time", in.GetExpireTime())
	if err != nil {
		return nil, err
	}
	if err := noteSkippedLogin(ctx, in); err != nil {
		return nil, err
	}
	a, err := s.authorize(ctx, in.GetName(), nil)
	if err != nil {
		return nil, err
	}
	if len(in.GetSealed()) > 0 {
		if completing, err = s.unsealAPIKey(in, a.key); err != nil {
			return nil, err
		}
	}
	expected, proof, err := s.proveLogin(ctx, a, in)
	if err != nil {
		completing.settle(err)
		return nil, err
	}
	key, notes, err := a.keys.Activate(ctx, in.GetName(), in.GetVersion(), expected, completing.Material, expires)
	settleLogin(proof, key, err)
	completing.settle(err)
	if err := s.credentialChanged(a, key, err); err != nil {
		return nil, nameAPIKeyField(err)
	}
	return &adminv1.ActivateKeyVersionResponse{Key: keyMessage(key), Notes: notes, LoggedIn: proof != nil}, nil
}

// nameAPIKeyField names the field as this request has it: it holds the API key itself, not a map of material.
func nameAPIKeyField(err error) error {
	var field *upstream.FieldError
	if errors.As(err, &field) && field.Field == "material."+upstream.PartAPIKey {
		return upstream.Invalid(upstream.PartAPIKey, "%s", field.Problem)
	}
	return err
}

// EnableKeyVersion implements adminv1.KeyServiceServer.
func (s *keyService) EnableKeyVersion(ctx context.Context, in *adminv1.EnableKeyVersionRequest) (*adminv1.EnableKeyVersionResponse, error) {
	key, err := s.changeVersion(ctx, in, (*keystore.Keystore).EnableVersion)
	return &adminv1.EnableKeyVersionResponse{Key: key}, err
}

// DisableKeyVersion implements adminv1.KeyServiceServer.
func (s *keyService) DisableKeyVersion(ctx context.Context, in *adminv1.DisableKeyVersionRequest) (*adminv1.DisableKeyVersionResponse, error) {
	key, err := s.changeVersion(ctx, in, (*keystore.Keystore).DisableVersion)
	return &adminv1.DisableKeyVersionResponse{Key: key}, err
}

// DestroyKeyVersion implements adminv1.KeyServiceServer.
func (s *keyService) DestroyKeyVersion(ctx context.Context, in *adminv1.DestroyKeyVersionRequest) (*adminv1.DestroyKeyVersionResponse, error) {
	d := keystore.Destruction{Confirm: in.GetConfirm()}
	if after := in.GetAfter(); after != nil {
		if after.CheckValid() != nil || after.AsDuration() <= 0 {
			return nil, upstream.Invalid("after", "it is no duration, or not a positive one")
		}
		d.After = after.AsDuration()
	}
	key, err := s.changeVersion(ctx, in, func(keys *keystore.Keystore, ctx context.Context, name string, number uint32, expected keystore.Precondition) (*keystore.Key, error) {
		return keys.ScheduleDestruction(ctx, name, number, expected, d)
	})
	return &adminv1.DestroyKeyVersionResponse{Key: key}, err
}

// RestoreKeyVersion implements adminv1.KeyServiceServer.
func (s *keyService) RestoreKeyVersion(ctx context.Context, in *adminv1.RestoreKeyVersionRequest) (*adminv1.RestoreKeyVersionResponse, error) {
	key, err := s.changeVersion(ctx, in, (*keystore.Keystore).RestoreVersion)
	return &adminv1.RestoreKeyVersionResponse{Key: key}, err
}

// UpdateKeyVersion implements adminv1.KeyServiceServer.
func (s *keyService) UpdateKeyVersion(ctx context.Context, in *adminv1.UpdateKeyVersionRequest) (*adminv1.UpdateKeyVersionResponse, error) {
	at, err := optionalTime("expire_time", in.GetExpireTime())
	if err != nil {
		return nil, err
	}
	key, err := s.changeVersion(ctx, in, func(keys *keystore.Keystore, ctx context.Context, name string, number uint32, expected keystore.Precondition) (*keystore.Key, error) {
		return keys.SetExpiry(ctx, name, number, expected, at)
	})
	return &adminv1.UpdateKeyVersionResponse{Key: key}, err
}

// versionChange is what every request that changes one version has.
type versionChange interface {
	change
	GetVersion() uint32
}

func (s *keyService) changeVersion(ctx context.Context, in versionChange, apply func(*keystore.Keystore, context.Context, string, uint32, keystore.Precondition) (*keystore.Key, error)) (*adminv1.Key, error) {
	a, err := s.authorize(ctx, in.GetName(), nil)
	if err != nil {
		return nil, err
	}
	key, err := apply(a.keys, ctx, in.GetName(), in.GetVersion(), keystore.Precondition(in.GetGeneration()))
	if err := s.credentialChanged(a, key, err); err != nil {
		return nil, err
	}
	return keyMessage(key), nil
}
