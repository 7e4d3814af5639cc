package diagnosis_test

import (
	"encoding/asn1"
	"encoding/base64"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/diagnosis"
)

// signedBody makes a request whose signature is over another body than its own.
func signedBody(signed string) func(n *noah) {
	return func(n *noah) { n.claims["bodyHash"] = hashOf([]byte(signed)) }
}

// sentBody makes the change to the body after it was signed.
func sentBody(signed, sent string) func(n *noah) {
	return func(n *noah) { n.claims["bodyHash"], n.request.Body = hashOf([]byte(signed)), []byte(sent) }
}

func claim(name string, v any) func(n *noah) { return func(n *noah) { n.claims[name] = v } }

func target(path string) func(n *noah) { return func(n *noah) { n.request.Target = path } }

func query(claims map[string]any, wire string) func(n *noah) {
	return func(n *noah) { n.claims["queryParams"], n.request.Target = claims, "/v1/orders?"+wire }
}

func header(name string, values ...string) func(n *noah) {
	return func(n *noah) {
		n.request.Header.Del(name)
		for _, v := range values {
			n.request.Header.Add(name, v)
		}
	}
}

func derSignature(n *noah) {
	n.signature, _ = asn1.Marshal(struct{ R, S *big.Int }{big.NewInt(5), big.NewInt(7)})
}

func iat(offset, life time.Duration, sent time.Duration) func(n *noah) {
	return func(n *noah) {
		n.claims["iat"], n.claims["exp"] = now.Add(offset).Unix(), now.Add(offset+life).Unix()
		if sent != 0 {
			n.request.Sent = now.Add(sent)
		}
	}
}

var noahCases = []struct {
	name   string
	change func(n *noah)
	cause  diagnosis.Cause // empty for nothing
	says   string
}{
	{"nothing", func(*noah) {}, "", ""},
	{"sent in time, explained later", iat(-time.Hour, 5*time.Minute, -time.Hour+time.Minute), "", ""},
	{"no API key", header("X-Api-Key"), diagnosis.MissingHeader, "X-Api-Key is missing"},
	{"empty API key", header("X-Api-Key", " "), diagnosis.MissingHeader, "X-Api-Key is empty"},
	{"two API keys", header("X-Api-Key", "apikey_sandbox_1", "apikey_sandbox_2"), diagnosis.RepeatedHeader, "2 times"},
	{"plain HTTP", func(n *noah) { n.request.Scheme = "http" }, diagnosis.PlainHTTP, "plain HTTP"},
	{"the other host", func(n *noah) { n.request.Host = "api.noah.com:443" }, diagnosis.WrongEnvironment, "host api.noah.com is prod"},
	{"a key of the other environment", func(n *noah) {
		n.request.Host = "localhost"
		n.request.Header.Set("X-Api-Key", "apikey_prod_0123456789")
	}, diagnosis.WrongEnvironment, "for prod, and the key is for sandbox"},
	{"an API key in quotes", header("X-Api-Key", `"apikey_sandbox_1"`), diagnosis.MalformedAPIKey, "quotation marks"},
	{"a placeholder", header("X-Api-Key", `${API_KEY}`), diagnosis.MalformedAPIKey, "placeholder"},
	{"no environment", header("X-Api-Key", "apikey-sandbox-1"), diagnosis.MalformedAPIKey, "<type>_<env>_<key>"},
	{"bearer", header("Api-Signature", "Bearer a.b.c"), diagnosis.MalformedToken, "Bearer"},
	{"two parts", header("Api-Signature", "a.b"), diagnosis.MalformedToken, "2 parts"},
	{"no base64", header("Api-Signature", "e30.e30.!!"), diagnosis.MalformedToken, "signature that is not base64url"},
	{"padding", func(n *noah) { n.encoding = base64.URLEncoding }, diagnosis.Base64Padding, "padding"},
	{"standard base64", func(n *noah) { n.encoding, n.signature = base64.RawStdEncoding, []byte(strings.Repeat("\xff\xef", 48)) }, diagnosis.Base64Padding, "standard base64"},
	{"RS256", func(n *noah) { n.header["alg"] = "RS256" }, diagnosis.WrongAlgorithm, "RS256"},
	{"DER", derSignature, diagnosis.DERSignature, "ASN.1 DER"},
	{"a short signature", func(n *noah) { n.signature = n.signature[:64] }, diagnosis.SignatureForm, "64 bytes"},
	{"aud of the sandbox", claim("aud", "https://api.sandbox.noah.com"), diagnosis.WrongAudience, "api.sandbox.noah.com"},
	{"aud as a list", claim("aud", []string{"https://api.noah.com"}), diagnosis.WrongAudience, "list"},
	{"another method", claim("method", "PUT"), diagnosis.MethodDiffers, `signed "PUT", sent "POST"`},
	{"the method in lower case", claim("method", "post"), diagnosis.MethodCase, `signed "post"`},
	{"path with query", claim("path", "/v1/orders?Note=a%20b&PageSize=20"), diagnosis.PathWithQuery, "together with its query"},
	{"path with a decoded query", claim("path", "/v1/orders?Note=a b&PageSize=20"), diagnosis.PathWithQuery, "percent-decoded"},
	{"path with a query in another order", claim("path", "/v1/orders?PageSize=20&Note=a%20b"), diagnosis.PathWithQuery, "query"},
	{"path with host", claim("path", "https://api.sandbox.noah.com/v1/orders"), diagnosis.PathWithHost, "host"},
	{"path with another host", claim("path", "https://localhost/v1/orders"), diagnosis.PathWithHost, "scheme and host"},
	{"a trailing slash sent", target("/v1/orders/?Note=a%20b&PageSize=20"), diagnosis.PathSlash, "the path you sent has a trailing slash"},
	{"a trailing slash signed", claim("path", "/v1/orders/"), diagnosis.PathSlash, "the signed path has a trailing slash"},
	{"path decoded", func(n *noah) { n.claims["path"], n.request.Target = "/v1/a b", "/v1/a%20b?Note=a%20b&PageSize=20" }, diagnosis.PathEncoding, `signed "/v1/a b"`},
	{"path escaped in lower case", func(n *noah) { n.claims["path"], n.request.Target = "/v1/%c3%ab", "/v1/%C3%AB?Note=a%20b&PageSize=20" }, diagnosis.PathEncoding, "percent-encoded in another way"},
	{"path without its beginning", claim("path", "/orders"), diagnosis.PathPrefix, `its beginning "/v1"`},
	{"path with more beginning", claim("path", "/api/v1/orders"), diagnosis.PathPrefix, "begins with more"},
	{"another path", claim("path", "/v2/orders"), diagnosis.PathDiffers, `signed "/v2/orders", sent "/v1/orders"`},
	{"no query signed", func(n *noah) { delete(n.claims, "queryParams") }, diagnosis.QueryUnsigned, "none were signed"},
	{"%20 against +", query(map[string]any{"Note": "a+b"}, "Note=a%20b"), diagnosis.QueryPlus, "a space of one is a + of the other"},
	{"a plus that was meant", query(map[string]any{"Phone": "+49"}, "Phone=+49"), diagnosis.QueryPlus, "a + in a query is a space"},
	{"a query signed encoded", query(map[string]any{"Note": "Zo%C3%AB"}, "Note=Zo%C3%AB"), diagnosis.QueryEncoding, "with its percent-encoding"},
	{"a query encoded twice", query(map[string]any{"Note": "ë"}, "Note=%25C3%25AB"), diagnosis.QueryEncoding, "twice"},
	{"a number written otherwise", query(map[string]any{"N": 10.5}, "N=10.50"), diagnosis.QueryTyped, "a number"},
	{"a boolean written otherwise", query(map[string]any{"All": true}, "All=True"), diagnosis.QueryTyped, "a boolean"},
	{"null", query(map[string]any{"All": nil}, "All="), diagnosis.QueryTyped, "null"},
	{"values in another order", query(map[string]any{"S": []string{"b", "a"}}, "S=a&S=b"), diagnosis.QueryOrder, "another order"},
	{"a parameter missing", query(map[string]any{"A": "1", "B": "2"}, "A=1"), diagnosis.QueryParameter, `"B": it was signed, and not sent`},
	{"a parameter more", query(map[string]any{"A": "1"}, "A=1&B=2"), diagnosis.QueryParameter, `"B": it was sent, and not signed`},
	{"a query that was lost", target("/v1/orders"), diagnosis.QueryParameter, "none were sent"},
	{"another value", query(map[string]any{"PageSize": "20"}, "PageSize=21"), diagnosis.QueryDiffers, `query parameter "PageSize": signed "20", sent "21"`},
	{"a newline sent", sentBody(`{"a":1}`, "{\"a\":1}\n"), diagnosis.BodyNewline, "the body you sent has a trailing newline that the signed one has not"},
	{"a newline signed", sentBody("{\"a\":1}\n", `{"a":1}`), diagnosis.BodyNewline, "the signed body has a trailing newline"},
	{"CRLF sent", sentBody("{\n}\n", "{\r\n}\r\n"), diagnosis.BodyCRLF, "the body you sent has CRLF"},
	{"CRLF signed", sentBody("{\r\n}\r\n", "{\n}\n"), diagnosis.BodyCRLF, "the signed body has CRLF"},
	{"curl -d", func(n *noah) {
		n.request.File, n.request.Body = []byte("{\n \"a\": 1\n}\n"), []byte(`{ "a": 1}`)
		n.claims["bodyHash"] = hashOf(n.request.File)
	}, diagnosis.BodyStripped, "curl's -d"},
	{"a byte order mark sent", sentBody("x", "\ufeffx"), diagnosis.BodyMark, "the body you sent begins with"},
	{"a byte order mark signed", sentBody("\ufeffx", "x"), diagnosis.BodyMark, "the signed body begins with"},
	{"Latin-1 signed", sentBody(`{"n":"Zo`+"\xeb\x80"+`"}`, `{"n":"Zoë€"}`), diagnosis.BodyCharset, "ISO 8859-1, and sent in UTF-8"},
	{"Latin-1 sent", sentBody(`{"n":"Zoë"}`, "{\"n\":\"Zo\xeb\"}"), diagnosis.BodyCharset, "signed in UTF-8, and sent"},
	{"UTF-8 twice", sentBody(`{"n":"Zoë"}`, `{"n":"ZoÃ«"}`), diagnosis.BodyCharset, "twice before it was sent"},
	{"question marks", sentBody(`{"n":"Zo?"}`, `{"n":"Zoë"}`), diagnosis.BodyCharset, "?"},
	{"{} signed for nothing", sentBody(`{}`, ""), diagnosis.BodyEmpty, "{} was signed"},
	{"the hash of nothing", sentBody("", ""), diagnosis.BodyEmpty, "hash of no bytes"},
	{"no body signed", func(n *noah) { delete(n.claims, "bodyHash") }, diagnosis.BodyUnsigned, "none was signed"},
	{"nothing signed for a body", signedBody(""), diagnosis.BodyUnsigned, "an empty one"},
	{"a hash in upper case", claim("bodyHash", strings.ToUpper(hashOf([]byte(`{"b":"Zoë","a":1.5}`)))), diagnosis.BodyHashForm, "upper case"},
	{"a hash in base64", claim("bodyHash", "9dfXx9OIJctXAeIDQuSwyhyovEmGQxvs"), diagnosis.BodyHashForm, "64 hexadecimal digits"},
	{"spaces signed", signedBody(`{"b": "Zoë", "a": 1.5}`), diagnosis.BodySpaces, "the signed one has white space"},
	{"indented and signed", signedBody("{\n  \"b\": \"Zoë\",\n  \"a\": 1.5\n}"), diagnosis.BodySpaces, "the signed one has white space"},
	{"spaces sent", sentBody(`{"a":[1,{}],"b":[]}`, "{\n\t\"a\": [1, {}], \"b\": [ ]}"), diagnosis.BodySpaces, "the one you sent has white space"},
	{"names sorted", signedBody(`{"a":1.5,"b":"Zoë"}`), diagnosis.BodyOrder, "names are in another order"},
	{"names in any order", sentBody(`{"c":1,"a":2,"b":3}`, `{"a":2,"b":3,"c":1}`), diagnosis.BodyOrder, "names are in another order"},
	{"escapes signed", signedBody(`{"b":"Zo\u00eb","a":1.5}`), diagnosis.BodyEscapes, "escaped in another way"},
	{"escapes of Go", sentBody(`{"u":"a\u0026b\u003c"}`, `{"u":"a&b<"}`), diagnosis.BodyEscapes, "escaped in another way"},
	{"escapes of PHP", sentBody(`{"u":"http:\/\/x"}`, `{"u":"http://x"}`), diagnosis.BodyEscapes, "escaped in another way"},
	{"escapes beyond the basic plane", sentBody(`{"u":"\ud83d\ude00"}`, `{"u":"😀"}`), diagnosis.BodyEscapes, "escaped in another way"},
	{"numbers sent otherwise", sentBody(`{"n":1,"m":10}`, `{"n":1.0,"m":1e1}`), diagnosis.BodyNumbers, "numbers"},
	{"all of it", sentBody(`{"a": 1, "n": "Zo\u00eb"}`, `{"n":"Zoë","a":1}`), diagnosis.BodyRewritten, "white space that the one you sent has not; names are in another order; characters"},
	{"escapes of Go's encoder, which ends a line", sentBody(`{"u":"a\u0026b"}`+"\n", `{"u":"a&b"}`), diagnosis.BodyRewritten, "white space that the one you sent has not; characters"},
	{"printed by Python with sorted names", sentBody(`{"a": "caf\u00e9", "b": 1}`+"\n", `{"b":1,"a":"café"}`), diagnosis.BodyRewritten, "white space that the one you sent has not; names are in another order; characters"},
	{"a string alone", sentBody(`"caf\u00e9"`, `"café"`), diagnosis.BodyEscapes, "escaped in another way"},
	{"white space around it", sentBody(`{"a":1}`, "  {\"a\":1} "), diagnosis.BodySpaces, "white space around it"},
	{"another body", sentBody(`{"a":1}`, `{"a":2}`), diagnosis.BodyDiffers, "body differs: what was sent (7 bytes) is not what was signed"},
	{"a body that was lost", sentBody(`{"a":1}`, ``), diagnosis.BodyDiffers, "a body was signed, and none was sent"},
	{"a claim too many", claim("sub", "x"), diagnosis.UnknownClaim, `"sub"`},
	{"a claim missing", func(n *noah) { delete(n.claims, "path") }, diagnosis.UnknownClaim, "path is missing"},
	{"iat as a string", claim("iat", "1"), diagnosis.TimeForm, "not a whole number"},
	{"iat in milliseconds", claim("iat", now.UnixMilli()), diagnosis.TimeForm, "milliseconds"},
	{"no exp", func(n *noah) { delete(n.claims, "exp") }, diagnosis.TimeForm, "exp is missing"},
	{"a fast clock", iat(10*time.Minute, 5*time.Minute, 0), diagnosis.FastClock, "from 10m after"},
	{"too long", iat(0, time.Hour, 0), diagnosis.Lifetime, "1h0m0s"},
	{"a slow clock", iat(-20*time.Minute, 5*time.Minute, -time.Second), diagnosis.SlowClock, "expired 15m before the request was sent"},
	{"expired", iat(-20*time.Minute, 5*time.Minute, 0), diagnosis.Expired, "expired 15m ago, and was made 20m ago"},
}

func TestNOAHIsToldEachCauseFirst(t *testing.T) {
	for _, tt := range noahCases {
		t.Run(tt.name, func(t *testing.T) {
			found := diagnosis.NOAH(goodNOAH(t, tt.change), "sandbox", now)
			if tt.cause == "" {
				if len(found) != 0 {
					t.Errorf("found %+v, want nothing", found)
				}
				return
			}
			if len(found) == 0 || found[0].Cause != tt.cause || !strings.Contains(found[0].Text, tt.says) || found[0].Advice == "" {
				t.Errorf("found %+v, want %s first, saying %q", found, tt.cause, tt.says)
			}
		})
	}
}

func TestEveryCauseHasACase(t *testing.T) {
	tested := []diagnosis.Cause{
		// What a key alone can tell is tested where one is asked: in signerctl.
		diagnosis.WrongAPIKey, diagnosis.OtherVersion, diagnosis.WrongKey, diagnosis.ExpiredVersion, diagnosis.OldVersion,
	}
	for _, tt := range noahCases {
		tested = append(tested, tt.cause)
	}
	for _, tt := range nobaSigned {
		tested = append(tested, tt.cause)
	}
	tested = append(tested, diagnosis.SomethingDiffers, diagnosis.NotStringified)
	for _, cause := range diagnosis.Causes {
		if !slices.Contains(tested, cause) {
			t.Errorf("the cause %s has no case", cause)
		}
	}
}

func TestTheDocumentNamesEveryCause(t *testing.T) {
	text, err := os.ReadFile("../../docs/explain.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, cause := range diagnosis.Causes {
		if !strings.Contains(string(text), "`"+string(cause)+"`") {
			t.Errorf("docs/explain.md does not name %s", cause)
		}
	}
}

func TestATokenInDERCanStillBeVerified(t *testing.T) {
	r := goodNOAH(t, derSignature)
	sent, raw := r.Header.Get("Api-Signature"), diagnosis.RawToken(r)
	signature, err := base64.RawURLEncoding.DecodeString(raw[strings.LastIndexByte(raw, '.')+1:])
	if err != nil || len(signature) != 96 || signature[47] != 5 || signature[95] != 7 || sent[:strings.LastIndexByte(sent, '.')] != raw[:strings.LastIndexByte(raw, '.')] {
		t.Errorf("got %q of %q", raw, sent)
	}
	if r := goodNOAH(t, func(*noah) {}); diagnosis.RawToken(r) != r.Header.Get("Api-Signature") {
		t.Error("a token that is as it should be was changed")
	}
	if got := diagnosis.RawToken(goodNOAH(t, header("Api-Signature", "x"))); got != "" {
		t.Errorf("got %q of what is no token", got)
	}
}
