// Package kmsfile is a Kubernetes KMS v2 plugin whose keys are files in a folder: 1.key, 2.key and so on, each a root key file. The
// newest encrypts; all decrypt.
//
// It is for cmd/signerd-kms-file, and so for development and tests. It keeps keys no better than a root key file does.
package kmsfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	kmsv2 "k8s.io/kms/apis/v2"

	"github.com/signerd/signerd/internal/rootkey"
)

// annotation names the file that a ciphertext is of.
const annotation = "number.kms-file.signerd.invalid"

// maxPlaintext keeps ciphertexts under what the protocol allows.
const maxPlaintext = 512

// errNoKey says that the folder is no plugin's.
var errNoKey = errors.New("there is no file 1.key: make one with --rotate")

// Plugin answers the KMS v2 protocol. It reads the folder anew for each request, and is safe for concurrent use.
type Plugin struct {
	kmsv2.UnimplementedKeyManagementServiceServer
	// Dir is the folder of keys.
	Dir string
}

// Rotate makes the next key, which encrypts from then on.
func (p *Plugin) Rotate() error {
	number, err := p.newest()
	if err != nil && !errors.Is(err, errNoKey) {
		return err
	}
	return rootkey.CreateFile(p.path(number + 1))
}

func (p *Plugin) path(number int) string { return filepath.Join(p.Dir, strconv.Itoa(number)+".key") }

// newest is the highest number up to which no file is missing; keys are looked up here, never listed.
func (p *Plugin) newest() (int, error) {
	number := 0
	for {
		_, err := os.Stat(p.path(number + 1))
		switch {
		case err == nil:
			number++
		case !errors.Is(err, os.ErrNotExist):
			return 0, err
		case number == 0:
			return 0, errNoKey
		default:
			return number, nil
		}
	}
}

// current is the key that encrypts.
func (p *Plugin) current() (int, *rootkey.File, error) {
	number, err := p.newest()
	if err != nil {
		return 0, nil, err
	}
	key, err := rootkey.OpenFile(p.path(number))
	return number, key, err
}

// Status implements kmsv2.KeyManagementServiceServer.
func (p *Plugin) Status(context.Context, *kmsv2.StatusRequest) (*kmsv2.StatusResponse, error) {
	_, key, err := p.current()
	if err != nil {
		return &kmsv2.StatusResponse{Version: "v2", Healthz: err.Error()}, nil
	}
	return &kmsv2.StatusResponse{Version: "v2", Healthz: "ok", KeyId: key.ID()}, nil
}

// Encrypt implements kmsv2.KeyManagementServiceServer.
func (p *Plugin) Encrypt(ctx context.Context, in *kmsv2.EncryptRequest) (*kmsv2.EncryptResponse, error) {
	if len(in.GetPlaintext()) > maxPlaintext {
		return nil, status.Errorf(codes.InvalidArgument, "more than %d bytes", maxPlaintext)
	}
	number, key, err := p.current()
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	ciphertext, err := key.Wrap(ctx, in.GetPlaintext())
	if err != nil {
		return nil, fmt.Errorf("encrypting with key %d: %w", number, err)
	}
	return &kmsv2.EncryptResponse{Ciphertext: ciphertext, KeyId: key.ID(), Annotations: map[string][]byte{annotation: []byte(strconv.Itoa(number))}}, nil
}

// Decrypt implements kmsv2.KeyManagementServiceServer.
func (p *Plugin) Decrypt(ctx context.Context, in *kmsv2.DecryptRequest) (*kmsv2.DecryptResponse, error) {
	number, err := strconv.Atoi(string(in.GetAnnotations()[annotation]))
	if err != nil || number < 1 {
		return nil, status.Error(codes.InvalidArgument, "the annotation is missing or no number")
	}
	key, err := rootkey.OpenFile(p.path(number))
	if err != nil {
		return nil, status.Errorf(codes.NotFound, "key %d: %v", number, err)
	}
	if key.ID() != in.GetKeyId() {
		return nil, status.Errorf(codes.NotFound, "key %d is another one", number)
	}
	plaintext, err := key.Unwrap(ctx, in.GetCiphertext())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "the ciphertext is not of this key")
	}
	return &kmsv2.DecryptResponse{Plaintext: plaintext}, nil
}
