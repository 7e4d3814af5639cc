package partners

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
)

// Fault is a way in which the gateway fails on purpose.
type Fault string

// The faults. The cookie faults bend the answer to a good login and nothing else; the others every answer.
const (
	// NoFault ends a fault.
	NoFault         Fault = ""
	Unauthorized401 Fault = "401"
	BadRequest400   Fault = "400"
	// TooMany429 carries Retry-After: 30.
	TooMany429 Fault = "429"
	Error500   Fault = "500"
	// Slow holds every request until its client goes, or until the next call of Fail; then it is answered as usual.
	Slow Fault = "slow"
	// HangUp ends the connection in the middle of an answer that has set good-looking cookies.
	HangUp Fault = "hang up"
	// HugeBody sends up to 1 GiB, until the client goes.
	HugeBody Fault = "huge body"
	// Redirect sends the client, with its method and body (307), to another host.
	Redirect Fault = "redirect"
	// InjectHeader sends bytes that no header may hold, among them line breaks inside a cookie.
	InjectHeader Fault = "inject header"

	// DeleteCookies sets the session's cookies with Max-Age=0.
	DeleteCookies Fault = "delete cookies"
	// ManyCookies sets 10,000 cookies.
	ManyCookies Fault = "many cookies"
	// ForeignCookie sets the session's cookies for another site.
	ForeignCookie Fault = "foreign cookie"
)

// Faults lists every fault, for a demo to choose from.
func Faults() []Fault {
	return []Fault{Unauthorized401, BadRequest400, TooMany429, Error500, Slow, HangUp, HugeBody, Redirect, InjectHeader, DeleteCookies, ManyCookies, ForeignCookie}
}

const (
	noonRedirectHost = "https://collector.example.invalid"
	noonForeignSite  = "example.invalid"
	noonManyCookies  = 10_000
	noonHugeBody     = 1 << 30
	noonRetryAfter   = 30
)

// Fail makes the gateway fail in one way from now on, and releases what an earlier Slow holds. It panics on a fault
// that is not one of Faults or NoFault.
func (n *Noon) Fail(f Fault) {
	if f != NoFault && !slices.Contains(Faults(), f) {
		panic(fmt.Sprintf("partners: Noon has no fault %q", f))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fault = f
	close(n.release)
	n.release = make(chan struct{})
}

func (n *Noon) failing() (Fault, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fault, n.release
}

// fail says whether the request has been answered by a fault.
func (n *Noon) fail(w http.ResponseWriter, r *http.Request, f Fault, release <-chan struct{}) bool {
	onPurpose := errors.New("the gateway was told to fail")
	switch f {
	case Unauthorized401:
		n.refuse(w, http.StatusUnauthorized, onPurpose)
	case BadRequest400:
		n.refuse(w, http.StatusBadRequest, onPurpose)
	case TooMany429:
		w.Header().Set("Retry-After", strconv.Itoa(noonRetryAfter))
		n.refuse(w, http.StatusTooManyRequests, onPurpose)
	case Error500:
		n.refuse(w, http.StatusInternalServerError, onPurpose)
	case Slow:
		select {
		case <-r.Context().Done():
			return true
		case <-release:
			return false
		}
	case HangUp:
		hangUp(w)
	case HugeBody:
		hugeBody(w)
	case Redirect:
		w.Header().Set("Location", noonRedirectHost+r.URL.Path)
		w.WriteHeader(http.StatusTemporaryRedirect)
	case InjectHeader:
		injectHeader(w)
	default:
		return false
	}
	return true
}

// setBait sets cookies that look like a session's and are none.
func setBait(w http.ResponseWriter) {
	for _, name := range []string{noonSessionCookie, noonNetCookie} {
		http.SetCookie(w, &http.Cookie{Name: name, Value: "bait", Path: "/", MaxAge: 3600})
	}
}

func hangUp(w http.ResponseWriter) {
	setBait(w)
	w.Header().Set("Content-Length", "100")
	_, _ = w.Write([]byte("the rest"))
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler) // net/http closes the connection, and logs nothing
}

func hugeBody(w http.ResponseWriter) {
	setBait(w)
	chunk := make([]byte, 64<<10)
	for sent := 0; sent < noonHugeBody; sent += len(chunk) {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// injectHeader writes the answer itself where it can: net/http turns line breaks into spaces.
func injectHeader(w http.ResponseWriter) {
	const cookie = noonSessionCookie + "=bait\rX-Injected: yes\r; Path=/"
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // HTTP/2
		w.Header().Set("Set-Cookie", cookie+"\r\nX-Injected: yes")
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nSet-Cookie: " + cookie + "\r\nSet-Cookie: " + noonNetCookie +
		"=bait\x00\x7f\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
}

// setNoonCookies answers a good login.
func setNoonCookies(w http.ResponseWriter, f Fault, cookies []http.Cookie) {
	for i := range cookies {
		switch f {
		case DeleteCookies:
			cookies[i].MaxAge = -1 // net/http writes Max-Age=0
		case ForeignCookie:
			cookies[i].Domain = noonForeignSite
		}
		http.SetCookie(w, &cookies[i])
	}
	if f == ManyCookies {
		for i := range noonManyCookies - len(cookies) {
			http.SetCookie(w, &http.Cookie{Name: "c" + strconv.Itoa(i), Value: "1", Path: "/"})
		}
	}
	w.WriteHeader(http.StatusOK)
}
