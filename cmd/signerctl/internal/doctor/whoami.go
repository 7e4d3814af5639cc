package doctor

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// whoami is what of Noon's gateway tells whether it accepts a session.
const whoami = "/identity/v1/whoami"

// Session is a session at Noon's gateway, as signerd hands it out. Its headers are as good as the account.
type Session struct {
	ID      string
	BaseURL string
	Headers map[string]string
}

// Whoami asks Noon's gateway whether it accepts a session from this machine. One that it refuses is reported to signerd once, by again,
// and what signerd gives then is asked about. The headers go to the session's own gateway alone, over TLS unless it is this machine.
func (w *Way) Whoami(ctx context.Context, s Session, again func(rejectedID string) (Session, error)) Finding {
	status, failed := w.whoami(ctx, s)
	if failed != nil {
		return *failed
	}
	if status != http.StatusUnauthorized {
		return whoamiAnswer(status)
	}
	fresh, err := again(s.ID)
	if err != nil {
		return Finding{"whoami", Fault, "the gateway refuses the session with 401, and signerd has no other: " + err.Error(), "signerctl session noon NAME --rejected " + s.ID + " tells more"}
	}
	if status, failed = w.whoami(ctx, fresh); failed != nil {
		return *failed
	}
	switch {
	case status == http.StatusOK:
		return Finding{"whoami", Note, "the gateway had ended the session (401); signerd got another, and that is accepted", "do the same in your application: on 401 ask once with rejected_session_id"}
	case status == http.StatusUnauthorized && fresh.ID == s.ID:
		return Finding{"whoami", Fault, "the gateway refuses the session with 401 from this machine, and accepts it from signerd's", "see that no proxy takes away Cookie or User-Agent, and that the account allows this machine's address"}
	}
	return whoamiAnswer(status)
}

func whoamiAnswer(status int) Finding {
	switch {
	case status == http.StatusOK:
		return Finding{"whoami", OK, "the gateway accepts the session", ""}
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return Finding{"whoami", Fault, fmt.Sprintf("the gateway refuses the session with %d", status), "ask Noon whether the service account and its key are active, and from which addresses it may come"}
	case status == http.StatusTooManyRequests:
		return Finding{"whoami", Fault, "the gateway has had too many requests (429)", "try again later"}
	case status >= 300 && status < 400:
		return Finding{"whoami", Fault, fmt.Sprintf("the gateway answers with a redirect (%d), which is not followed", status), "see that the key's base_url is the gateway's: signerctl session noon NAME -o json shows it"}
	}
	return Finding{"whoami", Fault, fmt.Sprintf("the gateway answered %d", status), "try again later, and ask Noon if it stays"}
}

func (w *Way) whoami(ctx context.Context, s Session) (status int, failed *Finding) {
	base, err := url.Parse(s.BaseURL)
	if err != nil || base.Host == "" {
		return 0, &Finding{"whoami", Skipped, "signerd did not say where the gateway is", ""}
	}
	if base.Scheme != w.Base.Scheme || base.Host != w.Base.Host {
		return 0, &Finding{"whoami", Fault, fmt.Sprintf("the session belongs to %s, and --partner-url says %s: it is sent to the former alone", base.Host, w.Base.Host), "leave --partner-url out, or import the key with that --base-url"}
	}
	if ip := net.ParseIP(base.Hostname()); base.Scheme != "https" && (ip == nil || !ip.IsLoopback()) && base.Hostname() != "localhost" {
		return 0, &Finding{"whoami", Skipped, "the session is not sent over plain HTTP", ""}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(s.BaseURL, "/")+whoami, nil)
	if err != nil {
		return 0, &Finding{"whoami", Skipped, "signerd did not say where the gateway is", ""}
	}
	for name, value := range s.Headers {
		req.Header.Set(name, value)
	}
	resp, err := w.Client().Do(req)
	if err != nil {
		// Not the error: it may repeat a header that cannot be sent.
		return 0, &Finding{"whoami", Fault, "the gateway did not answer", "see tcp and tls above"}
	}
	_ = resp.Body.Close()
	return resp.StatusCode, nil
}
