// Package sandbox serves the local partners on loopback, for people who integrate: each request is checked as its partner would check it, and
// what is wrong is said in plain words.
//
// It is for `signerctl sandbox`. It knows public halves and, for Noba, a secret of a local account; it never signs.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/signerd/signerd/internal/diagnosis"
)

// ErrNotLoopback is the refusal of an address that other machines could reach.
var ErrNotLoopback = errors.New("the local partners listen on loopback alone, such as 127.0.0.1:7001")

// Partner is one local partner to serve.
type Partner struct {
	// Name is "noah", "noba" or "noon".
	Name string
	// Handler answers 200 with {"accepted":true,…}, or another status with {"accepted":false,"reason":…}.
	Handler http.Handler
	// Explain says in plain words why a request is refused that the partner answered with 401, and what to do; the partner's own reason stands
	// where its text is empty. The time in r.Sent is when the request arrived. nil gives none always.
	Explain func(r diagnosis.Request, reason string) diagnosis.Finding
}

// Seen is a request that was answered. It holds no header and no body, and of the query at most what Reason quotes: the parameter that differs.
type Seen struct {
	// Time is when the request was answered.
	Time time.Time `json:"time"`
	// Partner is the partner's name.
	Partner string `json:"partner"`
	// Method is the method as sent.
	Method string `json:"method"`
	// Path is the path as sent, without the query.
	Path string `json:"path"`
	// Status is the HTTP status of the answer.
	Status int `json:"status"`
	// Accepted says whether the partner would take it.
	Accepted bool `json:"accepted"`
	// Reason says what is wrong; empty for an accepted request.
	Reason string `json:"reason,omitempty"`
	// Advice says what to do about it, where that is known.
	Advice string `json:"advice,omitempty"`
}

// Sandbox is partners that listen.
type Sandbox struct {
	partners  []Partner
	listeners []net.Listener
}

// order gives each partner its port where one is asked for.
var order = []string{"noah", "noba", "noon"}

// Listen opens a listener for each partner. Port 0 is any free one; otherwise NOAH has the port itself, Noba the next, Noon the one after
// that. ErrNotLoopback is for a host that is no loopback address in digits.
func Listen(ctx context.Context, address string, served []Partner) (*Sandbox, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsLoopback() || at.Addr().Zone() != "" {
		return nil, ErrNotLoopback
	}
	if int(at.Port())+len(order)-1 > 65535 {
		return nil, fmt.Errorf("the port %d leaves no room for the two after it", at.Port())
	}
	s := &Sandbox{partners: served}
	for _, p := range served {
		port := int(at.Port())
		for i, name := range order {
			if port != 0 && name == p.Name {
				port += i
			}
		}
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(at.Addr().String(), strconv.Itoa(port)))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listening for %s: %w", p.Name, err), s.close())
		}
		s.listeners = append(s.listeners, listener)
	}
	return s, nil
}

func (s *Sandbox) close() error {
	var errs []error
	for _, l := range s.listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// URL is where a partner listens, without a slash at its end; empty for one that is not served.
func (s *Sandbox) URL(name string) string {
	for i, p := range s.partners {
		if p.Name == name {
			return "http://" + s.listeners[i].Addr().String()
		}
	}
	return ""
}

// maxHeaderBytes is room for the headers and the target of a signed request: 16 KiB of token, 16 KiB of target.
const maxHeaderBytes = 64 << 10

// drain is how long requests that are being answered are waited for at the end.
const drain = time.Second

// Serve answers until ctx is done, and hands each request to seen, from several goroutines. It returns nil then.
func (s *Sandbox) Serve(ctx context.Context, seen func(Seen)) error {
	ended := make(chan error, len(s.partners))
	servers := make([]*http.Server, len(s.partners))
	explaining := new(sync.Mutex)
	for i, p := range s.partners {
		servers[i] = &http.Server{Handler: handler{p, seen, explaining}, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: maxHeaderBytes}
		go func() { ended <- servers[i].Serve(s.listeners[i]) }()
	}
	var err error
	running := len(servers)
	select {
	case <-ctx.Done():
	case err = <-ended:
		running--
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	for _, server := range servers {
		if server.Shutdown(last) != nil {
			_ = server.Close()
		}
	}
	for range running {
		<-ended
	}
	return err
}
