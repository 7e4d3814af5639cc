package client

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Calls that ended with UNAVAILABLE: how often they are made, and what lies between.
const (
	maxAttempts = 3
	firstDelay  = 100 * time.Millisecond
	delayGrowth = 4
	maxDelay    = time.Second
)

// errorDomain is signerd's in ErrorInfo, reasonFrozen its reason when an operator has stopped all signing.
const (
	errorDomain      = "signerd"
	reasonFrozen     = "FROZEN"
	metadataRecordID = "record_id"
)

// patiently gives calls a deadline and makes them again. It is no policy of gRPC's service config because that one cannot tell a freeze, which
// an operator made and will end, from a signerd that is just restarting.
func patiently(timeout time.Duration) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, in, out any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if _, bounded := ctx.Deadline(); !bounded {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		for attempt := 1; ; attempt++ {
			err := invoke(ctx, method, in, out, cc, opts...)
			delay, again := delayAfter(err, attempt)
			if deadline, _ := ctx.Deadline(); !again || time.Until(deadline) < delay {
				return err
			}
			timer := time.NewTimer(delay)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return err
			}
		}
	}
}

// delayAfter says whether a call that ended with err is made again, and when.
func delayAfter(err error, attempt int) (time.Duration, bool) {
	if err == nil || attempt >= maxAttempts {
		return 0, false
	}
	st := status.Convert(err)
	if st.Code() != codes.Unavailable {
		return 0, false
	}
	delay := firstDelay
	for range attempt - 1 {
		delay *= delayGrowth
	}
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == errorDomain && d.GetReason() == reasonFrozen {
				return 0, false
			}
		case *errdetails.RetryInfo:
			delay = max(delay, d.GetRetryDelay().AsDuration())
		}
	}
	// Between all and half as much again, so that many callers do not come back together.
	return delay + rand.N(delay/2), delay <= maxDelay
}
