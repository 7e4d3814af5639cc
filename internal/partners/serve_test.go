package partners_test

import (
	"bufio"
	"bytes"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/signerd/signerd/internal/partners"
)

// do sends a request over loopback with its target as it stands; an
// http.Client would parse it and write it anew.
func do(t *testing.T, handler http.Handler, r partners.Request) (int, map[string]any) {
	t.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var wire bytes.Buffer
	fmt.Fprintf(&wire, "%s %s HTTP/1.1\r\nHost: local\r\nConnection: close\r\nContent-Length: %d\r\n", r.Method, r.Target, len(r.Body))
	if err := r.Header.Write(&wire); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&wire, "\r\n%s", r.Body)
	if _, err := conn.Write(wire.Bytes()); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if ct := resp.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("Content-Type %q", ct)
	}
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer
}

func checkAnswer(t *testing.T, status int, answer map[string]any, wantStatus int, reason string) {
	t.Helper()
	got, _ := answer["reason"].(string)
	if status != wantStatus || answer["accepted"] != (wantStatus == http.StatusOK) || !strings.Contains(got, reason) || (reason == "") != (got == "") {
		t.Errorf("status %d, answer %v; want status %d, reason %q", status, answer, wantStatus, reason)
	}
}

func TestNOAHAnswersOverHTTP(t *testing.T) {
	a := newAttempt(t, elliptic.P384())
	a.req.Target = "/v1/a%2Fb/../c%c3%a9?x=%2B&x=a+b&y"
	a.set("path", `"/v1/a%2Fb/../c%c3%a9"`)
	a.set("queryParams", `{"x":["+","a b"],"y":""}`)
	r := a.request(t)
	status, answer := do(t, a.noah, r)
	checkAnswer(t, status, answer, http.StatusOK, "")
	if answer["partner"] != "noah" || answer["method"] != "POST" || answer["target"] != r.Target {
		t.Errorf("answer %v", answer)
	}

	r.Body = append(r.Body, '\n')
	status, answer = do(t, a.noah, r)
	checkAnswer(t, status, answer, http.StatusUnauthorized, "it fits the body without its trailing newline")

	r.Header.Add("X-Api-Key", r.Header.Get("X-Api-Key"))
	status, answer = do(t, a.noah, r)
	checkAnswer(t, status, answer, http.StatusUnauthorized, "the X-Api-Key header is there 2 times")
}

func TestNobaAnswersOverHTTP(t *testing.T) {
	signature := hmacHex(nobaSecret, nobaNow, nobaKey, "DELETE", "/v1/a%2fb", "{}")
	r := nobaRequest("DELETE", "/v1/a%2fb?c=d", nobaNow, signature, "")
	status, answer := do(t, newNoba(false), r)
	checkAnswer(t, status, answer, http.StatusOK, "")
	if answer["partner"] != "noba" {
		t.Errorf("answer %v", answer)
	}
	r.Target = "/v1/a/b?c=d"
	status, answer = do(t, newNoba(false), r)
	checkAnswer(t, status, answer, http.StatusUnauthorized, "the signature does not fit the request")
}

func TestABodyBeyondTheLimitIsTooLarge(t *testing.T) {
	body := bytes.Repeat([]byte(" "), partners.MaxBody+1)
	signature := hmacHex(nobaSecret, nobaNow, nobaKey, "POST", "/v1", string(body[:partners.MaxBody]))
	for size, want := range map[int]int{partners.MaxBody: http.StatusOK, partners.MaxBody + 1: http.StatusRequestEntityTooLarge} {
		r := httptest.NewRequest("POST", "/v1", bytes.NewReader(body[:size]))
		r.Header = nobaRequest("POST", "/v1", nobaNow, signature, "").Header
		w := httptest.NewRecorder()
		newNoba(false).ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%d bytes: status %d, want %d: %s", size, w.Code, want, w.Body)
		}
	}
}

func TestABodyThatBreaksOffIsNotJudged(t *testing.T) {
	r := httptest.NewRequest("POST", "/v1", iotest.ErrReader(errors.New("gone")))
	w := httptest.NewRecorder()
	newNoba(false).ServeHTTP(w, r)
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "could not be read") {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

func TestPartnersServeManyAtOnce(t *testing.T) {
	a := newAttempt(t, elliptic.P256())
	signed := a.request(t)
	key := publicPEM(t, a.key.Public())
	noba := newNoba(false)
	nobaSigned := nobaRequest("GET", "/v1", nobaNow, hmacHex(nobaSecret, nobaNow, nobaKey, "GET", "/v1", "{}"), "")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := a.noah.CreateAPIKey(key); err != nil {
				t.Error(err)
			}
			noba.Register(nobaKey, []byte(nobaSecret), false)
			checkReason(t, a.noah.Check(signed), "")
			checkReason(t, noba.Check(nobaSigned), "")
		})
	}
	wg.Wait()
}
