package main

import (
	"os"
	"testing"
)

func TestParseStatus(t *testing.T) {
	const status = "Name:\tVmRSS: 1 kB\nUmask:\t0022\nVmPeak:\t 2000 kB\nVmHWM:\t   57400 kB\nVmRSS:\t   33280 kB\nThreads:\t9\n"
	got, err := parseStatus(status)
	if want := (memory{resident: 33280 << 10, peak: 57400 << 10}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestParseStatusWantsBothFigures(t *testing.T) {
	for _, status := range []string{
		"", "Name:\tkthreadd\n", "VmRSS:\t1 kB\n", "VmHWM:\t1 kB\n", "VmHWM:\t1 MB\nVmRSS:\t1 kB\n", "VmHWM:\tx kB\nVmRSS:\t1 kB\n", "VmHWM:\t1 kB\nVmRSS:",
	} {
		if got, err := parseStatus(status); err == nil {
			t.Errorf("%q gave %+v and no error", status, got)
		}
	}
}

func TestTheKernelKnowsThisProcess(t *testing.T) {
	m, err := memoryOf(os.Getpid())
	if err != nil || m.resident <= 0 || m.peak < m.resident {
		t.Errorf("memory %+v, %v", m, err)
	}
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var sum int
	for i := range 1_000_000 {
		sum += i
	}
	after, err := cpuTime(os.Getpid())
	if err != nil || before <= 0 || after <= before {
		t.Errorf("CPU time went from %v to %v (%v, %d)", before, after, err, sum)
	}
}

func TestCPUTimeOfNobody(t *testing.T) {
	const beyondAnyPid = 1<<22 + 1
	if d, err := cpuTime(beyondAnyPid); err == nil {
		t.Errorf("a process that does not exist used %v", d)
	}
}
