package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/signerd/signerd/client"
)

// roundTripper makes a transport, or ends the test.
func roundTripper(t testing.TB, make func(grpc.ClientConnInterface, string, client.Config) (*client.Transport, error), key string, c client.Config) *client.Transport {
	t.Helper()
	tr, err := make(signerd, key, c)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func noahClient(t testing.TB) *http.Client {
	return &http.Client{Transport: roundTripper(t, client.NewNOAH, noahKey, client.Config{BaseURLs: []string{noahURL}})}
}

// answer is what the local partners say.
type answer struct {
	Accepted bool   `json:"accepted"`
	Target   string `json:"target"`
	Reason   string `json:"reason"`
}

func read(t testing.TB, resp *http.Response) answer {
	t.Helper()
	defer func() { _ = resp.Body.Close() }()
	var a answer
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil && resp.Request.Method != http.MethodHead {
		t.Errorf("status %d with a body that cannot be read: %v", resp.StatusCode, err)
	}
	return a
}

func TestWhatGoesOutIsWhatIsSigned(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	for _, tt := range []struct{ name, method, target, body string }{
		{"no body", "GET", "/v1/transactions", ""},
		{"a number and a string", "GET", "/v1/transactions?PageSize=20&SortDirection=ASC", ""},
		{"no method", "", "/v1/transactions", ""},
		{"a lower-case method", "post", "/v1/x", "{}"},
		{"a method of one's own", "M-SEARCH", "/v1/x", "{}"},
		{"HEAD", "HEAD", "/v1/x?a=b", ""},
		{"GET with a body", "GET", "/v1/x", `{"a":1}`},
		{"POST without a body", "POST", "/v1/x", ""},
		{"an escaped slash", "GET", "/v1/a%2Fb/c%2fd", ""},
		{"escapes that need not be", "GET", "/v1/%41%7e?%41=%7e", ""},
		{"UTF-8", "GET", "/v1/caf%C3%A9/%e2%9c%93?n=%C3%A9", ""},
		{"UTF-8 that is not escaped yet", "GET", "/v1/café", ""},
		{"semicolons", "GET", "/v1/a;b=c;d?x=1;y=2", ""},
		{"plus and %20", "GET", "/v1/a+b%20c?x=a+b%20c%2B", ""},
		{"sub-delims", "GET", "/v1/!$&'()*+,;=:@?x=!$'()*,:@/?", ""},
		{"empty segments", "GET", "/v1//a///b//", ""},
		{"dot segments", "GET", "/v1/../a/./b/..", ""},
		{"the root", "GET", "/", ""},
		{"no path", "GET", "", ""},
		{"a query alone", "GET", "?a=b", ""},
		{"an empty query", "GET", "/v1/x?", ""},
		{"repeated names", "GET", "/v1/x?b=2&a=1&b=1", ""},
		{"names without values, and empty ones", "GET", "/v1/x?a&b=&=c&=", ""},
		{"double escapes", "GET", "/v1/%2541?x=%2541", ""},
		{"a line end at the end", "POST", "/v1/x", "{\"a\":1}\n"},
		{"bytes that are no text", "PUT", "/v1/x", "\x00\xff\xfe\r\n"},
		{"1 MiB", "POST", "/v1/x", long},
		{"more than a message to signerd holds", "POST", "/v1/x", long + long + long + long + "x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, noahURL+tt.target, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			want := req.URL.RequestURI()
			resp, err := noahClient(t).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if a := read(t, resp); resp.StatusCode != http.StatusOK || tt.method != "HEAD" && a.Target != want {
				t.Errorf("status %d, the target on the wire %q, %s", resp.StatusCode, a.Target, a.Reason)
			}
		})
	}
}

func TestURLsThatWereBuiltByHandGoOutAsTheyAreSigned(t *testing.T) {
	base, err := url.Parse(noahURL)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		url  url.URL
		want string
	}{
		{"a path that needs escapes", url.URL{Path: "/v1/a b%c?d#é"}, "/v1/a%20b%25c%3Fd%23%C3%A9"},
		{"a RawPath that fits", url.URL{Path: "/v1/a/b", RawPath: "/v1/a%2Fb"}, "/v1/a%2Fb"},
		{"a RawPath that does not fit", url.URL{Path: "/v1/a", RawPath: "/v1/b"}, "/v1/a"},
		{"an opaque one", url.URL{Opaque: "/v1/%61%2f"}, "/v1/%61%2f"},
		{"an opaque one with a query", url.URL{Opaque: "/v1/x", RawQuery: "a=b"}, "/v1/x?a=b"},
		{"a query that is empty", url.URL{Path: "/v1/x", ForceQuery: true}, "/v1/x?"},
		{"a fragment, which stays", url.URL{Path: "/v1/x", Fragment: "here"}, "/v1/x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.url.Scheme, tt.url.Host = base.Scheme, base.Host
			req := (&http.Request{URL: &tt.url, Header: http.Header{}}).WithContext(t.Context())
			resp, err := noahClient(t).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if a := read(t, resp); !a.Accepted || a.Target != tt.want {
				t.Errorf("the target on the wire is %q; %s", a.Target, a.Reason)
			}
		})
	}
}

func TestABodyOfUnknownLengthGoesOutWithItsLength(t *testing.T) {
	var length int64
	var encoding []string
	base := roundTrip(func(req *http.Request) (*http.Response, error) {
		length, encoding = req.ContentLength, req.TransferEncoding
		return http.DefaultTransport.RoundTrip(req)
	})
	c := &http.Client{Transport: roundTripper(t, client.NewNOAH, noahKey, client.Config{BaseURLs: []string{noahURL}, Base: base, KeepBody: true})}
	req, err := http.NewRequestWithContext(t.Context(), "POST", noahURL+"/v1/x", io.MultiReader(strings.NewReader(`{"a":`), strings.NewReader(`1}`)))
	if err != nil {
		t.Fatal(err)
	}
	req.TransferEncoding = []string{"chunked"}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if a := read(t, resp); !a.Accepted || length != 7 || encoding != nil {
		t.Errorf("length %d, transfer encoding %v, %s", length, encoding, a.Reason)
	}
	if req.ContentLength != 0 || len(req.TransferEncoding) != 1 {
		t.Error("the caller's request was changed")
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// closing says whether a body was closed.
type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return nil
}

func TestTheCallersRequestIsNotChangedAndItsBodyIsClosed(t *testing.T) {
	body := &closing{Reader: strings.NewReader(`{"a":1}`)}
	req, err := http.NewRequestWithContext(t.Context(), "POST", noahURL+"/v1/x", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Api-Signature", "an old one")
	lower := strings.ToLower("X-Api-Key") // as nobody should write it
	req.Header[lower] = []string{"another old one"}
	tr := roundTripper(t, client.NewNOAH, noahKey, client.Config{BaseURLs: []string{noahURL}})
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if a := read(t, resp); !a.Accepted {
		t.Error(a.Reason)
	}
	if !body.closed || req.Body != body || req.GetBody != nil {
		t.Error("the body was not closed, or was replaced")
	}
	if req.Header.Get("Api-Signature") != "an old one" || req.Header[lower][0] != "another old one" || len(req.Header) != 2 {
		t.Errorf("the caller's headers were changed")
	}
	if sent := resp.Request; sent.GetBody == nil {
		t.Error("what was sent cannot be replayed")
	} else if again, err := sent.GetBody(); err != nil {
		t.Error(err)
	} else if bytes, err := io.ReadAll(again); err != nil || string(bytes) != `{"a":1}` {
		t.Errorf("replayed is %q, %v", bytes, err)
	}
}

func TestWhatCannotBeSignedIsRefusedBeforeSignerdIsAsked(t *testing.T) {
	for _, tt := range []struct {
		name string
		bend func(*http.Request)
		want error
	}{
		{"CONNECT", func(r *http.Request) { r.Method = "CONNECT" }, client.ErrUnsignable},
		{"trailers", func(r *http.Request) { r.Trailer = http.Header{"X-Sum": nil} }, client.ErrUnsignable},
		{"an upgrade", func(r *http.Request) { r.Header["upgrade"] = []string{"websocket"} }, client.ErrUnsignable},
		{"two slashes", func(r *http.Request) { r.URL.Path = "//v1" }, client.ErrUnsignable},
		{"an asterisk", func(r *http.Request) { r.Method, r.URL.Path = "OPTIONS", "*" }, client.ErrUnsignable},
		{"an opaque URL with a host", func(r *http.Request) { r.URL.Opaque = "//other/v1" }, client.ErrUnsignable},
		{"no URL", func(r *http.Request) { r.URL = nil }, client.ErrUnsignable},
		{"another host", func(r *http.Request) { r.URL.Host = "partner.example" }, client.ErrOtherHost},
		{"another port", func(r *http.Request) { r.URL.Host = "127.0.0.1:1" }, client.ErrOtherHost},
		{"another scheme", func(r *http.Request) { r.URL.Scheme = "https" }, client.ErrOtherHost},
		{"another Host header", func(r *http.Request) { r.Host = "partner.example" }, client.ErrOtherHost},
		{"a long body", func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", 1025))), -1
		}, client.ErrBodyTooLarge},
		{"a long body that says so", func(r *http.Request) { r.ContentLength = 1025 }, client.ErrBodyTooLarge},
		{"a body that breaks off", func(r *http.Request) { r.ContentLength = 1000 }, nil},
		{"a body that cannot be read", func(r *http.Request) { r.Body = io.NopCloser(broken{}) }, errBroken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr, err := client.NewNOAH(unasked{t}, noahKey, client.Config{BaseURLs: []string{noahURL}, MaxBodyBytes: 1024,
				Base: roundTrip(func(*http.Request) (*http.Response, error) { t.Error("it was sent"); return nil, errBroken })})
			if err != nil {
				t.Fatal(err)
			}
			req, err := http.NewRequestWithContext(t.Context(), "POST", noahURL+"/v1/x?secret=1", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			tt.bend(req)
			body := &closing{Reader: req.Body}
			req.Body = body
			_, err = tr.RoundTrip(req)
			if own := (*client.Error)(nil); err == nil || tt.want != nil && !errors.Is(err, tt.want) || !errors.As(err, &own) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if !body.closed {
				t.Error("the body was not closed")
			}
		})
	}
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errBroken }

// unasked is a connection to a signerd that must not be called.
type unasked struct{ t *testing.T }

func (c unasked) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	c.t.Error("signerd was asked")
	return errBroken
}

func (c unasked) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errBroken
}

func TestARefusalOfSignerdsHasItsReasonAndItsRecord(t *testing.T) {
	for _, tt := range []struct {
		name, key, target, reason string
		code                      codes.Code
	}{
		{"no such key", "nobody", "/v1/x", "KEY_NOT_FOUND", codes.NotFound},
		{"a key of another partner", nobaKey, "/v1/x", "WRONG_SCHEME", codes.FailedPrecondition},
		{"a query that no two servers agree on", noahKey, "/v1/x?a=secret&&b", "INVALID_REQUEST", codes.InvalidArgument},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &http.Client{Transport: roundTripper(t, client.NewNOAH, tt.key, client.Config{BaseURLs: []string{noahURL}})}
			_, err := c.Get(noahURL + tt.target)
			own := (*client.Error)(nil)
			if !errors.As(err, &own) {
				t.Fatalf("got %v", err)
			}
			if own.Reason != tt.reason || own.RecordID == "" || own.Method != "GET" || "http://"+own.Host != noahURL {
				t.Errorf("got %+v", own)
			}
			if st, ok := status.FromError(err); !ok || st.Code() != tt.code {
				t.Errorf("the status is %v", st)
			}
			if text := own.Error(); strings.Contains(text, "secret") || strings.Contains(text, "rpc error") || !strings.Contains(text, own.RecordID) || !strings.Contains(text, tt.reason) {
				t.Errorf("it says %q", text)
			}
		})
	}
}

func TestACancelledRequestIsNotSent(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, body := range []io.Reader{nil, strings.NewReader("{}")} {
		req, err := http.NewRequestWithContext(ctx, "POST", noahURL+"/v1/x", body)
		if err != nil {
			t.Fatal(err)
		}
		tr := roundTripper(t, client.NewNOAH, noahKey, client.Config{BaseURLs: []string{noahURL}})
		if _, err := tr.RoundTrip(req); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
}

// stuck is a body whose next bytes never come: the request is cancelled while it waits, and closing it does not wake it.
type stuck struct {
	cancel context.CancelFunc
	over   <-chan struct{}
}

func (s stuck) Read([]byte) (int, error) {
	s.cancel()
	<-s.over
	return 0, io.EOF
}

func TestARequestEndsAlthoughItsBodyDoesNot(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body := &closing{Reader: stuck{cancel, t.Context().Done()}}
	req, err := http.NewRequestWithContext(ctx, "POST", noahURL+"/v1/x", body)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := client.NewNOAH(unasked{t}, noahKey, client.Config{BaseURLs: []string{noahURL}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.RoundTrip(req); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if !body.closed {
		t.Error("the body was not closed")
	}
}

func TestNobaAcceptsWhatIsSignedAndItsWarningsAreTold(t *testing.T) {
	for _, tt := range []struct {
		name, method, target, body string
		accepted                   bool
		warning                    string
	}{
		{"no body", "GET", "/v1/countries/US?a=b", "", true, ""},
		{"a body", "POST", "/v1/transactions?dry=1", `{"amount":"100","note":"Zoë"}`, true, ""},
		{"an array", "PUT", "/v1/a%2Fb", `[1,2]`, true, ""},
		{"a body that JSON.stringify writes otherwise", "POST", "/v1/x", `{"a": 1}`, false, "white space"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var told []string
			c := &http.Client{Transport: roundTripper(t, client.NewNoba, nobaKey, client.Config{BaseURLs: []string{nobaURL + "/"},
				Warn: func(req *http.Request, warnings []string) { told = append(told, warnings...) }})}
			req, err := http.NewRequestWithContext(t.Context(), tt.method, nobaURL+tt.target, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if a := read(t, resp); a.Accepted != tt.accepted {
				t.Errorf("accepted: %v, %s", a.Accepted, a.Reason)
			}
			if warned := strings.Join(told, "\n"); (warned == "") != (tt.warning == "") || !strings.Contains(warned, tt.warning) {
				t.Errorf("the warnings are %q, want %q", warned, tt.warning)
			}
		})
	}
}

// redirecting answers the first path with a redirect, and anything else as the partner does.
func redirecting(t *testing.T, partner http.Handler, code int, to func(self string) string) string {
	t.Helper()
	var self string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/first" {
			w.Header().Set("Location", to(self))
			w.WriteHeader(code)
			return
		}
		partner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	self = server.URL
	return self
}

func TestARedirectWithinTheHostIsSignedAgain(t *testing.T) {
	for _, code := range []int{301, 302, 303, 307, 308} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			self := redirecting(t, noahServer, code, func(self string) string { return self + "/second?a=b" })
			c := &http.Client{Transport: roundTripper(t, client.NewNOAH, noahKey, client.Config{BaseURLs: []string{self}})}
			resp, err := c.Post(self+"/first", "application/json", strings.NewReader(`{"a":1}`))
			if err != nil {
				t.Fatal(err)
			}
			if a := read(t, resp); !a.Accepted || a.Target != "/second?a=b" {
				t.Errorf("got %+v", a)
			}
		})
	}
}

func TestARedirectThatNeedsABodyWhichIsGoneIsNotFollowed(t *testing.T) {
	self := redirecting(t, noahServer, 307, func(self string) string { return self + "/second" })
	c := &http.Client{Transport: roundTripper(t, client.NewNOAH, noahKey, client.Config{BaseURLs: []string{self}})}
	resp, err := c.Post(self+"/first", "application/json", io.MultiReader(strings.NewReader("{}")))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusTemporaryRedirect {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestARedirectToAnotherHostTakesNoHeaderThere(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked++
	}))
	defer other.Close()
	self := redirecting(t, noahServer, 307, func(string) string { return other.URL + "/second" })
	c := &http.Client{Transport: roundTripper(t, client.NewNOAH, noahKey, client.Config{BaseURLs: []string{self}})}
	_, err := c.Post(self+"/first", "application/json", bytes.NewReader([]byte(`{"a":1}`)))
	if !errors.Is(err, client.ErrOtherHost) {
		t.Errorf("got %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if asked != 0 {
		t.Error("the other host was asked")
	}
}

func TestManyGoroutinesShareATransport(t *testing.T) {
	c := noahClient(t)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			resp, err := c.Post(noahURL+"/v1/x", "application/json", strings.NewReader(strings.Repeat("x", i*1000)))
			if err != nil {
				t.Error(err)
				return
			}
			if a := read(t, resp); !a.Accepted {
				t.Error(a.Reason)
			}
		})
	}
	wg.Wait()
}

func TestAConfigurationThatCannotWorkIsRefused(t *testing.T) {
	good := []string{"https://api.noah.com"}
	for _, tt := range []struct {
		name string
		make func(grpc.ClientConnInterface, string, client.Config) (*client.Transport, error)
		key  string
		c    client.Config
	}{
		{"no key", client.NewNOAH, "", client.Config{BaseURLs: good}},
		{"no base URL", client.NewNOAH, "k", client.Config{}},
		{"plain http over the network", client.NewNOAH, "k", client.Config{BaseURLs: []string{"http://api.noah.com"}}},
		{"a path", client.NewNOAH, "k", client.Config{BaseURLs: []string{"https://api.noah.com/v1"}}},
		{"a password", client.NewNOAH, "k", client.Config{BaseURLs: []string{"https://a:b@api.noah.com"}}},
		{"no scheme", client.NewNOAH, "k", client.Config{BaseURLs: []string{"api.noah.com"}}},
		{"what is no URL", client.NewNOAH, "k", client.Config{BaseURLs: []string{"https://a b"}}},
		{"a negative bound", client.NewNOAH, "k", client.Config{BaseURLs: good, MaxBodyBytes: -1}},
		{"bodies that no message to signerd holds", client.NewNoba, "k", client.Config{BaseURLs: good, MaxBodyBytes: client.MaxMessageBody + 1}},
		{"warnings of NOAH", client.NewNOAH, "k", client.Config{BaseURLs: good, Warn: func(*http.Request, []string) {}}},
		{"bodies kept from Noba", client.NewNoba, "k", client.Config{BaseURLs: good, KeepBody: true}},
		{"a lifetime at Noon", client.NewNoon, "k", client.Config{BaseURLs: good, TTL: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := tt.make(signerd, tt.key, tt.c); err == nil {
				t.Error("it was accepted")
			}
		})
	}
	for _, fine := range []string{"https://api.noah.com", "HTTPS://API.noah.com:443/", "http://localhost:8080", "http://[::1]:1"} {
		if _, err := client.NewNOAH(signerd, "k", client.Config{BaseURLs: []string{fine}}); err != nil {
			t.Errorf("%s: %v", fine, err)
		}
	}
}
