package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/upstream"
)

// environments pairs the message's values with the domain's.
var environments = map[adminv1.Environment]upstream.Environment{
	adminv1.Environment_ENVIRONMENT_SANDBOX: upstream.Sandbox,
	adminv1.Environment_ENVIRONMENT_PROD:    upstream.Prod,
}

func environment(e adminv1.Environment) upstream.Environment { return environments[e] }

func environmentMessage(e upstream.Environment) adminv1.Environment {
	for message, env := range environments {
		if env == e {
			return message
		}
	}
	return adminv1.Environment_ENVIRONMENT_UNSPECIFIED
}

var states = map[keystore.State]adminv1.KeyVersionState{
	keystore.Pending:   adminv1.KeyVersionState_KEY_VERSION_STATE_PENDING,
	keystore.Enabled:   adminv1.KeyVersionState_KEY_VERSION_STATE_ENABLED,
	keystore.Disabled:  adminv1.KeyVersionState_KEY_VERSION_STATE_DISABLED,
	keystore.Destroyed: adminv1.KeyVersionState_KEY_VERSION_STATE_DESTROYED,
}

// actor is who the call's caller is, for the record of a change.
func actor(ctx context.Context) keystore.Actor {
	c, err := callFrom(ctx)
	if err != nil {
		return ""
	}
	return keystore.Actor(c.caller.String())
}

func keyMessage(k *keystore.Key) *adminv1.Key {
	out := &adminv1.Key{
		Name: k.Name, Scheme: k.Scheme, Environment: environmentMessage(k.Environment), Labels: k.Labels(),
		Enabled: k.Enabled, ActiveVersion: k.Active, Generation: k.Generation,
		CreateTime: timestamppb.New(k.CreateTime), UpdateTime: timestamppb.New(k.UpdateTime),
	}
	for _, v := range k.Versions() {
		out.Versions = append(out.Versions, &adminv1.KeyVersion{
			Number: v.Number, State: states[v.State], Algorithm: v.Algorithm, PublicKeySha256: publicSHA256(v),
			CreateTime: timestamppb.New(v.CreateTime), Creator: v.Creator, DestroyTime: knownTime(v.DestroyTime), ExpireTime: knownTime(v.ExpireTime),
			LastUseTime: knownTime(v.LastUsed()),
		})
	}
	return out
}

// knownTime is nil for no time.
func knownTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// newestVersion is the version with the highest number; every key has one.
func newestVersion(k *keystore.Key) keystore.Version {
	versions := k.Versions()
	return versions[len(versions)-1]
}

func publicSHA256(v keystore.Version) string {
	der := v.PublicKey()
	if der == nil {
		return ""
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

func publicPEM(v keystore.Version) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: v.PublicKey()}))
}

// jwk is a public JSON Web Key (RFC 7517) of one of the two kinds here (RFC 7518, sections 6.2.1 and 6.3.1).
type jwk struct {
	Kty string `json:"kty"`
	Crv string `json:"crv,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
	N   string `json:"n,omitempty"`
	E   string `json:"e,omitempty"`
	Alg string `json:"alg"`
	Use string `json:"use"`
}

func publicJWK(v keystore.Version) (string, error) {
	parsed, err := x509.ParsePKIXPublicKey(v.PublicKey())
	if err != nil {
		return "", fmt.Errorf("reading a public key: %w", err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	key := jwk{Alg: v.Algorithm, Use: "sig"}
	switch public := parsed.(type) {
	case *ecdsa.PublicKey:
		point, err := public.Bytes() // 0x04, then x and y at full width
		if err != nil {
			return "", fmt.Errorf("reading a public key: %w", err)
		}
		size := (len(point) - 1) / 2
		key.Kty, key.Crv, key.X, key.Y = "EC", public.Params().Name, encode(point[1:1+size]), encode(point[1+size:])
	case *rsa.PublicKey:
		key.Kty, key.N, key.E = "RSA", encode(public.N.Bytes()), encode(big.NewInt(int64(public.E)).Bytes())
	default:
		return "", errWrongScheme
	}
	text, err := json.Marshal(key)
	return string(text), err
}
