package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is the CPU time that a process has used so far, in user and kernel mode, over all of its threads. It reads the
// kernel's clock of that process (clock_getcpuclockid(3)): nanoseconds in one call, where /proc/PID/stat counts steps of
// 10 ms, and the files of /proc/PID/task forget threads that have ended.
func cpuTime(pid int) (time.Duration, error) {
	const wholeProcess = 2 // CPUCLOCK_SCHED
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|wholeProcess), &t); err != nil {
		return 0, fmt.Errorf("reading the CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// memory is what a process holds in RAM, in bytes.
type memory struct {
	resident, peak int64
}

func memoryOf(pid int) (memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, err
	}
	return parseStatus(string(text))
}

// parseStatus reads a /proc/PID/status.
func parseStatus(text string) (memory, error) {
	var m memory
	for _, field := range []struct {
		name string
		into *int64
	}{{"VmRSS", &m.resident}, {"VmHWM", &m.peak}} {
		_, rest, found := strings.Cut("\n"+text, "\n"+field.name+":")
		line, _, _ := strings.Cut(rest, "\n")
		size, kilobytes := strings.CutSuffix(strings.TrimSpace(line), " kB")
		n, err := strconv.ParseInt(size, 10, 64)
		if !found || !kilobytes || err != nil {
			return memory{}, fmt.Errorf("the status of a process says no %s in kB", field.name)
		}
		*field.into = n << 10
	}
	return m, nil
}
