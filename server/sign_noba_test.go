package server_test

import (
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
	"github.com/signerd/signerd/internal/partners"
)

// nobaPartner is a Noba that knows the account.
func nobaPartner(r *rig, a nobaAccount, env adminv1.Environment) *partners.Noba {
	n := partners.NewNoba(r.clock.Now)
	n.Register(a.apiKey, []byte(a.secret), env == sandbox)
	return n
}

func TestNobaAcceptsWhatIsSigned(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	a := newNoba()
	a.secret = "Schlüssel mit Wörtern"
	r.imported(t, "a", "noba", sandbox, a.material())
	partner := nobaPartner(r, a, sandbox)
	now := r.clock.Now().UnixMilli()
	tests := []struct {
		name   string
		in     *signerdv1.ComputeNobaSignatureRequest
		warned bool // and so refused by a strict verifier
	}{
		{"no body", &signerdv1.ComputeNobaSignatureRequest{Method: "GET", Path: "/v1/users/1"}, false},
		{"empty body", &signerdv1.ComputeNobaSignatureRequest{Method: "GET", Path: "/v1", Body: []byte{}}, false},
		{"query", &signerdv1.ComputeNobaSignatureRequest{Method: "delete", Path: "/v1/a%2fb?c=d&&?"}, false},
		{"body", &signerdv1.ComputeNobaSignatureRequest{Method: "POST", Path: "/v1", Body: []byte(`{"a":[1,"ä"]}`)}, false},
		{"list", &signerdv1.ComputeNobaSignatureRequest{Method: "POST", Path: "/v1", Body: []byte("[]")}, false},
		{"white space", &signerdv1.ComputeNobaSignatureRequest{Method: "POST", Path: "/v1", Body: []byte("{ }\n")}, true},
		{"numbers in another form", &signerdv1.ComputeNobaSignatureRequest{Method: "POST", Path: "/v1", Body: []byte(`{"a":1.0}`)}, true},
		{"repeated names", &signerdv1.ComputeNobaSignatureRequest{Method: "POST", Path: "/v1", Body: []byte(`{"a":1,"a":2}`)}, true},
		{"an own timestamp", &signerdv1.ComputeNobaSignatureRequest{Method: "GET", Path: "/v1", TimestampMillis: proto.Int64(now - 300_000)}, false},
		{"a timestamp to come", &signerdv1.ComputeNobaSignatureRequest{Method: "GET", Path: "/v1", TimestampMillis: proto.Int64(now + 300_000)}, false},
		{"the testing value", &signerdv1.ComputeNobaSignatureRequest{Method: "GET", Path: "/v1", TimestampMillis: proto.Int64(0)}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.in.Key = "a"
			out, err := r.signer.ComputeNobaSignature(as(t, operator), tt.in)
			must(t, err)
			request := onTheWire(strings.ToUpper(tt.in.GetMethod()), tt.in.GetPath(), out.GetHeaders(), tt.in.GetBody())
			if err := partner.Check(request); err != nil {
				t.Errorf("refused: %v", err)
			}
			strict := nobaPartner(r, a, sandbox)
			strict.Strict = true
			if err := strict.Check(request); (err != nil) != tt.warned {
				t.Errorf("a strict verifier says %v", err)
			}
			if (len(out.GetWarnings()) > 0) != tt.warned {
				t.Errorf("the warnings are %q", out.GetWarnings())
			}
			want := now
			if tt.in.TimestampMillis != nil {
				want = tt.in.GetTimestampMillis()
			}
			if got := out.GetHeaders()["X-Noba-Timestamp"]; got != strconv.FormatInt(want, 10) || len(out.GetHeaders()) != 3 {
				t.Errorf("timestamp %s, want %d; %d headers", got, want, len(out.GetHeaders()))
			}
			logged := r.record(t, out.GetRecordId())
			if logged.Key != "a" || logged.KeyVersion != 1 || out.GetKeyVersion() != 1 || logged.Code != "OK" || logged.Operation != "ComputeNobaSignature" {
				t.Errorf("the log has %+v", logged)
			}
		})
	}
}

func TestTheTestingTimestampIsForSandboxKeys(t *testing.T) {
	t.Parallel()
	r := start(t, setup{})
	a := newNoba()
	r.imported(t, "a", "noba", prod, a.material())
	in := &signerdv1.ComputeNobaSignatureRequest{Key: "a", Method: "GET", Path: "/v1", TimestampMillis: proto.Int64(0)}
	if out, err := r.signer.ComputeNobaSignature(as(t, operator), in); err == nil || len(out.GetHeaders()) > 0 {
		t.Errorf("a prod key signed it: %v", err)
	}
	in.TimestampMillis = nil
	out, err := r.signer.ComputeNobaSignature(as(t, operator), in)
	must(t, err)
	if err := nobaPartner(r, a, prod).Check(onTheWire("GET", "/v1", out.GetHeaders(), nil)); err != nil {
		t.Error(err)
	}
}
