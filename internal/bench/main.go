// Command bench measures what signerd costs: it runs the real program on one machine, beside the raw cryptography, a bare
// gRPC server that answers the same bytes, and a signerd that keeps no audit log, and prints them side by side.
//
// It is for people who change or choose signerd. It is no test: it ends with 0 whatever it measured, and with 1 only when
// something did not work.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime/debug"
	"syscall"
	"time"
)

// gcPercent is the GOGC of every program that is measured, this one included: the load is to leave the machine to them.
const gcPercent = 250

// options are what flags say.
type options struct {
	bin    string
	rounds int
	window time.Duration
	only   *regexp.Regexp
	format string
}

var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		if errors.Is(err, errUsage) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 2 && args[0] == echoCommand {
		return serveEcho(args[1], os.Stdin, stdout)
	}
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	debug.SetGCPercent(gcPercent)
	r, err := bench(ctx, o, stderr)
	if err != nil {
		return err
	}
	if o.format == "json" {
		return r.writeJSON(stdout)
	}
	return r.writeTable(stdout)
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	var only string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.bin, "bin", "bin", "the `folder` that holds signerd and signerd-unaudited; TMPDIR says on which disk they are installed")
	flags.IntVar(&o.rounds, "rounds", 5, "how many rounds; what is printed are medians over them")
	flags.DurationVar(&o.window, "time", 500*time.Millisecond, "how long each variant is measured in each round")
	flags.StringVar(&only, "run", "", "measure only variants whose name matches the `regexp`, such as noba/mtls or raw/")
	flags.StringVar(&o.format, "o", "table", "table or json")
	if err := flags.Parse(args); err != nil {
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	var err error
	o.only, err = regexp.Compile(only)
	switch {
	case err != nil:
		return o, fmt.Errorf("%w: -run: %w", errUsage, err)
	case flags.NArg() > 0:
		return o, fmt.Errorf("%w: unknown argument %q", errUsage, flags.Arg(0))
	case o.rounds < 1 || o.window <= 0:
		return o, fmt.Errorf("%w: -rounds and -time must be above zero", errUsage)
	case o.format != "table" && o.format != "json":
		return o, fmt.Errorf("%w: -o: wanted table or json", errUsage)
	}
	return o, nil
}

// bench prepares everything in a folder of its own, measures, and leaves nothing behind.
func bench(ctx context.Context, o options, progress io.Writer) (out *report, err error) {
	chosen := choose(o.only)
	if len(chosen) == 0 {
		return nil, fmt.Errorf("%w: -run: no variant has such a name; names are like %s and %s", errUsage,
			variant{server: serverRaw, operation: nameES384}.name(), variant{serverSignerd, nameNoba, overMTLS, 64}.name())
	}
	// A deadline on the context itself would be sent along with each request, and cost both ends work.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := time.Minute + 2*time.Duration(o.rounds*len(chosen))*(o.window+warmUp+time.Second)
	defer time.AfterFunc(patience, func() { cancel(fmt.Errorf("it hangs: not done after %v", patience)) }).Stop()

	dir, err := os.MkdirTemp("", "sb") // short, for the sockets
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(progress, format+"\n", args...) }
	r := &rig{ctx: ctx, bin: o.bin, dir: dir}
	defer func() { err = errors.Join(err, r.close()) }()
	say("making %d keys, and starting two signerds and the echo", totalKeys)
	if err := r.prepare(o.rounds); err != nil {
		return nil, err
	}
	idle, err := memoryOf(r.installations[serverSignerd].process.pid())
	if err != nil {
		return nil, err
	}
	samples, err := r.measure(chosen, o, say)
	if err != nil {
		return nil, err
	}
	loaded, err := memoryOf(r.installations[serverSignerd].process.pid())
	if err != nil {
		return nil, err
	}
	return newReport(o, summarize(chosen, samples), idle, loaded, r.starts), nil
}
