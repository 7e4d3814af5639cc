package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/protobuf/proto"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

// Names of what is measured.
const (
	nameES384 = "noah-es384"
	nameES256 = "noah-es256"
	nameNoba  = "noba"
	nameNoon  = "noon"
	nameFsync = "fsync" // raw only: what makes a record durable
)

var operationNames = []string{nameES384, nameES256, nameNoba, nameNoon}

// The requests that are signed. Bodies are made so that NOAH's is messageBytes long, and Noba's whole string to sign.
const (
	messageBytes  = 300
	requestMethod = http.MethodPost
	noahPath      = "/v1/checkout/buy"
	nobaPath      = "/v1/payments"
	noahAudience  = "https://api.noah.com"
	millisDigits  = 13
)

// answer is a response that carries headers, as all of signerd's do.
type answer interface {
	proto.Message
	GetHeaders() map[string]string
}

// operation is one thing that applications ask of signerd.
type operation struct {
	name    string
	method  string
	key     string
	request proto.Message
	answer  func() answer
	check   func(answer) error // that a partner would take it
	raw     func() error       // nil where nothing is computed
}

// newOperations are all operations, on the first key of each kind.
func newOperations(ctx context.Context, a *accounts) map[string]operation {
	out := make(map[string]operation)
	for _, op := range []operation{
		noahOperation(nameES384, jwt.SigningMethodES384, a.es384),
		noahOperation(nameES256, jwt.SigningMethodES256, a.es256),
		nobaOperation(a.nobaKey, a.nobaSecret),
		{
			name: nameNoon, key: keyName(nameNoon, 0), method: signerdv1.SignerService_GetNoonSession_FullMethodName,
			request: &signerdv1.GetNoonSessionRequest{Key: keyName(nameNoon, 0)},
			answer:  func() answer { return new(signerdv1.GetNoonSessionResponse) },
			check:   func(got answer) error { return checkSession(ctx, a.gateway.URL, got) },
		},
	} {
		out[op.name] = op
	}
	return out
}

// jsonBody is a JSON object of n bytes.
func jsonBody(n int) []byte {
	const around = `{"Note":""}`
	return []byte(`{"Note":"` + strings.Repeat("x", n-len(around)) + `"}`)
}

func noahOperation(name string, method jwt.SigningMethod, key *ecdsa.PrivateKey) operation {
	body := jsonBody(messageBytes)
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	return operation{
		name: name, key: keyName(name, 0), method: signerdv1.SignerService_SignNoahRequest_FullMethodName,
		request: &signerdv1.SignNoahRequestRequest{
			Key: keyName(name, 0), Method: requestMethod, Path: noahPath, Content: &signerdv1.SignNoahRequestRequest_Body{Body: body},
		},
		answer: func() answer { return new(signerdv1.SignNoahRequestResponse) },
		check: func(got answer) error {
			return checkJWT(got.GetHeaders()["Api-Signature"], method, &key.PublicKey, hash)
		},
		raw: func() error {
			_, err := signJWT(method, key, hash)
			return err
		},
	}
}

func checkJWT(token string, method jwt.SigningMethod, public *ecdsa.PublicKey, bodyHash string) error {
	var c noahClaims
	_, err := jwt.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return public, nil }, jwt.WithValidMethods([]string{method.Alg()}))
	switch {
	case err != nil:
		return err
	case c.Audience != noahAudience || c.Method != requestMethod || c.Path != noahPath || c.BodyHash != bodyHash || c.Expires != c.IssuedAt+300:
		return errors.New("the token is not about this request")
	}
	return nil
}

func nobaOperation(apiKey, secret string) operation {
	body := jsonBody(messageBytes - millisDigits - len(apiKey) - len(requestMethod) - len(nobaPath))
	toSign := func(timestamp string) []byte {
		return bytes.Join([][]byte{[]byte(timestamp), []byte(apiKey), []byte(requestMethod), []byte(nobaPath), body}, nil)
	}
	message := toSign(strings.Repeat("1", millisDigits))
	return operation{
		name: nameNoba, key: keyName(nameNoba, 0), method: signerdv1.SignerService_ComputeNobaSignature_FullMethodName,
		request: &signerdv1.ComputeNobaSignatureRequest{Key: keyName(nameNoba, 0), Method: requestMethod, Path: nobaPath, Body: body},
		answer:  func() answer { return new(signerdv1.ComputeNobaSignatureResponse) },
		check: func(got answer) error {
			h := got.GetHeaders()
			signed := toSign(h["X-Noba-Timestamp"])
			if h["X-Noba-API-Key"] != apiKey || len(signed) != messageBytes || h["X-Noba-Signature"] != computeHMAC([]byte(secret), signed) {
				return errors.New("the signature is not that of this request")
			}
			return nil
		},
		raw: func() error {
			if computeHMAC([]byte(secret), message) == "" {
				return errors.New("no signature")
			}
			return nil
		},
	}
}

// checkSession asks the gateway whether it accepts the session.
func checkSession(ctx context.Context, gateway string, got answer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, gateway+"/identity/v1/whoami", nil)
	if err != nil {
		return err
	}
	for name, value := range got.GetHeaders() {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<12)); resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the gateway says %s: %s", resp.Status, text)
	}
	return nil
}
