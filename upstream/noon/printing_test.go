package noon_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/signerd/signerd/upstream"
	"github.com/signerd/signerd/upstream/noon"
)

// holder has a credential and a session in every kind of place that a printer may walk into.
type holder struct {
	Exported  *noon.Credential
	hidden    *noon.Credential
	Value     noon.Credential
	hiddenVal noon.Credential
	Interface upstream.Credential
	Session   *noon.Session
	hiddenS   *noon.Session
	SValue    noon.Session
	hiddenSV  noon.Session
	Any       any
	Slice     []noon.Session
	Map       map[string]noon.Session
}

func TestNoPrinterShowsACredentialOrASession(t *testing.T) {
	c := credentialForTest(t)
	b := noon.NewBroker(noon.BrokerConfig{Transport: answering{"_npsid=" + canary + "; Path=/"}})
	defer b.Close()
	s, err := b.Session(t.Context(), account, c, "")
	if err != nil {
		t.Fatal(err)
	}
	h := holder{c, c, *c, *c, c, s, s, *s, *s, *s, []noon.Session{*s}, map[string]noon.Session{"k": *s}}
	var out bytes.Buffer
	for _, v := range []any{c, *c, s, *s, h, &h, []any{c, s, h}, map[string]any{"k": h}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%08b", "%T", "%p", "%c", "%U", "%e"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		if j, err := json.Marshal(v); err == nil {
			out.Write(j)
		}
		_ = gob.NewEncoder(&out).Encode(v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
	}
	number := rsaKey().D
	prime := rsaKey().Primes[0]
	for name, secret := range map[string]string{
		"a cookie": canary, "a cookie in hex": hex.EncodeToString([]byte(canary)), "a cookie in bytes": strings.Trim(fmt.Sprint([]byte(canary)), "[]"),
		"the exponent": number.String()[:40], "the exponent in hex": number.Text(16)[:40], "a prime": prime.String()[:40],
		"the exponent's words": fmt.Sprint(uint64(number.Bits()[0])), "the exponent in base64": base64.StdEncoding.EncodeToString(number.Bytes())[:40],
	} {
		if strings.Contains(strings.ToLower(out.String()), strings.ToLower(secret)) {
			t.Errorf("%s is printed", name)
		}
	}
	if !strings.Contains(out.String(), s.ID) {
		t.Error("nothing was printed")
	}
}
