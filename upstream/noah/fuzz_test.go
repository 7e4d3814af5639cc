package noah_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
)

func FuzzParsePrivateKey(f *testing.F) {
	for _, curve := range []elliptic.Curve{elliptic.P384(), elliptic.P256(), elliptic.P521()} {
		key := newKey(f, curve)
		f.Add(sec1PEM(f, key))
		f.Add(pkcs8PEM(f, key))
		f.Add(crlf(slices.Concat(ecParameters, sec1PEM(f, key))))
	}
	for _, shell := range shells() {
		f.Add([]byte(shell))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := noah.ParsePrivateKey(text)
		if err != nil {
			var fieldErr *upstream.FieldError
			if key != nil || !errors.As(err, &fieldErr) || fieldErr.Field != "material.private_key" {
				t.Fatalf("got %v", err)
			}
			if !knownErrors.MatchString(fieldErr.Problem) {
				t.Errorf("%q may quote the input", err)
			}
			return
		}
		if key.Curve != elliptic.P384() && key.Curve != elliptic.P256() {
			t.Fatalf("the curve is %s", key.Curve.Params().Name)
		}
		again, err := noah.ParsePrivateKey(pkcs8PEM(t, key))
		if err != nil || !again.Equal(key) {
			t.Errorf("its canonical form is read as another key: %v", err)
		}
		if _, err := x509.MarshalPKIXPublicKey(&key.PublicKey); err != nil {
			t.Error(err)
		}
	})
}

// shells look like private keys and hold none. They are put together here, so that no file looks like one to those who search
// repositories for keys.
func shells() []string {
	block := func(kind, content string) string {
		return "-----BEGIN " + kind + "-----\n" + content + "-----END " + kind + "-----\n"
	}
	const pkcs8, sec1, sequence = "PRIVATE KEY", "EC PRIVATE KEY", "MAA=\n"
	begin, end, _ := strings.Cut(block(pkcs8, "|"), "|")
	_, otherEnd, _ := strings.Cut(block(sec1, "|"), "|")
	return []string{
		block(pkcs8, ""), block(sec1, ""), block(pkcs8, sequence), block(sec1, sequence), block(pkcs8, "!!!!\n"),
		block(sec1, "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n"+sequence),
		block("ENCRYPTED "+pkcs8, sequence), block("OPENSSH "+pkcs8, sequence), block("RSA "+pkcs8, sequence),
		block(pkcs8, "MBcCAQAwEAYHKoZIzj0CAQYFK4EEACIEAA==\n"), block(sec1, "MAwCAQEEAKAHBgUrgQQAIg==\n"), // without the scalar
		block("EC PARAMETERS", "BgUrgQQAIg==\n") + block(sec1, ""),
		"Bag Attributes\n" + block(pkcs8, sequence), block(pkcs8, sequence) + "apikey_prod_x\n", block(pkcs8, sequence) + block(pkcs8, sequence),
		begin + sequence, begin + "MA\n" + begin + sequence + end, begin + sequence + otherEnd,
	}
}

// knownErrors are all texts there are: numbers and the names of Go's curves are the only parts that vary.
var knownErrors = regexp.MustCompile(`\A(?:it has \d+ bytes, more than any EC key|it holds no whole PEM block|it holds more than one PEM block|` +
	`something follows the PEM block|it holds a damaged PEM block beside a whole one|its (?:EC )?PRIVATE KEY block is damaged or of an unknown (?:curve|kind)|` +
	`found a private key that is not for ECDSA|found a key on the curve P-(?:224|521)|it is damaged: the public key inside does not belong to the private key|` +
	`found (?:a public key|an RSA public key|a certificate|a certificate request|an RSA private key|a DSA private key|` +
	`a private key in OpenSSH's own format|an encrypted private key|a PEM block of another kind)); ` + regexp.QuoteMeta(wanted) + `\z`)

func FuzzNewRequest(f *testing.F) {
	a := newAccount(f, noah.ES256)
	f.Fuzz(func(t *testing.T, method, target string) {
		request, err := noah.NewRequest(noah.RequestParams{Method: method, Path: target})
		if err != nil {
			var fieldErr *upstream.FieldError
			if !errors.As(err, &fieldErr) {
				t.Fatalf("got %v", err)
			}
			return
		}
		headers, _, err := a.Sign(request, pageTime)
		if err != nil {
			t.Fatal(err)
		}
		var claims struct {
			Method, Path string
			QueryParams  map[string]any
		}
		if err := json.Unmarshal(segment(t, headers[noah.HeaderSignature], 1), &claims); err != nil {
			t.Fatal(err)
		}
		path, query, _ := strings.Cut(target, "?")
		if claims.Path != path || claims.Method != strings.ToUpper(method) {
			t.Errorf("%s %q became %s %q", method, target, claims.Method, claims.Path)
		}
		// net/url refuses semicolons because servers once disagreed on them; here they are text.
		values, err := url.ParseQuery(strings.ReplaceAll(query, ";", "%3B"))
		if err != nil {
			t.Fatalf("net/url refuses %q: %v", query, err)
		}
		if want := asClaim(values); !reflect.DeepEqual(claims.QueryParams, want) {
			t.Errorf("%q became %q, net/url reads %q", query, claims.QueryParams, want)
		}
		if err := a.ask(pageTime, method, target, nil, headers); err != nil {
			t.Errorf("%s %q: the partner says: %v", method, target, err)
		}
	})
}

// asClaim is what a JSON decoder must make of the claim queryParams for these values.
func asClaim(values url.Values) map[string]any {
	if len(values) == 0 {
		return nil
	}
	claim := make(map[string]any, len(values))
	for name, list := range values {
		if len(list) == 1 {
			claim[name] = list[0]
			continue
		}
		items := make([]any, len(list))
		for i, item := range list {
			items[i] = item
		}
		claim[name] = items
	}
	return claim
}

// FuzzQueryParams gives typed parameters as JSON, as the gateway of a Struct would.
func FuzzQueryParams(f *testing.F) {
	a := newAccount(f, noah.ES256)
	f.Fuzz(func(t *testing.T, text string) {
		var params map[string]any
		if json.Unmarshal([]byte(text), &params) != nil {
			return
		}
		request, err := noah.NewRequest(noah.RequestParams{Method: "GET", Path: "/", QueryParams: params})
		if err != nil {
			var fieldErr *upstream.FieldError
			if !errors.As(err, &fieldErr) || fieldErr.Field != "query_params" {
				t.Fatalf("got %v", err)
			}
			return
		}
		headers, _, err := a.Sign(request, pageTime)
		if err != nil {
			t.Fatal(err)
		}
		var claims struct{ QueryParams map[string]any }
		if err := json.Unmarshal(segment(t, headers[noah.HeaderSignature], 1), &claims); err != nil {
			t.Fatal(err)
		}
		if len(params) == 0 {
			params = nil
		}
		// Negative zero is the one value that changes, and it equals zero.
		if !reflect.DeepEqual(claims.QueryParams, params) {
			t.Errorf("%q became %q", params, claims.QueryParams)
		}
	})
}

// Without seeds a fuzz target finds nothing in the ordinary test run, and nobody notices.
func TestEveryFuzzTargetHasSeeds(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	targets := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`).FindAllStringSubmatch(string(source), -1) {
			targets++
			if seeds, err := os.ReadDir(filepath.Join("testdata", "fuzz", match[1])); err != nil || len(seeds) == 0 {
				t.Errorf("%s has no seeds in testdata/fuzz/%s: %v", match[1], match[1], err)
			}
		}
	}
	if targets == 0 {
		t.Error("no fuzz target was found")
	}
}
