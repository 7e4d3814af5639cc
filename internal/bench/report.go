package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// report is one run, as -o json prints it. Times of CPU and of callers are in microseconds, and medians over the rounds.
type report struct {
	Conditions conditions `json:"conditions"`
	Results    []result   `json:"results"`
	Goals      []goal     `json:"goals"`
}

// conditions are what the figures depend on.
type conditions struct {
	Time         time.Time `json:"time"`
	CPU          string    `json:"cpu"`
	CPUs         int       `json:"cpus"`
	Go           string    `json:"go"`
	GOGC         int       `json:"gogc"`
	Rounds       int       `json:"rounds"`
	Milliseconds int64     `json:"milliseconds_per_variant"`
	Connections  int       `json:"connections"`
	MessageBytes int       `json:"message_bytes"`
	Keys         int       `json:"keys"`
	RecordBytes  int       `json:"record_bytes"` // of raw/fsync
}

// result is what one variant came to.
type result struct {
	Name      string  `json:"name"`
	Server    string  `json:"server"`
	Operation string  `json:"operation"`
	Transport string  `json:"transport,omitempty"`
	Callers   int     `json:"callers,omitempty"`
	CPU       float64 `json:"cpu_microseconds"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_microseconds,omitempty"`
	P99       float64 `json:"p99_microseconds,omitempty"`
	// CPUByRound shows how steady the machine was.
	CPUByRound []float64 `json:"cpu_microseconds_by_round"`
}

// summarize takes the median of each figure by itself.
func summarize(chosen []variant, samples map[variant][]sample) []result {
	var out []result
	for _, v := range chosen {
		var cpu, perSecond, p50, p99 []float64
		for _, s := range samples[v] {
			cpu, perSecond = append(cpu, micros(s.cpu)), append(perSecond, s.perSecond)
			p50, p99 = append(p50, micros(s.p50)), append(p99, micros(s.p99))
		}
		out = append(out, result{
			Name: v.name(), Server: v.server, Operation: v.operation, Transport: v.transport, Callers: v.callers,
			CPU: median(cpu), PerSecond: median(perSecond), P50: median(p50), P99: median(p99), CPUByRound: cpu,
		})
	}
	return out
}

func newReport(o options, results []result, idle, loaded memory, starts []time.Duration) *report {
	return &report{
		Conditions: conditions{
			Time: time.Now().UTC().Truncate(time.Second), CPU: cpuModel(), CPUs: runtime.NumCPU(), Go: runtime.Version(), GOGC: gcPercent,
			Rounds: o.rounds, Milliseconds: o.window.Milliseconds(), Connections: connections, MessageBytes: messageBytes, Keys: totalKeys,
			RecordBytes: recordBytes,
		},
		Results: results,
		Goals:   goals(byName(results), idle, loaded, starts),
	}
}

func byName(results []result) map[string]result {
	out := make(map[string]result)
	for _, r := range results {
		out[r.Name] = r
	}
	return out
}

// cpuModel is what the kernel calls the processor, or the architecture.
func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func (r *report) writeJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

func (r *report) writeTable(w io.Writer) error {
	var b strings.Builder
	c := r.Conditions
	fmt.Fprintf(&b, `signerd on %d × %s, %s; %s
medians of %d rounds of %d ms a variant, interleaved; the servers and the callers share the machine and run with GOGC=%d
signerd:   the real program with %d keys, metrics on, every interceptor; each call is durable in its audit log before its answer leaves
unaudited: the same program, the same configuration and keys, whose audit log keeps nothing; audit = signerd - unaudited
echo:      a bare grpc-go server with signerd's options; it answers each request with what signerd answered before
callers:   each sends its next request after the answer; 1 caller has 1 connection, 8 have %d, 64 share %d; requests of %d bytes
raw:       the cryptography alone, in one goroutine; bound = raw + echo; fsync: one line of %d bytes, written and made durable

`, c.CPUs, c.CPU, c.Go, c.Time.Format(time.DateTime+" UTC"), c.Rounds, c.Milliseconds, c.GOGC, c.Keys, c.Connections, c.Connections, c.MessageBytes,
		c.RecordBytes)
	writeRaw(&b, r.Results)
	writeServed(&b, r.Results)
	writeGoals(&b, r.Goals)
	_, err := io.WriteString(w, b.String())
	return err
}

func writeRaw(b *strings.Builder, results []result) {
	fmt.Fprintf(b, "%-12s %10s %10s %8s %8s\n", "raw", "CPU µs", "a second", "p50, µs", "p99, µs")
	for _, r := range results {
		if r.Server == serverRaw {
			fmt.Fprintf(b, "%-12s %10.2f %10.0f %8s %8s\n", r.Operation, r.CPU, r.PerSecond, figure(r.P50, 0), figure(r.P99, 0))
		}
	}
}

func writeServed(b *strings.Builder, results []result) {
	fmt.Fprintf(b, "\n%28s │ %-42s │ %-18s │ %-18s │ %-18s\n", "", "server CPU, µs a request", "requests/s", "p50, µs", "p99, µs")
	fmt.Fprintf(b, "%-12s %-6s %8s │ %6s %7s %9s %8s %8s │ %9s %8s │ %9s %8s │ %9s %8s\n", "operation", "over", "callers",
		"echo", "bound", "unaudited", "signerd", "audit", "unaudited", "signerd", "unaudited", "signerd", "unaudited", "signerd")
	all, before := byName(results), ""
	for _, v := range variants() {
		r := rowOf(all, v)
		if v.server != serverSignerd || r == (row{}) {
			continue
		}
		if before != "" && before != v.operation {
			b.WriteByte('\n')
		}
		before = v.operation
		fmt.Fprintf(b, "%-12s %-6s %8d │ %6s %7s %9s %8s %8s │ %9s %8s │ %9s %8s │ %9s %8s\n", v.operation, v.transport, v.callers,
			figure(r.echo.cpu, 1), figure(r.bound(), 1), figure(r.unaudited.cpu, 1), figure(r.signerd.cpu, 1), figure(r.audit(), 1),
			figure(r.unaudited.perSecond, 0), figure(r.signerd.perSecond, 0), figure(r.unaudited.p50, 0), figure(r.signerd.p50, 0),
			figure(r.unaudited.p99, 0), figure(r.signerd.p99, 0))
	}
}

// figure is a number, or a dash for one that was not measured.
func figure(value float64, digits int) string {
	if value == 0 {
		return "-"
	}
	return fmt.Sprintf("%.*f", digits, value)
}

func writeGoals(b *strings.Builder, goals []goal) {
	fmt.Fprintf(b, "\ngoals\n")
	for _, g := range goals {
		verdict := "within"
		if !g.Within {
			verdict = "MISSED"
		}
		fmt.Fprintf(b, "%-72s %8.2f %-9s %-8s %6.2f   %s\n    %s\n", g.Name, g.Measured, g.Unit, g.Wanted, g.Limit, verdict, g.Detail)
	}
}
