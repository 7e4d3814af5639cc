package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	"github.com/signerd/signerd/internal/diagnosis"
)

// What VerifySignature takes, and what is asked of it for one request.
const (
	maxCandidates     = 32
	maxCandidateBytes = 2 << 20 // of bodies, in one call
	maxKeysTried      = 64
)

// explainer finds out about one request.
type explainer struct {
	client adminv1.KeyServiceClient
	r      diagnosis.Request
	now    time.Time

	partner string
	key     *adminv1.Key // its name alone where signerd tells no more
	apiKey  string
	version uint32
	found   []diagnosis.Finding
	checked []string
	notes   []string
}

func newExplainer(conn *grpc.ClientConn, r diagnosis.Request, now time.Time) *explainer {
	return &explainer{client: adminv1.NewKeyServiceClient(conn), r: r, now: now}
}

func (e *explainer) check(format string, args ...any) {
	e.checked = append(e.checked, fmt.Sprintf(format, args...))
}

// explain fills in what was found.
func (e *explainer) explain(ctx context.Context, partner, key string) error {
	var err error
	if e.partner = partner; partner == "" {
		if e.partner, err = partnerOf(e.r); err != nil {
			return err
		}
	}
	if key != "" {
		if err := e.showKey(ctx, key); err != nil {
			return err
		}
	}
	if e.partner == "" {
		return &failure{what: "explaining the request", err: errors.New("no header of NOAH or Noba is in it"), hint: "--partner says whose it should be"}
	}
	e.apiKey = e.r.Header.Get(map[string]string{"noah": "X-Api-Key", "noba": "X-Noba-API-Key"}[e.partner])
	var unasked error // why signerd could not tell
	if e.key == nil {
		unasked = e.findKey(ctx)
	}
	environment := ""
	if e.key.GetEnvironment() != adminv1.Environment_ENVIRONMENT_UNSPECIFIED {
		environment = environmentName(e.key.GetEnvironment())
	}
	if e.partner == "noah" {
		e.found = append(e.found, diagnosis.NOAH(e.r, environment, e.now)...)
		e.check("partner noah: headers, form of the token, aud, method, path, query, body and times against the token's claims")
	} else {
		e.found = append(e.found, diagnosis.Noba(e.r, environment, e.now)...)
		e.check("partner noba: headers, form of the signature, time")
	}
	if unasked == nil && e.key != nil {
		unasked = e.verify(ctx)
	}
	if unasked != nil {
		if len(e.found) == 0 {
			return unasked
		}
		e.check("not the signature: %v", unasked)
	}
	diagnosis.Sort(e.found)
	return nil
}

// showKey looks at the key that was named. Who may verify with a key may not be allowed to see it.
func (e *explainer) showKey(ctx context.Context, name string) error {
	resp, err := e.client.GetKey(ctx, &adminv1.GetKeyRequest{Name: name})
	if call, ok := errors.AsType[*callError](err); ok && call.reason() == "DENIED" {
		e.key = &adminv1.Key{Name: name}
		return nil
	}
	if err != nil {
		return &failure{what: "showing key " + name, key: name, err: err}
	}
	e.key = resp.GetKey()
	scheme := e.key.GetScheme()
	switch {
	case scheme != "noah" && scheme != "noba":
		return &failure{what: "explaining the request", key: name, err: fmt.Errorf("key %s is for %s, whose requests carry no signature", name, scheme)}
	case e.partner == "":
		e.partner = scheme
	case e.partner != scheme:
		return &failure{what: "explaining the request", key: name, err: fmt.Errorf("the request is for %s, and key %s for %s", e.partner, name, scheme),
			hint: "--key names the key that signed; --partner says whose the request is"}
	}
	return nil
}

// findKey finds the key by its partner, or by the API key among several.
func (e *explainer) findKey(ctx context.Context) error {
	var keys []*adminv1.Key
	req := &adminv1.ListKeysRequest{}
	for {
		page, err := e.client.ListKeys(ctx, req)
		if err != nil {
			return &failure{what: "listing the keys", err: err}
		}
		for _, k := range page.GetKeys() {
			if k.GetScheme() == e.partner {
				keys = append(keys, k)
			}
		}
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	switch {
	case len(keys) == 0:
		return &failure{what: "finding the key", err: fmt.Errorf("there is no key for %s that you may see", e.partner), hint: "--key names one"}
	case len(keys) == 1:
		e.key = keys[0]
		return nil
	case len(keys) > maxKeysTried:
		return &failure{what: "finding the key", err: fmt.Errorf("there are %d keys for %s", len(keys), e.partner), hint: "--key names the one that signed"}
	case e.sentAPIKey() == "":
		return &failure{what: "finding the key", err: fmt.Errorf("there are %d keys for %s, and the request has no API key to choose by", len(keys), e.partner), hint: "--key names the one that signed"}
	}
	for _, k := range keys {
		resp, err := e.client.VerifySignature(ctx, &adminv1.VerifySignatureRequest{Key: k.GetName(), ApiKey: e.sentAPIKey()})
		if call, ok := errors.AsType[*callError](err); ok && call.reason() == "DENIED" {
			continue
		}
		if err != nil {
			return &failure{what: "looking for the API key in key " + k.GetName(), key: k.GetName(), err: err}
		}
		if resp.GetApiKeyVersion() > 0 {
			e.key = k
			return nil
		}
	}
	e.found = append(e.found, diagnosis.Finding{Cause: diagnosis.WrongAPIKey, Text: fmt.Sprintf("headers: none of your %d keys for %s has this API key", len(keys), e.partner),
		Advice: "send the headers of signerd's answer together; where the key is known, name it with --key"})
	return nil
}

// sentAPIKey is the request's API key as far as signerd takes it.
func (e *explainer) sentAPIKey() string {
	if len(e.apiKey) > 512 || !utf8.ValidString(e.apiKey) {
		return ""
	}
	return e.apiKey
}

// verify asks signerd about the signature.
func (e *explainer) verify(ctx context.Context) error {
	if e.partner == "noba" {
		return e.verifyNoba(ctx)
	}
	req := &adminv1.VerifySignatureRequest{Key: e.key.GetName(), ApiKey: e.sentAPIKey()}
	token := diagnosis.RawToken(e.r)
	if token != "" && utf8.ValidString(token) {
		req.Candidates = []*adminv1.SignatureCandidate{{Signature: &adminv1.SignatureCandidate_Noah{Noah: &adminv1.NoahSignature{Token: token}}}}
	}
	if req.ApiKey == "" && len(req.Candidates) == 0 {
		return nil
	}
	versions, apiKeyVersion, err := e.ask(ctx, req)
	if err != nil {
		return err
	}
	if len(versions) == 0 {
		e.fitAPIKey(apiKeyVersion)
		return nil
	}
	if versions[0] == 0 {
		e.unknownSigner(apiKeyVersion)
		return nil
	}
	e.fitVersions(versions[0], apiKeyVersion)
	return nil
}

func (e *explainer) ask(ctx context.Context, req *adminv1.VerifySignatureRequest) (versions []uint32, apiKeyVersion uint32, err error) {
	resp, err := e.client.VerifySignature(ctx, req)
	if err != nil {
		return nil, 0, &failure{what: "verifying the signature with key " + req.GetKey(), key: req.GetKey(), err: err}
	}
	if len(resp.GetVersions()) != len(req.GetCandidates()) {
		return nil, 0, &failure{what: "verifying the signature with key " + req.GetKey(), err: errors.New("signerd did not answer for each candidate")}
	}
	return resp.GetVersions(), resp.GetApiKeyVersion(), nil
}

// unknownSigner is for a NOAH token that no version made.
func (e *explainer) unknownSigner(apiKeyVersion uint32) {
	name, algorithm := e.key.GetName(), diagnosis.Algorithm(e.r)
	e.check("the signature: no version of key %s made it", name)
	var algorithms []string
	for _, v := range e.key.GetVersions() {
		if !slices.Contains(algorithms, v.GetAlgorithm()) {
			algorithms = append(algorithms, v.GetAlgorithm())
		}
	}
	if len(algorithms) > 0 && !slices.Contains(algorithms, algorithm) {
		e.found = append(e.found, diagnosis.Finding{Cause: diagnosis.WrongAlgorithm, Text: fmt.Sprintf("token: its algorithm is %s, and key %s is for %s", algorithm, name, strings.Join(algorithms, " and ")),
			Advice: "sign with the algorithm of the key that the partner has"})
		return
	}
	text := "the signature was not made by any version of key " + name + ", or the token was changed after it was made"
	if apiKeyVersion == 0 && e.sentAPIKey() != "" {
		text = "neither the signature nor the API key is one of key " + name
	}
	e.found = append(e.found, diagnosis.Finding{Cause: diagnosis.WrongKey, Text: "key: " + text, Advice: "name the key that signed with --key; have the request signed by signerd, and send the headers as they are"})
}

func (e *explainer) fitAPIKey(version uint32) {
	if e.sentAPIKey() != "" && version == 0 {
		e.found = append(e.found, diagnosis.Finding{Cause: diagnosis.WrongAPIKey, Text: "headers: the API key is not one of key " + e.key.GetName(),
			Advice: "send the API key and the signature of one answer of signerd together"})
	}
}

// fitVersions is for a signature that a version made: the API key should be of the same, and it the active one.
func (e *explainer) fitVersions(signed, apiKeyVersion uint32) {
	e.version = signed
	e.check("the signature: version %d of key %s made it", signed, e.key.GetName())
	e.fitAPIKey(apiKeyVersion)
	active := e.key.GetActiveVersion()
	switch {
	case apiKeyVersion > 0 && apiKeyVersion != signed:
		e.found = append(e.found, diagnosis.Finding{Cause: diagnosis.OtherVersion, Text: fmt.Sprintf("version: it was signed with version %d, and the API key is that of version %d", signed, apiKeyVersion),
			Advice: "send the API key and the signature of one answer of signerd together: do not keep the API key"})
	case active > 0 && active != signed:
		e.found = append(e.found, diagnosis.Finding{Cause: diagnosis.OldVersion, Text: fmt.Sprintf("version: it was signed with version %d, and version %d is active", signed, active),
			Advice: "the partner may have withdrawn the old version; have the request signed again, and do not keep headers"})
	}
	if v := findVersion(e.key, signed); v.GetExpireTime() != nil && v.GetExpireTime().AsTime().Before(e.now) {
		e.found = append(e.found, diagnosis.Finding{Cause: diagnosis.ExpiredVersion, Text: fmt.Sprintf("version: version %d expired at the partner at %s, as an operator noted", signed, formatTime(v.GetExpireTime())),
			Advice: "get a new API key from the partner, then `signerctl key rotate` and `signerctl key activate`"})
	}
}

// report is what is printed.
func (e *explainer) report() explanation {
	hidden := func(text string) string {
		for _, name := range []string{"X-Api-Key", "Api-Signature", "X-Noba-Api-Key", "X-Noba-Signature", "Authorization", "Cookie"} {
			for _, v := range e.r.Header.Values(name) {
				text = hide(text, v)
			}
		}
		return text
	}
	out := explanation{Partner: e.partner, Key: e.key.GetName(), Version: e.version, Finding: []finding{}, Checked: []string{}}
	for _, f := range e.found {
		out.Finding = append(out.Finding, finding{f.Cause, hidden(f.Text), hidden(f.Advice)})
	}
	for _, line := range e.checked {
		out.Checked = append(out.Checked, hidden(line))
	}
	return out
}
