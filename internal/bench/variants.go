package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// What is measured, side by side.
const (
	serverRaw       = "raw"       // the cryptography alone, or the disk, in this process
	serverEcho      = "echo"      // a bare gRPC server with signerd's options, which answers what signerd answered
	serverUnaudited = "unaudited" // signerd whose audit log keeps nothing
	serverSignerd   = "signerd"   // the program itself
)

// How callers are connected.
const (
	overUnix = "unix"
	overMTLS = "mtls"
)

// callerCounts are how many callers send requests at the same time, each its next one after the answer.
var callerCounts = []int{1, 8, 64}

// variant is one measurement of a round.
type variant struct {
	server    string
	operation string
	transport string // empty for raw
	callers   int    // zero for raw
}

func (v variant) name() string {
	if v.server == serverRaw {
		return v.server + "/" + v.operation
	}
	return fmt.Sprintf("%s/%s/%s/%d", v.server, v.operation, v.transport, v.callers)
}

// variants are all there are. What is compared stands together, so that it is measured close in time.
func variants() []variant {
	var out []variant
	for _, operation := range []string{nameES384, nameES256, nameNoba, nameFsync} {
		out = append(out, variant{server: serverRaw, operation: operation})
	}
	for _, operation := range operationNames {
		for _, transport := range []string{overUnix, overMTLS} {
			for _, callers := range callerCounts {
				for _, server := range []string{serverEcho, serverUnaudited, serverSignerd} {
					out = append(out, variant{server, operation, transport, callers})
				}
			}
		}
	}
	return out
}

func choose(only *regexp.Regexp) []variant {
	var out []variant
	for _, v := range variants() {
		if only.MatchString(v.name()) {
			out = append(out, v)
		}
	}
	return out
}

// rotated is the order of a round: each round starts elsewhere, so that nothing always follows the same.
func rotated(all []variant, round, rounds int) []variant {
	start := round * len(all) / rounds
	return append(append([]variant(nil), all[start:]...), all[:start]...)
}

// sample is what one measurement of one variant found.
type sample struct {
	cpu       time.Duration // of the server, for one request
	perSecond float64
	p50, p99  time.Duration // as a caller sees it; zero for raw
}

// measure measures every variant once a round.
func (r *rig) measure(chosen []variant, o options, say func(string, ...any)) (map[variant][]sample, error) {
	samples := make(map[variant][]sample)
	for round := range o.rounds {
		say("round %d of %d: %d variants, %v each", round+1, o.rounds, len(chosen), o.window+warmUp)
		for _, v := range rotated(chosen, round, o.rounds) {
			s, err := r.measureOne(v, o.window)
			if err != nil {
				return nil, fmt.Errorf("%s: %w\nthe log ends with:\n%s", v.name(), err, r.lastLines())
			}
			samples[v] = append(samples[v], s)
		}
	}
	return samples, nil
}

func (r *rig) measureOne(v variant, window time.Duration) (sample, error) {
	switch {
	case v.server == serverRaw && v.operation == nameFsync:
		return measureFsync(r.ctx, r.dir, window)
	case v.server == serverRaw:
		return measureRaw(r.ctx, r.operations[v.operation].raw, batch, window)
	default:
		return measureLoad(r.ctx, r.targets[v.server], r.operations[v.operation], v.transport, v.callers, window)
	}
}

// measureFsync measures the disk that the audit log is on.
func measureFsync(ctx context.Context, dir string, window time.Duration) (out sample, err error) {
	do, done, err := appendDurably(dir)
	if err != nil {
		return sample{}, err
	}
	defer func() { err = errors.Join(err, done()) }()
	return measureRaw(ctx, do, 1, window)
}
