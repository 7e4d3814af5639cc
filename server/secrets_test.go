package server_test

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/keystore"
	"github.com/signerd/signerd/policy"
)

// heardAll collects everything that a client hears: answers, errors with their details, headers and trailers.
type heardAll struct {
	mu      sync.Mutex
	answers [][]byte
	codes   map[string]int
}

func (h *heardAll) intercept(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, next grpc.UnaryInvoker, options ...grpc.CallOption) error {
	var header, trailer metadata.MD
	err := next(ctx, method, req, reply, conn, append(options, grpc.Header(&header), grpc.Trailer(&trailer))...)
	seen := proto.Clone(reply.(proto.Message))
	// The two places where an API key belongs.
	switch out := seen.(type) {
	case *signerdv1.SignNoahRequestResponse:
		delete(out.Headers, "X-Api-Key")
	case *signerdv1.ComputeNobaSignatureResponse:
		delete(out.Headers, "X-Noba-API-Key")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.codes[status.Code(err).String()]++
	for _, m := range []proto.Message{seen, status.Convert(err).Proto()} {
		wire, marshalErr := proto.Marshal(m)
		h.answers = append(h.answers, wire, []byte(prototext.Format(m)))
		err = errors.Join(err, marshalErr)
	}
	for _, md := range []metadata.MD{header, trailer} {
		for name, values := range md {
			h.answers = append(h.answers, []byte(name+strings.Join(values, "\n")))
		}
	}
	for _, detail := range status.Convert(err).Details() {
		text, _ := json.Marshal(detail)
		h.answers = append(h.answers, text)
	}
	return err
}

// spoilt are ways to hold a secret that make no good part of material.
func spoilt(secret []byte) map[string][]byte {
	quoted, _ := json.Marshal(map[string]string{"key": string(secret)})
	return map[string][]byte{
		"half":        secret[:len(secret)/2],
		"the end":     secret[len(secret)/2:],
		"space":       append([]byte("a b "), secret...),
		"line breaks": append(append([]byte("x\n"), secret...), "\ny\n\n"...),
		"JSON":        quoted,
		"base64":      []byte("\n" + base64.StdEncoding.EncodeToString(secret)),
		"PEM block":   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
		"PEM header":  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Secret": base64.StdEncoding.EncodeToString(secret)}, Bytes: []byte("x")}),
		"PEM type":    []byte("-----BEGIN " + string(secret) + "-----\nAAAA\n-----END " + string(secret) + "-----\n"),
		"PEM twice":   append(append([]byte{}, secret...), secret...),
		"PEM, more":   append(append([]byte{}, secret...), "more"...),
		"NUL":         append(append([]byte{}, secret...), 0),
	}
}

func TestNoSecretIsHeardOrLogged(t *testing.T) {
	t.Parallel()
	heard := &heardAll{codes: make(map[string]int)}
	r := start(t, setup{bolt: true, dial: []grpc.DialOption{grpc.WithChainUnaryInterceptor(heard.intercept)},
		identify: func(ctx context.Context) (policy.Caller, error) {
			if len(metadata.ValueFromIncomingContext(ctx, "test-panic")) > 0 {
				panic("the moon is full")
			}
			return byHeader(ctx)
		}})
	noah, noba := newNOAH(t, elliptic.P384(), sandbox), newNoba()
	secrets := canaries{
		"private key": scalar(t, noah), "NOAH API key": []byte(noah.apiKey[len("apikey_sandbox_"):]),
		"Noba API key": []byte(noba.apiKey), "Noba secret": []byte(noba.secret),
	}
	s := scenario{r, t}
	s.use(noah, noba)
	s.refusedImports(noah, noba)
	s.misplaced(secrets)
	r.store.failing(errors.New("the disk is on fire"))
	s.imports(as(t, operator), noah, noba)
	r.store.failing(keystore.ErrConflict)
	s.imports(as(t, operator), noah, noba)
	r.store.failing(nil)
	s.imports(as(t, stranger), noah, noba)
	s.imports(t.Context(), noah, noba)
	s.imports(metadata.AppendToOutgoingContext(as(t, operator), "test-panic", "1"), noah, noba)
	gone, cancel := context.WithCancel(as(t, operator))
	cancel()
	s.imports(gone, noah, noba)
	r.server.CloseKeys(errors.New("the test says so"))
	s.imports(as(t, operator), noah, noba)
	must(t, r.server.Shutdown(context.Background()))
	s.imports(as(t, operator), noah, noba)

	secrets.search(t, "the log", []byte(r.log.String()))
	secrets.search(t, "an answer", bytes.Join(heard.answers, []byte("\n")))
	for _, code := range []string{"OK", "InvalidArgument", "AlreadyExists", "PermissionDenied", "Unauthenticated", "Internal", "Unavailable",
		"Aborted", "FailedPrecondition", "NotFound", "Canceled"} {
		if heard.codes[code] == 0 {
			t.Errorf("nothing was answered with %s: the test does not see what it should", code)
		}
	}
}

// scalar is the secret part of a private key.
func scalar(t *testing.T, a noahAccount) []byte {
	t.Helper()
	b, err := a.private.Bytes()
	must(t, err)
	return b
}

// scenario sends secrets everywhere; what comes back is not looked at here.
type scenario struct {
	*rig
	t *testing.T
}

// use imports and uses the secrets as one should.
func (s scenario) use(noah noahAccount, noba nobaAccount) {
	ctx := as(s.t, operator)
	sec1, err := x509.MarshalECPrivateKey(noah.private)
	must(s.t, err)
	s.imported(s.t, "noah", "noah", sandbox, noah.material())
	s.imported(s.t, "noah-sec1", "noah", sandbox, map[string][]byte{"api_key": []byte(noah.apiKey + "\n"),
		"private_key": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})})
	s.imported(s.t, "noba", "noba", sandbox, noba.material())
	s.imported(s.t, "waiting", "noah", sandbox, map[string][]byte{"private_key": noah.pem})
	_, err = s.admin.ActivateKeyVersion(ctx, &adminv1.ActivateKeyVersionRequest{Name: "waiting", Version: 1, ApiKey: []byte(noah.apiKey)})
	must(s.t, err)
	for _, name := range []string{"noah", "noah-sec1", "noba", "waiting", "absent"} {
		_, _ = s.signNOAH(ctx, name)
		_, _ = s.computeNoba(ctx, name)
		_, _ = s.signNOAH(as(s.t, stranger), name)
		_, _ = s.admin.GetKey(ctx, &adminv1.GetKeyRequest{Name: name})
		_, _ = s.admin.GetPublicKey(ctx, &adminv1.GetPublicKeyRequest{Name: name})
		for _, apiKey := range []string{noah.apiKey, noba.apiKey, noba.secret} {
			_, _ = s.verifies(s.t, operator, name, apiKey, apiKey+"."+noba.secret+".AAAA")
			_, _ = s.admin.VerifySignature(ctx, &adminv1.VerifySignatureRequest{Key: name, ApiKey: apiKey, Candidates: []*adminv1.SignatureCandidate{
				nobaCandidate(&adminv1.NobaSignature{ApiKey: apiKey, Path: noba.secret, Body: noah.pem, Signature: make([]byte, 32)})}})
		}
	}
	_, err = s.admin.ListKeys(ctx, &adminv1.ListKeysRequest{})
	must(s.t, err)
	_, err = s.system.GetStatus(ctx, &adminv1.GetStatusRequest{})
	must(s.t, err)
}

// imports tries good material in every RPC that takes some.
func (s scenario) imports(ctx context.Context, noah noahAccount, noba nobaAccount) {
	for name, material := range map[string]map[string][]byte{"noah": noah.material(), "noba": noba.material()} {
		_, _ = s.admin.ImportKey(ctx, &adminv1.ImportKeyRequest{Name: name, Scheme: name, Environment: sandbox, Material: material})
		_, _ = s.admin.ImportKey(ctx, &adminv1.ImportKeyRequest{Name: name + "-new", Scheme: name, Environment: prod, Material: material})
		_, _ = s.admin.ImportKeyVersion(ctx, &adminv1.ImportKeyVersionRequest{Name: name, Material: material})
		_, _ = s.admin.ImportKeyVersion(ctx, &adminv1.ImportKeyVersionRequest{Name: name, Material: material, Generation: 1})
		_, _ = s.admin.ActivateKeyVersion(ctx, &adminv1.ActivateKeyVersionRequest{Name: name, Version: 1, ApiKey: material["api_key"]})
	}
}

// refusedImports puts what is malformed around the secrets into every part.
func (s scenario) refusedImports(noah noahAccount, noba nobaAccount) {
	ctx := as(s.t, operator)
	_, err := s.admin.CreateKey(ctx, &adminv1.CreateKeyRequest{Name: "pending", Environment: prod})
	must(s.t, err)
	sent := 0
	send := func(scheme string, material map[string][]byte) {
		for _, env := range []adminv1.Environment{sandbox, prod, 0} {
			sent++ // some are good after all, and take their name
			_, _ = s.admin.ImportKey(ctx, &adminv1.ImportKeyRequest{Name: fmt.Sprint("spoilt-", sent), Scheme: scheme, Environment: env, Material: material})
		}
		_, _ = s.admin.ImportKeyVersion(ctx, &adminv1.ImportKeyVersionRequest{Name: scheme, Material: material})
		_, _ = s.admin.ActivateKeyVersion(ctx, &adminv1.ActivateKeyVersionRequest{Name: "pending", Version: 1, ApiKey: material["api_key"]})
	}
	swapped := map[string][]byte{"private_key": []byte(noah.apiKey), "api_key": noah.pem}
	send("noah", swapped)
	send("noba", noah.material())
	send("noah", noba.material())
	for _, secret := range [][]byte{noah.pem, scalar(s.t, noah), []byte(noah.apiKey), []byte(noba.apiKey), []byte(noba.secret)} {
		for _, bad := range spoilt(secret) {
			for _, part := range []string{"private_key", "api_key", "secret", "unknown"} {
				for scheme, material := range map[string]map[string][]byte{"noah": noah.material(), "noba": noba.material()} {
					material[part] = bad
					send(scheme, material)
				}
			}
		}
		damaged := bytes.Replace(noah.pem, []byte("M"), []byte("*"), 1)
		send("noah", map[string][]byte{"private_key": damaged, "api_key": secret})
	}
}

// misplaced puts secrets where a slip may put them: into names, and into what is signed.
func (s scenario) misplaced(secrets canaries) {
	ctx := as(s.t, operator)
	for _, secret := range secrets {
		// Texts in messages are UTF-8; a private key would be typed in as base64.
		text := "_" + strings.ToValidUTF8(string(secret), "") + base64.StdEncoding.EncodeToString(secret)
		_, _ = s.signNOAH(ctx, text)
		_, _ = s.computeNoba(ctx, text)
		_, _ = s.admin.GetKey(ctx, &adminv1.GetKeyRequest{Name: text})
		_, _ = s.admin.ListKeys(ctx, &adminv1.ListKeysRequest{PageToken: text})
		_, _ = s.verifies(s.t, operator, text, text, text)
		_, _ = s.verifies(s.t, operator, "noah", strings.Repeat(text, 99), strings.Repeat(text, 999))
		_, _ = s.admin.CreateKey(ctx, &adminv1.CreateKeyRequest{Name: "x", Environment: sandbox, Scheme: text})
		_, _ = s.admin.CreateKey(ctx, &adminv1.CreateKeyRequest{Name: "x", Environment: sandbox, Algorithm: text})
		_, _ = s.admin.CreateKey(ctx, &adminv1.CreateKeyRequest{Name: "x", Environment: sandbox, Labels: map[string]string{text: "x"}})
		_, _ = s.admin.CreateKey(ctx, &adminv1.CreateKeyRequest{Name: "x", Environment: sandbox, Labels: map[string]string{"x": strings.Repeat(text, 9)}})
		_, _ = s.admin.ImportKey(ctx, &adminv1.ImportKeyRequest{Name: "x", Scheme: text, Environment: sandbox, Material: map[string][]byte{text: secret}})
		_, _ = s.admin.ImportKey(ctx, &adminv1.ImportKeyRequest{Name: "x", Scheme: "noba", Environment: sandbox, Material: map[string][]byte{text: secret}})
		_, _ = s.admin.ImportKeyVersion(ctx, &adminv1.ImportKeyVersionRequest{Name: "noah", Material: map[string][]byte{text: secret}})
		for _, path := range []string{text, "/v1\n" + text, "/v1?a=%" + text, "/v1#" + text} {
			_, _ = s.signer.SignNoahRequest(ctx, &signerdv1.SignNoahRequestRequest{Key: "noah", Method: "GET", Path: path})
			_, _ = s.signer.ComputeNobaSignature(ctx, &signerdv1.ComputeNobaSignatureRequest{Key: "noba", Method: text + " ", Path: path})
		}
		_, _ = s.signer.SignNoahRequest(ctx, &signerdv1.SignNoahRequestRequest{Key: "noah", Method: "GET", Path: "/v1",
			QueryParams: &structpb.Struct{Fields: map[string]*structpb.Value{text: structpb.NewNullValue()}}})
		for _, body := range []string{text, `{"a":"` + text + `","a": 1}`, `{"` + text + `" : 1.0}`} {
			_, _ = s.signer.ComputeNobaSignature(ctx, &signerdv1.ComputeNobaSignatureRequest{Key: "noba", Method: "POST", Path: "/v1", Body: []byte(body)})
		}
	}
}
