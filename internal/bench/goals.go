package main

import (
	"fmt"
	"time"
)

// The goals.
const (
	goalTransport = overMTLS
	goalCallers   = 64
	mostRatio     = 1.15 // of the bound, for a signature
	mostOverEcho  = 12   // µs of CPU, for what needs no signature
	mostMemory    = 64   // MiB
	mostStart     = 500  // ms
)

// goal is one thing signerd is to reach.
type goal struct {
	Name     string  `json:"name"`
	Measured float64 `json:"measured"`
	Unit     string  `json:"unit"`
	Limit    float64 `json:"limit"`
	Within   bool    `json:"within"`
	Detail   string  `json:"detail"`
}

// figures are the numbers of a result; zero where it was not measured.
type figures struct{ cpu, perSecond, p50, p99 float64 }

func figuresOf(r result) figures { return figures{r.CPU, r.PerSecond, r.P50, r.P99} }

// pair is signerd beside its floor.
type pair struct {
	raw           figures
	echo, signerd figures
	nothingRaw    bool // the operation computes nothing
}

// pairOf finds what belongs to a variant of signerd's; the zero pair, where neither server was measured.
func pairOf(all map[string]result, v variant) pair {
	at := func(server string) figures {
		return figuresOf(all[variant{server, v.operation, v.transport, v.callers}.name()])
	}
	p := pair{echo: at(serverEcho), signerd: at(serverSignerd)}
	if p == (pair{}) {
		return p
	}
	p.raw = figuresOf(all[variant{server: serverRaw, operation: v.operation}.name()])
	p.nothingRaw = v.operation == nameNoon
	return p
}

// bound is the least that the operation could cost, or zero.
func (p pair) bound() float64 {
	if p.echo.cpu == 0 || p.raw.cpu == 0 && !p.nothingRaw {
		return 0
	}
	return p.raw.cpu + p.echo.cpu
}

// ratio is how much more signerd costs than it must, or zero.
func (p pair) ratio() float64 {
	if p.bound() == 0 {
		return 0
	}
	return p.signerd.cpu / p.bound()
}

// overEcho is what signerd costs beside the connection, or zero.
func (p pair) overEcho() float64 {
	if p.echo.cpu == 0 || p.signerd.cpu == 0 {
		return 0
	}
	return p.signerd.cpu - p.echo.cpu
}

// goals holds what was measured against what is wanted. Goals whose figures are missing are left out.
func goals(all map[string]result, idle, loaded memory, starts []time.Duration) []goal {
	var out []goal
	add := func(g goal) {
		g.Within = g.Measured <= g.Limit
		out = append(out, g)
	}
	where := fmt.Sprintf("over mTLS, %d callers", goalCallers)
	if p := pairOf(all, variant{serverSignerd, nameES384, goalTransport, goalCallers}); p.ratio() > 0 {
		add(goal{Name: "SignNoahRequest in ES384, " + where, Measured: p.ratio(), Unit: "× bound", Limit: mostRatio,
			Detail: fmt.Sprintf("signerd %.1f µs, bound %.1f µs = raw %.1f + echo %.1f", p.signerd.cpu, p.bound(), p.raw.cpu, p.echo.cpu)})
	}
	for _, light := range []struct{ rpc, operation string }{{"ComputeNobaSignature", nameNoba}, {"GetNoonSession, cached", nameNoon}} {
		p := pairOf(all, variant{serverSignerd, light.operation, goalTransport, goalCallers})
		if p.overEcho() == 0 {
			continue
		}
		add(goal{Name: light.rpc + ", " + where, Measured: p.overEcho(), Unit: "µs + echo", Limit: mostOverEcho,
			Detail: fmt.Sprintf("signerd %.1f µs, echo %.1f µs", p.signerd.cpu, p.echo.cpu)})
	}
	const mib = 1 << 20
	add(goal{Name: fmt.Sprintf("resident memory with %d keys, at its peak (VmHWM)", totalKeys), Measured: float64(loaded.peak) / mib, Unit: "MiB",
		Limit: mostMemory, Detail: fmt.Sprintf("VmRSS %.1f MiB before the load, %.1f MiB after it", float64(idle.resident)/mib, float64(loaded.resident)/mib)})
	if len(starts) > 0 {
		add(goal{Name: fmt.Sprintf("from start to first signature with %d keys, over the Unix socket", totalKeys), Unit: "ms",
			Measured: micros(median(starts)) / 1000, Limit: mostStart, Detail: fmt.Sprintf("median of %d starts", len(starts))})
	}
	return out
}
