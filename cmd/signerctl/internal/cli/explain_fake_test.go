package cli

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// refusedRequest is a file of testdata/refused: a request that its partner refuses for one cause.
type refusedRequest struct {
	Cause   string `json:"cause"`
	Says    string `json:"says"` // is in the first line
	Partner string `json:"partner"`
	Form    string `json:"form"`
	// Signed is what was signed; empty parts of Sent are as in it.
	Signed struct {
		Method string          `json:"method"`
		Path   string          `json:"path"`
		Query  json.RawMessage `json:"query"` // queryParams
		Body   string          `json:"body"`
	} `json:"signed"`
	Sent struct {
		Method  string   `json:"method"`
		URL     string   `json:"url"`
		Body    *string  `json:"body"`
		Without []string `json:"without"` // headers
		// After is how long after signing it was captured, as a HAR file says.
		After string `json:"after"`
	} `json:"sent"`
	// How the signature is made otherwise than it should be.
	How struct {
		Algorithm string `json:"algorithm"`
		Form      string `json:"form"`    // der or padded
		Clock     string `json:"clock"`   // how far it is off
		Version   int    `json:"version"` // 2 without it
		APIKey    string `json:"api_key"` // instead of that of the version
		Audience  string `json:"audience"`
		Stranger  bool   `json:"stranger"` // a key that signerd does not have
		Separator string `json:"separator"`
	} `json:"how"`
}

// accounts are the material of a fake signerd: for each version, from 1.
type accounts struct {
	noah        []*ecdsa.PrivateKey
	noba        []string
	noahAPIKeys []string
	nobaAPIKeys []string
}

func newAccounts(t *testing.T) *accounts {
	t.Helper()
	a := &accounts{}
	for range 2 {
		pair, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		a.noah, a.noba = append(a.noah, pair), append(a.noba, rand.Text())
		a.noahAPIKeys = append(a.noahAPIKeys, "apikey_sandbox_"+strings.ToLower(rand.Text()))
		a.nobaAPIKeys = append(a.nobaAPIKeys, rand.Text())
	}
	return a
}

// key is one that both partners' requests may be explained by.
func accountKey(scheme, algorithm string) *adminv1.Key {
	state := adminv1.KeyVersionState_KEY_VERSION_STATE_ENABLED
	return &adminv1.Key{Name: scheme + "-app", Scheme: scheme, Environment: adminv1.Environment_ENVIRONMENT_SANDBOX, Enabled: true, ActiveVersion: 2,
		Versions: []*adminv1.KeyVersion{{Number: 1, State: state, Algorithm: algorithm}, {Number: 2, State: state, Algorithm: algorithm}}}
}

// answers are those of a signerd that has the accounts.
func (a *accounts) answers() answers {
	keys := []*adminv1.Key{accountKey("noah", "ES384"), accountKey("noba", "HMAC-SHA256"), accountKey("noon", "RS256")}
	return answers{
		"ListKeys": give(&adminv1.ListKeysResponse{Keys: keys}),
		"GetKey": func(_ context.Context, req proto.Message) (proto.Message, error) {
			for _, k := range keys {
				if k.GetName() == req.(*adminv1.GetKeyRequest).GetName() {
					return &adminv1.GetKeyResponse{Key: k}, nil
				}
			}
			return refuse(5, "KEY_NOT_FOUND", "there is no such key")(nil, nil)
		},
		"VerifySignature": a.verify,
	}
}

func (a *accounts) verify(_ context.Context, m proto.Message) (proto.Message, error) {
	req := m.(*adminv1.VerifySignatureRequest)
	resp := &adminv1.VerifySignatureResponse{RecordId: "rec-1"}
	apiKeys := a.noahAPIKeys
	if strings.HasPrefix(req.GetKey(), "noba") {
		apiKeys = a.nobaAPIKeys
	}
	resp.ApiKeyVersion = uint32(slices.Index(apiKeys, req.GetApiKey()) + 1)
	for _, c := range req.GetCandidates() {
		version := 0
		if noah := c.GetNoah(); noah != nil {
			version = slices.IndexFunc(a.noah, func(k *ecdsa.PrivateKey) bool { return verifyToken(noah.GetToken(), &k.PublicKey) }) + 1
		} else {
			n := c.GetNoba()
			version = slices.IndexFunc(a.noba, func(secret string) bool {
				return hmac.Equal(mac(secret, n.GetTimestamp(), n.GetApiKey(), n.GetMethod(), n.GetPath(), string(n.GetBody())), n.GetSignature())
			}) + 1
		}
		resp.Versions = append(resp.Versions, uint32(version))
	}
	return resp, nil
}

func mac(secret string, parts ...string) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(strings.Join(parts, "")))
	return h.Sum(nil)
}

func verifyToken(token string, public *ecdsa.PublicKey) bool {
	at := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(token[at+1:], "="))
	if err != nil || len(signature) != 96 {
		return false
	}
	sum := sha512.Sum384([]byte(token[:at]))
	return ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(signature[:48]), new(big.Int).SetBytes(signature[48:]))
}

// headers signs a request as its file says.
func (a *accounts) headers(t *testing.T, q refusedRequest, now time.Time) map[string]string {
	t.Helper()
	version := 2
	if q.How.Version != 0 {
		version = q.How.Version
	}
	if q.How.Clock != "" {
		now = now.Add(duration(t, q.How.Clock))
	}
	if q.Partner == "noba" {
		apiKey := a.nobaAPIKeys[version-1]
		if q.How.APIKey != "" {
			apiKey = q.How.APIKey
		}
		secret := a.noba[version-1]
		if q.How.Stranger {
			secret = rand.Text()
		}
		timestamp, s := fmt.Sprint(now.UnixMilli()), q.How.Separator
		return map[string]string{"X-Noba-API-Key": apiKey, "X-Noba-Timestamp": timestamp,
			"X-Noba-Signature": hex.EncodeToString(mac(secret, timestamp, s, apiKey, s, q.Signed.Method, s, q.Signed.Path, s, q.Signed.Body))}
	}
	apiKey := a.noahAPIKeys[version-1]
	if q.How.APIKey != "" {
		apiKey = q.How.APIKey
	}
	key := a.noah[version-1]
	if q.How.Stranger {
		key, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	}
	return map[string]string{"X-Api-Key": apiKey, "Api-Signature": token(t, q, key, now)}
}

func token(t *testing.T, q refusedRequest, key *ecdsa.PrivateKey, now time.Time) string {
	t.Helper()
	claims := map[string]any{"aud": "https://api.noah.com", "iat": now.Unix(), "exp": now.Unix() + 300, "method": q.Signed.Method, "path": q.Signed.Path}
	if q.Signed.Query != nil {
		claims["queryParams"] = q.Signed.Query
	}
	if q.Signed.Body != "" {
		sum := sha256.Sum256([]byte(q.Signed.Body))
		claims["bodyHash"] = hex.EncodeToString(sum[:])
	}
	if q.How.Audience != "" {
		claims["aud"] = q.How.Audience
	}
	algorithm := "ES384"
	if q.How.Algorithm != "" {
		algorithm = q.How.Algorithm
	}
	encoding := base64.RawURLEncoding
	if q.How.Form == "padded" {
		encoding = base64.URLEncoding
	}
	header, _ := json.Marshal(map[string]string{"alg": algorithm, "typ": "JWT"})
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	if q.How.Form == "padded" && len(payload)%3 == 0 {
		payload = append(payload, ' ') // so that there is padding
	}
	text := encoding.EncodeToString(header) + "." + encoding.EncodeToString(payload)
	sum := sha512.Sum384([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := append(r.FillBytes(make([]byte, 48)), s.FillBytes(make([]byte, 48))...)
	if q.How.Form == "der" {
		if signature, err = ecdsa.SignASN1(rand.Reader, key, sum[:]); err != nil {
			t.Fatal(err)
		}
	}
	return text + "." + encoding.EncodeToString(signature)
}

func duration(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// capture writes the request in its form, and gives what of it is secret.
func (a *accounts) capture(t *testing.T, q refusedRequest) (content string, secrets []string) {
	t.Helper()
	now := time.Now()
	headers := a.headers(t, q, now)
	for _, name := range q.Sent.Without {
		delete(headers, name)
	}
	method, body := q.Sent.Method, q.Signed.Body
	if method == "" {
		method = q.Signed.Method
	}
	if q.Sent.Body != nil {
		body = *q.Sent.Body
	}
	names := slices.Sorted(maps.Keys(headers))
	for _, name := range names {
		if name != "X-Noba-Timestamp" {
			secrets = append(secrets, headers[name])
		}
	}
	switch q.Form {
	case "curl":
		content = "curl " + shellQuote(q.Sent.URL) + " \\\n  -X " + method
		for _, name := range names {
			content += " \\\n  -H " + shellQuote(name+": "+headers[name])
		}
		if body != "" {
			content += " \\\n  --data-binary " + shellQuote(body)
		}
		content += " --compressed\n"
	case "http":
		rest, _ := strings.CutPrefix(q.Sent.URL, "https://")
		host, target, _ := strings.Cut(rest, "/")
		content = method + " /" + target + " HTTP/1.1\r\nHost: " + host + "\r\n"
		for _, name := range names {
			content += name + ": " + headers[name] + "\r\n"
		}
		content += fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
	case "har":
		content = harOf(t, method, q.Sent.URL, headers, body, now.Add(after(t, q)))
	default:
		t.Fatalf("there is no form %q", q.Form)
	}
	return content, secrets
}

func after(t *testing.T, q refusedRequest) time.Duration {
	if q.Sent.After == "" {
		return 0
	}
	return duration(t, q.Sent.After)
}

func harOf(t *testing.T, method, url string, headers map[string]string, body string, started time.Time) string {
	t.Helper()
	var list []map[string]string
	for name, v := range headers {
		list = append(list, map[string]string{"name": strings.ToLower(name), "value": v})
	}
	request := map[string]any{"method": method, "url": url, "httpVersion": "h2", "headers": list}
	if body != "" {
		request["postData"] = map[string]any{"mimeType": "application/json", "text": base64.StdEncoding.EncodeToString([]byte(body)), "encoding": "base64"}
	}
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(map[string]any{"log": map[string]any{"version": "1.2", "entries": []any{
		map[string]any{"request": map[string]any{"method": "GET", "url": "https://example.org/", "headers": []any{}}, "response": map[string]any{"status": 200}},
		map[string]any{"startedDateTime": started.Format(time.RFC3339Nano), "request": request, "response": map[string]any{"status": 401}},
	}}}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
