package sandbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/cmd/signerctl/internal/sandbox"
	"github.com/signerd/signerd/internal/partners"
)

func TestOtherMachinesCannotReachIt(t *testing.T) {
	for _, address := range []string{"", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", ":0", "localhost:0", "example.com:80", "127.0.0.1", "[::1%lo]:0", "[::ffff:192.0.2.1]:0", "0177.0.0.1:0", "2130706433:0"} {
		if _, err := sandbox.Listen(t.Context(), address, nil); !errors.Is(err, sandbox.ErrNotLoopback) {
			t.Errorf("%q: %v", address, err)
		}
	}
	if _, err := sandbox.Listen(t.Context(), "127.0.0.1:65534", nil); err == nil {
		t.Error("there is no room for three ports after 65534")
	}
}

func TestAPortThatIsTakenIsNamed(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	// Noba has the port after the first.
	port := taken.Addr().(*net.TCPAddr).Port - 1
	_, err = sandbox.Listen(t.Context(), "127.0.0.1:"+strconv.Itoa(port), []sandbox.Partner{{Name: "noba"}})
	if err == nil || !strings.Contains(err.Error(), "listening for noba") {
		t.Errorf("got %v", err)
	}
}

func TestARequestIsToldToItsSenderAndToWhoeverLooksOn(t *testing.T) {
	noba := partners.NewNoba(nil)
	noba.Register("key-1", []byte(nobaSecret), true)
	s, err := sandbox.Listen(t.Context(), "127.0.0.1:0", []sandbox.Partner{
		{Name: "noba", Handler: noba, Explain: sandbox.ReasonNoba([]byte(nobaSecret))}, {Name: "noon", Handler: partners.NewNoon(nil)}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	seen := make(chan sandbox.Seen, 1)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, func(r sandbox.Seen) { seen <- r }) }()

	const newline = "signature differs: the body you sent has a trailing newline that the signed one has not"
	const unexplained = `signature differs: the body (12 bytes), or path "/v1/a", or method "POST", or timestamp differs from what was signed, or it was signed with another secret; ` +
		"a signature does not tell which, and none of the usual causes explains it"
	for _, tt := range []struct {
		name, url, sent string
		status          int
		reason          string
	}{
		{"accepted", s.URL("noba"), `{"secret":1}`, 200, ""},
		{"refused and explained", s.URL("noba"), "{\"secret\":1}\n", 401, newline},
		{"refused for what cannot be told", s.URL("noba"), `{"secret":2}`, 401, unexplained},
		{"refused for what it has not", s.URL("noon"), "", 401, "the cookie _npsid is there 0 times, it must be there once"},
		{"too long", s.URL("noba"), strings.Repeat("x", partners.MaxBody+2), 413, "the body is longer than 8388608 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), "POST", tt.url+"/v1/a?q=hidden", strings.NewReader(tt.sent))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = nobaHeaders(request{method: "POST", path: "/v1/a", body: `{"secret":1}`}, time.Now())
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			var answer struct {
				Accepted       bool
				Reason, Advice string
			}
			if err := json.Unmarshal(body, &answer); err != nil {
				t.Fatal(err)
			}
			line := <-seen
			if resp.StatusCode != tt.status || answer.Accepted != (tt.status == 200) || answer.Reason != tt.reason || (answer.Advice != "") != strings.HasPrefix(tt.reason, "signature differs") {
				t.Errorf("%s %s", resp.Status, body)
			}
			if line.Method != "POST" || line.Path != "/v1/a" || line.Status != tt.status || line.Accepted != (tt.status == 200) || line.Reason != tt.reason || line.Advice != answer.Advice || line.Time.IsZero() {
				t.Errorf("told %+v", line)
			}
		})
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if s.URL("noah") != "" {
		t.Error("a partner that is not served has an address")
	}
}
