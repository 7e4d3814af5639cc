package partners_test

import (
	"crypto/elliptic"
	"strings"
	"testing"
)

// set bends one claim; an empty text drops it.
func set(name, json string) func(*attempt) { return func(a *attempt) { a.set(name, json) } }

func TestNOAHChecksThePayload(t *testing.T) {
	payload := func(s string) func(*attempt) { return func(a *attempt) { a.payload = s } }
	expect(t, elliptic.P384(), []bending{
		{"no JSON", payload(`{`), "the JWT payload is not valid JSON"},
		{"a string", payload(`"x"`), "the JWT payload is a string"},
		{"two values", payload(`{}{}`), "the JWT payload is not valid JSON"},
		{"not UTF-8", payload("{\"path\":\"\xff\"}"), "the JWT payload is not valid UTF-8"},
		{"an unknown claim", set("nbf", "1719820231"), `the claim "nbf", which NOAH does not know`},
		{"a claim in another case", set("Path", `"/v1/checkout/buy"`), `the claim "Path"`},
		{"a claim twice", payload(`{"aud":"https://api.noah.com","path":"/a","path":"/b"}`), `the JWT payload has the name "path" twice`},
		{"a parameter twice", set("queryParams", `{"PageSize":20,"SortDirection":"ASC","PageSize":20}`), `the JWT payload has the name "PageSize" twice`},
		{"a lone surrogate", set("path", `"\ud800"`), "lone surrogate"},
	})
}

func TestNOAHChecksTheAudience(t *testing.T) {
	expect(t, elliptic.P384(), []bending{
		{"missing", set("aud", ""), "the aud claim is missing"},
		{"an array", set("aud", `["https://api.noah.com"]`), "the aud claim is an array"},
		{"null", set("aud", `null`), "the aud claim is null"},
		{"the sandbox host", set("aud", `"https://api.sandbox.noah.com"`), `the aud claim is "https://api.sandbox.noah.com"`},
		{"a trailing slash", set("aud", `"https://api.noah.com/"`), `the aud claim is "https://api.noah.com/"`},
	})
}

func TestNOAHChecksTheTimes(t *testing.T) {
	times := func(iat, exp int64) func(*attempt) { return func(a *attempt) { a.times(iat, exp) } }
	expect(t, elliptic.P384(), []bending{
		{"15 minutes from now", times(0, 900), ""},
		{"16 minutes, most of them gone", times(-959, 1), "the JWT lives for 960 s"},
		{"one second more than 15 minutes", times(0, 901), "the JWT lives for 901 s"},
		{"the last second", times(-899, 1), ""},
		{"expires now", times(-300, 0), "the JWT has expired 0 s ago"},
		{"expired", times(-400, -100), "the JWT has expired 100 s ago"},
		{"exp equal to iat", times(10, 10), "the exp claim is not after iat"},
		{"exp before iat", times(20, 10), "the exp claim is not after iat"},
		{"iat within the skew", times(30, 330), ""},
		{"iat beyond the skew", times(31, 331), "the iat claim is 31 s in the future"},
		{"no iat", set("iat", ""), "the iat claim is missing"},
		{"no exp", set("exp", ""), "the exp claim is missing"},
		{"iat with a fraction", set("iat", "1719820231.0"), "the iat claim is 1719820231.0, it must be an integer without"},
		{"exp with an exponent", set("exp", "17198205e2"), "the exp claim is 17198205e2, it must be an integer without"},
		{"exp as a string", set("exp", `"1719820531"`), "the exp claim is a string"},
		{"a negative iat", set("iat", "-1"), "no Unix time"},
		{"an exp that no integer holds", set("exp", "99999999999999999999"), "no Unix time"},
	})
}

func TestNOAHChecksMethodAndPath(t *testing.T) {
	expect(t, elliptic.P384(), []bending{
		{"a lower-case method on the wire", func(a *attempt) { a.req.Method = "post" }, ""},
		{"another method on the wire", func(a *attempt) { a.req.Method = "PUT" }, `the method claim is "POST", the request has "PUT"`},
		{"no method claim", set("method", ""), "the method claim is missing"},
		{"a method claim in lower case", set("method", `"post"`), "it must be in upper case"},
		{"a method claim that is no string", set("method", `true`), "the method claim is a boolean"},
		{"no path claim", set("path", ""), "the path claim is missing"},
		{"another path", set("path", `"/v1/checkout/sell"`), `the path claim is "/v1/checkout/sell"`},
		{"a trailing slash", set("path", `"/v1/checkout/buy/"`), `the path claim is "/v1/checkout/buy/"`},
		{"a path claim written with escapes", set("path", `"\/v1\u002fcheckout/buy"`), ""},
		{"a path claim with the query", set("path", `"/v1/checkout/buy?PageSize=20"`), "has the query in it"},
		{"a path claim with the host", set("path", `"https://api.noah.com/v1/checkout/buy"`), "has scheme and host in it"},
		{"a path with an escape", func(a *attempt) {
			a.req.Target = "/v1/caf%C3%A9?PageSize=20&SortDirection=ASC"
			a.set("path", `"/v1/caf%C3%A9"`)
		}, ""},
		{"a path claim with the escape in another case", func(a *attempt) {
			a.req.Target = "/v1/caf%C3%A9?PageSize=20&SortDirection=ASC"
			a.set("path", `"/v1/caf%c3%a9"`)
		}, "the path claim is"},
		{"a decoded path claim", func(a *attempt) {
			a.req.Target = "/v1/caf%C3%A9?PageSize=20&SortDirection=ASC"
			a.set("path", `"/v1/café"`)
		}, "is percent-decoded"},
	})
}

func TestNOAHChecksTheQuery(t *testing.T) {
	query := func(wire, claim string) func(*attempt) { return func(a *attempt) { a.query(wire, claim) } }
	expect(t, elliptic.P384(), []bending{
		{"no query and no claim", query("", ""), ""},
		{"a bare question mark and no claim", query("?", ""), ""},
		{"a query and no claim", query("?a=b", ""), "there is no queryParams claim"},
		{"no query and a claim", query("", `{"a":"b"}`), "there is a queryParams claim, but the request has no query parameters"},
		{"no query and an empty claim", query("", `{}`), "there is a queryParams claim, but the request has no query parameters"},
		{"a bare question mark and a claim", query("?", `{}`), "there is a queryParams claim, but the request has no query parameters"},
		{"a claim that is null", query("?a=b", `null`), "the queryParams claim is null"},
		{"a claim that is an array", query("?a=b", `["a"]`), "the queryParams claim is an array"},
		{"a claim that is the query's text", query("?a=b", `"a=b"`), "the queryParams claim is a string"},
		{"a parameter missing in the claim", query("?a=b&c=d", `{"a":"b"}`), `the query parameter "c" is not in the queryParams claim`},
		{"a parameter missing on the wire", query("?a=b", `{"a":"b","c":"d"}`), `the queryParams claim has "c"`},
		{"another value", query("?a=b", `{"a":"c"}`), `the queryParams claim has "c" for "a", the request has "b"`},
		{"a name in another case", query("?a=b", `{"A":"b"}`), `the queryParams claim has "A"`},
		{"another order", query("?b=2&a=1", `{"a":1,"b":2}`), ""},

		{"a number as a number", query("?n=20", `{"n":20}`), ""},
		{"a number as a string", query("?n=20", `{"n":"20"}`), ""},
		{"another number", query("?n=20", `{"n":21}`), `has "21" for "n"`},
		{"a number in another form", query("?n=20", `{"n":20.0}`), `has "20.0" for "n"`},
		{"the largest exact integer", query("?n=9007199254740991", `{"n":9007199254740991}`), ""},
		{"an integer beyond doubles, exact", query("?n=9007199254740993", `{"n":9007199254740993}`), ""},
		{"an integer beyond doubles, rounded", query("?n=9007199254740993", `{"n":9007199254740992}`), `has "9007199254740992"`},
		{"a fraction", query("?n=0.1", `{"n":0.1}`), ""},
		{"a negative number", query("?n=-5", `{"n":-5}`), ""},
		{"a boolean", query("?t=true&f=false", `{"t":true,"f":false}`), ""},
		{"the other boolean", query("?t=true", `{"t":false}`), `has "false" for "t"`},
		{"a boolean in another case", query("?t=True", `{"t":true}`), `has "true" for "t"`},
		{"null", query("?x=null", `{"x":null}`), `has null for "x"`},
		{"an object", query("?x=1", `{"x":{"y":1}}`), `has an object for "x"`},

		{"a plus for a space", query("?a=b+c", `{"a":"b c"}`), ""},
		{"a claim with the plus", query("?a=b+c", `{"a":"b+c"}`), `has "b+c" for "a"`},
		{"an escaped plus", query("?a=b%2Bc", `{"a":"b+c"}`), ""},
		{"escapes in name and value", query("?n%c3%a4me=%E2%9C%93%26", `{"näme":"✓&"}`), ""},
		{"a claim that is still encoded", query("?a=%E2%9C%93", `{"a":"%E2%9C%93"}`), `has "%E2%9C%93" for "a"`},
		{"decoded once only", query("?a=%2541", `{"a":"%41"}`), ""},
		{"a second question mark and equals sign", query("?a=b?c=d", `{"a":"b?c=d"}`), ""},
		{"a semicolon", query("?a=b;c=d", `{"a":"b;c=d"}`), ""},
		{"a name alone", query("?a", `{"a":""}`), ""},
		{"a name with an equals sign", query("?a=", `{"a":""}`), ""},
		{"an empty name", query("?=b", `{"":"b"}`), ""},
		{"an empty pair", query("?a=b&&c=d", `{"a":"b","c":"d"}`), "has an empty pair"},
		{"a trailing ampersand", query("?a=b&", `{"a":"b"}`), "has an empty pair"},
		{"a broken escape in a value", query("?a=%zz", `{"a":"%zz"}`), "query has a broken percent-escape"},
		{"a broken escape in a name", query("?a%4=b", `{"a%4":"b"}`), "query has a broken percent-escape"},
		{"escapes that are no UTF-8", query("?a=%ff", `{"a":"\ufffd"}`), "not UTF-8"},

		{"a repeated name", query("?a=1&b=x&a=2", `{"a":["1",2],"b":"x"}`), ""},
		{"a repeated name in another order", query("?a=1&a=2", `{"a":[2,1]}`), `has "2" for "a", the request has "1"`},
		{"a repeated name as one value", query("?a=1&a=2", `{"a":"1"}`), `number of values for "a" differs`},
		{"a repeated name with one value less", query("?a=1&a=2&a=2", `{"a":["1","2"]}`), `number of values for "a" differs`},
		{"a value that is claimed twice", query("?a=1", `{"a":["1","1"]}`), `number of values for "a" differs`},
		{"one value as an array", query("?a=1", `{"a":["1"]}`), ""},
		{"an empty array", query("?a=", `{"a":[]}`), `number of values for "a" differs`},
		{"an array in an array", query("?a=1", `{"a":[["1"]]}`), `has an array for "a"`},
	})
}

func TestNOAHChecksTheBody(t *testing.T) {
	body := func(wire, hashed string) func(*attempt) { return func(a *attempt) { a.body(wire, hashed) } }
	noBody := func(claim string) func(*attempt) {
		return func(a *attempt) {
			a.req.Body = nil
			a.set("bodyHash", claim)
		}
	}
	expect(t, elliptic.P384(), []bending{
		{"no body and no claim", noBody(""), ""},
		{"no body and a claim", noBody(`"` + pageBodyHash + `"`), "there is a bodyHash claim, but the request has no body"},
		{"no body and a null claim", noBody(`null`), "there is a bodyHash claim, but the request has no body"},
		{"a body and no claim", set("bodyHash", ""), "there is no bodyHash claim"},
		{"a claim that is null", set("bodyHash", "null"), "the bodyHash claim is null"},
		{"a claim in upper case", set("bodyHash", `"`+strings.ToUpper(pageBodyHash)+`"`), "upper-case digits"},
		{"a claim that is too short", set("bodyHash", `"`+pageBodyHash[1:]+`"`), "not 64 hexadecimal digits"},
		{"a claim in base64", set("bodyHash", `"9dfH04gly1cB4gNC5LDKR9+yAGqR092+qEfahqeKg4C="`), "not 64 hexadecimal digits"},
		{"bytes that are no JSON", body("\x00\xff", "\x00\xff"), ""},
		{"another body", body("{}", "[]"), "the bodyHash claim is not the SHA-256 of the body"},
		{"the hash of nothing", body("{}", ""), "the hash of no bytes"},
		{"a newline sent and not signed", body("{}\n", "{}"), "it fits the body without its trailing newline"},
		{"a CRLF sent and not signed", body("{}\r\n", "{}"), "it fits the body without its trailing newline"},
		{"a newline signed and not sent", body("{}", "{}\n"), "it fits the body with one trailing newline more"},
		{"white space sent and not signed", body(`{ "a": 1 }`, `{"a":1}`), "it fits the compact form of the body"},
		{"an escape sent and not signed", body(`{ "a": "\u00fc" }`, `{"a":"ü"}`), "it fits JSON.stringify of the body"},
	})
}
