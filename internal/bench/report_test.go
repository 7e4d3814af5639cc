package main

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// measured is what a run could have found, over mTLS alone; without an audit log signerd's ES384 takes 205 µs, its Noba 25 µs.
func measured() []result {
	of := func(cpu time.Duration) []sample {
		return []sample{
			{cpu: cpu, perSecond: 1e5 / micros(cpu), p50: 2 * cpu, p99: 3 * cpu},
			{cpu: 9 * cpu, perSecond: 10, p50: time.Second, p99: time.Minute}, // an odd round, which medians pass over
			{cpu: cpu, perSecond: 1e5 / micros(cpu), p50: 2 * cpu, p99: 3 * cpu},
		}
	}
	samples := map[variant][]sample{
		{server: serverRaw, operation: nameES384}:      of(190 * time.Microsecond),
		{server: serverRaw, operation: nameNoba}:       of(600 * time.Nanosecond),
		{serverEcho, nameES384, overMTLS, 64}:          of(10 * time.Microsecond),
		{serverUnaudited, nameES384, overMTLS, 64}:     of(205 * time.Microsecond),
		{serverSignerd, nameES384, overMTLS, 64}:       of(250 * time.Microsecond),
		{serverUnaudited, nameES384, overMTLS, 1}:      of(200 * time.Microsecond),
		{serverSignerd, nameES384, overMTLS, 1}:        of(500 * time.Microsecond),
		{server: serverRaw, operation: nameFsync}:      of(250 * time.Microsecond),
		{serverEcho, nameNoba, overMTLS, 64}:           of(10 * time.Microsecond),
		{serverUnaudited, nameNoba, overMTLS, 64}:      of(25 * time.Microsecond),
		{serverSignerd, nameNoba, overMTLS, 64}:        of(40 * time.Microsecond),
		{serverSignerd, nameNoon, overMTLS, 64}:        of(20 * time.Microsecond),
		{serverEcho, nameES256, overUnix, goalCallers}: of(11 * time.Microsecond),
	}
	var chosen []variant
	for _, v := range variants() {
		if _, ok := samples[v]; ok {
			chosen = append(chosen, v)
		}
	}
	return summarize(chosen, samples)
}

func example() *report {
	return newReport(options{rounds: 3, window: time.Second, only: regexp.MustCompile("")}, measured(),
		memory{resident: 30 << 20, peak: 40 << 20}, memory{resident: 50 << 20, peak: 64 << 20}, []time.Duration{600 * time.Millisecond})
}

func TestSummariesAreMedians(t *testing.T) {
	got := byName(measured())["unaudited/noba/mtls/64"]
	want := result{Name: "unaudited/noba/mtls/64", Server: "unaudited", Operation: "noba", Transport: "mtls", Callers: 64,
		CPU: 25, PerSecond: 4000, P50: 50, P99: 75, CPUByRound: []float64{25, 225, 25}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestGoals(t *testing.T) {
	type verdict struct {
		Measured float64
		Within   bool
	}
	got := make(map[string]verdict)
	for _, g := range example().Goals {
		first, _, _ := strings.Cut(g.Name, ", over mTLS")
		first, _, _ = strings.Cut(first, ", at its peak")
		got[first] = verdict{g.Measured, g.Within}
	}
	want := map[string]verdict{
		"unaudited: CPU of SignNoahRequest in ES384":                                 {205.0 / 200, true},
		"unaudited: CPU of ComputeNobaSignature":                                     {15, false},
		"audited: throughput of SignNoahRequest in ES384":                            {205.0 / 250, true},
		"audited: CPU of SignNoahRequest in ES384":                                   {250.0 / 200, true},
		"audited: p99 of SignNoahRequest in ES384":                                   {250.0 / 205, true},
		"audited: what one caller alone waits beyond one fsync":                      {100, true},
		"signerd: resident memory with 100 keys":                                     {64, true}, // just
		"signerd: from start to first signature with 100 keys, over the Unix socket": {600, false},
		// GetNoonSession has no floor here, and so no goal.
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The table's columns, without what differs from machine to machine.
func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := example().writeTable(&b); err != nil {
		t.Fatal(err)
	}
	fields := func(line string) string { return strings.Join(strings.Fields(line), " ") }
	lines := make(map[string]bool)
	for line := range strings.Lines(b.String()) {
		lines[fields(line)] = true
		if columns := utf8.RuneCountInString(line) - 1; columns > 140 {
			t.Errorf("%d columns are more than a screen has:\n%s", columns, line)
		}
	}
	for _, want := range []string{
		"noah-es384 190.00 526 380 570",
		"fsync 250.00 400 500 750",
		"noah-es384 mtls 64 │ 10.0 200.0 205.0 250.0 45.0 │ 488 400 │ 410 500 │ 615 750",
		"noah-es256 unix 64 │ 11.0 - - - - │ - - │ - - │ - -",
		"noba mtls 64 │ 10.0 10.6 25.0 40.0 15.0 │ 4000 2500 │ 50 80 │ 75 120",
		"noon mtls 64 │ - - - 20.0 - │ - 5000 │ - 40 │ - 60",
		"unaudited: CPU of SignNoahRequest in ES384, over mTLS, 64 callers 1.02 × bound at most 1.15 within",
		"unaudited 205.0 µs, bound 200.0 µs = raw 190.0 + echo 10.0",
		"unaudited: CPU of ComputeNobaSignature, over mTLS, 64 callers 15.00 µs + echo at most 12.00 MISSED",
		"audited: throughput of SignNoahRequest in ES384, over mTLS, 64 callers 0.82 × unaud. at least 0.75 within",
		"audited: what one caller alone waits beyond one fsync, over mTLS 100.00 µs at most 100.00 within",
		"p50: signerd 1000 µs, unaudited 400 µs, fsync 500 µs",
	} {
		if !lines[want] {
			t.Errorf("there is no line %q in\n%s", want, b.String())
		}
	}
}

// Programs read the JSON: what it has is listed here, and nothing else may appear.
func TestJSONSchemaIsClosed(t *testing.T) {
	var b bytes.Buffer
	if err := example().writeJSON(&b); err != nil {
		t.Fatal(err)
	}
	var top map[string]json.RawMessage
	must(t, json.Unmarshal(b.Bytes(), &top))
	var conditions map[string]any
	must(t, json.Unmarshal(top["conditions"], &conditions))
	var results, goals []map[string]any
	must(t, json.Unmarshal(top["results"], &results))
	must(t, json.Unmarshal(top["goals"], &goals))

	checkNames(t, "top", top, "conditions results goals", "")
	checkNames(t, "conditions", conditions,
		"time cpu cpus go gogc rounds milliseconds_per_variant connections message_bytes keys record_bytes", "")
	for _, r := range results {
		optional := "transport callers p50_microseconds p99_microseconds"
		checkNames(t, "result", r, "name server operation cpu_microseconds per_second cpu_microseconds_by_round", optional)
	}
	for _, g := range goals {
		checkNames(t, "goal", g, "name measured unit wanted limit within detail", "")
	}
	var back report
	dec := json.NewDecoder(&b)
	dec.DisallowUnknownFields()
	must(t, dec.Decode(&back))
	if diff := cmp.Diff(example().Results, back.Results); diff != "" {
		t.Error(diff)
	}
}

func checkNames[V any](t *testing.T, what string, object map[string]V, required, optional string) {
	t.Helper()
	want := strings.Fields(required)
	for _, name := range want {
		if _, ok := object[name]; !ok {
			t.Errorf("%s has no %q", what, name)
		}
	}
	want = append(want, strings.Fields(optional)...)
	for name := range object {
		if !slices.Contains(want, name) {
			t.Errorf("%s has %q, which nobody was promised", what, name)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
