package noon_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/interop"
	"github.com/signerd/signerd/upstream/noon"
)

// recorder is a gateway that keeps what logins send, and lets them in.
type recorder struct {
	mu     sync.Mutex
	bodies []map[string]string
	header http.Header
	target string
}

func (rec *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body map[string]string
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.bodies, rec.header, rec.target = append(rec.bodies, body), r.Header, r.Method+" "+r.RequestURI
	http.SetCookie(w, &http.Cookie{Name: "_npsid", Value: "v", MaxAge: 3600})
}

func TestJsonwebtokenVerifiesLoginTokens(t *testing.T) {
	const logins = 10
	rec := &recorder{}
	_, c := serve(t, rec, false)
	start := time.Now().Unix()
	for range logins {
		// A broker of its own each: one would hold the later ones back.
		b := noon.NewBroker(noon.BrokerConfig{Destinations: noon.Destinations{LoopbackHTTP: true}})
		_, err := b.Session(t.Context(), account, c, "")
		b.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	end := time.Now().Unix()
	if rec.target != "POST /identity/public/v1/api/login" || rec.header.Get("User-Agent") != "Shop/1.0" ||
		rec.header.Get("Content-Type") != "application/json" || rec.header.Get("Cookie") != "" {
		t.Errorf("sent %s with %v", rec.target, rec.header)
	}
	var lines []string
	for _, body := range rec.bodies {
		if len(body) != 2 || body["default_project_code"] != "PRJ12345" {
			t.Error("the body is not a token and a project code")
		}
		line, err := json.Marshal(map[string]any{"token": body["token"], "publicPem": string(publicPEM(t)), "clockTimestamp": end})
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(line))
	}
	seen := make(map[string]bool)
	for _, line := range interop.Node(t, "noon.js", lines) {
		var answer struct {
			OK             bool
			Error, Payload string
			Header         map[string]string
		}
		if err := json.Unmarshal([]byte(line), &answer); err != nil || !answer.OK {
			t.Fatalf("jsonwebtoken refuses a token: %s, %v", answer.Error, err)
		}
		if len(answer.Header) != 2 || answer.Header["alg"] != "RS256" || answer.Header["typ"] != "JWT" {
			t.Errorf("header %v", answer.Header)
		}
		checkClaims(t, answer.Payload, start, end, seen)
	}
	if len(seen) != logins {
		t.Errorf("%d different jti in %d logins", len(seen), logins)
	}
}

var (
	uuid4 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	whole = regexp.MustCompile(`^[0-9]+$`)
)

func checkClaims(t *testing.T, payload string, start, end int64, seen map[string]bool) {
	t.Helper()
	var claims map[string]json.RawMessage
	var typed struct {
		Sub, Jti string
		Iat      int64
	}
	if err := json.Unmarshal([]byte(payload), &claims); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(payload), &typed); err != nil {
		t.Fatal(err)
	}
	if len(claims) != 3 || claims["sub"] == nil || claims["iat"] == nil || claims["jti"] == nil {
		t.Errorf("claims %s, want sub, iat and jti", payload)
	}
	if typed.Sub != "key-1" || !whole.Match(claims["iat"]) || typed.Iat < start || typed.Iat > end || !uuid4.MatchString(typed.Jti) {
		t.Errorf("claims %s", payload)
	}
	seen[typed.Jti] = true
}
