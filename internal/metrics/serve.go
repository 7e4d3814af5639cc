package metrics

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/net/netutil"
)

// Bounds of scraping: whoever can reach the port must not use up the descriptors that signing needs.
const (
	maxScrapers   = 16
	scrapeTimeout = 10 * time.Second
)

// Server serves /metrics.
type Server struct{ http *http.Server }

// NewServer makes a server of m's counts; log gets what the library has to say.
func NewServer(m *Metrics, log *slog.Logger) *Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", localOnly(m.Handler()))
	return &Server{&http.Server{
		Handler: mux, ReadTimeout: scrapeTimeout, WriteTimeout: scrapeTimeout, IdleTimeout: scrapeTimeout, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}}
}

// Serve answers on l until Close, and then returns http.ErrServerClosed.
func (s *Server) Serve(l net.Listener) error {
	return s.http.Serve(netutil.LimitListener(l, maxScrapers))
}

// Close cuts off scrapes under way: Prometheus comes again.
func (s *Server) Close() error { return s.http.Close() }

// localOnly refuses requests that a browser sends for another site whose name was made to point here.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
			http.Error(w, "ask for localhost or a loopback address", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
