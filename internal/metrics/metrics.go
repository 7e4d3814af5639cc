// Package metrics counts what signerd does, for Prometheus.
//
// It is for cmd/signerd, which tells it of calls and logins and serves it on a loopback port. No label holds what a
// caller chose: neither key names nor callers.
package metrics

import (
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// State is what signerd is at the moment of a scrape.
type State struct {
	// NotServing has every reason why nothing might be served, and whether it applies now; at least one.
	NotServing map[string]bool
	// Keys and Versions count by scheme, environment and state.
	Keys     map[KeyLabels]int
	Versions map[VersionLabels]int
	// Expiring, Expired and Unused count versions by scheme: those that expire within 30 days, those that have, and the ENABLED ones
	// without a use for 90 days.
	Expiring, Expired, Unused map[string]int
	// Sessions is the number of Noon sessions kept, OldestSession the age of the oldest; 0 without any.
	Sessions      int
	OldestSession time.Duration
	// Records is the number of durable records in the audit log, CopyLost how many of them a second sink has lost.
	Records, CopyLost uint64
	// CertificateEnds is when the TLS certificate in force expires; zero without TLS.
	CertificateEnds time.Time
}

// KeyLabels tell keys apart; Enabled is "true" or "false".
type KeyLabels struct{ Scheme, Environment, Enabled string }

// VersionLabels tell versions apart.
type VersionLabels struct{ Scheme, State string }

// Metrics is safe for concurrent use; telling it of a call takes no lock.
type Metrics struct {
	registry   *prometheus.Registry
	duration   *prometheus.HistogramVec
	refused    *prometheus.CounterVec
	logins     *prometheus.CounterVec
	shadows    *prometheus.CounterVec
	handshakes prometheus.Counter
	known      sync.Map // callLabels → prometheus.Observer
}

type callLabels struct{ operation, code, scheme string }

// buckets reach from a cached answer to a login that takes its whole time, in seconds.
var buckets = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .1, .5, 2.5, 15}

// New makes metrics; state is asked at every scrape.
func New(version string, state func() State) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "signerd_request_duration_seconds", Buckets: buckets,
			Help: "Time to answer a request, by operation, gRPC code, and the scheme of the key (empty where none was found).",
		}, []string{"operation", "code", "scheme"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signerd_library_refusals_total",
			Help: "Requests that the gRPC library refused before signerd saw them: too large, not parsable, unknown.",
		}, []string{"code"}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signerd_noon_logins_total", Help: "Logins at Noon, by outcome: ok, rejected, unavailable.",
		}, []string{"outcome"}),
		shadows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "signerd_policy_shadows_total", Help: "Requests that a rule in shadow mode would have decided otherwise, by its effect; the log names it.",
		}, []string{"effect"}),
		handshakes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "signerd_tls_handshake_failures_total", Help: "TLS connections that did not come about; the log says why.",
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "signerd_build_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": version, "go_version": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.duration, m.refused, m.logins, m.shadows, m.handshakes, build, stateCollector{state},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Call tells of an answered request.
func (m *Metrics) Call(operation, code, scheme string, took time.Duration) {
	labels := callLabels{operation, code, scheme}
	observer, ok := m.known.Load(labels)
	if !ok {
		observer, _ = m.known.LoadOrStore(labels, m.duration.WithLabelValues(operation, code, scheme))
	}
	observer.(prometheus.Observer).Observe(took.Seconds())
}

// Refused tells of a request that the gRPC library refused.
func (m *Metrics) Refused(code string) { m.refused.WithLabelValues(code).Inc() }

// Shadow tells of a rule in shadow mode that would have decided otherwise.
func (m *Metrics) Shadow(effect string) { m.shadows.WithLabelValues(effect).Inc() }

// HandshakeFailed tells of a TLS connection that did not come about.
func (m *Metrics) HandshakeFailed() { m.handshakes.Inc() }

// Login tells of a login at Noon.
func (m *Metrics) Login(outcome string) { m.logins.WithLabelValues(outcome).Inc() }

// Handler serves the metrics in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// stateCollector turns a State into metrics at each scrape.
type stateCollector struct{ state func() State }

var (
	descServing  = prometheus.NewDesc("signerd_serving", "1 when a request would be served now.", nil, nil)
	descReason   = prometheus.NewDesc("signerd_not_serving", "1 for the reason why no request would be served now, 0 for the others.", []string{"reason"}, nil)
	descKeys     = prometheus.NewDesc("signerd_keys", "Keys.", []string{"scheme", "environment", "enabled"}, nil)
	descExpiring = prometheus.NewDesc("signerd_key_versions_expiring", "Versions of keys that expire within 30 days.", []string{"scheme"}, nil)
	descExpired  = prometheus.NewDesc("signerd_key_versions_expired", "Versions of keys that have expired.", []string{"scheme"}, nil)
	descUnused   = prometheus.NewDesc("signerd_key_versions_unused", "ENABLED versions of keys that were not used for 90 days.", []string{"scheme"}, nil)
	descVersions = prometheus.NewDesc("signerd_key_versions", "Versions of keys.", []string{"scheme", "state"}, nil)
	descSessions = prometheus.NewDesc("signerd_noon_sessions", "Noon sessions that are kept.", nil, nil)
	descExpiry   = prometheus.NewDesc("signerd_tls_certificate_expiry_timestamp_seconds", "When the TLS certificate in force expires.", nil, nil)
	descRecords  = prometheus.NewDesc("signerd_audit_records_total", "Durable records in the audit log, since it was begun.", nil, nil)
	descCopyLost = prometheus.NewDesc("signerd_audit_copy_lost_total", "Audit records that did not reach where they are copied to, since the start.", nil, nil)
	descOldest   = prometheus.NewDesc("signerd_noon_session_age_seconds", "Age of the oldest Noon session that is kept.", nil, nil)
)

// Describe implements prometheus.Collector.
func (stateCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descServing, descReason, descKeys, descVersions, descExpiring, descExpired, descUnused, descSessions, descOldest, descExpiry, descRecords, descCopyLost} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c stateCollector) Collect(out chan<- prometheus.Metric) {
	s := c.state()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	serving := 0.0
	if len(s.NotServing) > 0 {
		serving = 1
	}
	for reason, applies := range s.NotServing {
		value := 0.0
		if applies {
			serving, value = 0, 1
		}
		gauge(descReason, value, reason)
	}
	gauge(descServing, serving)
	for l, n := range s.Keys {
		gauge(descKeys, float64(n), l.Scheme, l.Environment, l.Enabled)
	}
	for l, n := range s.Versions {
		gauge(descVersions, float64(n), l.Scheme, l.State)
	}
	for scheme, n := range s.Expiring {
		gauge(descExpiring, float64(n), scheme)
	}
	for scheme, n := range s.Expired {
		gauge(descExpired, float64(n), scheme)
	}
	for scheme, n := range s.Unused {
		gauge(descUnused, float64(n), scheme)
	}
	gauge(descSessions, float64(s.Sessions))
	gauge(descOldest, s.OldestSession.Seconds())
	out <- prometheus.MustNewConstMetric(descRecords, prometheus.CounterValue, float64(s.Records))
	out <- prometheus.MustNewConstMetric(descCopyLost, prometheus.CounterValue, float64(s.CopyLost))
	if !s.CertificateEnds.IsZero() {
		gauge(descExpiry, float64(s.CertificateEnds.Unix()))
	}
}
