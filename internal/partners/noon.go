package partners

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Paths and cookies of the Noon gateway. Every path but the login wants a session.
const (
	noonLogin = "/identity/public/v1/api/login"

	noonSessionCookie = "_npsid"
	noonNetCookie     = "_nprtnetid"
)

const (
	// noonLife is how long a session lasts by the partner's documentation.
	noonLife = 30 * 24 * time.Hour
	// noonMaxBody is the largest body of a login in bytes.
	noonMaxBody = 64 << 10
)

// Noon is a local stand-in for the Noon partner gateway, from the page "Quick Start". It is an http.Handler that is
// safe for concurrent use. A login that the page would let pass is answered with 200, an empty body and two cookies;
// any other path with 200 and JSON that names the account, for a request with a live session and a User-Agent. What is
// wrong otherwise is said in plain words with 400 (the request's form) or 401 (who sends it); the words repeat neither
// the token nor a cookie. It can be told to fail: see Fail.
type Noon struct {
	now func() time.Time

	mu       sync.Mutex
	accounts map[string]noonAccount // by key id
	seen     map[string]bool        // the jti of every accepted token
	sessions map[string]noonSession // by the value of _npsid
	logins   int
	fault    Fault
	release  chan struct{} // closed when the fault changes
}

// noonAccount is one key of a service account.
type noonAccount struct {
	key     *rsa.PublicKey
	project string
}

// noonSession is what a login made.
type noonSession struct {
	net     string // the value of _nprtnetid
	keyID   string
	project string
	until   time.Time
}

// NewNoon returns a gateway that knows no key. now is its clock and must be safe for concurrent use; nil means
// time.Now.
func NewNoon(now func() time.Time) *Noon {
	if now == nil {
		now = time.Now
	}
	return &Noon{
		now: now, accounts: make(map[string]noonAccount), seen: make(map[string]bool),
		sessions: make(map[string]noonSession), release: make(chan struct{}),
	}
}

// Register makes a key known: one PEM block "PUBLIC KEY" with an RSA key of 2048 bits or more, and the project that its
// logins must name. Doing it again for the same key id replaces both; sessions go on.
func (n *Noon) Register(keyID string, publicPEM []byte, projectCode string) error {
	if keyID == "" || projectCode == "" {
		return errors.New("the key id or the project code is empty")
	}
	key, err := parseRSAPublicKey(publicPEM)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.accounts[keyID] = noonAccount{key, projectCode}
	return nil
}

func parseRSAPublicKey(publicPEM []byte) (*rsa.PublicKey, error) {
	block, rest := pem.Decode(publicPEM)
	switch {
	case block == nil:
		return nil, errors.New("the public key is not PEM")
	case block.Type != "PUBLIC KEY":
		return nil, fmt.Errorf("the PEM block is %q, it must be \"PUBLIC KEY\"", block.Type)
	case strings.TrimSpace(string(rest)) != "":
		return nil, errors.New("the PEM has something after the public key")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the public key cannot be read: %w", err)
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < 2048 {
		return nil, errors.New("the public key is not an RSA key of 2048 bits or more")
	}
	return key, nil
}

// Expire ends every session, as the gateway sometimes does before their time.
func (n *Noon) Expire() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.sessions)
}

// Logins is how many logins were accepted.
func (n *Noon) Logins() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.logins
}

// ServeHTTP answers a request; see Noon.
func (n *Noon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The body is read first: net/http notices that a client has gone only after that.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, noonMaxBody))
	if err != nil {
		n.refuse(w, http.StatusBadRequest, errors.New("the body is too long, or broke off"))
		return
	}
	fault, release := n.failing()
	if n.fail(w, r, fault, release) {
		return
	}
	if r.URL.Path != noonLogin {
		n.serveAccount(w, r)
		return
	}
	keyID, project, status, err := n.checkLogin(r, body)
	if err != nil {
		n.refuse(w, status, err)
		return
	}
	setNoonCookies(w, fault, n.open(keyID, project, r.TLS != nil))
}

// checkLogin gives the account that a login is good for, or a status and the reason of the refusal.
func (n *Noon) checkLogin(r *http.Request, body []byte) (keyID, project string, status int, err error) {
	if r.Method != http.MethodPost {
		return "", "", http.StatusBadRequest, fmt.Errorf("the method is %q, a login is a POST", r.Method)
	}
	if r.URL.RawQuery != "" {
		return "", "", http.StatusBadRequest, errors.New("a login has no query")
	}
	if _, err := onlyHeader(r.Header, "User-Agent"); err != nil {
		return "", "", http.StatusBadRequest, err
	}
	contentType, err := onlyHeader(r.Header, "Content-Type")
	if err != nil {
		return "", "", http.StatusBadRequest, err
	}
	if media, _, err := mime.ParseMediaType(contentType); err != nil || media != "application/json" {
		return "", "", http.StatusBadRequest, errors.New("the Content-Type is not application/json")
	}
	token, project, err := readLogin(body)
	if err != nil {
		return "", "", http.StatusBadRequest, fmt.Errorf("the body %w", err)
	}
	if keyID, err = n.checkToken(token, project); err != nil {
		return "", "", http.StatusUnauthorized, err
	}
	return keyID, project, 0, nil
}

// readLogin reads {"token", "default_project_code"}, two strings and nothing more.
func readLogin(body []byte) (token, project string, err error) {
	object, err := parseStrictObject(body)
	if err != nil {
		return "", "", err
	}
	fields, err := onlyMembers(object, map[string]kind{"token": kindString, "default_project_code": kindString})
	if err != nil {
		return "", "", err
	}
	return fields["token"], fields["default_project_code"], nil
}

// onlyMembers gives the texts of an object's members, which must be those of want.
func onlyMembers(object value, want map[string]kind) (map[string]string, error) {
	got := make(map[string]string)
	for _, m := range object.members {
		kind, ok := want[m.name]
		switch {
		case !ok:
			return nil, fmt.Errorf("has %q, which nobody asked for", m.name)
		case m.value.kind != kind:
			return nil, fmt.Errorf("has %s as %s, it must be %s", m.name, m.value.kind, kind)
		case m.value.text == "":
			return nil, fmt.Errorf("has an empty %s", m.name)
		}
		got[m.name] = m.value.text
	}
	for name := range want {
		if _, ok := got[name]; !ok {
			return nil, fmt.Errorf("has no %s", name)
		}
	}
	return got, nil
}

// open makes a session and its cookies.
func (n *Noon) open(keyID, project string, secure bool) []http.Cookie {
	id, net := rand.Text(), rand.Text()
	n.mu.Lock()
	n.sessions[id] = noonSession{net, keyID, project, n.now().Add(noonLife)}
	n.logins++
	n.mu.Unlock()
	cookie := func(name, value string) http.Cookie {
		return http.Cookie{Name: name, Value: value, Path: "/", MaxAge: int(noonLife / time.Second), Secure: secure, HttpOnly: true}
	}
	return []http.Cookie{cookie(noonSessionCookie, id), cookie(noonNetCookie, net)}
}

// serveAccount answers every path but the login.
func (n *Noon) serveAccount(w http.ResponseWriter, r *http.Request) {
	if _, err := onlyHeader(r.Header, "User-Agent"); err != nil {
		n.refuse(w, http.StatusUnauthorized, err)
		return
	}
	session, err := n.session(r)
	if err != nil {
		n.refuse(w, http.StatusUnauthorized, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// The client may have gone; nobody is left to tell.
	_ = json.NewEncoder(w).Encode(map[string]string{"account": session.keyID, "project_code": session.project})
}

// session is the live session that the request's cookies name.
func (n *Noon) session(r *http.Request) (noonSession, error) {
	values := make(map[string]string)
	for _, name := range []string{noonSessionCookie, noonNetCookie} {
		cookies := r.CookiesNamed(name)
		if len(cookies) != 1 {
			return noonSession{}, fmt.Errorf("the cookie %s is there %d times, it must be there once", name, len(cookies))
		}
		values[name] = cookies[0].Value
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	s, ok := n.sessions[values[noonSessionCookie]]
	switch {
	case !ok:
		return noonSession{}, errors.New("there is no such session, or it was ended")
	case s.net != values[noonNetCookie]:
		return noonSession{}, errors.New("the two cookies are not of one session")
	case !n.now().Before(s.until):
		return noonSession{}, errors.New("the session has expired")
	}
	return s, nil
}

func (*Noon) refuse(w http.ResponseWriter, status int, reason error) {
	reply(w, status, answer{Partner: "noon", Reason: reason.Error()})
}
