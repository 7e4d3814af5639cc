package server_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/internal/partners"
)

// payload is the claims of a signature, as JSON.
func payload(t testing.TB, headers map[string]string) string {
	t.Helper()
	parts := strings.Split(headers["Api-Signature"], ".")
	if len(parts) != 3 {
		t.Fatal("no JWT in Api-Signature")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	must(t, err)
	return string(text)
}

// noahPartner is a NOAH that knows the account.
func noahPartner(t testing.TB, r *rig, a noahAccount) *partners.NOAH {
	t.Helper()
	n := partners.NewNOAH("sandbox", r.clock.Now)
	must(t, n.Register(a.apiKey, a.publicPEM(t)))
	return n
}

func body(b string) *signerdv1.SignNoahRequestRequest_Body {
	return &signerdv1.SignNoahRequestRequest_Body{Body: []byte(b)}
}

func bodyHash(b string) *signerdv1.SignNoahRequestRequest_BodySha256 {
	sum := sha256.Sum256([]byte(b))
	return &signerdv1.SignNoahRequestRequest_BodySha256{BodySha256: sum[:]}
}

func TestNOAHAcceptsWhatIsSigned(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	typed, err := structpb.NewStruct(map[string]any{
		"PageSize": 20, "SortDirection": "ASC", "Half": 0.5, "Yes": true, "List": []any{"a", 1, false}, "One": []any{"x"}})
	must(t, err)
	const typedWire = "?PageSize=20&SortDirection=ASC&Half=0.5&Yes=true&List=a&List=1&List=false&One=x"
	tests := []struct {
		name   string
		in     *signerdv1.SignNoahRequestRequest
		target string // on the wire, where it is not the path
		body   string
	}{
		{name: "nothing more", in: &signerdv1.SignNoahRequestRequest{Method: "GET", Path: "/v1/transactions"}},
		{name: "method in lower case", in: &signerdv1.SignNoahRequestRequest{Method: "get", Path: "/"}},
		{name: "query on the wire", in: &signerdv1.SignNoahRequestRequest{Method: "GET", Path: "/v1/a%2Fb?x=%2B&y=a+b&x=c%C3%A4&z"}},
		{name: "typed query", in: &signerdv1.SignNoahRequestRequest{Method: "GET", Path: "/v1/t", QueryParams: typed}, target: "/v1/t" + typedWire},
		{name: "body", in: &signerdv1.SignNoahRequestRequest{Method: "POST", Path: "/v1/t", Content: body(`{"a": "ä"}`)}, body: `{"a": "ä"}`},
		{name: "body that stays with the caller", in: &signerdv1.SignNoahRequestRequest{Method: "POST", Path: "/v1/t", Content: bodyHash("x=y")}, body: "x=y"},
		{name: "bytes that are no text", in: &signerdv1.SignNoahRequestRequest{Method: "PUT", Path: "/v1/t", Content: body("\x00\xff")}, body: "\x00\xff"},
		{name: "everything", in: &signerdv1.SignNoahRequestRequest{Method: "patch", Path: "/v1/t?a=b", Content: body("[]"), Ttl: durationpb.New(time.Second)}, body: "[]"},
	}
	for _, curve := range []elliptic.Curve{elliptic.P384(), elliptic.P256()} {
		a := newNOAH(t, curve, sandbox)
		key := strings.ToLower(curve.Params().Name)
		r.imported(t, key, "noah", sandbox, a.material())
		partner := noahPartner(t, r, a)
		for _, tt := range tests {
			t.Run(key+" "+tt.name, func(t *testing.T) {
				tt.in.Key = key
				out, err := r.signer.SignNoahRequest(as(t, operator), tt.in)
				must(t, err)
				target := tt.target
				if target == "" {
					target = tt.in.GetPath()
				}
				if err := partner.Check(onTheWire(tt.in.GetMethod(), target, out.GetHeaders(), []byte(tt.body))); err != nil {
					t.Errorf("refused: %v", err)
				}
				if len(out.GetHeaders()) != 2 || out.GetKeyVersion() != 1 {
					t.Errorf("%d headers, version %d", len(out.GetHeaders()), out.GetKeyVersion())
				}
				logged := r.record(t, out.GetRecordId())
				if logged.Key != key || logged.KeyVersion != 1 || logged.Code != "OK" || logged.Reason != "" || logged.Operation != "SignNoahRequest" || logged.Caller != "unix:uid=1000" {
					t.Errorf("the log has %+v", logged)
				}
			})
		}
	}
}

func TestASignatureIsGoodForItsTTLAndNoLonger(t *testing.T) {
	t.Parallel()
	for ttl, want := range map[*durationpb.Duration]time.Duration{
		nil: 300 * time.Second, durationpb.New(time.Second): time.Second, durationpb.New(900 * time.Second): 900 * time.Second,
	} {
		t.Run(want.String(), func(t *testing.T) {
			t.Parallel()
			r := start(t, setup{})
			partner := noahPartner(t, r, r.importedNOAH(t, "a"))
			out, err := r.signer.SignNoahRequest(as(t, operator), &signerdv1.SignNoahRequestRequest{Key: "a", Method: "GET", Path: "/v1", Ttl: ttl})
			must(t, err)
			issued := r.clock.Now().Truncate(time.Second)
			if got := out.GetExpireTime().AsTime(); !got.Equal(issued.Add(want)) {
				t.Errorf("it expires at %v, want %v after %v", got, want, issued)
			}
			request := onTheWire("GET", "/v1", out.GetHeaders(), nil)
			r.clock.advance(want - time.Second)
			if err := partner.Check(request); err != nil {
				t.Errorf("refused before it expired: %v", err)
			}
			r.clock.advance(time.Second)
			if partner.Check(request) == nil {
				t.Error("accepted when it had expired")
			}
		})
	}
}

func TestABodyAndItsHashGiveTheSameClaims(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	for _, text := range []string{"", "{}", strings.Repeat("ä", 1000)} {
		var claims []string
		for _, in := range []*signerdv1.SignNoahRequestRequest{{Content: body(text)}, {Content: bodyHash(text)}} {
			in.Key, in.Method, in.Path = "a", "POST", "/v1"
			out, err := r.signer.SignNoahRequest(as(t, operator), in)
			must(t, err)
			claims = append(claims, payload(t, out.GetHeaders()))
		}
		if claims[0] != claims[1] {
			t.Errorf("%s\nis not\n%s", claims[0], claims[1])
		}
		if has := strings.Contains(claims[0], "bodyHash"); has != (text != "") {
			t.Errorf("a body of %d bytes: %s", len(text), claims[0])
		}
	}
}

func TestEverySignatureIsItsOwn(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	r.importedNOAH(t, "a")
	var signatures, records []string
	for range 20 {
		out, err := r.signNOAH(as(t, operator), "a")
		must(t, err)
		signatures = append(signatures, out.GetHeaders()["Api-Signature"])
		records = append(records, out.GetRecordId())
	}
	for _, list := range [][]string{signatures, records} {
		slices.Sort(list)
		if len(slices.Compact(list)) != 20 {
			t.Errorf("%q are not all different", list)
		}
	}
}

func TestALargeBodyIsSigned(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	partner := noahPartner(t, r, r.importedNOAH(t, "a"))
	large := bytes.Repeat([]byte("x"), 4<<20-1000)
	out, err := r.signer.SignNoahRequest(as(t, operator), &signerdv1.SignNoahRequestRequest{Key: "a", Method: "POST", Path: "/v1",
		Content: &signerdv1.SignNoahRequestRequest_Body{Body: large}})
	must(t, err)
	if err := partner.Check(onTheWire("POST", "/v1", out.GetHeaders(), large)); err != nil {
		t.Error(err)
	}
}

func TestAProdKeySignsForProdAlone(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	a := newNOAH(t, elliptic.P384(), prod)
	r.imported(t, "a", "noah", prod, a.material())
	out, err := r.signNOAH(as(t, operator), "a")
	must(t, err)
	for _, env := range []string{"prod", "sandbox"} {
		partner := partners.NewNOAH(env, r.clock.Now)
		known := partner.Register(a.apiKey, a.publicPEM(t)) == nil
		accepted := partner.Check(onTheWire("GET", "/v1/things", out.GetHeaders(), nil)) == nil
		if want := env == "prod"; known != want || accepted != want {
			t.Error(fmt.Sprint(env, ": known ", known, ", accepted ", accepted))
		}
	}
}
