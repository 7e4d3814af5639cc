package rootkey

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"regexp"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	kmsv2 "k8s.io/kms/apis/v2"
)

// What the Kubernetes KMS v2 protocol allows in an answer.
const (
	maxKMSKeyID       = 1 << 10
	maxKMSCiphertext  = 1 << 10
	maxKMSAnnotations = 32 << 10
	maxKMSAnswer      = 64 << 10
)

// annotationName is a fully qualified domain name (RFC 1123).
var annotationName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+$`)

// KMS is a root key in a plugin that speaks the Kubernetes KMS v2 protocol on a Unix socket. It implements keystore.RootKey, and is
// safe for concurrent use. Each operation takes a connection of its own: there are few, and a plugin may be restarted between any two.
type KMS struct {
	socket  string
	timeout time.Duration
	// last is the key_id that the keyring was last wrapped or unwrapped with; nil before.
	last atomic.Pointer[string]
}

// NewKMS connects to nobody yet. timeout bounds each request to the plugin.
func NewKMS(socket string, timeout time.Duration) *KMS { return &KMS{socket: socket, timeout: timeout} }

// ID implements keystore.RootKey. It is the same for every plugin and key: a plugin's key_id changes when its key is rotated, and what
// was wrapped before is still its own.
func (*KMS) ID() string { return "kms" }

// Wrap implements keystore.RootKey.
func (k *KMS) Wrap(ctx context.Context, plaintext []byte) ([]byte, error) {
	return wrapElsewhere(ctx, k, plaintext)
}

// Unwrap implements keystore.RootKey. Its errors may be a *Fault.
func (k *KMS) Unwrap(ctx context.Context, wrapped []byte) ([]byte, error) {
	return unwrapElsewhere(ctx, k, wrapped)
}

// Status is the plugin's key_id now, if it is well. A plugin that is not is a *Fault that is Unavailable.
func (k *KMS) Status(ctx context.Context) (keyID string, err error) {
	err = k.call(ctx, func(ctx context.Context, client kmsv2.KeyManagementServiceClient) error {
		answer, err := client.Status(ctx, &kmsv2.StatusRequest{})
		switch {
		case err != nil:
			return err
		case answer.GetVersion() != "v2" && answer.GetVersion() != "v2beta1":
			return unavailable("the KMS plugin at %s does not speak v2 of the protocol", k.socket)
		case answer.GetHealthz() != "ok":
			return unavailable("the KMS plugin at %s says that it is not well; its own log says why", k.socket)
		}
		keyID = answer.GetKeyId()
		return k.checkKeyID(keyID)
	})
	return keyID, err
}

// KeyID is the plugin's key_id that the keyring was last wrapped or unwrapped with; empty before.
func (k *KMS) KeyID() string {
	if last := k.last.Load(); last != nil {
		return *last
	}
	return ""
}

// Watch asks for the plugin's status at each tick until ctx ends, and tells when its key_id is not the one it was, or the one the keyring
// is wrapped with, and when it stops or begins to be well (err is then not nil, or nil).
func (k *KMS) Watch(ctx context.Context, ticks <-chan time.Time, tell func(keyID string, err error)) {
	known, well := k.KeyID(), true
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
		}
		keyID, err := k.Status(ctx)
		if ctx.Err() != nil {
			return
		}
		if (err == nil) != well || err == nil && keyID != known {
			tell(keyID, err)
		}
		if well = err == nil; well {
			known = keyID
		}
	}
}

func (k *KMS) encrypt(ctx context.Context, key []byte) (out encryptedKey, err error) {
	if _, err := k.Status(ctx); err != nil {
		return out, err
	}
	err = k.call(ctx, func(ctx context.Context, client kmsv2.KeyManagementServiceClient) error {
		answer, err := client.Encrypt(ctx, &kmsv2.EncryptRequest{Plaintext: key, Uid: rand.Text()})
		if err != nil {
			return err
		}
		out = encryptedKey{KeyID: answer.GetKeyId(), Annotations: answer.GetAnnotations(), Ciphertext: answer.GetCiphertext()}
		return k.checkEncrypted(out)
	})
	return out, err
}

func (k *KMS) decrypt(ctx context.Context, key encryptedKey) (plaintext []byte, err error) {
	if k.checkEncrypted(key) != nil {
		return nil, errEnvelope
	}
	err = k.call(ctx, func(ctx context.Context, client kmsv2.KeyManagementServiceClient) error {
		answer, err := client.Decrypt(ctx, &kmsv2.DecryptRequest{Ciphertext: key.Ciphertext, Uid: rand.Text(), KeyId: key.KeyID, Annotations: key.Annotations})
		plaintext = answer.GetPlaintext()
		return err
	})
	switch code := status.Code(err); {
	case err == nil:
		k.last.Store(&key.KeyID)
		return plaintext, nil
	case down[code], ctx.Err() != nil:
		return nil, err
	default:
		return nil, k.refused(ctx, key, code)
	}
}

// refused says what it means that the plugin does not decrypt. Plugins choose their codes freely: its status says whether it is well,
// and whether it has another key now.
func (k *KMS) refused(ctx context.Context, key encryptedKey, code codes.Code) error {
	now, err := k.Status(ctx)
	if err != nil {
		return err
	}
	if broken[code] {
		return unavailable("the KMS plugin at %s answers %s, though it says that it is well; the keyring names its key_id %q, and it is at %q now; its own log says why", k.socket, code, key.KeyID, now)
	}
	if now != key.KeyID {
		return wrongKey("the KMS plugin at %s refuses to decrypt with %s: the keyring was wrapped with its key_id %q, and it is at %q now", k.socket, code, key.KeyID, now)
	}
	return fmt.Errorf("the KMS plugin at %s refuses to decrypt with %s, though the keyring names its key_id %q", k.socket, code, key.KeyID)
}

// broken are the codes of a plugin's own failures, a cloud that it does not reach among them: a plugin in Go that returns a plain error
// answers Unknown, whatever the cause.
var broken = map[codes.Code]bool{codes.Unknown: true, codes.Internal: true}

// down are the codes that say nothing of what was asked. A call that failed without a gRPC status is a *Fault, and Unknown to status.Code.
var down = map[codes.Code]bool{
	codes.Unavailable: true, codes.DeadlineExceeded: true, codes.Canceled: true, codes.ResourceExhausted: true, codes.Aborted: true,
	codes.Unimplemented: true, codes.PermissionDenied: true, codes.Unauthenticated: true,
}

// call makes one request. The messages of a plugin's errors are its own, and not passed on: it was given secrets.
func (k *KMS) call(ctx context.Context, do func(context.Context, kmsv2.KeyManagementServiceClient) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var dialed atomic.Pointer[error]
	conn, err := grpc.NewClient("passthrough:///kms-plugin", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(), grpc.WithDisableRetry(), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxKMSAnswer)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, "unix", k.socket)
			if err != nil {
				dialed.Store(&err)
			}
			return c, err
		}))
	if err != nil {
		return fmt.Errorf("the KMS plugin at %s: %w", k.socket, err)
	}
	defer func() { _ = conn.Close() }()
	limited, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	err = do(limited, kmsv2.NewKeyManagementServiceClient(conn))
	s, answered := status.FromError(err)
	switch failed := dialed.Load(); {
	case err == nil || !answered:
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case failed != nil:
		return &kmsError{Fault{text: fmt.Sprintf("the KMS plugin is not there: %v", *failed), unavailable: true}, s.Code()}
	default:
		return &kmsError{Fault{text: fmt.Sprintf("the KMS plugin at %s answers %s; its own log says why", k.socket, s.Code()), unavailable: true}, s.Code()}
	}
}

// kmsError keeps the code beside the fault.
type kmsError struct {
	Fault
	code codes.Code
}

// GRPCStatus implements what package status looks for.
func (e *kmsError) GRPCStatus() *status.Status { return status.New(e.code, e.text) }

func (k *KMS) checkKeyID(id string) error {
	if id == "" || len(id) >= maxKMSKeyID {
		return unavailable("the KMS plugin at %s breaks the protocol: its key_id has %d bytes", k.socket, len(id))
	}
	return nil
}

func (k *KMS) checkEncrypted(key encryptedKey) error {
	if err := k.checkKeyID(key.KeyID); err != nil {
		return err
	}
	if n := len(key.Ciphertext); n == 0 || n >= maxKMSCiphertext {
		return unavailable("the KMS plugin at %s breaks the protocol: its ciphertext has %d bytes", k.socket, n)
	}
	size := 0
	for name, value := range key.Annotations {
		if size += len(name) + len(value); !annotationName.MatchString(name) || size >= maxKMSAnnotations {
			return unavailable("the KMS plugin at %s breaks the protocol: its annotations are too large, or one's name is no domain name", k.socket)
		}
	}
	return nil
}
