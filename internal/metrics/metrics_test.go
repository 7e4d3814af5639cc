package metrics_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/signerd/signerd/internal/metrics"
)

func scrape(state metrics.State, did func(*metrics.Metrics)) string {
	m := metrics.New("v1.2.3", func() metrics.State { return state })
	did(m)
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	return answer.Body.String()
}

func TestAScrapeSaysWhatSignerdIsAndDid(t *testing.T) {
	text := scrape(metrics.State{
		NotServing: map[string]bool{"starting": false, "store": false},
		Keys:       map[metrics.KeyLabels]int{{Scheme: "noah", Environment: "prod", Enabled: "false"}: 3},
		Versions:   map[metrics.VersionLabels]int{{Scheme: "noah", State: "PENDING"}: 4},
		Expiring:   map[string]int{"noah": 2},
		Expired:    map[string]int{"noba": 5},
		Unused:     map[string]int{"noah": 6},
		Sessions:   2, OldestSession: time.Minute, CertificateEnds: time.Unix(1800000000, 0), Records: 12, CopyLost: 3,
	}, func(m *metrics.Metrics) {
		for range 2 {
			m.Call("SignNoahRequest", "OK", "noah", 300*time.Microsecond)
		}
		m.Refused("ResourceExhausted")
		m.Login("rejected")
		m.HandshakeFailed()
	})
	for _, want := range []string{
		`signerd_request_duration_seconds_bucket{code="OK",operation="SignNoahRequest",scheme="noah",le="0.00025"} 0`,
		`signerd_request_duration_seconds_bucket{code="OK",operation="SignNoahRequest",scheme="noah",le="0.0005"} 2`,
		`signerd_library_refusals_total{code="ResourceExhausted"} 1`,
		`signerd_noon_logins_total{outcome="rejected"} 1`,
		`signerd_keys{enabled="false",environment="prod",scheme="noah"} 3`,
		`signerd_key_versions{scheme="noah",state="PENDING"} 4`,
		`signerd_key_versions_expiring{scheme="noah"} 2`,
		`signerd_key_versions_expired{scheme="noba"} 5`,
		`signerd_key_versions_unused{scheme="noah"} 6`,
		`signerd_noon_sessions 2`,
		`signerd_noon_session_age_seconds 60`,
		`signerd_tls_certificate_expiry_timestamp_seconds 1.8e+09`,
		`signerd_tls_handshake_failures_total 1`,
		`signerd_audit_records_total 12`,
		`signerd_audit_copy_lost_total 3`,
		`signerd_serving 1`,
		`signerd_not_serving{reason="store"} 0`,
		`version="v1.2.3"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the scrape does not say %s", want)
		}
	}
}

func TestAScrapeSaysWhyNothingIsServed(t *testing.T) {
	text := scrape(metrics.State{NotServing: map[string]bool{"starting": false, "store": true}}, func(*metrics.Metrics) {})
	for _, want := range []string{`signerd_serving 0`, `signerd_not_serving{reason="store"} 1`, `signerd_not_serving{reason="starting"} 0`} {
		if !strings.Contains(text, want) {
			t.Errorf("the scrape does not say %s", want)
		}
	}
}
