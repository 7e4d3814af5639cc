package cli

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

func noahAnswer(apiKey string) answers {
	return answers{"SignNoahRequest": give(&signerdv1.SignNoahRequestResponse{
		Headers:    map[string]string{"X-Api-Key": apiKey, "Api-Signature": "a.b.c"},
		KeyVersion: 1, RecordId: "rec-1", ExpireTime: timestamppb.New(time.Unix(1_800_000_000, 0)),
	})}
}

func nobaAnswer() answers {
	return answers{"ComputeNobaSignature": give(&signerdv1.ComputeNobaSignatureResponse{
		Headers:    map[string]string{"X-Noba-Timestamp": "1", "X-Noba-API-Key": "it's $HOME", "X-Noba-Signature": "ff"},
		KeyVersion: 2, RecordId: "rec-1", Warnings: []string{"white space"},
	})}
}

func TestSignNoahPrintsHeaders(t *testing.T) {
	f := serve(t, noahAnswer("apikey_sandbox_k"))
	f.run(t, "", "sign", "noah", "orders", "get", "/v1/x?a=b").want(t, 0, "Api-Signature: a.b.c\nX-Api-Key: apikey_sandbox_k\n", "")
	f.wantRequests(t, &signerdv1.SignNoahRequestRequest{Key: "orders", Method: "get", Path: "/v1/x?a=b"})
}

func TestSignNoahSendsEverything(t *testing.T) {
	f := serve(t, noahAnswer("apikey_sandbox_k"))
	f.run(t, " {}\n", "sign", "noah", "orders", "POST", "/v1/x", "--query", "a=1", "--query", "n:=20", "--query", "a=2", "--body", "-", "--ttl", "90s", "-o", "json").want(t, 0,
		`{
  "headers": {
    "Api-Signature": "a.b.c",
    "X-Api-Key": "apikey_sandbox_k"
  },
  "key_version": 1,
  "record_id": "rec-1",
  "expire_time": "2027-01-15T08:00:00Z"
}
`, "")
	query, err := structpb.NewStruct(map[string]any{"a": []any{"1", "2"}, "n": 20.0})
	if err != nil {
		t.Fatal(err)
	}
	f.wantRequests(t, &signerdv1.SignNoahRequestRequest{
		Key: "orders", Method: "POST", Path: "/v1/x", QueryParams: query, Ttl: durationpb.New(90 * time.Second),
		Content: &signerdv1.SignNoahRequestRequest_Body{Body: []byte(" {}\n")},
	})
}

func TestSignLeavesLimitsToSignerd(t *testing.T) {
	f := serve(t, noahAnswer("apikey_sandbox_k"))
	f.run(t, "", "sign", "noah", "orders", "GET", "x?y=1", "--query", "a=1", "--ttl", "0")
	query, err := structpb.NewStruct(map[string]any{"a": "1"})
	if err != nil {
		t.Fatal(err)
	}
	f.wantRequests(t, &signerdv1.SignNoahRequestRequest{Key: "orders", Method: "GET", Path: "x?y=1", QueryParams: query, Ttl: durationpb.New(0)})
}

func TestSignNoba(t *testing.T) {
	f := serve(t, nobaAnswer())
	zero := int64(0)
	headers := "X-Noba-API-Key: it's $HOME\nX-Noba-Signature: ff\nX-Noba-Timestamp: 1\n"
	f.run(t, "", "sign", "noba", "refunds", "POST", "/v2/x", "--body", writeFile(t, "{ }")).want(t, 0, headers, "warning: white space\n")
	f.run(t, "", "sign", "noba", "refunds", "GET", "/v2/x", "--timestamp", "0").want(t, 0, headers, "warning: white space\n")
	f.wantRequests(t,
		&signerdv1.ComputeNobaSignatureRequest{Key: "refunds", Method: "POST", Path: "/v2/x", Body: []byte("{ }")},
		&signerdv1.ComputeNobaSignatureRequest{Key: "refunds", Method: "GET", Path: "/v2/x", TimestampMillis: &zero})
}

func TestCurlReadsWell(t *testing.T) {
	f := serve(t, noahAnswer("apikey_prod_k"))
	f.run(t, "{}", "sign", "noah", "orders", "post", "/v1/x", "--query", "Sort=ASC", "--body", "-", "-o", "curl").want(t, 0,
		`curl --globoff --path-as-is --request 'POST' \
  --header 'Api-Signature: a.b.c' \
  --header 'X-Api-Key: apikey_prod_k' \
  --header 'Content-Type: application/json' \
  --data-binary '@-' \
  'https://api.noah.com/v1/x?Sort=ASC'
`, "note: curl reads the body from its standard input: feed it the same bytes\n")
}

func TestCurlNeedsAnEnvironmentItKnows(t *testing.T) {
	f := serve(t, noahAnswer("apikey_elsewhere_k"))
	f.run(t, "", "sign", "noah", "orders", "GET", "/", "-o", "curl").want(t, 1, "",
		"signerctl: writing a curl command: the API key names neither sandbox nor prod, so NOAH's host is not known; use -o headers\n")
}

// A shell must hand curl exactly these arguments.
func TestCurlSurvivesTheShell(t *testing.T) {
	const hostile = "it's $HOME `id` \"x\" \\ \n;&|*"
	body := writeFile(t, "{}")
	awkward := body + " 'b'$x"
	if err := os.Rename(body, awkward); err != nil {
		t.Fatal(err)
	}
	common := []string{"--globoff", "--path-as-is", "--request"}
	noahHeaders := []string{"--header", "Api-Signature: a.b.c", "--header", "X-Api-Key: apikey_sandbox_" + hostile}
	nobaHeaders := []string{"--header", "X-Noba-API-Key: it's $HOME", "--header", "X-Noba-Signature: ff", "--header", "X-Noba-Timestamp: 1"}
	data := []string{"--header", "Content-Type: application/json", "--data-binary", "@" + awkward}
	for _, tt := range []struct {
		name string
		args []string
		want [][]string
	}{
		{"path with every special character", []string{"noah", "orders", "GET", "/a/../b'$(id)!&;*?x=[1]{2}"},
			[][]string{common, {"GET"}, noahHeaders, {"https://api.sandbox.noah.com/a/../b'$(id)!&;*?x=[1]{2}"}}},
		{"method with special characters", []string{"noah", "orders", "p'$*`|", "/"},
			[][]string{common, {"P'$*`|"}, noahHeaders, {"https://api.sandbox.noah.com/"}}},
		{"typed query", []string{"noah", "orders", "GET", "/x?", "--query", "a b+=ü&=+ '", "--query", "n:=1e-7", "--query", "l:=[true,\"x/y\"]", "--query", "m=1", "--query", "m=2", "--query", "z:=-0"},
			[][]string{common, {"GET"}, noahHeaders, {"https://api.sandbox.noah.com/x?a%20b%2B=%C3%BC%26%3D%2B%20%27&n=1e-7&l=true&l=x%2Fy&m=1&m=2&z=0"}}},
		{"body", []string{"noah", "orders", "PUT", "/x", "--body", awkward},
			[][]string{common, {"PUT"}, noahHeaders, data, {"https://api.sandbox.noah.com/x"}}},
		{"noba", []string{"noba", "orders", "POST", "/x?y='1'", "--body", awkward},
			[][]string{common, {"POST"}, nobaHeaders, data, {"https://noba.test/base dir/x?y='1'"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := noahAnswer("apikey_sandbox_" + hostile)
			table["ComputeNobaSignature"] = nobaAnswer()["ComputeNobaSignature"]
			r := serve(t, table).run(t, "", append(append([]string{"sign"}, tt.args...), "-o", "curl")...)
			if r.code != 0 {
				t.Fatal(r.stderr)
			}
			sh := exec.CommandContext(t.Context(), "sh", "-c", `curl() { for a in "$@"; do printf '%s\0' "$a"; done; }`+"\n"+r.stdout)
			sh.Env = []string{"NOBA_BASE_URL=https://noba.test/base dir", "PATH=" + os.Getenv("PATH")}
			out, err := sh.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var want []string
			for _, part := range tt.want {
				want = append(want, part...)
			}
			if diff := cmp.Diff(want, strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")); diff != "" {
				t.Errorf("arguments (-want +got):\n%s\nfrom %s", diff, r.stdout)
			}
		})
	}
}
