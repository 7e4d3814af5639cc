package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// streamTimeout stands in for --timeout's default where signerd may have to read its whole log before it has anything to say.
const streamTimeout = 5 * time.Minute

const longStreamTimeout = `As signerd may have to read much of its log, --timeout is 5m here unless it is given; it begins anew with each part of the
answer.`

// patient gives a command the time that answers in parts may take.
func (a *app) patient(cmd *cobra.Command) {
	if !cmd.Flags().Changed("timeout") {
		a.timeout = streamTimeout
	}
}

// receive hands over every part of an answer, until it ends, take fails, or an interrupt comes.
func receive[T any](cmd *cobra.Command, open func(ctx context.Context) (grpc.ServerStreamingClient[T], error), take func(part *T) error) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	// It also ends the call, where signerd would send more.
	defer stop()
	parts, err := open(ctx)
	if err != nil {
		return err
	}
	for {
		part, err := parts.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := take(part); err != nil {
			return err
		}
	}
}

// streamWith does for answers in parts what callWith does for others: --timeout bounds the wait for each part, where 0 is
// no bound, and errors become a *callError.
func (a *app) streamWith(d *dialer) grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		caller := ctx
		ctx, cancel := context.WithCancelCause(ctx)
		s := &bounded{dialer: d, timeout: a.timeout, caller: caller, ctx: ctx, cancel: cancel}
		err := s.within(func() (err error) {
			s.ClientStream, err = open(ctx, desc, cc, method, opts...)
			return err
		})
		if err != nil {
			cancel(nil)
			return nil, err
		}
		return s, nil
	}
}

// bounded is an answer in parts, none of which is waited for longer than --timeout says.
type bounded struct {
	grpc.ClientStream

	dialer      *dialer
	timeout     time.Duration
	caller, ctx context.Context
	cancel      context.CancelCauseFunc
}

// RecvMsg implements grpc.ClientStream.
func (s *bounded) RecvMsg(m any) error {
	return s.within(func() error { return s.ClientStream.RecvMsg(m) })
}

// SendMsg implements grpc.ClientStream.
func (s *bounded) SendMsg(m any) error {
	return s.within(func() error { return s.ClientStream.SendMsg(m) })
}

var errNoAnswer = errors.New("no answer came in time")

func (s *bounded) within(do func() error) error {
	if s.timeout > 0 {
		timer := time.AfterFunc(s.timeout, func() { s.cancel(errNoAnswer) })
		defer timer.Stop()
	}
	err := do()
	if err == nil || err == io.EOF {
		return err
	}
	call := &callError{status: status.Convert(err), dial: s.dialer.lastError(), server: s.dialer.server, timeout: s.timeout, stream: true}
	switch {
	case s.caller.Err() != nil:
		call.status, call.interrupted = status.New(codes.Canceled, err.Error()), true
	case context.Cause(s.ctx) == errNoAnswer:
		call.status = status.New(codes.DeadlineExceeded, err.Error())
	}
	return call
}

// progress is a line on a terminal that says how far signerd is.
type progress struct {
	w     io.Writer // nil where there is no terminal to show it on
	last  time.Time
	shown bool
}

// progressInterval keeps a fast answer from being spent on a slow terminal.
const progressInterval = 100 * time.Millisecond

// progress is silent unless standard error is a terminal.
func (a *app) progress() *progress {
	f, ok := a.stderr.(*os.File)
	if !ok {
		return &progress{}
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return &progress{}
	}
	return &progress{w: f}
}

func (p *progress) show(format string, args ...any) {
	if p.w == nil || time.Since(p.last) < progressInterval {
		return
	}
	p.last, p.shown = time.Now(), true
	_, _ = fmt.Fprintf(p.w, "\r"+format+"\x1b[K", args...)
}

// end wipes the line out, before anything else is written.
func (p *progress) end() {
	if p.shown {
		_, _ = io.WriteString(p.w, "\r\x1b[K")
	}
	p.shown = false
}
