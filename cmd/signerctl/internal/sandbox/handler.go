package sandbox

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/signerd/signerd/internal/diagnosis"
	"github.com/signerd/signerd/internal/partners"
)

// handler puts a better reason into a partner's refusal, and tells what was answered.
type handler struct {
	partner Partner
	seen    func(Seen)
	// explaining is held while a refusal is explained, which for a large body takes seconds and hundreds of MiB: one at a time.
	explaining *sync.Mutex
}

// answer is what every local partner answers; a session's answer at Noon is other JSON, or nothing.
type answer struct {
	Accepted bool   `json:"accepted"`
	Partner  string `json:"partner"`
	Reason   string `json:"reason,omitempty"`
	Advice   string `json:"advice,omitempty"`
}

// kept is an answer before it goes out.
type kept struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (k *kept) Header() http.Header         { return k.header }
func (k *kept) Write(b []byte) (int, error) { return k.body.Write(b) }
func (k *kept) WriteHeader(status int)      { k.status = status }

// ServeHTTP implements http.Handler.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// One byte more than the partner takes, so that it says itself what is too long. An error is the partner's to find, too.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, partners.MaxBody+1))
	if err != nil && len(body) <= partners.MaxBody {
		h.tell(w, r, http.StatusBadRequest, diagnosis.Finding{Text: "the body could not be read to its end"})
		return
	}
	k := &kept{header: make(http.Header), status: http.StatusOK}
	again := r.Clone(r.Context())
	again.Body = io.NopCloser(bytes.NewReader(body))
	h.partner.Handler.ServeHTTP(k, again)
	if k.status != http.StatusOK {
		var refused answer
		if json.Unmarshal(k.body.Bytes(), &refused) != nil {
			refused.Reason = http.StatusText(k.status)
		}
		why := diagnosis.Finding{Text: refused.Reason}
		if h.partner.Explain != nil && k.status == http.StatusUnauthorized {
			if better := h.explain(r, body, refused.Reason); better.Text != "" {
				why = better
			}
		}
		h.tell(w, r, k.status, why)
		return
	}
	maps.Copy(w.Header(), k.header)
	// Told first: whoever has the answer finds the line.
	h.note(r, k.status, diagnosis.Finding{})
	w.WriteHeader(k.status)
	_, _ = w.Write(k.body.Bytes()) // the client may have gone
}

func (h handler) explain(r *http.Request, body []byte, reason string) diagnosis.Finding {
	h.explaining.Lock()
	defer h.explaining.Unlock()
	return h.partner.Explain(diagnosis.Request{Method: r.Method, Target: r.RequestURI, Host: r.Host, Header: r.Header, Body: body, Sent: time.Now()}, reason)
}

// tell refuses.
func (h handler) tell(w http.ResponseWriter, r *http.Request, status int, why diagnosis.Finding) {
	h.note(r, status, why)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer{Partner: h.partner.Name, Reason: why.Text, Advice: why.Advice}) // the client may have gone
}

func (h handler) note(r *http.Request, status int, why diagnosis.Finding) {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	h.seen(Seen{Time: time.Now().UTC(), Partner: h.partner.Name, Method: r.Method, Path: path, Status: status, Accepted: status == http.StatusOK, Reason: why.Text, Advice: why.Advice})
}
