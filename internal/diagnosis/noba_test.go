package diagnosis_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/diagnosis"
)

const (
	nobaTime = "1790000000000"
	nobaBody = `{"amount":"100","note":"Zoë"}`
)

var nobaSigned = []struct {
	name, signed string
	change       func(r *diagnosis.Request)
	cause        diagnosis.Cause
}{
	{"what was sent", nobaTime + nobaKey + "POST/v1/transactions" + nobaBody, nil, ""},
	{"{} for no body", nobaTime + nobaKey + "POST/v1/transactions{}", func(r *diagnosis.Request) { r.Body = nil }, ""},
	{"nothing for no body", nobaTime + nobaKey + "POST/v1/transactions", func(r *diagnosis.Request) { r.Body = nil }, diagnosis.BodyEmpty},
	{"query and nothing for no body", nobaTime + nobaKey + "POST/v1/transactions?dry=1", func(r *diagnosis.Request) { r.Body = nil }, diagnosis.PathWithQuery},
	{"no body", nobaTime + nobaKey + "POST/v1/transactions", nil, diagnosis.BodyUnsigned},
	{"{} for a body", nobaTime + nobaKey + "POST/v1/transactions{}", nil, diagnosis.BodyUnsigned},
	{"lower-case method", nobaTime + nobaKey + "post/v1/transactions" + nobaBody, nil, diagnosis.MethodCase},
	{"another method", nobaTime + nobaKey + "PUT/v1/transactions" + nobaBody, nil, diagnosis.MethodDiffers},
	{"query", nobaTime + nobaKey + "POST/v1/transactions?dry=1" + nobaBody, nil, diagnosis.PathWithQuery},
	{"host", nobaTime + nobaKey + "POSThttps://noba.example/v1/transactions" + nobaBody, nil, diagnosis.PathWithHost},
	{"plain HTTP and host", nobaTime + nobaKey + "POSThttp://noba.example/v1/transactions" + nobaBody, func(r *diagnosis.Request) { r.Scheme = "" }, diagnosis.PathWithHost},
	{"trailing slash", nobaTime + nobaKey + "POST/v1/transactions/" + nobaBody, nil, diagnosis.PathSlash},
	{"no version in the path", nobaTime + nobaKey + "POST/transactions" + nobaBody, nil, diagnosis.PathPrefix},
	{"newline", nobaTime + nobaKey + "POST/v1/transactions" + nobaBody + "\n", nil, diagnosis.BodyNewline},
	{"spaces", nobaTime + nobaKey + `POST/v1/transactions{"amount": "100", "note": "Zoë"}`, nil, diagnosis.BodySpaces},
	{"spaces and escapes", nobaTime + nobaKey + `POST/v1/transactions{"amount": "100", "note": "Zo\u00eb"}`, nil, diagnosis.BodyRewritten},
	{"order", nobaTime + nobaKey + `POST/v1/transactions{"note":"Zoë","amount":"100"}`, nil, diagnosis.BodyOrder},
	{"seconds", nobaTime[:10] + nobaKey + "POST/v1/transactions" + nobaBody, nil, diagnosis.TimeForm},
	{"no API key", nobaTime + "POST/v1/transactions" + nobaBody, nil, diagnosis.WrongAPIKey},
	{"dots between", nobaTime + "." + nobaKey + ".POST./v1/transactions." + nobaBody, nil, diagnosis.Separators},
}

func TestACandidateExplainsWhatWasSigned(t *testing.T) {
	for _, tt := range nobaSigned {
		t.Run(tt.name, func(t *testing.T) {
			r := goodNoba(func(r *diagnosis.Request) {
				if tt.change != nil {
					tt.change(r)
				}
			})
			f, ok := noba{r, tt.signed}.explain()
			if !ok || f.Cause != tt.cause || tt.cause != "" && (f.Text == "" || f.Advice == "") {
				t.Errorf("found %+v, want %q", f, tt.cause)
			}
		})
	}
	f, ok := noba{goodNoba(func(*diagnosis.Request) {}), "something else"}.explain()
	if ok || f.Cause != diagnosis.SomethingDiffers || !strings.Contains(f.Text, "body (30 bytes)") || !strings.Contains(f.Text, `path "/v1/transactions"`) {
		t.Errorf("found %+v", f)
	}
}

func TestNobaIsToldWhatNeedsNoSecret(t *testing.T) {
	set := func(name, v string) func(r *diagnosis.Request) {
		return func(r *diagnosis.Request) { r.Header.Set(name, v) }
	}
	for _, tt := range []struct {
		change    func(r *diagnosis.Request)
		cause     diagnosis.Cause
		says, env string
	}{
		{func(*diagnosis.Request) {}, "", "", "prod"},
		{set("X-Noba-Timestamp", "0"), "", "", "sandbox"},
		{set("X-Noba-Timestamp", "0"), diagnosis.TimeForm, "for tests", "prod"},
		{func(r *diagnosis.Request) { r.Header.Del("X-Noba-Signature") }, diagnosis.MissingHeader, "X-Noba-Signature is missing", ""},
		{set("X-Noba-API-Key", "Bearer x"), diagnosis.MalformedAPIKey, "Bearer", ""},
		{set("X-Noba-Signature", strings.Repeat("AB", 32)), diagnosis.SignatureForm, "upper case", ""},
		{set("X-Noba-Signature", base64.StdEncoding.EncodeToString(make([]byte, 32))), diagnosis.SignatureForm, "base64", ""},
		{set("X-Noba-Signature", "abc"), diagnosis.SignatureForm, "3 characters", ""},
		{set("X-Noba-Timestamp", "2026-01-01"), diagnosis.TimeForm, "not a whole number", ""},
		{set("X-Noba-Timestamp", "0"+nobaTime), diagnosis.TimeForm, "begins with a zero", ""},
		{set("X-Noba-Timestamp", nobaTime[:10]), diagnosis.TimeForm, "in seconds", ""},
		{set("X-Noba-Timestamp", "1790000600000"), diagnosis.FastClock, "10m after", ""},
		{set("X-Noba-Timestamp", "1789999000000"), diagnosis.Expired, "made 17m ago", ""},
		{func(r *diagnosis.Request) {
			r.Header.Set("X-Noba-Timestamp", "1789999000000")
			r.Sent = now.Add(-time.Second)
		}, diagnosis.SlowClock, "before", ""},
	} {
		found := diagnosis.Noba(goodNoba(tt.change), tt.env, now)
		if tt.cause == "" && len(found) == 0 {
			continue
		}
		if len(found) != 1 || found[0].Cause != tt.cause || !strings.Contains(found[0].Text, tt.says) {
			t.Errorf("found %+v, want %s saying %q", found, tt.cause, tt.says)
		}
	}
}

func TestNobaIsToldWhatJSONStringifyWouldWrite(t *testing.T) {
	for body, says := range map[string]string{"": "", nobaBody: "", `{"a": 1}`: "white space", `"text"`: "not a JSON object", "\xff": "not a JSON object"} {
		found := diagnosis.NobaBody(goodNoba(func(r *diagnosis.Request) { r.Body = []byte(body) }))
		if says == "" && len(found) == 0 {
			continue
		}
		if len(found) != 1 || found[0].Cause != diagnosis.NotStringified || !strings.Contains(found[0].Text, says) {
			t.Errorf("%q: found %+v, want %q", body, found, says)
		}
	}
}

func TestCandidatesAreBoundedAndAllDifferent(t *testing.T) {
	for _, body := range [][]byte{nil, []byte("{}"), []byte(`{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6}`), append([]byte(`{"a":"`), append(bytes.Repeat([]byte("ë"), 1<<20), `"}`...)...)} {
		all := diagnosis.NobaCandidates(goodNoba(func(r *diagnosis.Request) { r.Body = body }))
		seen := make(map[string]bool)
		size := 0
		for i, c := range all {
			text := c.Timestamp + c.APIKey + c.Method + c.Path + string(c.Body)
			if seen[text] {
				t.Errorf("candidate %d is there twice", i)
			}
			seen[text] = true
			size += len(c.Body)
		}
		if len(all) < 5 || len(all) > diagnosis.MaxNobaCandidates || size > 20<<20 {
			t.Errorf("a body of %d bytes has %d candidates of %d bytes", len(body), len(all), size)
		}
	}
}

// Who can try them at once is given what does not fit into a few calls: as large a body as is read, and a newline after it.
func TestVariantsOfALargeBodyAreMadeOneByOne(t *testing.T) {
	large := bytes.Repeat([]byte("x"), 8<<20)
	found := false
	for c := range diagnosis.NobaVariants(goodNoba(func(r *diagnosis.Request) { r.Body = append(bytes.Clone(large), '\n') })) {
		if found = bytes.Equal(c.Body, large); found {
			if c.Cause != diagnosis.BodyNewline {
				t.Errorf("found %s", c.Cause)
			}
			break
		}
	}
	if !found {
		t.Error("the body without its newline is not tried")
	}
}

// With indents, deep JSON would be hundreds of times as long; and all orders of names that are alike are one.
func TestVariantsAreBoundedInBytes(t *testing.T) {
	deep := strings.Repeat("[", 99) + strings.TrimSuffix(strings.Repeat("1,", 42_000), ",") + strings.Repeat("]", 99)
	member := `"a":"` + strings.Repeat("x", 2_000) + `"`
	alike := "{" + strings.TrimSuffix(strings.Repeat(member+",", 6), ",") + "}"
	for name, body := range map[string]string{"deep": deep, "alike": alike} {
		count, size := 0, 0
		for c := range diagnosis.NobaVariants(goodNoba(func(r *diagnosis.Request) { r.Body = []byte(body) })) {
			if len(c.Body) > 16<<20 {
				t.Errorf("%s: a body of %d bytes", name, len(c.Body))
			}
			count, size = count+1, size+len(c.Body)
		}
		if count > diagnosis.MaxNobaCandidates || size > 256<<20 {
			t.Errorf("%s: %d variants of %d bytes", name, count, size)
		}
	}
}
