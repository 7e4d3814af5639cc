package cli

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

func noonAnswer(cookie, baseURL string) *signerdv1.GetNoonSessionResponse {
	return &signerdv1.GetNoonSessionResponse{
		Headers:   map[string]string{"User-Agent": "robot/1.0", "Cookie": cookie},
		Cookies:   []*signerdv1.NoonCookie{{Name: "_sid", Value: "abc", Path: "/", Secure: true, HttpOnly: true}},
		BaseUrl:   baseURL,
		SessionId: "ses-1", KeyVersion: 2, RecordId: "rec-1", ExpireTime: timestamppb.New(time.Unix(1_800_000_000, 0)),
	}
}

func TestSessionNoonPrintsHeaders(t *testing.T) {
	f := serve(t, answers{"GetNoonSession": give(noonAnswer("_sid=abc; _p=1", "https://gateway.test"))})
	headers := "Cookie: _sid=abc; _p=1\nUser-Agent: robot/1.0\n"
	f.run(t, "", "session", "noon", "robot").want(t, 0, headers, "")
	f.run(t, "", "session", "noon", "robot", "--rejected", "ses-0").want(t, 0, headers, "")
	f.wantRequests(t,
		&signerdv1.GetNoonSessionRequest{Key: "robot"},
		&signerdv1.GetNoonSessionRequest{Key: "robot", RejectedSessionId: "ses-0"})
}

func TestSessionNoonJSON(t *testing.T) {
	f := serve(t, answers{"GetNoonSession": give(noonAnswer("_sid=abc", "https://gateway.test"))})
	f.run(t, "", "session", "noon", "robot", "-o", "json").want(t, 0, `{
  "headers": {
    "Cookie": "_sid=abc",
    "User-Agent": "robot/1.0"
  },
  "cookies": [
    {
      "name": "_sid",
      "value": "abc",
      "domain": "",
      "path": "/",
      "secure": true,
      "http_only": true
    }
  ],
  "base_url": "https://gateway.test",
  "session_id": "ses-1",
  "expire_time": "2027-01-15T08:00:00Z",
  "key_version": 2,
  "record_id": "rec-1"
}
`, "")
}

func TestSessionNoonCurl(t *testing.T) {
	f := serve(t, answers{"GetNoonSession": give(noonAnswer("_sid=abc", "https://gateway.test/"))})
	f.run(t, "", "session", "noon", "robot", "-o", "curl").want(t, 0,
		"curl --header 'Cookie: _sid=abc' --header 'User-Agent: robot/1.0' 'https://gateway.test/identity/v1/whoami'\n", "")
}

func TestSessionNoonCurlNeedsTheGateway(t *testing.T) {
	for _, base := range []string{"", "--config=/etc/passwd", "file:///etc"} {
		f := serve(t, answers{"GetNoonSession": give(noonAnswer("_sid=abc", base))})
		f.run(t, "", "session", "noon", "robot", "-o", "curl").want(t, 1, "",
			"signerctl: writing a curl command: signerd did not say where the gateway is; use -o headers\n")
	}
}

// A shell must hand curl exactly these arguments.
func TestSessionNoonCurlSurvivesTheShell(t *testing.T) {
	const hostile = "_sid=it's $HOME `id` \"x\" \\ \n;&|*!"
	f := serve(t, answers{"GetNoonSession": give(noonAnswer(hostile, "https://gateway.test/$(id)'x"))})
	r := f.run(t, "", "session", "noon", "robot", "-o", "curl")
	if r.code != 0 {
		t.Fatal(r.stderr)
	}
	sh := exec.CommandContext(t.Context(), "sh", "-c", `curl() { for a in "$@"; do printf '%s\0' "$a"; done; }`+"\n"+r.stdout)
	sh.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := sh.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := []string{"--header", "Cookie: " + hostile, "--header", "User-Agent: robot/1.0", "https://gateway.test/$(id)'x/identity/v1/whoami"}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")); diff != "" {
		t.Errorf("arguments (-want +got):\n%s\nfrom %s", diff, r.stdout)
	}
}

// A login takes the gateway's time: the default of --timeout would cut it short.
func TestSessionNoonWaitsForALogin(t *testing.T) {
	waits := make(chan time.Duration, 2)
	f := serve(t, answers{"GetNoonSession": func(ctx context.Context, _ proto.Message) (proto.Message, error) {
		deadline, _ := ctx.Deadline()
		waits <- time.Until(deadline)
		return noonAnswer("_sid=abc", "https://gateway.test"), nil
	}})
	f.run(t, "", "session", "noon", "robot")
	if left := <-waits; left < 30*time.Second {
		t.Errorf("waits %s by default", left)
	}
	f.run(t, "", "session", "noon", "robot", "--timeout", "3s")
	if left := <-waits; left > 3*time.Second {
		t.Errorf("waits %s with --timeout 3s", left)
	}
}
