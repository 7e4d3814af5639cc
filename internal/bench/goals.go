package main

import (
	"fmt"
	"slices"
	"time"
)

// The goals. What signerd does beside the audit log is held against its floor without one; what the log adds, against that.
const (
	goalTransport = overMTLS
	goalCallers   = 64

	mostRatio    = 1.15 // of the bound, for a signature, unaudited
	mostOverEcho = 12   // µs of CPU, for what needs no signature, unaudited

	leastThroughput  = 0.75 // of that without an audit log
	mostAuditedRatio = 1.30 // of the bound, for a signature
	mostTail         = 2    // times the p99 without an audit log
	mostAlone        = 100  // µs beyond one fsync, for one caller who waits for nobody

	mostMemory = 64  // MiB
	mostStart  = 500 // ms
)

// What is wanted of a figure.
const (
	atMost  = "at most"
	atLeast = "at least"
)

// goal is one thing signerd is to reach.
type goal struct {
	Name     string  `json:"name"`
	Measured float64 `json:"measured"`
	Unit     string  `json:"unit"`
	Wanted   string  `json:"wanted"` // atMost or atLeast the limit
	Limit    float64 `json:"limit"`
	Within   bool    `json:"within"`
	Detail   string  `json:"detail"`
}

// figures are the numbers of a result; zero where it was not measured.
type figures struct{ cpu, perSecond, p50, p99 float64 }

func figuresOf(r result) figures { return figures{r.CPU, r.PerSecond, r.P50, r.P99} }

// row is signerd beside its floor.
type row struct {
	raw                      figures
	echo, unaudited, signerd figures
	nothingRaw               bool // the operation computes nothing
}

// rowOf finds what belongs to a variant of signerd's; the zero row, where no server was measured.
func rowOf(all map[string]result, v variant) row {
	at := func(server string) figures {
		return figuresOf(all[variant{server, v.operation, v.transport, v.callers}.name()])
	}
	r := row{echo: at(serverEcho), unaudited: at(serverUnaudited), signerd: at(serverSignerd)}
	if r == (row{}) {
		return r
	}
	r.raw = figuresOf(all[variant{server: serverRaw, operation: v.operation}.name()])
	r.nothingRaw = v.operation == nameNoon
	return r
}

// bound is the least that the operation could cost, or zero.
func (r row) bound() float64 {
	if r.echo.cpu == 0 || r.raw.cpu == 0 && !r.nothingRaw {
		return 0
	}
	return r.raw.cpu + r.echo.cpu
}

// audit is what the audit log costs, or zero.
func (r row) audit() float64 { return difference(r.signerd.cpu, r.unaudited.cpu) }

// ratio is zero where either was not measured; so is difference.
func ratio(a, b float64) float64 {
	if a == 0 || b == 0 {
		return 0
	}
	return a / b
}

func difference(a, b float64) float64 {
	if a == 0 || b == 0 {
		return 0
	}
	return a - b
}

// goals holds what was measured against what is wanted. Goals whose figures are missing are left out.
func goals(all map[string]result, idle, loaded memory, starts []time.Duration) []goal {
	out := slices.Concat(goalsUnaudited(all), goalsAudited(all))
	const mib = 1 << 20
	out = append(out, goal{Name: fmt.Sprintf("signerd: resident memory with %d keys, at its peak (VmHWM)", totalKeys),
		Measured: float64(loaded.peak) / mib, Unit: "MiB", Wanted: atMost, Limit: mostMemory,
		Detail: fmt.Sprintf("VmRSS %.1f MiB before the load, %.1f MiB after it", float64(idle.resident)/mib, float64(loaded.resident)/mib)})
	if len(starts) > 0 {
		out = append(out, goal{Name: fmt.Sprintf("signerd: from start to first signature with %d keys, over the Unix socket", totalKeys), Unit: "ms",
			Measured: micros(median(starts)) / 1000, Wanted: atMost, Limit: mostStart, Detail: fmt.Sprintf("median of %d starts", len(starts))})
	}
	for i := range out {
		g := &out[i]
		g.Within = g.Measured <= g.Limit && g.Wanted == atMost || g.Measured >= g.Limit && g.Wanted == atLeast
	}
	return out
}

var goalWhere = fmt.Sprintf("over mTLS, %d callers", goalCallers)

// goalsUnaudited are about CPU, beside the floor.
func goalsUnaudited(all map[string]result) []goal {
	var out []goal
	r := rowOf(all, variant{serverUnaudited, nameES384, goalTransport, goalCallers})
	if measured := ratio(r.unaudited.cpu, r.bound()); measured != 0 {
		out = append(out, goal{Name: "unaudited: CPU of SignNoahRequest in ES384, " + goalWhere, Measured: measured, Unit: "× bound", Wanted: atMost,
			Limit: mostRatio, Detail: boundDetail(serverUnaudited, r.unaudited, r)})
	}
	for _, light := range []struct{ rpc, operation string }{{"ComputeNobaSignature", nameNoba}, {"GetNoonSession, cached", nameNoon}} {
		r := rowOf(all, variant{serverUnaudited, light.operation, goalTransport, goalCallers})
		if r.unaudited.cpu == 0 || r.echo.cpu == 0 {
			continue
		}
		out = append(out, goal{Name: "unaudited: CPU of " + light.rpc + ", " + goalWhere, Measured: r.unaudited.cpu - r.echo.cpu, Unit: "µs + echo",
			Wanted: atMost, Limit: mostOverEcho, Detail: fmt.Sprintf("unaudited %.1f µs, echo %.1f µs", r.unaudited.cpu, r.echo.cpu)})
	}
	return out
}

func boundDetail(server string, f figures, r row) string {
	return fmt.Sprintf("%s %.1f µs, bound %.1f µs = raw %.1f + echo %.1f", server, f.cpu, r.bound(), r.raw.cpu, r.echo.cpu)
}

// goalsAudited are about what signerd's audit log adds.
func goalsAudited(all map[string]result) []goal {
	r := rowOf(all, variant{serverSignerd, nameES384, goalTransport, goalCallers})
	alone := rowOf(all, variant{serverSignerd, nameES384, goalTransport, 1})
	fsync := all[variant{server: serverRaw, operation: nameFsync}.name()].P50
	const name = "audited: %s of SignNoahRequest in ES384, %s"
	var out []goal
	for _, g := range []goal{
		{Name: fmt.Sprintf(name, "throughput", goalWhere), Measured: ratio(r.signerd.perSecond, r.unaudited.perSecond), Unit: "× unaud.",
			Wanted: atLeast, Limit: leastThroughput, Detail: fmt.Sprintf("signerd %.0f/s, unaudited %.0f/s", r.signerd.perSecond, r.unaudited.perSecond)},
		{Name: fmt.Sprintf(name, "CPU", goalWhere), Measured: ratio(r.signerd.cpu, r.bound()), Unit: "× bound",
			Wanted: atMost, Limit: mostAuditedRatio, Detail: boundDetail(serverSignerd, r.signerd, r)},
		{Name: fmt.Sprintf(name, "p99", goalWhere), Measured: ratio(r.signerd.p99, r.unaudited.p99), Unit: "× unaud.",
			Wanted: atMost, Limit: mostTail, Detail: fmt.Sprintf("signerd %.0f µs, unaudited %.0f µs", r.signerd.p99, r.unaudited.p99)},
		{Name: "audited: what one caller alone waits beyond one fsync, over mTLS", Measured: difference(difference(alone.signerd.p50, alone.unaudited.p50), fsync),
			Unit: "µs", Wanted: atMost, Limit: mostAlone,
			Detail: fmt.Sprintf("p50: signerd %.0f µs, unaudited %.0f µs, fsync %.0f µs", alone.signerd.p50, alone.unaudited.p50, fsync)},
	} {
		if g.Measured != 0 {
			out = append(out, g)
		}
	}
	return out
}
