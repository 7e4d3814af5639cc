package noah_test

import (
	"bytes"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/signerd/signerd/internal/secret"
	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noah"
)

// holder has a credential in every kind of place that a printer may walk into.
type holder struct {
	Exported  *noah.Credential
	hidden    *noah.Credential
	Value     noah.Credential
	hiddenVal noah.Credential
	Interface upstream.Credential
	hiddenAny any
	Slice     []*noah.Credential
	Map       map[string]noah.Credential
}

func TestNoPrinterShowsACredential(t *testing.T) {
	const apiKey = "apikey_prod_Canary7Value"
	key := newKey(t, elliptic.P384())
	text := pkcs8PEM(t, key)
	c := open(t, upstream.Material{upstream.PartPrivateKey: secret.Copy(text), upstream.PartAPIKey: secret.Copy([]byte(apiKey))})
	h := holder{c, c, *c, *c, c, c, []*noah.Credential{c}, map[string]noah.Credential{"k": *c}}

	var out bytes.Buffer
	for _, v := range []any{c, *c, h, &h, []any{c, h}, map[string]any{"k": h}, c.Verifier(), []upstream.Verifier{c.Verifier()}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%08b", "%T", "%p", "%c", "%U", "%e"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, errors.Join(fmt.Errorf("wrapped: %v", v)))
		if j, err := json.Marshal(v); err == nil {
			out.Write(j)
		}
		_ = gob.NewEncoder(&out).Encode(v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
	}

	d, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	block := strings.Split(string(text), "\n")
	//lint:ignore SA1019 fmt and encoding/json would print this very field.
	number := key.D
	leaks := map[string]string{
		"D as a decimal number":          number.String(),
		"D in hexadecimal":               hex.EncodeToString(d),
		"D in base64":                    base64.StdEncoding.EncodeToString(d),
		"D as a list of bytes":           strings.Trim(fmt.Sprint(d), "[]"),
		"D as a list of bytes in JSON":   strings.ReplaceAll(strings.Trim(fmt.Sprint(d), "[]"), " ", ","),
		"D as the words of a number":     strings.Trim(fmt.Sprint(number.Bits()), "[]"),
		"a line of the PEM":              block[2],
		"the API key":                    apiKey,
		"the API key's last part":        "Canary7Value",
		"the API key in hexadecimal":     hex.EncodeToString([]byte("Canary7Value")),
		"the API key in base64":          base64.StdEncoding.EncodeToString([]byte(apiKey)),
		"the API key as a list of bytes": strings.Trim(fmt.Sprint([]byte("Canary7Value")), "[]"),
	}
	for name, leak := range leaks {
		if strings.Contains(strings.ToLower(out.String()), strings.ToLower(leak)) {
			t.Errorf("the output holds %s", name)
		}
	}
	if out.Len() < 1000 {
		t.Error("nothing was printed")
	}
}
